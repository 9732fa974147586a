//! The laws of every group, and what only P-256 can show: upstream's vectors.

use elliptic_curve::sec1::ToSec1Point;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::*;
use crate::backend::tests::on_each_backend;
use crate::testing;

mod agreement;
mod oracle;
mod speed;

use oracle::Oracle;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn field<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().unwrap_or_else(|| panic!("no field {name} in {record}"))
}

fn bytes(record: &Value, name: &str) -> Vec<u8> {
    hex::decode(field(record, name)).unwrap_or_else(|error| panic!("{name} in {record}: {error}"))
}

#[test]
fn laws() {
    on_each_backend(|| testing::group_laws::<P256>(256));
}

/// Runs a test on each backend.
fn check_each_backend(test: fn() -> TestResult) -> TestResult {
    on_each_backend(test).into_iter().try_for_each(|(_, result)| result)
}

#[test]
fn hashes_as_upstream() -> TestResult {
    check_each_backend(check_hashes)
}

fn check_hashes() -> TestResult {
    let records: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/vectors/hash_to_curve.json"))?;
    assert_eq!(records.len(), 40);
    let messages: Vec<Vec<u8>> = records.iter().map(|record| bytes(record, "input_hex")).collect();
    let mut points = vec![P256::identity(); messages.len()];
    P256::hash_to_group(&messages, &mut points);
    for (record, point) in records.iter().zip(&points) {
        assert_eq!(hex::encode(P256::encode_one(point)?), field(record, "point"), "{record}");
        let mut x = random_oracle(&bytes(record, "input_hex"));
        for candidate in record["candidate_x"].as_array().into_iter().flatten() {
            let candidate = candidate.as_str().unwrap_or_default().trim_start_matches('0');
            assert_eq!(hex::encode(x.to_bytes()).trim_start_matches('0'), candidate, "{record}");
            x = random_oracle(without_leading_zeros(&x.to_bytes()));
        }
    }
    Ok(())
}

#[test]
fn encrypts_as_upstream() -> TestResult {
    check_each_backend(check_encryption)
}

fn check_encryption() -> TestResult {
    let vectors: Value = serde_json::from_str(include_str!("../../../tests/vectors/pohlig_hellman.json"))?;
    for record in vectors["encrypt"].as_array().into_iter().flatten() {
        let key = P256::scalar_from_bytes(&bytes(record, "key"))?;
        let mut point = [P256::hash_one(field(record, "plaintext_string").as_bytes())];
        assert_eq!(hex::encode(P256::encode_one(&point[0])?), field(record, "hashed_point"));
        P256::scale(&mut point, &key);
        assert_eq!(hex::encode(P256::encode_one(&point[0])?), field(record, "encrypted"));
        let inverse = Option::<p256::Scalar>::from(key.invert()).ok_or("no inverse")?;
        P256::scale(&mut point, &inverse);
        assert_eq!(hex::encode(P256::encode_one(&point[0])?), field(record, "decrypted"));
    }
    for (list, points, expected) in [
        ("re_encrypt", "point", "re_encrypted"),
        ("re_encrypt_elgamal_ciphertext", "ciphertext", "re_encrypted"),
    ] {
        let records = vectors[list].as_array().ok_or(list)?;
        assert!(!records.is_empty());
        for record in records {
            let encoded = bytes(record, points);
            let mut decoded = vec![P256::identity(); encoded.len() / P256::POINT_LENGTH];
            P256::decode(&encoded, &mut decoded)?;
            P256::scale(&mut decoded, &P256::scalar_from_bytes(&bytes(record, "key"))?);
            let mut out = vec![0; encoded.len()];
            P256::encode(&decoded, &mut out)?;
            assert_eq!(hex::encode(out), field(record, expected));
        }
    }
    for record in vectors["rejected_keys"].as_array().into_iter().flatten() {
        assert_eq!(record["accepted"], Value::Bool(false), "{record}");
        assert_eq!(P256::scalar_from_bytes(&bytes(record, "key")), Err(ScalarError), "{record}");
    }
    Ok(())
}

#[test]
fn key_pairs_as_upstream() -> TestResult {
    check_each_backend(check_key_pairs)
}

fn check_key_pairs() -> TestResult {
    let vectors: Value = serde_json::from_str(include_str!("../../../tests/vectors/elgamal.json"))?;
    let pairs = vectors["key_pairs"].as_array().ok_or("key_pairs")?;
    assert!(pairs.iter().any(|pair| field(pair, "secret_key").len() < 64), "a key with a leading zero byte");
    for pair in pairs {
        let generator = P256::decode_key(&bytes(pair, "generator"))?;
        assert!(bool::from(generator.ct_eq(&P256::generator())));
        let key = P256::scalar_from_bytes(&bytes(pair, "secret_key"))?;
        assert_eq!(hex::encode(P256::scalar_to_bytes(&key).expose()), field(pair, "secret_key"));
        // Not the one of the process, which is made once, by whatever backend was active.
        let element = P256::fixed_base_multiples(&P256::fixed_base(&generator), &[key]);
        assert_eq!(hex::encode(P256::encode_one(&element[0])?), field(pair, "element"));
    }
    Ok(())
}

#[test]
fn refuses_what_is_no_point() -> TestResult {
    check_each_backend(check_refusals)
}

fn check_refusals() -> TestResult {
    let generator = P256::encode_one(&P256::generator())?;
    let uncompressed = Oracle::generator().to_affine().to_sec1_point(false);
    let with = |index: usize, value: u8, bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[index] = value;
        bytes
    };
    assert!(P256::decode_key(uncompressed.as_bytes()).is_ok());
    let prefixed = |prefix: u8, x: [u8; 32]| [&[prefix][..], &x].concat();
    let mut no_root = [0; 32];
    no_root[31] = 1; // 1 - 3 + b is not a square
    for (bytes, reason) in [
        (vec![], DecodePointReason::Length(0)),
        (vec![0], DecodePointReason::Identity),
        (vec![2], DecodePointReason::Length(1)),
        (generator[..32].to_vec(), DecodePointReason::Length(32)),
        (with(0, 0, &generator), DecodePointReason::Prefix(0)),
        (with(0, 1, &generator), DecodePointReason::Prefix(1)),
        (with(0, 4, &generator), DecodePointReason::Prefix(4)),
        (with(0, 6, uncompressed.as_bytes()), DecodePointReason::Prefix(6)),
        (with(0, 2, uncompressed.as_bytes()), DecodePointReason::Prefix(2)),
        (with(64, 0, uncompressed.as_bytes()), DecodePointReason::NotOnCurve),
        (uncompressed.as_bytes()[..64].to_vec(), DecodePointReason::Length(64)),
        (prefixed(2, oracle::MODULUS), DecodePointReason::NotCanonical),
        (prefixed(3, [0xff; 32]), DecodePointReason::NotCanonical),
        (prefixed(3, no_root), DecodePointReason::NotOnCurve),
    ] {
        let error = P256::decode_key(&bytes).err();
        assert_eq!(error, Some(DecodePointError { index: 0, reason }), "{}", hex::encode(&bytes));
        if bytes.len() == P256::POINT_LENGTH {
            let batch = [generator.clone(), bytes].concat();
            let error = P256::decode(&batch, &mut [P256::identity(); 2]).err();
            assert_eq!(error, Some(DecodePointError { index: 1, reason }));
        }
    }
    Ok(())
}
