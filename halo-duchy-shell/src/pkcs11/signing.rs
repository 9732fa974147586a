//! Keys that sign: ECDSA on P-256, and RSA.

use std::fmt;
use std::sync::Arc;

use cryptoki::error::Error;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{KeyType, ObjectHandle};
use cryptoki::session::Session;
use p256::ecdsa::Signature;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

use super::key::{TokenKey, failure};
use super::uri::ObjectKind;
use super::{Pkcs11Error, Pkcs11Uri, tls};
use crate::signature::{self, KeyKind, SignatureAlgorithm, SignatureError};

/// What is signed to see whose key it is. No protocol signs anything like it.
const PROBE: &[u8] = b"halo-duchy: is this key that of the certificate?";

/// A private key of a token, P-256 or RSA of 2048 bits or more. Clones of the [`Arc`] that has it share its sessions.
pub struct SigningKey {
    token: TokenKey,
    kind: KeyKind,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("pkcs11::SigningKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// How signatures are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// ECDSA with SHA-256; the signature is DER.
    Ecdsa,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    RsaPkcs1,
    /// RSA, PSS, with SHA-256.
    RsaPss,
}

impl SigningKey {
    /// The key that `uri` names, of which `public` is the public key: of several objects of that name, the one that signs
    /// so. A new key may therefore have the label of the old one.
    ///
    /// # Errors
    /// If the token is not there, does not take the PIN, or has no such key; or if the key is of a kind that is not
    /// supported.
    pub fn open(uri: &Pkcs11Uri, public: &SubjectPublicKeyInfo<'_>) -> Result<Self, Pkcs11Error> {
        let unsuitable = |why| Pkcs11Error::Unsuitable { uri: uri.to_string(), why };
        let (kind, key_type, scheme, algorithm) = match KeyKind::of(public) {
            Ok(KeyKind::P256) => (KeyKind::P256, KeyType::EC, Scheme::Ecdsa, SignatureAlgorithm::EcdsaSha256),
            Ok(KeyKind::Rsa) => (KeyKind::Rsa, KeyType::RSA, Scheme::RsaPkcs1, SignatureAlgorithm::RsaSha256),
            _ => return Err(unsuitable("the certificate's key is neither P-256 nor RSA")),
        };
        // The key is looked for again whenever the token was away.
        let (public, own) = (public.raw.to_vec(), uri.clone());
        let choose = move |session: &Session, candidates: &[ObjectHandle]| {
            let (_, public) = SubjectPublicKeyInfo::from_der(&public).map_err(|_| {
                Pkcs11Error::Unsuitable { uri: own.to_string(), why: "the public key is malformed" }
            })?;
            for candidate in candidates {
                let probe = match scheme.sign(session, *candidate, PROBE) {
                    Ok(probe) => probe,
                    // On another curve, or one that may not sign.
                    Err(error) => match failure(&own, error) {
                        Pkcs11Error::Refused { .. } => continue,
                        other => return Err(other),
                    },
                };
                if signature::verify(&public, algorithm, &probe, PROBE).is_ok() {
                    return Ok(*candidate);
                }
            }
            Err(Pkcs11Error::OtherKey { uri: own.to_string(), found: candidates.len() })
        };
        let token = TokenKey::open(uri, ObjectKind::PrivateKey, key_type, Box::new(choose))?;
        Ok(Self { token, kind })
    }

    /// The kind of key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Signs `data`, by SHA-256 and no other hash.
    ///
    /// # Errors
    /// If the algorithm is another, or the token does not do it.
    pub fn sign(&self, algorithm: SignatureAlgorithm, data: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let scheme = match (algorithm, self.kind) {
            (SignatureAlgorithm::EcdsaSha256, KeyKind::P256) => Scheme::Ecdsa,
            (SignatureAlgorithm::RsaSha256, KeyKind::Rsa) => Scheme::RsaPkcs1,
            _ => return Err(SignatureError::UnsupportedAlgorithm(algorithm.oid())),
        };
        self.sign_by(scheme, data).map_err(|error| SignatureError::Token {
            transient: error.is_transient(),
            reason: error.to_string(),
        })
    }

    pub(super) fn sign_by(&self, scheme: Scheme, data: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        self.token.call(|session, key| scheme.sign(session, key, data))
    }

    /// The key as rustls has it.
    pub fn for_tls(self: Arc<Self>) -> Arc<dyn rustls::sign::SigningKey> {
        Arc::new(tls::TlsKey(self))
    }
}

impl Scheme {
    fn sign(self, session: &Session, key: ObjectHandle, data: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            // Not every token hashes for ECDSA, so what it gets is the digest.
            Self::Ecdsa => {
                let raw = session.sign(&Mechanism::Ecdsa, key, &Sha256::digest(data))?;
                let signature = Signature::from_slice(&raw).map_err(|_| Error::InvalidValue)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
            Self::RsaPkcs1 => session.sign(&Mechanism::Sha256RsaPkcs, key, data),
            Self::RsaPss => {
                let parameters = PkcsPssParams {
                    hash_alg: MechanismType::SHA256,
                    mgf: PkcsMgfType::MGF1_SHA256,
                    // As long as the hash, which TLS 1.3 demands.
                    s_len: 32.into(),
                };
                session.sign(&Mechanism::Sha256RsaPkcsPss(parameters), key, data)
            }
        }
    }
}
