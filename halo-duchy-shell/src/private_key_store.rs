//! The private keys of a duchy's key pairs, each made for one computation: by them workers of share shuffles open what
//! data providers sealed (docs/protocols/hmss.md#keys).
//!
//! A keyset lies among the duchy's blobs, encrypted under the key encryption key, in the form and under the name that
//! upstream gives it; the computation knows it by its id. It is deleted when the computation ends.

use halo_protocols::proto::duchy::{EncryptionKeyPair, EncryptionPublicKey, encryption_public_key};

use crate::blob::{BlobError, BlobStore, upstreams_private_key_path};
use crate::convert::share_shuffle_details;
use crate::hybrid_encryption::{HybridEncryptionError, MAXIMUM_KEYSET_BYTES, PrivateKeyset, encrypted_part};
use crate::key_encryption::{KeyEncryptionError, SharedKey};
use crate::proto::internal::ComputationDetails;

/// Stores and finds private keysets.
#[derive(Clone, Debug)]
pub struct PrivateKeyStore {
    blobs: BlobStore,
    key: SharedKey,
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
    /// The key encryption key does not encrypt or open it.
    #[error("private key {id}")]
    Key {
        /// The key's id.
        id: String,
        /// Why.
        #[source]
        source: KeyEncryptionError,
    },
    /// What is stored is no keyset.
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
            Self::Key { source, .. } => source.class().may_pass(),
            Self::Keyset { .. } => false,
        }
    }
}

impl PrivateKeyStore {
    /// Keysets among `blobs`, encrypted under `key`.
    pub fn new(blobs: BlobStore, key: SharedKey) -> Self {
        Self { blobs, key }
    }

    /// What the key encryption key is called.
    pub fn key_name(&self) -> &str {
        self.key.name()
    }

    /// Stores a keyset; the key pair as a computation knows it.
    ///
    /// # Errors
    /// [`PrivateKeyError`].
    pub async fn store(&self, keyset: &PrivateKeyset) -> Result<EncryptionKeyPair, PrivateKeyError> {
        let id = keyset.key_id();
        let encrypted = self.key.encrypt(&keyset.to_bytes(), b"").await;
        let encrypted = encrypted.map_err(|source| PrivateKeyError::Key { id: id.clone(), source })?;
        let written = self.blobs.write_private_key(&id, keyset.sealed_as(encrypted)).await;
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
        let read = async |path: String| self.blobs.read(&path, MAXIMUM_KEYSET_BYTES as u64).await;
        let sealed = match read(self.blobs.private_key_path(id)).await {
            // Of a computation that an upstream duchy began, before ours took it over.
            Err(BlobError::NotFound { .. }) => read(upstreams_private_key_path(id)).await,
            sealed => sealed,
        };
        let sealed = sealed.map_err(|source| PrivateKeyError::Blob { id: id.to_owned(), source })?;
        let malformed = |source| PrivateKeyError::Keyset { id: id.to_owned(), source };
        let opened = self.key.decrypt(&encrypted_part(&sealed).map_err(malformed)?, b"").await;
        let opened = opened.map_err(|source| PrivateKeyError::Key { id: id.to_owned(), source })?;
        PrivateKeyset::parse(&opened).map_err(malformed)
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
    // Nobody else's key has the same id.
    for path in [blobs.private_key_path(id), upstreams_private_key_path(id)] {
        let deleted = blobs.delete(&path).await;
        deleted.map_err(|source| PrivateKeyError::Blob { id: id.to_owned(), source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use getrandom::SysRng;
    use getrandom::rand_core::UnwrapErr;

    use super::*;
    use crate::hybrid_encryption::{KeyEncryptionKey, Scheme};
    use crate::key_encryption::FileKey;

    fn key() -> SharedKey {
        let keyset = KeyEncryptionKey::generate_keyset(&mut UnwrapErr(SysRng));
        Arc::new(FileKey::new("a test's", KeyEncryptionKey::parse_file(&keyset).expect("a keyset")))
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
        let PrivateKeyError::Key { source: KeyEncryptionError::UnknownKey { .. }, .. } = refused else {
            panic!("{refused:?}")
        };
        assert!(refused.is_transient(), "the other key may be in use already");
    }

    #[tokio::test]
    async fn a_key_that_upstream_has_stored_is_found_and_deleted() {
        let folder = tempfile::tempdir().expect("a directory");
        let address = crate::blob::BlobAddress::File(folder.path().into());
        let blobs = BlobStore::open(&address, "worker1").expect("a directory");
        let store = PrivateKeyStore::new(blobs.clone(), key());
        let keyset = PrivateKeyset::generate(Scheme::Hpke, &mut UnwrapErr(SysRng));
        let pair = store.store(&keyset).await.expect("stored");
        // As if an upstream duchy had stored it: at the root, whose duchy it is of is not told.
        let upstreams = folder.path().join("tink-private-key");
        std::fs::rename(folder.path().join("worker1/tink-private-key"), &upstreams).expect("moved");
        let found = store.find(&pair.private_key_id).await.expect("found");
        assert_eq!(found.to_bytes(), keyset.to_bytes());
        delete_private_key(&blobs, &details(pair.clone())).await.expect("deleted");
        assert!(!upstreams.join(pair.private_key_id).exists());
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
