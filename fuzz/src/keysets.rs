use std::sync::LazyLock;

use halo_duchy_shell::hybrid_encryption::{
    HybridEncryptionError, KeyEncryptionKey, MAXIMUM_KEYSET_BYTES, PrivateKeyset, PublicKeyset, Scheme,
};
use halo_duchy_shell::key_encryption::FileKey;
use halo_duchy_shell::key_encryption::envelope::{self, is_envelope};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::memory::bounded;
use crate::services::RUNTIME;

const PLAINTEXT: &[u8] = b"reach 1234";
const SCHEMES: [Scheme; 2] = [Scheme::Hpke, Scheme::Ecies];

/// What envelopes are bound to.
const BOUND: &[u8] = b"a computation";

/// Keys that are the same in every run.
struct Keys {
    private: [PrivateKeyset; 2],
    key_encryption_keyset: Vec<u8>,
    key_encryption_key: KeyEncryptionKey,
    file_key: FileKey,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let mut rng = rng();
    let private = SCHEMES.map(|scheme| PrivateKeyset::generate(scheme, &mut rng));
    let key_encryption_keyset = KeyEncryptionKey::generate_keyset(&mut rng).to_vec();
    let parse = || KeyEncryptionKey::parse_file(&key_encryption_keyset).expect("our own");
    let (key_encryption_key, file_key) = (parse(), FileKey::new("a file", parse()));
    Keys { private, key_encryption_keyset, key_encryption_key, file_key }
});

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([7; 32])
}

/// Any bytes as a keyset (public, private, or of the keys that encrypt keysets at rest; binary or JSON), as a keyset at
/// rest, as a ciphertext, or as an envelope of a secret; the first byte chooses.
///
/// A keyset that is read survives being written, and opens what is sealed for it; what was not sealed is not opened.
pub fn keysets(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let keys = &*KEYS;
    LazyLock::force(&RUNTIME);
    bounded(data.len(), 256, || match choice % 6 {
        0 => public(data),
        1 => private(data, keys),
        2 => key_encryption_key(data, keys),
        3 => at_rest(data, keys),
        4 => ciphertext(data, keys),
        _ => sealed_secret(data, keys),
    });
}

fn public(data: &[u8]) {
    let Ok(keyset) = PublicKeyset::parse_file(data) else { return };
    assert!(data.len() <= MAXIMUM_KEYSET_BYTES);
    let written = keyset.to_bytes();
    if written.len() <= MAXIMUM_KEYSET_BYTES {
        assert_eq!(PublicKeyset::parse(&written).as_ref(), Ok(&keyset));
    }
    let written = keyset.to_json();
    if written.len() <= MAXIMUM_KEYSET_BYTES {
        assert_eq!(PublicKeyset::parse_file(written.as_bytes()).as_ref(), Ok(&keyset));
    }
    match keyset.encrypt(PLAINTEXT, &mut rng()) {
        Ok(sealed) => assert!(sealed.len() > PLAINTEXT.len()),
        // A point of low order.
        Err(error) => assert!(matches!(error, HybridEncryptionError::Seal(_)), "{error}"),
    }
}

fn private(data: &[u8], keys: &Keys) {
    let Ok(keyset) = PrivateKeyset::parse_file(data) else { return };
    let written = keyset.to_bytes();
    let json = keyset.to_json();
    if json.len() <= MAXIMUM_KEYSET_BYTES {
        let again = [PrivateKeyset::parse(&written), PrivateKeyset::parse_file(json.as_bytes())];
        for again in again {
            assert_eq!(again.expect("our own").to_bytes(), written);
        }
        let sealed = keyset.seal(&keys.key_encryption_key, &mut rng()).expect("encrypts");
        if sealed.len() <= MAXIMUM_KEYSET_BYTES {
            let again = PrivateKeyset::unseal(&sealed, &keys.key_encryption_key).expect("our own");
            assert_eq!(again.to_bytes(), written);
        }
    }
    let sealed = keyset.public().encrypt(PLAINTEXT, &mut rng()).expect("no private key has such a point");
    assert_eq!(keyset.decrypt(&sealed).expect("sealed for it").as_slice(), PLAINTEXT);
}

fn key_encryption_key(data: &[u8], keys: &Keys) {
    let Ok(key) = KeyEncryptionKey::parse_file(data) else { return };
    for private in &keys.private {
        let sealed = private.seal(&key, &mut rng()).expect("encrypts");
        let opened = PrivateKeyset::unseal(&sealed, &key).expect("our own");
        assert_eq!(opened.to_bytes(), private.to_bytes());
    }
}

fn at_rest(data: &[u8], keys: &Keys) {
    if let Ok(opened) = PrivateKeyset::unseal(data, &keys.key_encryption_key) {
        let sealed = keys.private.iter().any(|private| private.to_bytes() == opened.to_bytes());
        assert!(sealed, "a keyset that was not sealed is opened");
    }
}

fn ciphertext(data: &[u8], keys: &Keys) {
    for keyset in &keys.private {
        if let Ok(opened) = keyset.decrypt(data) {
            assert_eq!(opened.as_slice(), PLAINTEXT, "what was not sealed is opened");
        }
    }
}

fn sealed_secret(data: &[u8], keys: &Keys) {
    if let Ok(opened) = RUNTIME.block_on(envelope::open(&keys.file_key, data, BOUND)) {
        assert_eq!(opened.as_slice(), PLAINTEXT, "what was not sealed is opened");
        assert!(is_envelope(data), "it would be taken for a secret in the clear");
    }
}

/// Every kind of keyset in both forms, and what was sealed for them.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let keys = &*KEYS;
    let input = |choice: u8, data: &[u8]| [&[choice], data].concat();
    let mut seeds = vec![input(2, &keys.key_encryption_keyset)];
    for keyset in &keys.private {
        let public = keyset.public();
        seeds.push(input(0, &public.to_bytes()));
        seeds.push(input(0, public.to_json().as_bytes()));
        seeds.push(input(1, &keyset.to_bytes()));
        seeds.push(input(1, keyset.to_json().as_bytes()));
        seeds.push(input(3, &keyset.seal(&keys.key_encryption_key, &mut rng()).expect("encrypts")));
        seeds.push(input(4, &public.encrypt(PLAINTEXT, &mut rng()).expect("encrypts")));
    }
    // Two keysets behind one another are one, whose primary is that of the second.
    let both: Vec<u8> = keys.private.iter().flat_map(|keyset| keyset.to_bytes().to_vec()).collect();
    seeds.push(input(1, &both));
    let sealed = RUNTIME.block_on(envelope::seal(&keys.file_key, PLAINTEXT, BOUND));
    seeds.push(input(5, &sealed.expect("encrypts")));
    seeds
}
