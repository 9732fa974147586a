use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use halo_duchy_shell::consent::{Signature, Signer};
use halo_duchy_shell::signature::{KeyKind, SignatureAlgorithm, SigningKey, verify};
use halo_duchy_shell::tls::TlsIdentity;
use halo_duchy_shell::x509::{TrustedRoots, parse};
use p256::pkcs8::EncodePrivateKey as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificates::{key, params};

pub(crate) const RSA_CERTIFICATE: &[u8] =
    include_bytes!("../../halo-duchy-shell/tests/vectors/consent/rsa_cert.der");
const RSA_KEY: &[u8] = include_bytes!("../../halo-duchy-shell/tests/vectors/consent/rsa_private.der");

const MESSAGE: &[u8] = b"a requisition";

/// A certificate and what its key signed.
struct Party {
    certificate: Vec<u8>,
    genuine: Vec<(SignatureAlgorithm, Vec<u8>)>,
}

impl Party {
    fn new(certificate: Vec<u8>, key: &[u8]) -> Self {
        let key = SigningKey::from_pkcs8(key).expect("a key");
        let sign = |algorithm| Some((algorithm, key.sign(algorithm, MESSAGE).ok()?));
        let genuine: Vec<_> = SignatureAlgorithm::ALL.into_iter().filter_map(sign).collect();
        assert_eq!(genuine.len(), 3);
        Self { certificate, genuine }
    }
}

static P256: LazyLock<Party> = LazyLock::new(|| {
    let certificate = params("signer").self_signed(&key(5)).expect("a certificate");
    Party::new(certificate.der().to_vec(), &p256_key())
});
static RSA: LazyLock<Party> = LazyLock::new(|| Party::new(RSA_CERTIFICATE.to_vec(), RSA_KEY));

fn p256_key() -> Vec<u8> {
    let key = p256::SecretKey::from_slice(&[5; 32]).expect("below the order");
    key.to_pkcs8_der().expect("encodes").as_bytes().to_vec()
}

/// Any bytes as an algorithm's identifier, a signature by ECDSA or RSA, a private key, or the file of a key or of a
/// certificate, in DER or PEM; the first byte chooses.
///
/// An identifier names one algorithm; no signature is right but those that were made; a key signs by
/// the algorithms of its kind alone; no key is taken but that of the certificate.
pub fn signatures(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    match choice % 6 {
        0 => identifier(data),
        1 => signature(&P256, data, |signature| {
            // (r, s) and (r, -s) are both right.
            let signature = p256::ecdsa::Signature::from_der(signature).expect("it was accepted");
            signature.r().to_bytes().to_vec()
        }),
        2 => signature(&RSA, data, <[u8]>::to_vec),
        3 => private_key(data),
        4 => key_file(data),
        _ => certificate_file(data),
    }
}

fn identifier(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match SignatureAlgorithm::from_oid(text) {
        Ok(algorithm) => assert_eq!(algorithm.oid(), text),
        Err(error) => assert!(SignatureAlgorithm::ALL.iter().all(|known| known.oid() != text), "{error}"),
    }
}

fn signature(signer: &Party, signature: &[u8], essence: impl Fn(&[u8]) -> Vec<u8>) {
    let certificate = parse(&signer.certificate).expect("a certificate");
    for algorithm in SignatureAlgorithm::ALL {
        if verify(certificate.public_key(), algorithm, signature, MESSAGE).is_ok() {
            let made = signer.genuine.iter().find(|(by, _)| *by == algorithm);
            let (_, made) = made.expect("of the kind of the key");
            assert_eq!(essence(signature), essence(made), "a forgery is believed");
        }
    }
}

fn private_key(der: &[u8]) {
    let Some(key) = SigningKey::from_pkcs8(der) else { return };
    let rsa = key.kind() == KeyKind::Rsa;
    let signed = SignatureAlgorithm::ALL.map(|algorithm| key.sign(algorithm, MESSAGE).is_ok());
    let (by_ecdsa, by_rsa) = signed.split_at(3);
    assert!(by_ecdsa.iter().all(|signed| *signed != rsa));
    // That the parts of an RSA key do not belong together shows when it signs, and then it does not.
    assert!(by_rsa.iter().all(|signed| rsa || !*signed));
}

fn key_file(file: &[u8]) {
    for signer in [&*P256, &*RSA] {
        if let Ok(made) = Signer::new(signer.certificate.clone(), file) {
            believed(&made, &signer.certificate);
        }
    }
    let chain = || vec![CertificateDer::from(P256.certificate.clone())];
    let Ok(key) = PrivateKeyDer::from_pem_slice(file) else { return };
    let roots = TrustedRoots::from_pem(pem("CERTIFICATE", &P256.certificate).as_bytes());
    if let Ok(roots) = roots {
        let _ = TlsIdentity::new(chain(), key, roots);
    }
}

fn certificate_file(file: &[u8]) {
    if let Ok(made) = Signer::new(file.to_vec(), &p256_key()) {
        let certificate =
            CertificateDer::from_pem_slice(file).map_or_else(|_| file.to_vec(), |der| der.to_vec());
        believed(&made, &certificate);
    }
}

/// What a signer with a key file signs is right by its certificate.
fn believed(signer: &Signer, certificate: &[u8]) {
    let Signature { bytes, algorithm_oid } = signer.sign(MESSAGE).expect("it has signed before");
    let algorithm = SignatureAlgorithm::from_oid(&algorithm_oid).expect("our own");
    let certificate = parse(certificate).expect("it was accepted");
    verify(certificate.public_key(), algorithm, &bytes, MESSAGE).expect("of its key");
}

fn pem(label: &str, der: &[u8]) -> String {
    let text: Vec<_> = STANDARD.encode(der).into_bytes();
    let lines = text.chunks(64).map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
    format!("-----BEGIN {label}-----\n{}-----END {label}-----\n", lines.collect::<String>())
}

/// Every identifier, genuine signatures, and keys.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let input = |choice: u8, data: &[u8]| [&[choice], data].concat();
    let identifiers = SignatureAlgorithm::ALL.map(|algorithm| input(0, algorithm.oid().as_bytes()));
    let by = |choice: u8, signer: &Party| -> Vec<_> {
        signer.genuine.iter().map(|(_, signature)| input(choice, signature)).collect()
    };
    let keys = [p256_key(), RSA_KEY.to_vec()];
    let files = keys.iter().flat_map(|key| [input(4, key), input(4, pem("PRIVATE KEY", key).as_bytes())]);
    let files = files
        .chain([input(5, &P256.certificate), input(5, pem("CERTIFICATE", &P256.certificate).as_bytes())]);
    let keys = keys.iter().map(|key| input(3, key));
    identifiers.into_iter().chain(by(1, &P256)).chain(by(2, &RSA)).chain(keys).chain(files).collect()
}
