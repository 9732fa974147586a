//! Signatures as upstream makes and checks them: six algorithms, known by their object identifiers (common-jvm,
//! `SignatureAlgorithm`), on keys from certificates and PKCS #8.
//!
//! The hash and the key are chosen apart: any of the three curves goes with any of the three hashes, and upstream signs
//! with SHA-256 on all of them. Nothing weaker than SHA-256 or RSA of 2048 bits is accepted, nor are algorithms that
//! upstream has no name for, such as RSASSA-PSS.

use std::fmt;
use std::sync::Arc;

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::pkcs8::DecodePrivateKey;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::asn1_rs::{BitString, Oid};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION,
    OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
};
use x509_parser::prelude::{AlgorithmIdentifier, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey as ParsedKey;
use x509_parser::verify::verify_signature;

use crate::pkcs11;

/// The modulus of an RSA key has at least so many bits.
const RSA_MINIMUM_BITS: usize = 2048;

/// Why a signature was not believed, or not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The algorithm is not one of the six.
    #[error("signatures of the algorithm {0} are not accepted")]
    UnsupportedAlgorithm(String),
    /// The key is of a kind, a curve or a size that is not supported.
    #[error("keys of the kind {0} are not supported")]
    UnsupportedKey(String),
    /// The algorithm is for another kind of key.
    #[error("the algorithm {algorithm} is not for a key of the kind {key}")]
    AlgorithmMismatch {
        /// The algorithm.
        algorithm: SignatureAlgorithm,
        /// The kind of key.
        key: KeyKind,
    },
    /// An RSA signature is shorter or longer than the modulus.
    #[error("the signature has {found} bytes, not {expected}")]
    Length {
        /// Bytes of the modulus.
        expected: usize,
        /// Bytes of the signature.
        found: usize,
    },
    /// An ECDSA signature is not two integers in DER and nothing else.
    #[error("the signature is not a DER sequence of two integers")]
    Malformed,
    /// The signature is not by this key, or not over this data.
    #[error("the signature is not by the key of the certificate")]
    Bad,
    /// The key did not sign.
    #[error("signing failed")]
    Sign,
    /// The key is in a token, which did not sign.
    #[error("{reason}")]
    Token {
        /// What is wrong.
        reason: String,
        /// Whether it may pass.
        transient: bool,
    },
}

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha384 => Sha384::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        }
    }
}

/// An algorithm by which messages and certificates are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ECDSA with SHA-256; the signature is DER.
    EcdsaSha256,
    /// ECDSA with SHA-384.
    EcdsaSha384,
    /// ECDSA with SHA-512.
    EcdsaSha512,
    /// RSA with PKCS #1 v1.5 padding and SHA-256; the signature is as long as the modulus.
    RsaSha256,
    /// RSA with PKCS #1 v1.5 padding and SHA-384.
    RsaSha384,
    /// RSA with PKCS #1 v1.5 padding and SHA-512.
    RsaSha512,
}

impl SignatureAlgorithm {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::EcdsaSha256,
        Self::EcdsaSha384,
        Self::EcdsaSha512,
        Self::RsaSha256,
        Self::RsaSha384,
        Self::RsaSha512,
    ];

    fn object_identifier(self) -> Oid<'static> {
        match self {
            Self::EcdsaSha256 => OID_SIG_ECDSA_WITH_SHA256,
            Self::EcdsaSha384 => OID_SIG_ECDSA_WITH_SHA384,
            Self::EcdsaSha512 => OID_SIG_ECDSA_WITH_SHA512,
            Self::RsaSha256 => OID_PKCS1_SHA256WITHRSA,
            Self::RsaSha384 => OID_PKCS1_SHA384WITHRSA,
            Self::RsaSha512 => OID_PKCS1_SHA512WITHRSA,
        }
    }

    /// The object identifier in dot notation.
    pub fn oid(self) -> String {
        self.object_identifier().to_id_string()
    }

    /// The algorithm with this object identifier in dot notation.
    ///
    /// # Errors
    /// [`SignatureError::UnsupportedAlgorithm`].
    pub fn from_oid(oid: &str) -> Result<Self, SignatureError> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.oid() == oid);
        found.ok_or_else(|| SignatureError::UnsupportedAlgorithm(oid.to_owned()))
    }

    fn hash(self) -> Hash {
        match self {
            Self::EcdsaSha256 | Self::RsaSha256 => Hash::Sha256,
            Self::EcdsaSha384 | Self::RsaSha384 => Hash::Sha384,
            Self::EcdsaSha512 | Self::RsaSha512 => Hash::Sha512,
        }
    }

    fn is_rsa(self) -> bool {
        matches!(self, Self::RsaSha256 | Self::RsaSha384 | Self::RsaSha512)
    }

    fn check_key(self, key: KeyKind) -> Result<(), SignatureError> {
        if self.is_rsa() == (key == KeyKind::Rsa) {
            Ok(())
        } else {
            Err(SignatureError::AlgorithmMismatch { algorithm: self, key })
        }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.oid())
    }
}

/// A kind of key that can sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// The curve P-256.
    P256,
    /// The curve P-384.
    P384,
    /// The curve P-521.
    P521,
    /// RSA.
    Rsa,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::Rsa => "RSA",
        })
    }
}

impl KeyKind {
    /// The kind of a certificate's key.
    pub(crate) fn of(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, SignatureError> {
        let algorithm = &key.algorithm;
        if algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
            return Ok(Self::Rsa);
        }
        let unsupported = |kind: &Oid<'_>| SignatureError::UnsupportedKey(kind.to_id_string());
        if algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
            return Err(unsupported(&algorithm.algorithm));
        }
        let curve = algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        // A curve that is spelt out could be one on which signatures are easily forged.
        let curve = curve.ok_or_else(|| SignatureError::UnsupportedKey("EC without a named curve".into()))?;
        [(OID_EC_P256, Self::P256), (OID_NIST_EC_P384, Self::P384), (OID_NIST_EC_P521, Self::P521)]
            .into_iter()
            .find_map(|(oid, kind)| (oid == curve).then_some(kind))
            .ok_or_else(|| unsupported(&curve))
    }
}

/// Checks a `signature` over `data` by `key`.
///
/// # Errors
/// If the algorithm is not for such a key, or the signature is not right.
pub fn verify(
    key: &SubjectPublicKeyInfo<'_>,
    algorithm: SignatureAlgorithm,
    signature: &[u8],
    data: &[u8],
) -> Result<(), SignatureError> {
    let kind = KeyKind::of(key)?;
    algorithm.check_key(kind)?;
    let point = &key.subject_public_key.data;
    match kind {
        KeyKind::P256 => p256_curve::verify(point, algorithm.hash(), signature, data),
        KeyKind::P384 => p384_curve::verify(point, algorithm.hash(), signature, data),
        KeyKind::P521 => p521_curve::verify(point, algorithm.hash(), signature, data),
        KeyKind::Rsa => verify_rsa(key, algorithm, signature, data),
    }
}

fn verify_rsa(
    key: &SubjectPublicKeyInfo<'_>,
    algorithm: SignatureAlgorithm,
    signature: &[u8],
    data: &[u8],
) -> Result<(), SignatureError> {
    let Ok(ParsedKey::RSA(parsed)) = key.parsed() else {
        return Err(SignatureError::UnsupportedKey("RSA without modulus and exponent".into()));
    };
    let leading_zeros = parsed.modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = &parsed.modulus[leading_zeros..];
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if bits < RSA_MINIMUM_BITS {
        return Err(SignatureError::UnsupportedKey(format!("RSA of {bits} bits")));
    }
    if signature.len() != modulus.len() {
        return Err(SignatureError::Length { expected: modulus.len(), found: signature.len() });
    }
    let identifier = AlgorithmIdentifier { algorithm: algorithm.object_identifier(), parameters: None };
    verify_signature(key, &identifier, &BitString::new(0, signature), data).map_err(|_| SignatureError::Bad)
}

/// A private key that signs.
#[derive(Clone)]
pub struct SigningKey(Inner);

#[derive(Clone)]
enum Inner {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
    Rsa(Arc<dyn rustls::sign::SigningKey>),
    Token(Arc<pkcs11::SigningKey>),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.kind()).finish()
    }
}

impl SigningKey {
    /// Reads a key in PKCS #8 (DER), with or without the public key that Java leaves out. `None` if it is none, or of a
    /// kind that is not supported.
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let rsa = || any_supported_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der))).ok();
        p256::ecdsa::SigningKey::from_pkcs8_der(der)
            .map(Inner::P256)
            .ok()
            .or_else(|| p384::ecdsa::SigningKey::from_pkcs8_der(der).map(Inner::P384).ok())
            .or_else(|| p521::ecdsa::SigningKey::from_pkcs8_der(der).map(Inner::P521).ok())
            .or_else(|| {
                rsa().filter(|key| key.algorithm() == rustls::SignatureAlgorithm::RSA).map(Inner::Rsa)
            })
            .map(Self)
    }

    /// The kind of key.
    pub fn kind(&self) -> KeyKind {
        match &self.0 {
            Inner::P256(_) => KeyKind::P256,
            Inner::P384(_) => KeyKind::P384,
            Inner::P521(_) => KeyKind::P521,
            Inner::Rsa(_) => KeyKind::Rsa,
            Inner::Token(key) => key.kind(),
        }
    }

    /// What upstream signs with by default: SHA-256, on whatever key.
    pub fn default_algorithm(&self) -> SignatureAlgorithm {
        match self.kind() {
            KeyKind::Rsa => SignatureAlgorithm::RsaSha256,
            _ => SignatureAlgorithm::EcdsaSha256,
        }
    }

    /// Signs `data`. ECDSA's nonces are derived from the key and the data (RFC 6979), but for those of tokens.
    ///
    /// # Errors
    /// If the algorithm is not for this kind of key, or a token does not sign.
    pub fn sign(&self, algorithm: SignatureAlgorithm, data: &[u8]) -> Result<Vec<u8>, SignatureError> {
        algorithm.check_key(self.kind())?;
        match &self.0 {
            Inner::P256(key) => p256_curve::sign(key, algorithm.hash(), data),
            Inner::P384(key) => p384_curve::sign(key, algorithm.hash(), data),
            Inner::P521(key) => p521_curve::sign(key, algorithm.hash(), data),
            Inner::Rsa(key) => {
                let scheme = match algorithm.hash() {
                    Hash::Sha256 => SignatureScheme::RSA_PKCS1_SHA256,
                    Hash::Sha384 => SignatureScheme::RSA_PKCS1_SHA384,
                    Hash::Sha512 => SignatureScheme::RSA_PKCS1_SHA512,
                };
                let signer = key.choose_scheme(&[scheme]).ok_or(SignatureError::Sign)?;
                signer.sign(data).map_err(|_| SignatureError::Sign)
            }
            Inner::Token(key) => key.sign(algorithm, data),
        }
    }
}

impl From<pkcs11::SigningKey> for SigningKey {
    fn from(key: pkcs11::SigningKey) -> Self {
        Self(Inner::Token(Arc::new(key)))
    }
}

/// ECDSA on one curve: `$module` for the crate `$curve`, whose field elements have `$len` bytes.
macro_rules! ecdsa {
    ($module:ident, $curve:ident, $len:literal) => {
        mod $module {
            use $curve::ecdsa::{Signature, SigningKey, VerifyingKey};

            use super::{Hash, PrehashSigner, PrehashVerifier, SignatureError};

            /// The hash as the integer that it stands for, for crates that refuse hashes much shorter than the field.
            fn digest(hash: Hash, data: &[u8]) -> Vec<u8> {
                let digest = hash.digest(data);
                let mut padded = vec![0; usize::saturating_sub($len, digest.len())];
                padded.extend(digest);
                padded
            }

            pub fn verify(
                point: &[u8],
                hash: Hash,
                signature: &[u8],
                data: &[u8],
            ) -> Result<(), SignatureError> {
                let key = VerifyingKey::from_sec1_bytes(point)
                    .map_err(|_| SignatureError::UnsupportedKey("EC off its curve".into()))?;
                let signature = Signature::from_der(signature).map_err(|_| SignatureError::Malformed)?;
                key.verify_prehash(&digest(hash, data), &signature).map_err(|_| SignatureError::Bad)
            }

            pub fn sign(key: &SigningKey, hash: Hash, data: &[u8]) -> Result<Vec<u8>, SignatureError> {
                let signature: Signature =
                    key.sign_prehash(&digest(hash, data)).map_err(|_| SignatureError::Sign)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
        }
    };
}

ecdsa!(p256_curve, p256, 32);
ecdsa!(p384_curve, p384, 48);
ecdsa!(p521_curve, p521, 66);

#[cfg(test)]
mod tests;
