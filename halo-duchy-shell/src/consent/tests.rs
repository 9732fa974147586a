use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::hybrid_encryption::Scheme;
use crate::pki::{Pki, PkiSpec};
use crate::proto::api::measurement::result::Reach;
use crate::signature::KeyKind;

const RSA_WITH_SHA256: &str = "1.2.840.113549.1.1.11";

fn bad() -> CertificateError {
    CertificateError::Signature(SignatureError::Bad)
}

struct World {
    _dir: tempfile::TempDir,
    pki: Pki,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let pki = Pki::create(&PkiSpec::default(), dir.path()).expect("sound spec");
        Self { _dir: dir, pki }
    }

    fn signer(&self, party: &str) -> Signer {
        Signer::load(&self.pki.consent_certificate(party), &self.pki.consent_private_key(party))
            .expect("own files")
    }
}

#[test]
fn signatures_verify_under_their_certificate_only() {
    let world = World::new();
    let (signer, other) = (world.signer("worker1"), world.signer("worker2"));
    let signature = signer.sign(b"key").expect("a sound key");
    assert_eq!(signature.algorithm_oid, "1.2.840.10045.4.3.2");
    let certificate = x509::parse(signer.certificate()).expect("certificate");
    let check = |data: &[u8], signature: &[u8], oid| verify(&certificate, data, signature, oid);
    assert_eq!(check(b"key", &signature.bytes, &signature.algorithm_oid), Ok(()));
    assert_eq!(check(b"key", &signature.bytes, ""), Ok(()), "the certificate's own algorithm");

    let malformed = Err(CertificateError::Signature(SignatureError::Malformed));
    let bad = Err(bad());
    assert_eq!(check(b"kex", &signature.bytes, ""), bad);
    assert_eq!(check(b"key", b"", ""), malformed);
    assert_eq!(check(b"key", &[&signature.bytes[..], &[0]].concat(), ""), malformed);
    assert_eq!(check(b"key", &signature.bytes, "1.2.840.10045.4.3.3"), bad, "SHA-384");
    let (algorithm, key) = (SignatureAlgorithm::RsaSha256, KeyKind::P256);
    let mismatch = SignatureError::AlgorithmMismatch { algorithm, key };
    assert_eq!(check(b"key", &signature.bytes, RSA_WITH_SHA256), Err(CertificateError::Signature(mismatch)));
    for index in 0..signature.bytes.len() {
        let mut altered = signature.bytes.clone();
        altered[index] ^= 1;
        let refused = check(b"key", &altered, "");
        assert!(refused == bad || refused == malformed, "byte {index}: {refused:?}");
    }
    let other = x509::parse(other.certificate()).expect("certificate");
    assert_eq!(verify(&other, b"key", &signature.bytes, ""), bad);
}

#[test]
fn weak_and_unknown_algorithms_are_refused() {
    let world = World::new();
    let signer = world.signer("worker1");
    let certificate = x509::parse(signer.certificate()).expect("certificate");
    for oid in ["1.2.840.113549.1.1.5", "1.2.840.10045.4.1", "1.2.840.113549.1.1.10", "1.3.101.112", "x"] {
        let refused = verify(&certificate, b"", b"", oid);
        assert_eq!(refused, Err(SignatureError::UnsupportedAlgorithm(oid.into()).into()));
    }
}

/// The files are OpenSSL's (see their README): other parties may have RSA keys, and ours may too.
#[test]
fn rsa_keys_sign_and_verify() {
    let der = include_bytes!("../../tests/vectors/consent/rsa_cert.der");
    let certificate = x509::parse(der).expect("certificate");
    let signature = include_bytes!("../../tests/vectors/consent/rsa_signature");
    assert_eq!(verify(&certificate, b"key", signature, RSA_WITH_SHA256), Ok(()));
    assert_eq!(verify(&certificate, b"kex", signature, RSA_WITH_SHA256), Err(bad()));

    let key = include_bytes!("../../tests/vectors/consent/rsa_private.der");
    let signer = Signer::new(der.to_vec(), key).expect("an RSA key");
    let signature = signer.sign(b"key").expect("signed");
    assert_eq!(signature.algorithm_oid, RSA_WITH_SHA256);
    assert_eq!(
        signature.bytes,
        include_bytes!("../../tests/vectors/consent/rsa_signature"),
        "PKCS #1 is unique"
    );
}

#[test]
fn unusable_keys_are_refused() {
    let world = World::new();
    let certificate = |party| std::fs::read(world.pki.consent_certificate(party)).expect("written");
    let key = |party| std::fs::read(world.pki.consent_private_key(party)).expect("written");
    assert!(matches!(Signer::new(certificate("worker1"), &key("worker2")), Err(ConsentError::KeyMismatch)));
    assert!(matches!(Signer::new(certificate("worker1"), b"?"), Err(ConsentError::UnsupportedKey)));
    assert!(matches!(
        Signer::new(b"?".to_vec(), &key("worker1")),
        Err(ConsentError::Certificate(CertificateError::Malformed))
    ));
    let missing = Signer::load(Path::new("/nonexistent"), &world.pki.consent_private_key("worker1"));
    assert!(matches!(missing, Err(ConsentError::Read { path, .. }) if path == Path::new("/nonexistent")));
}

#[test]
fn messages_are_signed_over_their_value() {
    let world = World::new();
    let signer = world.signer("aggregator");
    let certificate = x509::parse(signer.certificate()).expect("certificate");
    let result = result(5);
    let signed = signer.sign_message("Measurement.Result", &result).expect("signed");
    let any = signed.message.as_ref().expect("a message");
    assert_eq!(any.type_url, "type.googleapis.com/wfa.measurement.api.v2alpha.Measurement.Result");
    assert_eq!(signed.data, any.value);
    assert_eq!(verify_message(&certificate, &signed).expect("own"), result.encode_to_vec());

    let only_data = SignedMessage { message: None, ..signed.clone() };
    assert_eq!(verify_message(&certificate, &only_data).expect("older form"), result.encode_to_vec());
    let mut other = signed;
    other.message = Some(Any { value: b"other".to_vec(), ..Any::default() });
    assert!(verify_message(&certificate, &other).is_err(), "the copy does not count");
}

#[test]
fn participants_keys_are_tied_to_their_roots() {
    let world = World::new();
    let signer = world.signer("worker1");
    let directory = DuchyDirectory::load(&world.pki.duchy_cert_config()).expect("own configuration");
    let tls = world.pki.tls("worker2").load().expect("own files");
    let signature = signer.sign(b"ElGamal").expect("signed");
    let participant = ParticipantKey {
        duchy: "worker1",
        certificate: signer.certificate(),
        key: b"ElGamal",
        signature: &signature.bytes,
        signature_algorithm_oid: &signature.algorithm_oid,
    };
    let now = SystemTime::now();
    let check = |participant: &ParticipantKey<'_>, now| {
        verify_participant_key(participant, &directory, &tls.roots(), now)
    };
    check(&participant, now).expect("genuine");

    let refused = |participant: ParticipantKey<'_>, now| match check(&participant, now).expect_err("refused")
    {
        ConsentError::Participant { duchy, source } => {
            assert_eq!(duchy, participant.duchy);
            source
        }
        other => panic!("{other}"),
    };
    assert_eq!(refused(ParticipantKey { key: b"other", ..participant }, now), bad());
    let posing = ParticipantKey { duchy: "worker2", ..participant };
    assert!(matches!(refused(posing, now), CertificateError::OtherIssuer { .. }));
    let year = Duration::from_secs(366 * 24 * 60 * 60);
    assert!(matches!(refused(participant, now + year), CertificateError::Expired(_)));
    assert!(matches!(refused(participant, now - year), CertificateError::NotYetValid(_)));
    let mut altered = signer.certificate().to_vec();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    assert!(check(&ParticipantKey { certificate: &altered, ..participant }, now).is_err());
    let stranger = World::new().signer("worker1");
    let foreign = ParticipantKey { certificate: stranger.certificate(), ..participant };
    assert_eq!(refused(foreign, now), CertificateError::UnknownIssuer);
    let unknown = check(&ParticipantKey { duchy: "worker9", ..participant }, now);
    assert!(matches!(unknown, Err(ConsentError::UnknownDuchy(duchy)) if duchy == "worker9"));
}

#[test]
fn nonces_are_hashed_big_endian() {
    // printf '\0\0\0\0\0\0\0\1' | sha256sum
    assert_eq!(
        hex::encode(nonce_hash(1)),
        "cd2662154e6d76b2b2b92e70c0cac3ccf534f9b74eb5b89819ec509083d00a50"
    );
    // printf 'specdata' | sha256sum
    assert_eq!(requisition_fingerprint(b"spec", b"data"), requisition_fingerprint(b"specdata", b""));
    assert_eq!(requisition_fingerprint(b"spec", b"data")[..], Sha256::digest(b"specdata")[..]);
}

#[test]
fn fulfillments_prove_consent() {
    let hash = nonce_hash(7);
    let listed = [nonce_hash(6).to_vec(), hash.to_vec()];
    let known = KnownRequisition { fingerprint: b"fp", nonce_hash: &hash, listed_nonce_hashes: &listed };
    assert!(verify_fulfillment(b"fp", 7, &known).is_ok());
    assert!(matches!(verify_fulfillment(b"fq", 7, &known), Err(ConsentError::Fingerprint)));
    assert!(matches!(verify_fulfillment(b"f", 7, &known), Err(ConsentError::Fingerprint)));
    assert!(matches!(verify_fulfillment(b"fp", 6, &known), Err(ConsentError::Nonce)));
    let known = KnownRequisition { listed_nonce_hashes: &listed[..1], ..known };
    assert!(matches!(verify_fulfillment(b"fp", 7, &known), Err(ConsentError::UnlistedNonce)));
    let known = KnownRequisition { nonce_hash: b"", ..known };
    assert!(matches!(verify_fulfillment(b"fp", 7, &known), Err(ConsentError::Nonce)));
}

#[test]
fn participation_is_exactly_the_listed_nonces() {
    let listed: Vec<_> = [1, 2, 3].map(|nonce| nonce_hash(nonce).to_vec()).into();
    assert!(verify_participation(&[3, 1, 2], &listed).is_ok());
    assert!(verify_participation(&[], &[]).is_ok());
    let missing = verify_participation(&[1, 2], &listed);
    assert!(matches!(missing, Err(ConsentError::Participation { expected: 3, found: 2 })));
    let other = verify_participation(&[1, 2, 4], &listed);
    assert!(matches!(other, Err(ConsentError::Participation { expected: 3, found: 2 })));
    for surplus in [&[1, 2, 3, 4][..], &[1, 2, 3, 3]] {
        let refused = verify_participation(surplus, &listed);
        assert!(matches!(refused, Err(ConsentError::SurplusNonces { requisitions: 4 })));
    }
    let twice = [listed[0].clone(), listed[0].clone()];
    assert!(matches!(verify_participation(&[1], &twice), Err(ConsentError::Participation { .. })));
}

fn result(reach: i64) -> MeasurementResult {
    MeasurementResult {
        reach: Some(Reach { value: reach, ..Reach::default() }),
        ..MeasurementResult::default()
    }
}

#[test]
fn results_reach_the_consumer_and_nobody_else() {
    let world = World::new();
    let (signer, other) = (world.signer("aggregator"), world.signer("worker1"));
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for scheme in [Scheme::Hpke, Scheme::Ecies] {
        let consumer = PrivateKeyset::generate(scheme, &mut rng);
        let key = EncryptionPublicKey {
            format: encryption_public_key::Format::TinkKeyset.into(),
            data: consumer.public().to_bytes(),
        };
        let sealed = seal_result(&result(1234), &signer, &public_keyset(&key).expect("a keyset"), &mut rng)
            .expect("sealed");
        let certificate = x509::parse(signer.certificate()).expect("certificate");
        assert_eq!(open_result(&sealed, &consumer, &certificate).expect("genuine"), result(1234));

        let other = x509::parse(other.certificate()).expect("certificate");
        let forged = open_result(&sealed, &consumer, &other);
        assert!(matches!(forged, Err(ConsentError::Certificate(error)) if error == bad()));
        let stranger = PrivateKeyset::generate(scheme, &mut rng);
        let closed = open_result(&sealed, &stranger, &certificate);
        assert!(matches!(closed, Err(ConsentError::Encryption(HybridEncryptionError::Open))));
        let unsigned = consumer.public().encrypt(&result(1).encode_to_vec(), &mut rng).expect("sound key");
        assert!(open_result(&unsigned, &consumer, &certificate).is_err());
    }
    let key = EncryptionPublicKey::default();
    assert!(matches!(public_keyset(&key), Err(ConsentError::KeyFormat)));
}
