use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use halo_duchy_shell::signature::SignatureAlgorithm;
use halo_duchy_shell::x509::{
    TrustedRoots, authority_key_identifier, parse, subject_key_identifier, verify_data,
};
use p256::pkcs8::EncodePrivateKey as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::memory::bounded;

/// Of the certificates below, all of which are from 1975 to 4096.
const WITHIN: Duration = Duration::from_secs(1_800_000_000);
/// The year 9000.
const BEYOND: Duration = Duration::from_secs(221_845_392_000);

/// A signature of the right form, by nobody.
const SIGNATURE: [u8; 8] = [0x30, 6, 2, 1, 1, 2, 1, 1];

/// A root and what it issued. Its key is known, but a search does not use it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    leaves: Vec<Vec<u8>>,
    roots: TrustedRoots,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let mut params = params("root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let issuer = CertifiedIssuer::self_signed(params, key(1)).expect("a root");
    let leaves = [2, 3].map(|number| {
        let mut params = self::params("leaf");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![rcgen::SanType::DnsName("localhost".try_into().expect("a name"))];
        params.signed_by(&key(number), &issuer).expect("a leaf").der().to_vec()
    });
    let roots = TrustedRoots::from_pem(issuer.pem().as_bytes()).expect("one root");
    Authority { issuer, leaves: leaves.to_vec(), roots }
});

/// A key pair on P-256 that is the same in every run.
pub(crate) fn key(number: u8) -> KeyPair {
    let key = p256::SecretKey::from_slice(&[number; 32]).expect("below the order");
    let der = key.to_pkcs8_der().expect("encodes");
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(der.as_bytes())).expect("a key")
}

pub(crate) fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Any bytes as a certificate in DER, and as a collection of roots in PEM.
///
/// Nothing is believed that the root did not sign, nothing is valid for ever, and a collection survives being written again.
pub fn certificates(data: &[u8]) {
    let authority = &*AUTHORITY;
    bounded(data.len(), 128, || {
        certificate(data, authority);
        roots(data);
    });
    // A search finds certificates more easily than PEM.
    roots(pem(data).as_bytes());
}

fn certificate(der: &[u8], authority: &Authority) {
    let Ok(certificate) = parse(der) else { return };
    let signed = certificate.tbs_certificate.as_ref();
    assert!(signed.len() < der.len());
    for id in [subject_key_identifier(&certificate), authority_key_identifier(&certificate)] {
        assert!(id.is_none_or(|id| id.len() < signed.len()));
    }
    for algorithm in SignatureAlgorithm::ALL {
        // A key can be made to fit a signature, so there is nothing to promise but an answer.
        let _ = verify_data(&certificate, &algorithm.oid(), &SIGNATURE, b"data");
    }
    let at = |time| UNIX_EPOCH + time;
    let verify = |root: &[u8], time: SystemTime| authority.roots.verify(&certificate, root, time);
    match authority.roots.issuer(&certificate) {
        Ok(root) => {
            // An ECDSA signature has a twin, so only what is signed must be the same.
            let genuine = authority.leaves.iter().map(Vec::as_slice).chain([&authority.issuer.der()[..]]);
            let mut genuine = genuine.filter_map(|der| parse(der).ok());
            assert!(genuine.any(|leaf| leaf.tbs_certificate.as_ref() == signed), "a forgery is believed");
            assert_eq!(verify(root, at(WITHIN)), Ok(()));
            assert!(verify(root, at(BEYOND)).is_err());
            assert!(verify(b"another root", at(WITHIN)).is_err());
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(authority.roots.iter().all(|root| {
                let root = parse(root).expect("a root");
                verify(subject_key_identifier(&root).expect("has one"), at(WITHIN)).is_err()
            }));
        }
    }
}

fn roots(text: &[u8]) {
    let Ok(roots) = TrustedRoots::from_pem(text) else { return };
    let all: Vec<_> = roots.iter().collect();
    assert!(!all.is_empty());
    for root in &all {
        let certificate = parse(root).expect("every root is a certificate");
        let id = subject_key_identifier(&certificate).expect("every root has one");
        assert_eq!(roots.get(id), Some(*root));
        assert_eq!(certificate.issuer().as_raw(), certificate.subject().as_raw());
    }
    let written: String = all.iter().map(|root| pem(root)).collect();
    let again = TrustedRoots::from_pem(written.as_bytes()).expect("what was accepted");
    assert!(again.iter().eq(all));
}

fn pem(der: &[u8]) -> String {
    use p256::pkcs8::der::pem::{LineEnding, encode_string};
    encode_string("CERTIFICATE", LineEnding::LF, der).expect("has no limit")
}

/// A root, leaves, a certificate by RSA, and collections of roots.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let authority = &*AUTHORITY;
    let root = authority.issuer.der().to_vec();
    let another = CertifiedIssuer::self_signed(params("another"), key(4)).expect("a certificate");
    let rsa = crate::signatures::RSA_CERTIFICATE.to_vec();
    let pems = [authority.issuer.pem(), authority.issuer.pem() + &pem(&rsa) + &another.pem()];
    authority.leaves.iter().cloned().chain([root, rsa]).chain(pems.map(String::into_bytes)).collect()
}
