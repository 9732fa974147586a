//! Keys and ciphertexts against upstream's tables. What holds on every suite is in `tests/elgamal.rs`.

use serde_json::Value;

use super::*;
use crate::count::count_points;
use crate::group::{Group, P256};
use crate::pohlig_hellman::BlindingKey;

fn parse(json: &str) -> Value {
    serde_json::from_str(json).expect("a table")
}

fn rows(table: &Value, count: usize) -> &[Value] {
    let rows = table.as_array().expect("a list");
    assert_eq!(rows.len(), count);
    rows
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_else(|| panic!("no {name} in {row}"))
}

fn bytes(row: &Value, name: &str) -> Vec<u8> {
    hex::decode(text(row, name)).expect("hexadecimal digits")
}

fn ciphertexts(row: &Value, name: &str) -> Ciphertexts<P256> {
    Ciphertexts::decode(&bytes(row, name)).expect("a ciphertext")
}

fn secret(row: &Value, name: &str) -> SecretKey<P256> {
    SecretKey::from_bytes(&bytes(row, name)).expect("a secret key")
}

fn public(row: &Value) -> PublicKey<P256> {
    PublicKey::from_fields(&bytes(row, "generator"), &bytes(row, "element")).expect("a public key")
}

/// A point as the tables write it.
fn written(point: &<P256 as Group>::Point) -> String {
    P256::encode_one(point).map_or("infinity".into(), hex::encode)
}

#[track_caller]
fn assert_ciphertexts(found: &Ciphertexts<P256>, row: &Value, name: &str) {
    assert_eq!(hex::encode(found.encode().expect("no identity")), text(row, name), "{name} of {row}");
}

fn elgamal() -> Value {
    parse(include_str!("../../tests/vectors/elgamal.json"))
}

#[test]
fn key_pairs() {
    for row in rows(&elgamal()["key_pairs"], 9) {
        let pair = KeyPair::from_parts(&bytes(row, "secret_key"), public(row)).expect("a key pair");
        assert_eq!(hex::encode(pair.secret.to_bytes().expose()), text(row, "secret_key"));
        assert_eq!(hex::encode(pair.public.to_bytes()), text(row, "element"));
        assert_eq!(hex::encode(PublicKey::<P256>::generator_bytes()), text(row, "generator"));
    }
}

#[test]
fn encryption_with_a_given_nonce() {
    for row in rows(&elgamal()["encrypt_with_given_r"], 27) {
        let message = P256::hash_one(text(row, "plaintext_string").as_bytes());
        assert_eq!(written(&message), text(row, "plaintext_point"));
        let nonce = P256::scalar_from_bytes(&bytes(row, "r")).expect("a nonce");
        let mut ciphertexts = Ciphertexts::of_messages(&[message]);
        EncryptionKey::new(public(row)).add_identities(&mut ciphertexts, &[nonce]);
        assert_ciphertexts(&ciphertexts, row, "ciphertext");
    }
}

#[test]
fn decryption() {
    for row in rows(&elgamal()["decrypt"], 36) {
        let (ciphertexts, secret) = (ciphertexts(row, "ciphertext"), secret(row, "secret_key"));
        let zero = bool::from(ciphertexts.clone().is_zero(&secret)[0]);
        assert_eq!(zero, text(row, "plaintext_point") == "infinity");
        assert_eq!(written(&ciphertexts.decrypt(&secret)[0]), text(row, "plaintext_point"));
    }
}

#[test]
fn algebra() {
    for row in rows(&elgamal()["ciphertext_algebra"], 8) {
        let (a, b) = (ciphertexts(row, "a"), ciphertexts(row, "b"));
        let scalar = P256::scalar_from_bytes(&bytes(row, "scalar")).expect("a scalar");

        let mut sum = a.clone();
        sum.add(&b);
        assert_ciphertexts(&sum, row, "a_plus_b");
        sum.sub_ciphertext(&b.get(0));
        assert_ciphertexts(&sum, row, "a");

        let mut twice = a.clone();
        twice.add_ciphertext(&a.get(0));
        assert_ciphertexts(&twice, row, "a_plus_a");
        assert_ciphertexts(
            &[[a.get(0), a.get(0)].into_iter().collect::<Ciphertexts<P256>>().sum()].into_iter().collect(),
            row,
            "a_plus_a",
        );

        let mut negated = a.clone();
        negated.negate();
        assert_ciphertexts(&negated, row, "minus_a");

        let mut scaled = a.clone();
        scaled.scale(&scalar);
        assert_ciphertexts(&scaled, row, "scalar_times_a");
        let mut scaled = a;
        scaled.scale_each(&[scalar]);
        assert_ciphertexts(&scaled, row, "scalar_times_a");
    }
}

#[test]
fn blinding() {
    for row in rows(&elgamal()["blind"], 6) {
        let blinding = BlindingKey::from_bytes(&bytes(row, "pohlig_hellman_key")).expect("a key");
        let (local, next) = (secret(row, "local_secret_key"), secret(row, "next_secret_key"));
        assert_eq!(hex::encode(local.public_key().to_bytes()), text(row, "local_element"));
        let composite =
            combine_public_keys(&[local.public_key(), next.public_key()]).expect("unrelated keys");
        assert_eq!(hex::encode(composite.to_bytes()), text(row, "composite_element"));

        let mut partial = ciphertexts(row, "ciphertext");
        partial.partial_decrypt(&local);
        assert_ciphertexts(&partial, row, "partially_decrypted");

        let mut blinded = ciphertexts(row, "ciphertext");
        blinded.blind(&local, &blinding);
        assert_ciphertexts(&blinded, row, "blinded");
        assert_eq!(written(&partial.decrypt(&next)[0]), text(row, "plaintext_point"));
        let opened = blinded.decrypt(&next);
        assert_eq!(written(&opened[0]), text(row, "blinded_plaintext_after_next_decrypts"));
    }
}

#[test]
fn pohlig_hellman() {
    let table = parse(include_str!("../../tests/vectors/pohlig_hellman.json"));
    for row in rows(&table["encrypt"], 8) {
        let key = BlindingKey::<P256>::from_bytes(&bytes(row, "key")).expect("a key");
        let mut points = [P256::hash_one(text(row, "plaintext_string").as_bytes())];
        assert_eq!(written(&points[0]), text(row, "hashed_point"));
        key.encrypt(&mut points);
        assert_eq!(written(&points[0]), text(row, "encrypted"));
        key.decrypt(&mut points);
        assert_eq!(written(&points[0]), text(row, "decrypted"));
    }
    for row in rows(&table["re_encrypt"], 8) {
        let key = BlindingKey::<P256>::from_bytes(&bytes(row, "key")).expect("a key");
        let mut points = [P256::decode_one(&bytes(row, "point")).expect("a point")];
        key.encrypt(&mut points);
        assert_eq!(written(&points[0]), text(row, "re_encrypted"));
    }
    for row in rows(&table["re_encrypt_elgamal_ciphertext"], 8) {
        let key = BlindingKey::<P256>::from_bytes(&bytes(row, "key")).expect("a key");
        let mut ciphertexts = ciphertexts(row, "ciphertext");
        ciphertexts.scale(key.scalar());
        assert_ciphertexts(&ciphertexts, row, "re_encrypted");
    }
    for row in rows(&table["rejected_keys"], 4) {
        assert!(BlindingKey::<P256>::from_bytes(&bytes(row, "key")).is_err(), "{row}");
    }
}

#[test]
fn key_combination() {
    for row in rows(&parse(include_str!("../../tests/vectors/key_combination.json")), 6) {
        let elements = row["elements"].as_array().expect("a list").iter().map(|element| {
            let element = hex::decode(element.as_str().expect("a string")).expect("hexadecimal digits");
            PublicKey::<P256>::from_fields(&bytes(row, "generator"), &element).expect("a public key")
        });
        let keys: Vec<_> = elements.collect();
        assert_eq!(check_unrelated(&keys), Ok(()));
        let combined = combine_public_keys(&keys).expect("unrelated keys");
        assert_eq!(hex::encode(combined.to_bytes()), text(row, "combined_element"));
    }
}

#[test]
fn counts() {
    let table = parse(include_str!("../../tests/vectors/count_points.json"));
    let rows = table.as_array().expect("a list");
    let points = count_points::<P256>(rows.len() as u32);
    for (index, (row, point)) in rows.iter().zip(&points).enumerate() {
        assert_eq!(row["count"].as_u64(), Some(index as u64 + 1));
        assert_eq!(written(point), text(row, "point"));
    }
}
