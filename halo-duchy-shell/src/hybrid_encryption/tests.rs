use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;

const SCHEMES: [Scheme; 2] = [Scheme::Hpke, Scheme::Ecies];

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

#[test]
fn keysets_and_ciphertexts_round_trip() {
    for scheme in SCHEMES {
        let keyset = PrivateKeyset::generate(scheme, &mut rng());
        let reread = PrivateKeyset::parse(&keyset.to_bytes()).expect("own keyset");
        let public = PublicKeyset::parse(&keyset.public().to_bytes()).expect("own public keyset");
        assert_eq!(public, reread.public());
        for length in [0, 1, 1000] {
            let plaintext = vec![7; length];
            let sealed = public.encrypt(&plaintext, &mut rng()).expect("sound key");
            assert_eq!(&reread.decrypt(&sealed).expect("own ciphertext")[..], plaintext);
        }
    }
}

#[test]
fn json_and_binary_say_the_same() {
    for scheme in SCHEMES {
        let keyset = PrivateKeyset::generate(scheme, &mut rng());
        for file in [keyset.to_json().as_bytes(), &keyset.to_bytes()] {
            let reread = PrivateKeyset::parse_file(file).expect("own keyset");
            assert_eq!(reread.to_bytes(), keyset.to_bytes());
        }
        let public = keyset.public();
        for file in [public.to_json().as_bytes(), &public.to_bytes()] {
            assert_eq!(PublicKeyset::parse_file(file), Ok(public.clone()));
        }
        assert_eq!(
            PublicKeyset::parse(public.to_json().as_bytes()),
            Err(HybridEncryptionError::MalformedKeyset),
            "messages hold binary keysets"
        );
        let json = public.to_json();
        for (old, new) in [
            ("ENABLED", "enabled"),
            ("TINK", "OTHER"),
            ("\"keyId\":", "\"keyId\":-"),
            ("value\":\"", "value\":\"?"),
        ] {
            let altered = json.replacen(old, new, 1);
            assert_ne!(altered, json, "{old}");
            let refused = PublicKeyset::parse_file(altered.as_bytes());
            assert_eq!(refused, Err(HybridEncryptionError::MalformedKeyset), "{new}");
        }
    }
    // What Tink writes for a keyset under another key.
    let encrypted = br#"{"encryptedKeyset":"AAAA","keysetInfo":{"primaryKeyId":1,"keyInfo":[]}}"#;
    assert!(PublicKeyset::parse_file(encrypted).is_err());
}

#[test]
fn huge_keysets_are_refused_before_they_are_read() {
    let keyset = PrivateKeyset::generate(Scheme::Hpke, &mut rng()).public();
    let mut message = keyset.to_keyset();
    let key = message.key[0].clone();
    // Keys that are not enabled count too.
    message.key = vec![tink::Key { status: 2, ..key.clone() }; MAXIMUM_KEYS];
    message.key[0] = key.clone();
    assert!(PublicKeyset::parse(&message.encode_to_vec()).is_ok());
    message.key.push(key);
    let refused = PublicKeyset::parse(&message.encode_to_vec());
    assert_eq!(refused, Err(HybridEncryptionError::TooManyKeys(MAXIMUM_KEYS + 1)));
    let long = vec![b'{'; MAXIMUM_KEYSET_BYTES + 1];
    for refused in [PublicKeyset::parse(&long), PublicKeyset::parse_file(&long)] {
        assert_eq!(refused, Err(HybridEncryptionError::KeysetLength(MAXIMUM_KEYSET_BYTES + 1)));
    }
}

#[test]
fn ciphertexts_have_tinks_layout() {
    for (scheme, overhead) in [(Scheme::Hpke, 5 + 32 + 16), (Scheme::Ecies, 5 + 65 + 12 + 16)] {
        let keyset = PrivateKeyset::generate(scheme, &mut rng());
        let sealed = keyset.public().encrypt(b"abc", &mut rng()).expect("sound key");
        assert_eq!(sealed.len(), overhead + 3);
        assert_eq!(sealed[..5], [&[1][..], &keyset.primary.to_be_bytes()].concat());
    }
}

#[test]
fn every_altered_byte_and_length_is_noticed() {
    for scheme in SCHEMES {
        let keyset = PrivateKeyset::generate(scheme, &mut rng());
        let sealed = keyset.public().encrypt(b"abc", &mut rng()).expect("sound key");
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert_eq!(
                keyset.decrypt(&altered).expect_err("altered"),
                HybridEncryptionError::Open,
                "{index}"
            );
            assert!(keyset.decrypt(&sealed[..index]).is_err(), "cut at {index}");
        }
        assert!(
            PrivateKeyset::generate(scheme, &mut ChaCha20Rng::seed_from_u64(2)).decrypt(&sealed).is_err()
        );
    }
}

#[test]
fn raw_keys_have_no_prefix_and_older_keys_still_open() {
    let mut keyset = PrivateKeyset::generate(Scheme::Hpke, &mut rng());
    keyset.keys[0].prefix = Prefix::Raw;
    let sealed = keyset.public().encrypt(b"abc", &mut rng()).expect("sound key");
    assert_eq!(sealed.len(), 32 + 3 + 16);

    let mut newer = PrivateKeyset::generate(Scheme::Ecies, &mut ChaCha20Rng::seed_from_u64(2));
    newer.keys.append(&mut keyset.keys);
    let newer = PrivateKeyset::parse(&newer.to_bytes()).expect("two keys");
    assert_eq!(&newer.decrypt(&sealed).expect("the older key")[..], b"abc");
    let sealed = newer.public().encrypt(b"abc", &mut rng()).expect("sound key");
    assert_eq!(sealed[..5], newer.keys[0].prefix(), "the primary encrypts");
}

#[test]
fn unusable_keysets_are_refused() {
    let keyset = PrivateKeyset::generate(Scheme::Hpke, &mut rng());
    let message = tink::Keyset::decode(&keyset.public().to_bytes()[..]).expect("own keyset");
    let refused = |edit: fn(&mut tink::Keyset)| {
        let mut message = message.clone();
        edit(&mut message);
        PublicKeyset::parse(&message.encode_to_vec()).expect_err("edited")
    };
    let id = message.primary_key_id;
    let type_url = format!("{}HpkePublicKey", tink::TYPE_PREFIX);
    let unsupported = |type_url: &str| HybridEncryptionError::UnsupportedKey {
        key_id: keyset.primary,
        type_url: type_url.into(),
    };

    assert_eq!(PublicKeyset::parse(b"\xff"), Err(HybridEncryptionError::MalformedKeyset));
    assert_eq!(PublicKeyset::parse(b""), Err(HybridEncryptionError::NoPrimaryKey(0)));
    assert_eq!(refused(|keyset| keyset.key[0].status = 2), HybridEncryptionError::NoPrimaryKey(id));
    assert_eq!(refused(|keyset| keyset.primary_key_id ^= 1), HybridEncryptionError::NoPrimaryKey(id ^ 1));
    assert_eq!(refused(|keyset| keyset.key.extend_from_within(..)), HybridEncryptionError::DuplicateKey(id));
    assert_eq!(refused(|keyset| keyset.key[0].output_prefix_type = 4), unsupported(&type_url));
    assert_eq!(refused(|keyset| data(keyset).value.truncate(20)), unsupported(&type_url));
    assert_eq!(refused(|keyset| data(keyset).key_material_type = 1), unsupported(&type_url));
    assert_eq!(refused(|keyset| data(keyset).type_url = "AesGcmKey".into()), unsupported("AesGcmKey"));
    assert!(PublicKeyset::parse(&keyset.to_bytes()).is_err(), "private keys where public ones are wanted");
}

fn data(keyset: &mut tink::Keyset) -> &mut tink::KeyData {
    keyset.key[0].key_data.as_mut().expect("present")
}

#[test]
fn mismatched_halves_and_foreign_points_are_refused() {
    let keyset = PrivateKeyset::generate(Scheme::Ecies, &mut rng());
    let PrivateKey::Ecies(key) = &keyset.keys[0].key else { panic!("generated as ECIES") };
    let mut private = key.to_message();
    assert!(ecies::PrivateKey::parse(&private).is_some());
    *private.key_value.last_mut().expect("not empty") ^= 1;
    assert!(ecies::PrivateKey::parse(&private).is_none());

    let mut public = key.public().to_message();
    *public.y.last_mut().expect("not empty") ^= 1;
    assert!(ecies::PublicKey::parse(&public).is_none(), "off the curve");
    public.y = vec![1; 33];
    assert!(ecies::PublicKey::parse(&public).is_none(), "too long");
}

#[test]
fn low_order_points_are_not_encrypted_to() {
    let message = tink::HpkePublicKey {
        public_key: vec![0; 32],
        ..hpke::PrivateKey::generate(&mut rng()).public().to_message()
    };
    let sealed = hpke::PublicKey::parse(&message).and_then(|key| key.seal(b"abc", &mut rng()));
    assert_eq!(sealed, None);
}

#[test]
fn debug_hides_private_keys() {
    let keyset = PrivateKeyset::generate(Scheme::Ecies, &mut rng());
    assert_eq!(format!("{keyset:?}"), format!("PrivateKeyset {{ primary: {}, .. }}", keyset.primary));
}

/// What Tink itself made (tests/vectors/tink).
#[derive(serde::Deserialize)]
struct Vector {
    template: String,
    private_keyset: String,
    public_keyset: String,
    plaintext: String,
    ciphertext: String,
}

#[test]
fn tinks_keysets_and_ciphertexts_are_read() {
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../../tests/vectors/tink/hybrid.json")).expect("JSON");
    assert_eq!(vectors.len(), 6);
    for vector in vectors {
        let bytes = |text: &str| hex::decode(text).expect("hexadecimal");
        let private = PrivateKeyset::parse(&bytes(&vector.private_keyset)).expect(&vector.template);
        let public = PublicKeyset::parse(&bytes(&vector.public_keyset)).expect(&vector.template);
        assert_eq!(private.public(), public);
        let opened = private.decrypt(&bytes(&vector.ciphertext)).expect(&vector.template);
        assert_eq!(hex::encode(&*opened), vector.plaintext, "{}", vector.template);
        assert_eq!(hex::encode(public.to_bytes()), vector.public_keyset, "the same bytes as Tink writes");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = PublicKeyset::parse(&bytes);
        let _ = PrivateKeyset::parse(&bytes);
        for scheme in SCHEMES {
            prop_assert!(PrivateKeyset::generate(scheme, &mut rng()).decrypt(&bytes).is_err());
        }
    }

    #[test]
    fn altered_keysets_never_panic(index in 0..200usize, bit in 0..8u8) {
        for scheme in SCHEMES {
            let mut bytes = PrivateKeyset::generate(scheme, &mut rng()).public().to_bytes();
            let index = index % bytes.len();
            bytes[index] ^= 1 << bit;
            if let Ok(altered) = PublicKeyset::parse(&bytes) {
                let _ = altered.encrypt(b"abc", &mut rng());
            }
        }
    }
}
