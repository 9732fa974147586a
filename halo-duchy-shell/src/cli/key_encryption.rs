//! The flags of the key encryption key.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgAction, Args};

use super::CliError;
use crate::blob::BlobStore;
use crate::computation_secrets::ComputationSecrets;
use crate::config::ProtocolsSetup;
use crate::key_encryption::{KeyUri, KeyUriError, OpenedKey, check};
use crate::private_key_store::PrivateKeyStore;
use crate::reload::Reloader;
use crate::retry::Class;

/// How private keys and the secrets of computations are kept.
#[derive(Args, Clone, Debug)]
pub(super) struct KeyEncryptionOptions {
    /// A file that has the key encryption key: a Tink keyset of AES-GCM keys, in the clear. The same as
    /// `--key-encryption-key-uri=file:FILE`.
    #[arg(long, value_name = "FILE", conflicts_with = "key_encryption_key_uri")]
    key_encryption_key_file: Option<PathBuf>,
    /// The key under which private keys are encrypted among the blobs, and the secrets of computations in the database:
    /// `file:PATH`, `pkcs11:…`, `gcp-kms://…` or `aws-kms://…` (docs/keys.md). A worker of share shuffles needs one.
    #[arg(long, value_name = "URI", value_parser = key_uri)]
    key_encryption_key_uri: Option<Result<KeyUri, KeyUriError>>,
    /// Write the secrets of computations encrypted, if there is a key encryption key. `false` as long as upstream's programs,
    /// or versions that cannot read them so, use the same database.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true")]
    encrypt_computation_secrets: bool,
}

/// What clap makes of a URI. One that names a token is never refused there, since clap repeats what it refuses, and that may
/// be a PIN.
fn key_uri(text: &str) -> Result<Result<KeyUri, KeyUriError>, KeyUriError> {
    match text.parse() {
        Err(error @ KeyUriError::Token(_)) => Ok(Err(error)),
        parsed => parsed.map(Ok),
    }
}

/// The duchy's key encryption key, if it has one.
#[derive(Clone, Debug)]
pub(super) struct KeyEncryptionParts {
    opened: Option<OpenedKey>,
    seals: bool,
}

impl KeyEncryptionOptions {
    /// The key. One that is in a service is tried out: what would fail every computation is told at once.
    pub(super) async fn open(&self) -> Result<KeyEncryptionParts, CliError> {
        let file = self.key_encryption_key_file.clone().map(KeyUri::File);
        let given = self.key_encryption_key_uri.clone().transpose();
        let given = given.map_err(|error| CliError::flag("--key-encryption-key-uri", error.to_string()))?;
        let opened = file.or(given).map(|uri| uri.open()).transpose()?;
        if let Some(OpenedKey { key, file: None }) = &opened {
            match check(&**key).await {
                Ok(()) => {}
                Err(error) if error.class() == Class::Transient => {
                    tracing::warn!(%error, "the key encryption key cannot be tried out now");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(KeyEncryptionParts { opened, seals: self.encrypt_computation_secrets })
    }
}

impl KeyEncryptionParts {
    /// Keeps a key in a file as the file says.
    pub(super) fn watched_by(&self, reloader: Reloader) -> Reloader {
        match self.opened.as_ref().and_then(|opened| opened.file.as_ref()) {
            Some((path, key)) => reloader.key_encryption(path, key),
            None => reloader,
        }
    }

    /// How the secrets of computations are kept.
    pub(super) fn secrets(&self) -> ComputationSecrets {
        match &self.opened {
            Some(opened) if self.seals => ComputationSecrets::sealed_by(Arc::clone(&opened.key)),
            Some(opened) => ComputationSecrets::opened_by(Arc::clone(&opened.key)),
            None => ComputationSecrets::default(),
        }
    }

    /// The same, of a program that makes secrets: it says so if they will lie in the clear.
    pub(super) fn secrets_to_be(&self) -> ComputationSecrets {
        let secrets = self.secrets();
        if !secrets.are_sealed() {
            tracing::warn!(
                "no key encryption key is used: the secret keys of computations will lie in the database in the clear \
                 (--key-encryption-key-uri, docs/keys.md)"
            );
        }
        secrets
    }

    /// The private keys among `blobs`. A worker of share shuffles, by `setup`, must be able to keep some.
    pub(super) fn private_keys(
        &self,
        blobs: Option<&BlobStore>,
        setup: &ProtocolsSetup,
    ) -> Result<Option<PrivateKeyStore>, CliError> {
        match (&self.opened, blobs) {
            (Some(opened), Some(blobs)) => {
                Ok(Some(PrivateKeyStore::new(blobs.clone(), Arc::clone(&opened.key))))
            }
            (Some(_), None) => Err(CliError::flag("--blobs", "private keys need somewhere to be")),
            (None, _) if setup.is_share_shuffle_worker() => {
                let why = "the duchy is a worker of share shuffles, whose private keys must be encrypted";
                Err(CliError::flag("--key-encryption-key-file", why))
            }
            (None, _) => Ok(None),
        }
    }
}
