//! Key encryption keys: what the other keys of a duchy are encrypted under where they lie
//! ([docs/keys.md](https://github.com/halo-duchy/halo-duchy/blob/main/docs/keys.md)).
//!
//! - [`KeyEncryption`] is what every kind of such a key can do, as Tink's AEAD: [`FileKey`] is a keyset in a file, the
//!   others are keys of a token or of a key management service, that never leave it.
//! - [`KeyUri`] names one: `file:PATH`, `pkcs11:…`, `gcp-kms://…`, `aws-kms://…`.
//! - [`envelope`] encrypts secrets under data keys of their own, which a key encryption key wraps.

#[cfg(feature = "aws-kms")]
mod aws_kms;
pub mod envelope;
mod file;
#[cfg(feature = "gcp-kms")]
mod gcp_kms;
#[cfg(any(feature = "aws-kms", feature = "gcp-kms"))]
mod remote;
#[cfg(test)]
pub(crate) mod testing;
mod token;
mod uri;

pub use file::{FileKey, FileKeyError};
pub use uri::{KeyArn, KeyUri, KeyUriError, OpenKeyError, OpenedKey};

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::cloud::CloudError;
use crate::hybrid_encryption::HybridEncryptionError;
use crate::pkcs11::Pkcs11Error;
use crate::platform;
use crate::retry::Class;

/// A key encryption key, wherever it is.
#[async_trait]
pub trait KeyEncryption: fmt::Debug + Send + Sync {
    /// What logs, errors and the audit log call it: its URI, which is no secret.
    fn name(&self) -> &str;

    /// Encrypts a key. It opens with the same associated data only.
    ///
    /// # Errors
    /// [`KeyEncryptionError`].
    async fn encrypt(&self, key: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, KeyEncryptionError>;

    /// Opens what [`Self::encrypt`] made, by this key or, where it has older versions, by one of them.
    ///
    /// # Errors
    /// [`KeyEncryptionError`].
    async fn decrypt(
        &self,
        encrypted: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyEncryptionError>;
}

/// A key encryption key that several use.
pub type SharedKey = Arc<dyn KeyEncryption>;

/// Why a key encryption key does not do what it is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyEncryptionError {
    /// What is to be opened was encrypted under another key, for something else, or was altered.
    #[error("{key} does not open it: it is of another key, for another use, or was altered")]
    Open {
        /// Which key.
        key: String,
    },
    /// The keyset lacks the key under which it was encrypted: another process may have a newer keyset already, or somebody has
    /// altered it.
    #[error("{key} does not open it: it has no such key, or not yet")]
    UnknownKey {
        /// Which keyset.
        key: String,
    },
    /// The keyset cannot encrypt.
    #[error("{key}: {source}")]
    Keyset {
        /// Which key.
        key: String,
        /// Why.
        #[source]
        source: HybridEncryptionError,
    },
    /// The token that has the key does not do it.
    #[error("{key}: {source}")]
    Token {
        /// Which key.
        key: String,
        /// Why.
        #[source]
        source: Pkcs11Error,
    },
    /// The service that has the key cannot be asked, or refuses.
    #[error("{key}: {source}")]
    Service {
        /// Which key.
        key: String,
        /// Why.
        #[source]
        source: CloudError,
    },
    /// The service answers something else.
    #[error("{key}: {what} of the answer is not as documented, or was altered on the way")]
    Answer {
        /// Which key.
        key: String,
        /// What of it.
        what: &'static str,
    },
    /// The operating system has no randomness to give.
    #[error("no randomness for a key")]
    Randomness(#[from] getrandom::Error),
}

impl KeyEncryptionError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Open { .. } | Self::Keyset { .. } => Class::Permanent,
            Self::Service { source, .. } => source.class(),
            Self::Token { source, .. } if source.is_transient() => Class::Transient,
            Self::Token { .. } => Class::Permanent,
            Self::UnknownKey { .. } | Self::Answer { .. } => Class::Limited,
            Self::Randomness(_) => Class::Transient,
        }
    }
}

/// Finds out whether `key` encrypts, and opens what it has encrypted.
///
/// # Errors
/// [`KeyEncryptionError`].
pub async fn check(key: &dyn KeyEncryption) -> Result<(), KeyEncryptionError> {
    let mut probe = Zeroizing::new([0; 32]);
    platform::fill(&mut *probe)?;
    let encrypted = key.encrypt(&*probe, b"check").await?;
    let opened = key.decrypt(&encrypted, b"check").await?;
    match bool::from(opened.as_slice().ct_eq(&*probe)) {
        true => Ok(()),
        false => Err(KeyEncryptionError::Answer { key: key.name().to_owned(), what: "the plaintext" }),
    }
}
