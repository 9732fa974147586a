//! The private keys of a duchy's key pairs, each made for one computation: by them workers of share shuffles open what
//! data providers sealed (spec services.md §8.5).
//!
//! A keyset lies among the duchy's blobs, encrypted under the key encryption key, in the form and under the name that
//! upstream gives it; the computation knows it by its id. It is deleted when the computation ends.

use std::sync::Arc;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_protocols::proto::duchy::{EncryptionKeyPair, EncryptionPublicKey, encryption_public_key};

use crate::blob::{BlobError, BlobStore};
use crate::convert::share_shuffle_details;
use crate::hybrid_encryption::{
    HybridEncryptionError, KeyEncryptionKey, MAXIMUM_KEYSET_BYTES, PrivateKeyset,
};
use crate::proto::internal::ComputationDetails;

/// Stores and finds private keysets.
#[derive(Clone, Debug)]
pub struct PrivateKeyStore {
    blobs: BlobStore,
    key: Arc<KeyEncryptionKey>,
}

/// Why a keyset was not stored or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateKeyError {
    /// The blobs do not take or give it.
    #[error("private key {id}")]
    Blob {
        /// The key's id.
        id: String,
        /// Why.
        #[source]
        source: BlobError,
    },
    /// It cannot be encrypted, or is not encrypted under the key encryption key.
    #[error("private key {id}")]
    Keyset {
        /// The key's id.
        id: String,
        /// Why.
        #[source]
        source: HybridEncryptionError,
    },
}

impl PrivateKeyError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Blob { source, .. } => source.is_transient(),
            Self::Keyset { .. } => false,
        }
    }
}

impl PrivateKeyStore {
    /// Keysets among `blobs`, encrypted under `key`.
    pub fn new(blobs: BlobStore, key: KeyEncryptionKey) -> Self {
        Self { blobs, key: Arc::new(key) }
    }

    /// Stores a keyset; the key pair as a computation knows it.
    ///
    /// # Errors
    /// [`PrivateKeyError`].
    pub async fn store(&self, keyset: &PrivateKeyset) -> Result<EncryptionKeyPair, PrivateKeyError> {
        let id = keyset.key_id();
        let sealed = keyset.seal(&self.key, &mut UnwrapErr(SysRng));
        let sealed = sealed.map_err(|source| PrivateKeyError::Keyset { id: id.clone(), source })?;
        let written = self.blobs.write_private_key(&id, sealed).await;
        written.map_err(|source| PrivateKeyError::Blob { id: id.clone(), source })?;
        let public_key = EncryptionPublicKey {
            format: encryption_public_key::Format::TinkKeyset as i32,
            data: keyset.public().to_bytes(),
        };
        Ok(EncryptionKeyPair { private_key_id: id, public_key: Some(public_key) })
    }

    /// The keyset with this id.
    ///
    /// # Errors
    /// [`PrivateKeyError`].
    pub async fn find(&self, id: &str) -> Result<PrivateKeyset, PrivateKeyError> {
        let path = self.blobs.private_key_path(id);
        let sealed = self.blobs.read(&path, MAXIMUM_KEYSET_BYTES as u64).await;
        let sealed = sealed.map_err(|source| PrivateKeyError::Blob { id: id.to_owned(), source })?;
        PrivateKeyset::unseal(&sealed, &self.key)
            .map_err(|source| PrivateKeyError::Keyset { id: id.to_owned(), source })
    }
}

/// The id of the private key of a computation with these details, if it has one.
pub fn private_key_id(details: &ComputationDetails) -> Option<&str> {
    let pair = share_shuffle_details(details)?.encryption_key_pair.as_ref()?;
    Some(pair.private_key_id.as_str()).filter(|id| !id.is_empty())
}

/// Deletes the private key of a computation with these details, if it has one: nobody needs it any more.
///
/// # Errors
/// [`PrivateKeyError::Blob`].
pub async fn delete_private_key(
    blobs: &BlobStore,
    details: &ComputationDetails,
) -> Result<(), PrivateKeyError> {
    let Some(id) = private_key_id(details) else { return Ok(()) };
    let deleted = blobs.delete(&blobs.private_key_path(id)).await;
    deleted.map_err(|source| PrivateKeyError::Blob { id: id.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hybrid_encryption::Scheme;

    fn key() -> KeyEncryptionKey {
        let keyset = KeyEncryptionKey::generate_keyset(&mut UnwrapErr(SysRng));
        KeyEncryptionKey::parse_file(&keyset).expect("a keyset")
    }

    fn details(pair: EncryptionKeyPair) -> ComputationDetails {
        use crate::proto::internal::computation_details::Protocol;
        use halo_protocols::proto::protocol::honest_majority_share_shuffle as proto;
        let mut details = proto::ComputationDetails::default();
        details.encryption_key_pair = Some(pair);
        ComputationDetails {
            protocol: Some(Protocol::HonestMajorityShareShuffle(details)),
            ..ComputationDetails::default()
        }
    }

    #[tokio::test]
    async fn a_stored_keyset_opens_what_its_public_half_seals() {
        let blobs = BlobStore::in_memory("worker1");
        let store = PrivateKeyStore::new(blobs.clone(), key());
        let keyset = PrivateKeyset::generate(Scheme::Hpke, &mut UnwrapErr(SysRng));
        let pair = store.store(&keyset).await.expect("stored");
        assert_eq!(pair.public_key.as_ref().expect("a key").data, keyset.public().to_bytes());
        let sealed = keyset.public().encrypt(b"seed", &mut UnwrapErr(SysRng)).expect("sealed");
        let found = store.find(&pair.private_key_id).await.expect("found");
        assert_eq!(found.decrypt(&sealed).expect("its own").as_slice(), b"seed");
    }

    #[tokio::test]
    async fn nothing_is_stored_in_the_clear() {
        let blobs = BlobStore::in_memory("worker1");
        let store = PrivateKeyStore::new(blobs.clone(), key());
        let keyset = PrivateKeyset::generate(Scheme::Hpke, &mut UnwrapErr(SysRng));
        let id = store.store(&keyset).await.expect("stored").private_key_id;
        let path = blobs.private_key_path(&id);
        assert_eq!(path, format!("worker1/tink-private-key/{id}"));
        let bytes = blobs.read(&path, 1 << 16).await.expect("read");
        let clear = keyset.to_bytes();
        // In the middle of the private key, which only its kind, state and id follow.
        let part = &clear[clear.len() - 40..clear.len() - 24];
        assert!(!bytes.windows(part.len()).any(|found| found == part));
        let other = PrivateKeyStore::new(blobs, key());
        let refused = other.find(&id).await.expect_err("another key encryption key");
        assert!(matches!(refused, PrivateKeyError::Keyset { source: HybridEncryptionError::Open, .. }));
        assert!(!refused.is_transient());
    }

    #[tokio::test]
    async fn a_deleted_key_is_gone() {
        let blobs = BlobStore::in_memory("worker1");
        let store = PrivateKeyStore::new(blobs.clone(), key());
        let keyset = PrivateKeyset::generate(Scheme::Hpke, &mut UnwrapErr(SysRng));
        let pair = store.store(&keyset).await.expect("stored");
        let details = details(pair.clone());
        for _ in 0..2 {
            delete_private_key(&blobs, &details).await.expect("deleted");
        }
        let missing = store.find(&pair.private_key_id).await.expect_err("gone");
        assert!(matches!(missing, PrivateKeyError::Blob { source: BlobError::NotFound { .. }, .. }));
        delete_private_key(&blobs, &ComputationDetails::default()).await.expect("nothing to delete");
    }
}
