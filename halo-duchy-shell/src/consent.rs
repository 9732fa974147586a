//! Consent signaling: how the parties of a measurement convince one another of what they agreed to
//! (docs/consent-and-envelopes.md).
//!
//! - A [`Signer`] signs with the party's consent-signaling key; [`verify`] and [`verify_message`] check others' signatures
//!   under their certificates, and [`verify_participant_key`] those of the duchies' encryption keys.
//! - Data providers consent to a measurement by revealing, when they fulfil their requisition, the nonce whose hash the
//!   measurement's specification lists: [`verify_fulfillment`] and [`verify_participation`].
//! - A result is signed by the duchy that computed it and encrypted to the measurement consumer: [`seal_result`].

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prost::Message;
use prost_types::Any;
use rand_core::CryptoRng;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use x509_parser::prelude::X509Certificate;
use zeroize::{Zeroize, Zeroizing};

use crate::config::DuchyDirectory;
use crate::hybrid_encryption::{HybridEncryptionError, PrivateKeyset, PublicKeyset};
use crate::pkcs11::{self, Pkcs11Error, Pkcs11Uri};
use crate::proto::api::measurement::Result as MeasurementResult;
use crate::proto::api::{EncryptionPublicKey, SignedMessage, encryption_public_key};
use crate::signature::{SignatureAlgorithm, SignatureError, SigningKey};
use crate::x509::{self, CertificateError, TrustedRoots};

mod signing_identity;

pub use signing_identity::{CertificateNameSource, SigningFiles, SigningIdentity, SuccessionError};

const API_PACKAGE: &str = "type.googleapis.com/wfa.measurement.api.v2alpha";

/// Why something signed, or somebody's consent, was not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsentError {
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The signing key is not PKCS #8 of a kind that can sign.
    #[error(
        "the consent-signaling key is not a P-256, P-384, P-521 or RSA key (2048 bits or more) in PKCS #8; \
         `openssl pkcs8 -topk8 -nocrypt -outform DER` converts other forms"
    )]
    UnsupportedKey,
    /// The name of the signing key's certificate is not that of one of the duchy's.
    #[error("`{name}` is not duchies/{duchy}/certificates/ID")]
    CertificateName {
        /// The name found.
        name: String,
        /// Whose key it is.
        duchy: String,
    },
    /// The signing key is not the certificate's.
    #[error("the consent-signaling key is not that of its certificate")]
    KeyMismatch,
    /// The key in a token cannot be used.
    #[error(transparent)]
    Token(#[from] Pkcs11Error),
    /// The key failed to sign.
    #[error(transparent)]
    Sign(#[from] SignatureError),
    /// A certificate or a signature was refused.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A duchy takes part that is not configured.
    #[error("duchy {0} is not in the duchy configuration")]
    UnknownDuchy(String),
    /// What a duchy sent does not verify.
    #[error("duchy {duchy}: {source}")]
    Participant {
        /// Which duchy.
        duchy: String,
        /// Why.
        source: CertificateError,
    },
    /// A requisition's fingerprint is not the one known.
    #[error("the requisition fingerprint is not that of the requisition")]
    Fingerprint,
    /// A nonce does not have the hash known for its requisition.
    #[error("the nonce is not that of the requisition")]
    Nonce,
    /// The specification does not list the hash of a requisition's nonce.
    #[error("the measurement specification does not list the requisition's nonce")]
    UnlistedNonce,
    /// The nonces are not those the specification lists.
    #[error("{found} of the {expected} nonces that the measurement specification lists were revealed")]
    Participation {
        /// Different hashes listed.
        expected: usize,
        /// How many of them were revealed.
        found: usize,
    },
    /// A nonce was revealed that the specification does not list, or one twice.
    #[error("the {requisitions} requisitions do not have one listed nonce each")]
    SurplusNonces {
        /// Nonces revealed.
        requisitions: usize,
    },
    /// A public key is not a Tink keyset.
    #[error("the measurement consumer's public key is not a Tink keyset")]
    KeyFormat,
    /// Encryption or decryption failed.
    #[error(transparent)]
    Encryption(#[from] HybridEncryptionError),
    /// What was decrypted is not a signed result.
    #[error("the plaintext is not a signed measurement result")]
    MalformedResult,
}

impl ConsentError {
    /// Whether trying again later may help: only a token that is away comes back.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Token(error) => error.is_transient(),
            Self::Sign(SignatureError::Token { transient, .. }) => *transient,
            _ => false,
        }
    }
}

/// A signature and how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// DER for ECDSA, as long as the modulus for RSA.
    pub bytes: Vec<u8>,
    /// The algorithm, in dot notation.
    pub algorithm_oid: String,
}

/// A consent-signaling key with its certificate.
#[derive(Clone)]
pub struct Signer {
    certificate: Vec<u8>,
    key: SigningKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// Takes a certificate and its key (PKCS #8), each in DER, or in PEM as tools like to write them.
    ///
    /// # Errors
    /// If one is malformed, the key is of a kind that does not sign, or they do not belong together.
    pub fn new(certificate: Vec<u8>, key: &[u8]) -> Result<Self, ConsentError> {
        let certificate = in_der(certificate)?;
        let key = if is_pem(key) {
            let der = PrivatePkcs8KeyDer::from_pem_slice(key).map_err(|_| ConsentError::UnsupportedKey)?;
            SigningKey::from_pkcs8(der.secret_pkcs8_der())
        } else {
            SigningKey::from_pkcs8(key)
        };
        Self::checked(certificate, key.ok_or(ConsentError::UnsupportedKey)?)
    }

    /// Takes a certificate, in DER or PEM, whose key is in a token.
    ///
    /// # Errors
    /// If the certificate is malformed, or the token has no such key of the certificate's.
    pub fn in_token(certificate: Vec<u8>, key: &Pkcs11Uri) -> Result<Self, ConsentError> {
        let certificate = in_der(certificate)?;
        let key = pkcs11::SigningKey::open(key, x509::parse(&certificate)?.public_key())?;
        Self::checked(certificate, key.into())
    }

    /// The two, if they belong together.
    fn checked(certificate: Vec<u8>, key: SigningKey) -> Result<Self, ConsentError> {
        let signer = Self { certificate, key };
        let probe = signer.sign(b"")?;
        verify(&x509::parse(&signer.certificate)?, b"", &probe.bytes, &probe.algorithm_oid).map_err(
            |error| match error {
                CertificateError::KeyUsage => error.into(),
                _ => ConsentError::KeyMismatch,
            },
        )?;
        Ok(signer)
    }

    /// Reads both from files, as [`Self::new`].
    ///
    /// # Errors
    /// As [`Self::new`], and if a file cannot be read.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, ConsentError> {
        Self::new(read(certificate)?, &Zeroizing::new(read(key)?))
    }

    /// The certificate, in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Signs `data` as upstream does: with SHA-256, by ECDSA or RSA (PKCS #1 v1.5) after the kind of key.
    ///
    /// # Errors
    /// If the key cannot do that.
    pub fn sign(&self, data: &[u8]) -> Result<Signature, ConsentError> {
        self.sign_with(self.key.default_algorithm(), data)
    }

    /// Signs `data` by an algorithm of choice.
    ///
    /// # Errors
    /// If the algorithm is not for this kind of key.
    pub fn sign_with(&self, algorithm: SignatureAlgorithm, data: &[u8]) -> Result<Signature, ConsentError> {
        let bytes = self.key.sign(algorithm, data)?;
        Ok(Signature { bytes, algorithm_oid: algorithm.oid() })
    }

    /// Signs `message`, whose name in the public API is `name`.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn sign_message(&self, name: &str, message: &impl Message) -> Result<SignedMessage, ConsentError> {
        let value = message.encode_to_vec();
        let Signature { bytes, algorithm_oid } = self.sign(&value)?;
        Ok(SignedMessage {
            // Deprecated, but older parties read only this copy.
            data: value.clone(),
            message: Some(Any { type_url: format!("{API_PACKAGE}.{name}"), value }),
            signature: bytes,
            signature_algorithm_oid: algorithm_oid,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConsentError> {
    std::fs::read(path).map_err(|source| ConsentError::Read { path: path.to_owned(), source })
}

/// A certificate in DER, or in PEM, as tools like to write it.
fn in_der(certificate: Vec<u8>) -> Result<Vec<u8>, CertificateError> {
    if !is_pem(&certificate) {
        return Ok(certificate);
    }
    let der = CertificateDer::from_pem_slice(&certificate).map_err(|_| CertificateError::MalformedPem)?;
    Ok(der.to_vec())
}

/// Whether a file is text rather than DER, which begins with a sequence's tag.
fn is_pem(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"-----BEGIN ")
}

/// Checks a signature over `data` under `certificate`. Without `oid` the algorithm is the one that the certificate
/// itself is signed by.
///
/// # Errors
/// If the algorithm is not supported or the signature does not verify.
pub fn verify(
    certificate: &X509Certificate<'_>,
    data: &[u8],
    signature: &[u8],
    oid: &str,
) -> Result<(), CertificateError> {
    if oid.is_empty() {
        let oid = certificate.signature_algorithm.algorithm.to_id_string();
        return x509::verify_data(certificate, &oid, signature, data);
    }
    x509::verify_data(certificate, oid, signature, data)
}

/// What a message's signature is over: the value of the message, or of the deprecated copy if there is none.
pub fn signed_bytes(message: &SignedMessage) -> &[u8] {
    message.message.as_ref().map_or(&message.data, |any| &any.value)
}

/// Wipes a signed message that is a secret.
pub(crate) fn wipe(mut signed: SignedMessage) {
    signed.data.zeroize();
    if let Some(message) = &mut signed.message {
        message.value.zeroize();
    }
}

/// Checks the signature of `message` under `certificate`, and returns what was signed.
///
/// # Errors
/// As [`verify`].
pub fn verify_message<'a>(
    certificate: &X509Certificate<'_>,
    message: &'a SignedMessage,
) -> Result<&'a [u8], CertificateError> {
    let data = signed_bytes(message);
    verify(certificate, data, &message.signature, &message.signature_algorithm_oid)?;
    Ok(data)
}

/// A duchy's encryption key as the other participants of a computation see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParticipantKey<'a> {
    /// The duchy that claims it.
    pub duchy: &'a str,
    /// The duchy's consent-signaling certificate, in DER.
    pub certificate: &'a [u8],
    /// The serialised key.
    pub key: &'a [u8],
    /// The duchy's signature over it.
    pub signature: &'a [u8],
    /// The algorithm of the signature; empty for that of the certificate.
    pub signature_algorithm_oid: &'a str,
}

/// Checks that the root configured for the duchy issued the certificate, which is valid at `now`, and that its key
/// signed the duchy's key. Whether the key is a valid one is another question.
///
/// # Errors
/// Naming the duchy, if one of these does not hold.
pub fn verify_participant_key(
    participant: &ParticipantKey<'_>,
    directory: &DuchyDirectory,
    roots: &TrustedRoots,
    now: SystemTime,
) -> Result<(), ConsentError> {
    let duchy = participant.duchy;
    let entry = directory.get(duchy).ok_or_else(|| ConsentError::UnknownDuchy(duchy.to_owned()))?;
    let verified = x509::parse(participant.certificate).and_then(|certificate| {
        roots.verify_any(&certificate, &entry.root_skids, now)?;
        verify(&certificate, participant.key, participant.signature, participant.signature_algorithm_oid)
    });
    verified.map_err(|source| ConsentError::Participant { duchy: duchy.to_owned(), source })
}

/// The hash by which a measurement specification lists a data provider's nonce.
pub fn nonce_hash(nonce: u64) -> [u8; 32] {
    Sha256::digest(nonce.to_be_bytes()).into()
}

/// The fingerprint of a requisition: which specification it belongs to, and which data it asks for.
pub fn requisition_fingerprint(measurement_spec: &[u8], requisition_spec_hash: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(measurement_spec).chain_update(requisition_spec_hash).finalize().into()
}

/// What a duchy knows of a requisition that is being fulfilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownRequisition<'a> {
    /// The fingerprint from the Kingdom.
    pub fingerprint: &'a [u8],
    /// The hash of its nonce from the Kingdom.
    pub nonce_hash: &'a [u8],
    /// The hashes that the measurement's specification lists.
    pub listed_nonce_hashes: &'a [Vec<u8>],
}

/// Checks that the data provider fulfils this requisition of this measurement: `fingerprint` and `nonce` are what it
/// sent.
///
/// # Errors
/// If the fingerprint or the nonce is another's, or the nonce is not in the specification.
pub fn verify_fulfillment(
    fingerprint: &[u8],
    nonce: u64,
    known: &KnownRequisition<'_>,
) -> Result<(), ConsentError> {
    if !bool::from(fingerprint.ct_eq(known.fingerprint)) {
        return Err(ConsentError::Fingerprint);
    }
    let hash = nonce_hash(nonce);
    if !bool::from(hash[..].ct_eq(known.nonce_hash)) {
        return Err(ConsentError::Nonce);
    }
    if !known.listed_nonce_hashes.iter().any(|listed| *listed == hash) {
        return Err(ConsentError::UnlistedNonce);
    }
    Ok(())
}

/// Checks, before a computation starts, that its requisitions revealed exactly the nonces listed in the measurement's
/// specification: that all data providers asked consented, and nobody else.
///
/// # Errors
/// With the counts, if they differ.
pub fn verify_participation(nonces: &[u64], listed_nonce_hashes: &[Vec<u8>]) -> Result<(), ConsentError> {
    let revealed: BTreeSet<_> = nonces.iter().map(|nonce| nonce_hash(*nonce).to_vec()).collect();
    let listed: BTreeSet<_> = listed_nonce_hashes.iter().cloned().collect();
    let found = listed.intersection(&revealed).count();
    if found < listed.len() || listed.len() < listed_nonce_hashes.len() {
        return Err(ConsentError::Participation { expected: listed_nonce_hashes.len(), found });
    }
    if nonces.len() > listed.len() {
        return Err(ConsentError::SurplusNonces { requisitions: nonces.len() });
    }
    Ok(())
}

/// The keyset in a measurement consumer's public key.
///
/// # Errors
/// If it is not a Tink keyset of keys we can encrypt to.
pub fn public_keyset(key: &EncryptionPublicKey) -> Result<PublicKeyset, ConsentError> {
    match key.format() {
        encryption_public_key::Format::TinkKeyset => Ok(PublicKeyset::parse(&key.data)?),
        encryption_public_key::Format::Unspecified => Err(ConsentError::KeyFormat),
    }
}

/// Signs `result` and encrypts the signed message to the measurement consumer: the `encrypted_result` of
/// `SetComputationResult`.
///
/// # Errors
/// If the signer or the key cannot be used.
pub fn seal_result(
    result: &MeasurementResult,
    signer: &Signer,
    consumer: &PublicKeyset,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, ConsentError> {
    let signed = signer.sign_message("Measurement.Result", result)?;
    Ok(consumer.encrypt(&signed.encode_to_vec(), rng)?)
}

/// Decrypts a result and checks that the duchy with `certificate` signed it: what a measurement consumer does.
///
/// # Errors
/// If it is not encrypted to `consumer`, not a result, or not signed under `certificate`.
pub fn open_result(
    encrypted: &[u8],
    consumer: &PrivateKeyset,
    certificate: &X509Certificate<'_>,
) -> Result<MeasurementResult, ConsentError> {
    let plaintext = consumer.decrypt(encrypted)?;
    let signed = SignedMessage::decode(&plaintext[..]).map_err(|_| ConsentError::MalformedResult)?;
    let result = verify_message(certificate, &signed)?;
    MeasurementResult::decode(result).map_err(|_| ConsentError::MalformedResult)
}

#[cfg(test)]
mod tests;
