use std::sync::LazyLock;

use halo_duchy_shell::signature::{KeyKind, SignatureAlgorithm, SigningKey, verify};
use halo_duchy_shell::x509::parse;
use p256::pkcs8::EncodePrivateKey as _;

use crate::certificates::{key, params};

pub(crate) const RSA_CERTIFICATE: &[u8] =
    include_bytes!("../../halo-duchy-shell/tests/vectors/consent/rsa_cert.der");
const RSA_KEY: &[u8] = include_bytes!("../../halo-duchy-shell/tests/vectors/consent/rsa_private.der");

const MESSAGE: &[u8] = b"a requisition";

/// A certificate and what its key signed.
struct Signer {
    certificate: Vec<u8>,
    genuine: Vec<(SignatureAlgorithm, Vec<u8>)>,
}

impl Signer {
    fn new(certificate: Vec<u8>, key: &[u8]) -> Self {
        let key = SigningKey::from_pkcs8(key).expect("a key");
        let sign = |algorithm| Some((algorithm, key.sign(algorithm, MESSAGE).ok()?));
        let genuine: Vec<_> = SignatureAlgorithm::ALL.into_iter().filter_map(sign).collect();
        assert_eq!(genuine.len(), 3);
        Self { certificate, genuine }
    }
}

static P256: LazyLock<Signer> = LazyLock::new(|| {
    let certificate = params("signer").self_signed(&key(5)).expect("a certificate");
    Signer::new(certificate.der().to_vec(), &p256_key())
});
static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::new(RSA_CERTIFICATE.to_vec(), RSA_KEY));

fn p256_key() -> Vec<u8> {
    let key = p256::SecretKey::from_slice(&[5; 32]).expect("below the order");
    key.to_pkcs8_der().expect("encodes").as_bytes().to_vec()
}

/// Any bytes as an algorithm's identifier, a signature by ECDSA or RSA, or a private key; the first byte chooses.
///
/// An identifier names one algorithm; no signature is right but those that were made; a key signs by
/// the algorithms of its kind alone.
pub fn signatures(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    match choice % 4 {
        0 => identifier(data),
        1 => signature(&P256, data, |signature| {
            // (r, s) and (r, -s) are both right.
            let signature = p256::ecdsa::Signature::from_der(signature).expect("it was accepted");
            signature.r().to_bytes().to_vec()
        }),
        2 => signature(&RSA, data, <[u8]>::to_vec),
        _ => private_key(data),
    }
}

fn identifier(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match SignatureAlgorithm::from_oid(text) {
        Ok(algorithm) => assert_eq!(algorithm.oid(), text),
        Err(error) => assert!(SignatureAlgorithm::ALL.iter().all(|known| known.oid() != text), "{error}"),
    }
}

fn signature(signer: &Signer, signature: &[u8], essence: impl Fn(&[u8]) -> Vec<u8>) {
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

/// Every identifier, genuine signatures, and keys.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let input = |choice: u8, data: &[u8]| [&[choice], data].concat();
    let identifiers = SignatureAlgorithm::ALL.map(|algorithm| input(0, algorithm.oid().as_bytes()));
    let by = |choice: u8, signer: &Signer| -> Vec<_> {
        signer.genuine.iter().map(|(_, signature)| input(choice, signature)).collect()
    };
    let keys = [p256_key(), RSA_KEY.to_vec()].map(|key| input(3, &key));
    identifiers.into_iter().chain(by(1, &P256)).chain(by(2, &RSA)).chain(keys).collect()
}
