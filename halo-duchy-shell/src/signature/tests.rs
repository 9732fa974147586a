use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

const RSA_KEY: &[u8] = include_bytes!("../../tests/vectors/consent/rsa_private.der");
const RSA_CERTIFICATE: &[u8] = include_bytes!("../../tests/vectors/consent/rsa_cert.der");

/// A key with a certificate of its own.
fn pair(key: &KeyPair) -> (SigningKey, Vec<u8>) {
    let certificate = CertificateParams::default().self_signed(key).expect("certificate");
    (SigningKey::from_pkcs8(&key.serialize_der()).expect("a key"), certificate.der().to_vec())
}

fn pairs() -> Vec<(SigningKey, Vec<u8>)> {
    let generated = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384]
        .map(|algorithm| pair(&KeyPair::generate_for(algorithm).expect("key")));
    let rsa = (SigningKey::from_pkcs8(RSA_KEY).expect("a key"), RSA_CERTIFICATE.to_vec());
    generated.into_iter().chain([rsa]).collect()
}

#[test]
fn every_key_signs_with_every_hash() {
    for (key, certificate) in pairs() {
        let (_, certificate) = X509Certificate::from_der(&certificate).expect("certificate");
        let check = |algorithm, signature: &[u8], data: &[u8]| {
            verify(certificate.public_key(), algorithm, signature, data)
        };
        for algorithm in SignatureAlgorithm::ALL {
            let kind = key.kind();
            if algorithm.is_rsa() != (kind == KeyKind::Rsa) {
                let mismatch = SignatureError::AlgorithmMismatch { algorithm, key: kind };
                assert_eq!(key.sign(algorithm, b"data"), Err(mismatch.clone()));
                assert_eq!(check(algorithm, b"", b"data"), Err(mismatch));
                continue;
            }
            let signature = key.sign(algorithm, b"data").expect("suits the key");
            assert_eq!(check(algorithm, &signature, b"data"), Ok(()), "{kind} {algorithm}");
            assert_eq!(check(algorithm, &signature, b"date"), Err(SignatureError::Bad));
            let cut = &signature[..signature.len() - 1];
            let longer = [&signature[..], &[0]].concat();
            for wrong in [cut, &longer, b""] {
                let expected = match kind {
                    KeyKind::Rsa => SignatureError::Length { expected: 256, found: wrong.len() },
                    _ => SignatureError::Malformed,
                };
                assert_eq!(check(algorithm, wrong, b"data"), Err(expected));
            }
        }
    }
}

#[test]
fn another_hash_does_not_verify() {
    for (key, certificate) in pairs() {
        let (_, certificate) = X509Certificate::from_der(&certificate).expect("certificate");
        let signature = key.sign(key.default_algorithm(), b"data").expect("signed");
        for other in SignatureAlgorithm::ALL {
            if other != key.default_algorithm() {
                assert!(verify(certificate.public_key(), other, &signature, b"data").is_err(), "{other}");
            }
        }
    }
}

#[test]
fn identifiers_name_one_algorithm_each() {
    for algorithm in SignatureAlgorithm::ALL {
        assert_eq!(SignatureAlgorithm::from_oid(&algorithm.oid()), Ok(algorithm));
    }
    for oid in ["", "1.2.840.113549.1.1.5", "1.2.840.113549.1.1.10", "1.3.101.112", "01.2.840.10045.4.3.2"] {
        assert_eq!(
            SignatureAlgorithm::from_oid(oid),
            Err(SignatureError::UnsupportedAlgorithm(oid.to_owned()))
        );
    }
}

#[test]
fn trivial_signatures_are_refused() {
    for (key, certificate) in pairs().into_iter().take(2) {
        let (_, certificate) = X509Certificate::from_der(&certificate).expect("certificate");
        // Sequences of (0, 0), (1, 0), (0, 1) and two negative numbers.
        for trivial in [
            [0x30, 6, 2, 1, 0, 2, 1, 0],
            [0x30, 6, 2, 1, 1, 2, 1, 0],
            [0x30, 6, 2, 1, 0, 2, 1, 1],
            [0x30, 6, 2, 1, 0x81, 2, 1, 0x81],
        ] {
            let refused = verify(certificate.public_key(), key.default_algorithm(), &trivial, b"data");
            assert_eq!(refused, Err(SignatureError::Malformed));
        }
    }
}

#[test]
fn keys_of_other_kinds_do_not_sign() {
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("key");
    assert!(SigningKey::from_pkcs8(&ed25519.serialize_der()).is_none());
    assert!(SigningKey::from_pkcs8(b"").is_none());
    let certificate = CertificateParams::default().self_signed(&ed25519).expect("certificate");
    let (_, certificate) = X509Certificate::from_der(certificate.der()).expect("certificate");
    let refused = verify(certificate.public_key(), SignatureAlgorithm::EcdsaSha256, b"", b"");
    assert_eq!(refused, Err(SignatureError::UnsupportedKey("1.3.101.112".into())));
}
