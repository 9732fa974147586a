//! The consent-signaling key of a duchy and the name of its certificate, which change together.
//!
//! A certificate at the Kingdom never changes: a new key has a new certificate with a new resource name. Files change
//! one after the other, and what lies between two changes must not be used: a signature by the new key beside the name
//! of the old certificate would be refused by everybody.

use std::path::{Path, PathBuf};

use super::{ConsentError, Signer, read};
use crate::key_location::KeyLocation;
use crate::kingdom::resource_name::CertificateName;
use crate::telemetry::instruments::CERTIFICATE_EXPIRATION;
use crate::x509;

/// A duchy's key with the name of its certificate. Whoever uses both takes them from one value.
#[derive(Clone, Debug)]
pub struct SigningIdentity {
    /// The key and its certificate.
    pub signer: Signer,
    /// The certificate's resource name at the Kingdom, `duchies/{duchy}/certificates/{certificate}`.
    pub certificate_name: String,
}

/// Where the name of the certificate stands.
#[derive(Clone, Debug)]
pub enum CertificateNameSource {
    /// It was given, and stays.
    Given(String),
    /// In a file, alone.
    File(PathBuf),
}

/// Where a duchy's key is.
#[derive(Clone, Debug)]
pub struct SigningFiles {
    /// The duchy.
    pub duchy: String,
    /// The certificate, X.509.
    pub certificate: PathBuf,
    /// The key: a file in PKCS #8, or one in a token.
    pub key: KeyLocation,
    /// The certificate's resource name.
    pub name: CertificateNameSource,
}

/// Why a key is not taken in place of another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SuccessionError {
    /// The new certificate has the name of the old one.
    #[error(
        "the consent-signaling certificate is another, but its resource name is still {0}; the Kingdom knows the old one by it"
    )]
    SameName(String),
    /// The new name is that of the old certificate.
    #[error("the consent-signaling certificate is the same, but its resource name is now {0}")]
    SameCertificate(String),
}

impl SigningFiles {
    /// Reads the key, its certificate and the name.
    ///
    /// # Errors
    /// As [`Signer::load`] or [`Signer::in_token`], and if the name is not that of a certificate of the duchy.
    pub fn load(&self) -> Result<SigningIdentity, ConsentError> {
        let name = match &self.name {
            CertificateNameSource::Given(name) => name.clone(),
            CertificateNameSource::File(path) => std::fs::read_to_string(path)
                .map_err(|source| ConsentError::Read { path: path.clone(), source })?
                .trim()
                .to_owned(),
        };
        let owned =
            CertificateName::parse(&name).filter(|parsed| parsed.owner == format!("duchies/{}", self.duchy));
        if owned.is_none() {
            return Err(ConsentError::CertificateName { name, duchy: self.duchy.clone() });
        }
        let signer = match &self.key {
            KeyLocation::File(key) => Signer::load(&self.certificate, key)?,
            KeyLocation::Token(uri) => Signer::in_token(read(&self.certificate)?, uri)?,
        };
        Ok(SigningIdentity { signer, certificate_name: name })
    }

    /// The files.
    pub fn paths(&self) -> Vec<&Path> {
        let name = match &self.name {
            CertificateNameSource::Given(_) => None,
            CertificateNameSource::File(path) => Some(path.as_path()),
        };
        [self.certificate.as_path()].into_iter().chain(self.key.file()).chain(name).collect()
    }
}

impl SigningIdentity {
    /// Has the metrics tell when the certificate expires.
    pub(crate) fn measure(&self) {
        if let Some(end) = x509::not_after(self.signer.certificate()) {
            CERTIFICATE_EXPIRATION.set(end as f64, ["consent_signaling"]);
        }
    }

    /// Whether `newer` may take its place: certificate and name are both the same, or both others.
    ///
    /// # Errors
    /// [`SuccessionError`].
    pub fn may_become(&self, newer: &Self) -> Result<(), SuccessionError> {
        let same_certificate = self.signer.certificate() == newer.signer.certificate();
        let same_name = self.certificate_name == newer.certificate_name;
        match (same_certificate, same_name) {
            (true, true) | (false, false) => Ok(()),
            (false, true) => Err(SuccessionError::SameName(newer.certificate_name.clone())),
            (true, false) => Err(SuccessionError::SameCertificate(newer.certificate_name.clone())),
        }
    }
}
