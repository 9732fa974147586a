//! What the duchies rely on in ElGamal and Pohlig–Hellman, on every suite.

use halo_crypto::elgamal::{
    Ciphertext, CiphertextHalf, Ciphertexts, Column, CombineKeysError, Constant, DecodeCiphertextReason,
    EncryptionKey, KeyPair, KeyPairError, PublicKey, PublicKeyError, RelatedKeysError, SecretKey,
    check_unrelated, combine_public_keys,
};
use halo_crypto::group::{DecodePointReason, Group, P256, Ristretto255, ScalarError};
use halo_crypto::pohlig_hellman::BlindingKey;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use subtle::ConstantTimeEq;

fn messages<G: Group>(count: usize) -> Vec<G::Point> {
    let labels: Vec<String> = (0..count).map(|index| index.to_string()).collect();
    let mut points = vec![G::identity(); count];
    G::hash_to_group(&labels, &mut points);
    points
}

fn equal<G: Group>(left: &[G::Point], right: &[G::Point]) -> bool {
    left.ct_eq(right).into()
}

/// Runs each generic test below on every suite.
macro_rules! on_every_suite {
    ($($name:ident),* $(,)?) => {
        mod ristretto255 {
            $(#[test] fn $name() { super::$name::<super::Ristretto255>() })*
        }
        mod p256 {
            $(#[test] fn $name() { super::$name::<super::P256>() })*
        }
    };
}

on_every_suite!(
    layers_come_off_in_any_order,
    blinded_ids_can_be_compared,
    re_randomizing_changes_the_bytes_alone,
    a_fresh_factor_keeps_zero_and_nothing_else,
    equality_tests_open_to_zero_for_equals_alone,
    equality_tests_may_share_a_factor,
    columns_are_read_and_written_in_place,
    bad_ciphertexts_are_located,
    the_identity_is_not_encoded,
    keys_survive_their_encoding,
    bad_keys_are_refused,
    related_keys_are_refused,
    secrets_are_not_printed,
    messages_follow_the_algebra,
    any_bytes_are_ciphertexts_or_an_error,
);

fn layers_come_off_in_any_order<G: Group>() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let parties: Vec<KeyPair<G>> = (0..3).map(|_| KeyPair::random(&mut rng)).collect();
    let publics: Vec<_> = parties.iter().map(|pair| pair.public).collect();
    let key = EncryptionKey::new(combine_public_keys(&publics).expect("random keys"));
    let mut plain = messages::<G>(5);
    plain[3] = G::identity();

    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let mut ciphertexts = key.encrypt(&plain, &mut rng);
        ciphertexts.partial_decrypt(&parties[order[0]].secret);
        ciphertexts.partial_decrypt(&parties[order[1]].secret);
        let zero: Vec<bool> =
            ciphertexts.clone().is_zero(&parties[order[2]].secret).into_iter().map(bool::from).collect();
        assert_eq!(zero, [false, false, false, true, false]);
        assert!(equal::<G>(&ciphertexts.decrypt(&parties[order[2]].secret), &plain));
    }

    // With a layer left, nothing is opened.
    let mut ciphertexts = key.encrypt(&plain, &mut rng);
    ciphertexts.partial_decrypt(&parties[0].secret);
    for (opened, message) in ciphertexts.decrypt(&parties[1].secret).iter().zip(&plain) {
        assert!(!bool::from(opened.ct_eq(message)));
    }
}

fn blinded_ids_can_be_compared<G: Group>() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let parties: Vec<KeyPair<G>> = (0..2).map(|_| KeyPair::random(&mut rng)).collect();
    let blinding: Vec<BlindingKey<G>> = (0..2).map(|_| BlindingKey::random(&mut rng)).collect();
    let last = KeyPair::<G>::random(&mut rng);
    let key = combine_public_keys(&[parties[0].public, parties[1].public, last.public]).expect("random keys");
    let mut plain = messages::<G>(4);
    plain[2] = plain[0];
    let mut ciphertexts = EncryptionKey::new(key).encrypt(&plain, &mut rng);
    for (pair, blinding) in parties.iter().zip(&blinding) {
        ciphertexts.blind(&pair.secret, blinding);
    }
    let opened = ciphertexts.decrypt(&last.secret);

    let mut expected = plain.clone();
    blinding[1].encrypt(&mut expected);
    blinding[0].encrypt(&mut expected);
    assert!(equal::<G>(&opened, &expected));
    assert!(bool::from(opened[0].ct_eq(&opened[2])));
    assert!(!bool::from(opened[0].ct_eq(&opened[1])));

    blinding[0].decrypt(&mut expected);
    blinding[1].decrypt(&mut expected);
    assert!(equal::<G>(&expected, &plain));
}

fn re_randomizing_changes_the_bytes_alone<G: Group>() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let pair = KeyPair::<G>::random(&mut rng);
    let key = EncryptionKey::new(pair.public);
    let plain = messages::<G>(20);
    let mut ciphertexts = key.encrypt(&plain, &mut rng);
    let before = ciphertexts.encode().expect("no identity");
    key.re_randomize(&mut ciphertexts, &mut rng);
    let after = ciphertexts.encode().expect("no identity");
    for (before, after) in before.chunks(G::POINT_LENGTH).zip(after.chunks(G::POINT_LENGTH)) {
        assert_ne!(before, after);
    }
    assert!(equal::<G>(&ciphertexts.decrypt(&pair.secret), &plain));
    assert!(key.encrypt_identity(3, &mut rng).is_zero(&pair.secret).into_iter().all(bool::from));
}

fn a_fresh_factor_keeps_zero_and_nothing_else<G: Group>() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let pair = KeyPair::<G>::random(&mut rng);
    let mut plain = messages::<G>(3);
    plain[1] = G::identity();
    let mut ciphertexts = EncryptionKey::new(pair.public).encrypt(&plain, &mut rng);
    ciphertexts.scale_by_fresh(&mut rng);
    let opened = ciphertexts.decrypt(&pair.secret);
    assert!(bool::from(G::is_identity(&opened[1])));
    for index in [0, 2] {
        assert!(!bool::from(G::is_identity(&opened[index])));
        assert!(!bool::from(opened[index].ct_eq(&plain[index])));
    }
}

fn equality_tests_open_to_zero_for_equals_alone<G: Group>() {
    let mut rng = ChaCha20Rng::seed_from_u64(14);
    let pair = KeyPair::<G>::random(&mut rng);
    let unit = halo_crypto::count::unit_point::<G>();
    let mut plain = halo_crypto::count::count_points::<G>(4);
    plain.push(G::identity());
    plain.push(G::hash_one(b"something else"));
    let (units, other) = (G::fixed_base(&unit), G::fixed_base(&plain[5]));
    let mut constants: Vec<_> = (0..5).map(|count| Constant::new(&units, count)).collect();
    constants.push(Constant::new(&other, 1));
    let equals = [[1, 0], [2, 1], [3, 2], [4, 3], [0, 4], [5, 5]];

    let ciphertexts = EncryptionKey::new(pair.public).encrypt(&plain, &mut rng);
    let tests = ciphertexts.equality_tests(&constants, &mut rng);
    let again = ciphertexts.equality_tests(&constants, &mut rng);
    for (constant, (tests, again)) in tests.into_iter().zip(again).enumerate() {
        assert!(tests.iter().zip(again.iter()).all(|(test, again)| !bool::from(test.u.ct_eq(&again.u))));
        let (opened, again) = (tests.decrypt(&pair.secret), again.decrypt(&pair.secret));
        for message in 0..plain.len() {
            let zero = bool::from(G::is_identity(&opened[message]));
            assert_eq!(zero, equals.contains(&[constant, message]), "constant {constant}, message {message}");
            assert_eq!(zero, bool::from(opened[message].ct_eq(&again[message])), "random unless equal");
        }
    }
    let none: Ciphertexts<G> = std::iter::empty().collect();
    assert!(none.equality_tests(&constants, &mut rng).iter().all(Ciphertexts::is_empty));
    assert!(ciphertexts.equality_tests(&[], &mut rng).is_empty());
}

fn equality_tests_may_share_a_factor<G: Group>() {
    let mut rng = ChaCha20Rng::seed_from_u64(15);
    let pair = KeyPair::<G>::random(&mut rng);
    let key = EncryptionKey::new(pair.public);
    let mut plain = messages::<G>(4);
    plain.push(G::identity());
    let bases = [G::fixed_base(&plain[1]), G::fixed_base(&plain[3])];
    let constants = bases.each_ref().map(|base| Constant::new(base, 1));

    let ciphertexts = key.encrypt(&plain, &mut rng);
    let tests = ciphertexts.equality_tests_by_one_factor(&constants, &key, &mut rng);
    let [first, second] = tests.as_slice() else { panic!("a test for each constant") };
    assert!(first.iter().zip(second.iter()).all(|(first, second)| !bool::from(first.u.ct_eq(&second.u))));
    let opened = [first, second].map(|tests| tests.clone().decrypt(&pair.secret));
    let zero = |opened: &[G::Point]| -> Vec<bool> {
        opened.iter().map(|point| bool::from(G::is_identity(point))).collect()
    };
    assert_eq!(zero(&opened[0]), [false, true, false, false, false]);
    assert_eq!(zero(&opened[1]), [false, false, false, true, false]);

    // Other factors the next time.
    let again = ciphertexts.equality_tests_by_one_factor(&constants, &key, &mut rng);
    let again = again[0].clone().decrypt(&pair.secret);
    assert!((0..plain.len()).all(|n| n == 1 || !bool::from(opened[0][n].ct_eq(&again[n]))));

    // The factor is the same for both constants: r·(4 − 1) and r·(4 − 2) units are as three to two.
    let base = G::fixed_base(&halo_crypto::count::unit_point::<G>());
    let four = key.encrypt(&halo_crypto::count::count_points::<G>(4)[3..], &mut rng);
    let counts = [Constant::new(&base, 1), Constant::new(&base, 2)];
    let tests = four.equality_tests_by_one_factor(&counts, &key, &mut rng);
    let [thrice, twice] = [0, 1].map(|test: usize| tests[test].clone().decrypt(&pair.secret)[0]);
    assert!(bool::from(G::sum(&[thrice, thrice]).ct_eq(&G::sum(&[twice, twice, twice]))));

    let none: Ciphertexts<G> = std::iter::empty().collect();
    assert!(none.equality_tests_by_one_factor(&constants, &key, &mut rng).iter().all(Ciphertexts::is_empty));
    assert!(ciphertexts.equality_tests_by_one_factor(&[], &key, &mut rng).is_empty());
}

fn columns_are_read_and_written_in_place<G: Group>() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let pair = KeyPair::<G>::random(&mut rng);
    let records = EncryptionKey::new(pair.public).encrypt(&messages::<G>(6), &mut rng);
    let bytes = records.encode().expect("no identity");
    assert_eq!(bytes.len(), 6 * Ciphertext::<G>::LENGTH);

    let column = Column { index: 1, width: 3 };
    let middle = Ciphertexts::<G>::decode_column(&bytes, column).expect("our own encoding");
    let (u, e) = middle.halves();
    assert!(equal::<G>(u, &[records.get(1).u, records.get(4).u]));
    assert!(equal::<G>(e, &[records.get(1).e, records.get(4).e]));

    let mut out = vec![0xaa; bytes.len()];
    middle.encode_column(&mut out, column).expect("no identity");
    for (index, (written, original)) in
        out.chunks(Ciphertext::<G>::LENGTH).zip(bytes.chunks(Ciphertext::<G>::LENGTH)).enumerate()
    {
        if index % 3 == 1 {
            assert_eq!(written, original);
        } else {
            assert!(written.iter().all(|byte| *byte == 0xaa));
        }
    }
    assert!(Ciphertexts::<G>::decode(&[]).expect("no ciphertexts").is_empty());
}

fn bad_ciphertexts_are_located<G: Group>() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let pair = KeyPair::<G>::random(&mut rng);
    let good =
        EncryptionKey::new(pair.public).encrypt(&messages::<G>(6), &mut rng).encode().expect("no identity");
    let column = Column { index: 2, width: 3 };

    let mut bytes = good.clone();
    let half = 11 * G::POINT_LENGTH;
    bytes[half..half + G::POINT_LENGTH].fill(0xff);
    let error = Ciphertexts::<G>::decode_column(&bytes, column).expect_err("a bad point");
    assert_eq!(error.ciphertext, 5);
    assert!(matches!(error.reason, DecodeCiphertextReason::Point { half: CiphertextHalf::E, .. }));
    assert_eq!(error.after(12).ciphertext, 17);
    assert!(Ciphertexts::<G>::decode_column(&bytes, Column { index: 1, width: 3 }).is_ok());

    // The earlier one is reported, whichever half it is in.
    let half = 4 * G::POINT_LENGTH;
    bytes[half..half + G::POINT_LENGTH].fill(0xff);
    let error = Ciphertexts::<G>::decode(&bytes).expect_err("a bad point");
    assert_eq!(error.ciphertext, 2);
    assert!(matches!(error.reason, DecodeCiphertextReason::Point { half: CiphertextHalf::U, .. }));

    for cut in [1, G::POINT_LENGTH, Ciphertext::<G>::LENGTH] {
        let error = Ciphertexts::<G>::decode_column(&good[cut..], column).expect_err("an incomplete record");
        assert!(matches!(error.reason, DecodeCiphertextReason::Length { .. }), "{error}");
    }
}

fn the_identity_is_not_encoded<G: Group>() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let pair = KeyPair::<G>::random(&mut rng);
    let mut ciphertexts = EncryptionKey::new(pair.public).encrypt(&messages::<G>(3), &mut rng);
    ciphertexts.halves_mut().1[2] = G::identity();
    let error = ciphertexts.encode().expect_err("the identity");
    assert_eq!((error.ciphertext, error.half), (2, CiphertextHalf::E));
    let error = Ciphertexts::<G>::of_messages(&messages::<G>(1)).encode().expect_err("the identity");
    assert_eq!((error.ciphertext, error.half), (0, CiphertextHalf::U));
}

fn keys_survive_their_encoding<G: Group>() {
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let pair = KeyPair::<G>::random(&mut rng);
    let public = PublicKey::<G>::from_fields(&PublicKey::<G>::generator_bytes(), &pair.public.to_bytes());
    let again = KeyPair::from_parts(pair.secret.to_bytes().expose(), public.expect("our own encoding"));
    let again = again.expect("our own encoding");
    assert_eq!(again.public, pair.public);
    assert_eq!(again.secret.to_bytes().expose(), pair.secret.to_bytes().expose());
    assert_eq!(combine_public_keys(&[pair.public]), Ok(pair.public));
}

fn bad_keys_are_refused<G: Group>() {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let pair = KeyPair::<G>::random(&mut rng);
    let other = KeyPair::<G>::random(&mut rng);
    let (element, generator) = (pair.public.to_bytes(), PublicKey::<G>::generator_bytes());

    let mismatch = KeyPair::from_parts(other.secret.to_bytes().expose(), pair.public);
    assert_eq!(mismatch.err(), Some(KeyPairError::Mismatch));
    assert_eq!(KeyPair::from_parts(&[], pair.public).err(), Some(KeyPairError::Secret(ScalarError)));
    assert_eq!(SecretKey::<G>::from_bytes(&[0; 4]).err(), Some(ScalarError));
    assert_eq!(BlindingKey::<G>::from_bytes(&[0xff; 32]).err(), Some(ScalarError));

    let empty = PublicKey::<G>::from_bytes(&[]).expect_err("no key");
    assert_eq!((empty.index, empty.reason), (0, DecodePointReason::Length(0)));
    assert_eq!(PublicKey::<G>::from_fields(&element, &element), Err(PublicKeyError::OtherGenerator));
    assert!(matches!(PublicKey::<G>::from_fields(&[], &element), Err(PublicKeyError::Generator(_))));
    assert!(matches!(
        PublicKey::<G>::from_fields(&generator, &element[1..]),
        Err(PublicKeyError::Element(_))
    ));
    assert_eq!(combine_public_keys::<G>(&[]), Err(CombineKeysError::NoKeys));
}

fn related_keys_are_refused<G: Group>() {
    let mut rng = ChaCha20Rng::seed_from_u64(10);
    let [first, second]: [PublicKey<G>; 2] = core::array::from_fn(|_| KeyPair::random(&mut rng).public);
    let mut negated = [*first.point()];
    G::negate(&mut negated);
    let negated = PublicKey::from_bytes(&G::encode_one(&negated[0]).expect("not the identity"));
    let negated = negated.expect("an element");

    assert_eq!(combine_public_keys(&[first, negated]), Err(CombineKeysError::Identity));
    assert_eq!(check_unrelated(&[first, second]), Ok(()));
    assert_eq!(
        check_unrelated(&[second, first, first]),
        Err(RelatedKeysError::Equal { first: 1, second: 2 })
    );
    let opposite = Err(RelatedKeysError::Opposite { first: 0, second: 2 });
    assert_eq!(check_unrelated(&[first, second, negated]), opposite);
}

fn secrets_are_not_printed<G: Group>() {
    let pair = KeyPair::<G>::random(&mut ChaCha20Rng::seed_from_u64(11));
    let blinding = BlindingKey::<G>::random(&mut ChaCha20Rng::seed_from_u64(12));
    let printed = format!("{pair:?} {blinding:?}");
    assert!(!printed.contains(&hex::encode(pair.secret.to_bytes().expose())));
    assert!(printed.contains("SecretKey(Secret(..))") && printed.contains("BlindingKey(Secret(..))"));
}

/// Whatever linear computation is done on ciphertexts is done on the messages.
fn messages_follow_the_algebra<G: Group>() {
    let strategy = (any::<u64>(), prop::collection::vec((1..50u64, 1..50u64, 1..50u64), 1..6));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(16));
    let law = |(seed, numbers): (u64, Vec<(u64, u64, u64)>)| {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let pair = KeyPair::<G>::random(&mut rng);
        let key = EncryptionKey::new(pair.public);
        let times = |numbers: Vec<u64>| {
            let scalars: Vec<G::Scalar> = numbers.into_iter().map(G::Scalar::from).collect();
            G::fixed_base_multiples(G::fixed_generator(), &scalars)
        };
        let (a, b): (Vec<u64>, Vec<u64>) = numbers.iter().map(|(a, b, _)| (*a, *b)).unzip();
        let factors: Vec<u64> = numbers.iter().map(|(_, _, factor)| *factor).collect();
        let one = key.encrypt_one(&times(vec![1])[0], &mut rng);

        // factor · (7·a − b − (−1)) − 1, and the sum of all
        let mut ciphertexts = key.encrypt(&times(a.clone()), &mut rng);
        ciphertexts.scale(&G::Scalar::from(7));
        ciphertexts.negate();
        ciphertexts.add(&key.encrypt(&times(b.clone()), &mut rng));
        ciphertexts.sub_ciphertext(&one);
        ciphertexts.negate();
        let scalars: Vec<G::Scalar> = factors.iter().copied().map(G::Scalar::from).collect();
        ciphertexts.scale_each(&scalars);
        ciphertexts.add_ciphertext(&one);
        ciphertexts.sub(&key.encrypt(&times(vec![2; a.len()]), &mut rng));

        let sum: Ciphertexts<G> = [ciphertexts.sum()].into_iter().collect();
        let mut expected: Vec<G::Scalar> = Vec::new();
        for ((a, b), factor) in a.iter().zip(&b).zip(&factors) {
            let [a, b, factor] = [*a, *b, *factor].map(G::Scalar::from);
            expected.push(factor * (G::Scalar::from(7) * a - b + G::Scalar::from(1)) - G::Scalar::from(1));
        }
        let total: G::Scalar = expected.iter().copied().sum();
        let points = |scalars: &[G::Scalar]| G::fixed_base_multiples(G::fixed_generator(), scalars);
        prop_assert!(equal::<G>(&ciphertexts.decrypt(&pair.secret), &points(&expected)));
        prop_assert!(equal::<G>(&sum.decrypt(&pair.secret), &points(&[total])));
        Ok(())
    };
    runner.run(&strategy, law).expect("the law holds");
}

/// Bytes that decode are the encoding of what they decode to; others are refused without a panic.
fn any_bytes_are_ciphertexts_or_an_error<G: Group>() {
    let length = Ciphertext::<G>::LENGTH;
    let good = EncryptionKey::new(KeyPair::<G>::random(&mut ChaCha20Rng::seed_from_u64(13)).public)
        .encrypt(&messages::<G>(3), &mut ChaCha20Rng::seed_from_u64(14))
        .encode()
        .expect("no identity");
    let damaged = (0..good.len(), any::<u8>()).prop_map(move |(position, byte)| {
        let mut bytes = good.clone();
        bytes[position] = byte;
        bytes
    });
    let strategy = prop_oneof![damaged, prop::collection::vec(any::<u8>(), 0..3 * length)];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(128));
    let law = |bytes: Vec<u8>| {
        if let Ok(ciphertexts) = Ciphertexts::<G>::decode(&bytes) {
            prop_assert_eq!(ciphertexts.encode(), Ok(bytes.clone()));
        }
        let key = &bytes[..bytes.len().min(G::POINT_LENGTH)];
        if let Ok(key) = PublicKey::<G>::from_bytes(key) {
            prop_assert_eq!(key.to_bytes(), &bytes[..G::POINT_LENGTH]);
        }
        Ok(())
    };
    runner.run(&strategy, law).expect("the law holds");
}
