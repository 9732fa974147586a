//! Blobs: what a stage reads and writes, and what data providers and peers send.
//!
//! A blob is written once, whole, under a key that nothing else ever has: it names the duchy, the computation, the
//! stage and the attempt, and ends in a random number. Only then does anybody record its path, which is the key with the
//! content's SHA-256 digest and length. So two duchies, two attempts or two uploads that share a bucket cannot
//! overwrite one another, and a reader can tell that it read what was written.
//!
//! A [`BlobAddress`] says where the blobs are: files, S3 or Google Cloud Storage. Every kind passes the same suite
//! (`tests`).

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Instant;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::telemetry::instruments::BLOB_DURATION;

pub mod address;
mod content;
mod error;
mod listing;
mod location;
mod read;
#[cfg(any(feature = "s3", feature = "gcs"))]
mod remote;
mod retry;
mod write;

pub use address::BlobAddress;
pub use content::Content;
pub use error::BlobError;
pub use listing::{Owner, StoredObject};
pub use write::BlobWriter;

/// What blobs of up to so many bytes are read and written by: one request.
const ONE_REQUEST: u64 = 8 << 20;

/// The folder of private keys; upstream's.
const PRIVATE_KEYS: &str = "tink-private-key";

/// Where an upstream duchy has the private key with this id: whose it is, its path does not tell.
pub(crate) fn upstreams_private_key_path(id: &str) -> String {
    format!("{PRIVATE_KEYS}/{id}")
}

/// The blobs of one duchy.
#[derive(Clone, Debug)]
pub struct BlobStore {
    objects: Arc<dyn ObjectStore>,
    duchy: String,
    /// Blobs at hand of up to so many bytes are moved whole, in one request.
    whole: u64,
    /// Where the files are, if it is files.
    files: Option<Arc<FilePath>>,
}

/// What a blob belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Computed by a stage, or received for it.
    Stage {
        /// The global computation id.
        computation: &'a str,
        /// The stage's name.
        stage: &'a str,
        /// The attempt of the stage.
        attempt: i32,
    },
    /// Sent by a data provider.
    Requisition {
        /// The global computation id.
        computation: &'a str,
        /// The external requisition id.
        requisition: &'a str,
    },
}

/// A blob that has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its path, to be recorded.
    pub path: String,
    /// What it holds.
    pub content: Content,
}

impl BlobStore {
    /// The blobs of `duchy` at an address; duchies may share one. A directory is made if there is none; a bucket must
    /// exist, and is not looked at yet.
    ///
    /// # Errors
    /// [`BlobError::Open`] for settings or credentials that make no sense, [`BlobError::NotBuilt`],
    /// [`BlobError::Directory`].
    pub fn open(address: &BlobAddress, duchy: impl Into<String>) -> Result<Self, BlobError> {
        match address {
            BlobAddress::File(directory) => {
                std::fs::create_dir_all(directory)
                    .map_err(|source| BlobError::Directory { path: directory.clone(), source })?;
                Self::local(directory, duchy)
            }
            #[cfg(feature = "s3")]
            BlobAddress::S3(bucket) => {
                Ok(Self::new(remote::s3(bucket).map_err(cannot_open(address))?, duchy))
            }
            #[cfg(feature = "gcs")]
            BlobAddress::Gcs(bucket) => {
                Ok(Self::new(remote::gcs(bucket).map_err(cannot_open(address))?, duchy))
            }
            #[cfg(not(feature = "s3"))]
            BlobAddress::S3(_) => Err(BlobError::NotBuilt { address: address.to_string(), feature: "s3" }),
            #[cfg(not(feature = "gcs"))]
            BlobAddress::Gcs(_) => Err(BlobError::NotBuilt { address: address.to_string(), feature: "gcs" }),
        }
    }

    /// The blobs of `duchy` in any storage.
    pub fn new(objects: Arc<dyn ObjectStore>, duchy: impl Into<String>) -> Self {
        Self { objects, duchy: duchy.into(), whole: ONE_REQUEST, files: None }
    }

    /// Blobs as files under `root`, which must exist. A blob that is written survives a power failure.
    ///
    /// # Errors
    /// [`BlobError::Open`] if there is no such directory.
    pub fn local(root: &FilePath, duchy: impl Into<String>) -> Result<Self, BlobError> {
        let files = LocalFileSystem::new_with_prefix(root)
            .map_err(cannot_open(&BlobAddress::File(root.to_owned())))?;
        let files = files.with_fsync(true).with_automatic_cleanup(true);
        let store = Self::new(Arc::new(files), duchy);
        Ok(Self { whole: u64::MAX, files: Some(Arc::from(root)), ..store })
    }

    /// Blobs in memory, for tests.
    pub fn in_memory(duchy: impl Into<String>) -> Self {
        Self { whole: u64::MAX, ..Self::new(Arc::new(InMemory::new()), duchy) }
    }

    /// Where the private key with this id is: the only kind of blob that is found by its name, and not recorded.
    pub fn private_key_path(&self, id: &str) -> String {
        self.private_key(id).to_string()
    }

    fn private_key(&self, id: &str) -> Path {
        Path::from_iter([&self.duchy, PRIVATE_KEYS, id])
    }
}

fn cannot_open(address: &BlobAddress) -> impl FnOnce(object_store::Error) -> BlobError {
    let address = address.to_string();
    move |source| BlobError::Open { address, source }
}

/// What `work` on a blob gives; how long it took is recorded.
async fn measured<T>(
    operation: &'static str,
    work: impl Future<Output = Result<T, BlobError>>,
) -> Result<T, BlobError> {
    measured_since(Instant::now(), operation, work).await
}

/// As [`measured`], for work that began earlier.
async fn measured_since<T>(
    begun: Instant,
    operation: &'static str,
    work: impl Future<Output = Result<T, BlobError>>,
) -> Result<T, BlobError> {
    let done = work.await;
    let result = if done.is_ok() { "ok" } else { "error" };
    BLOB_DURATION.record(begun.elapsed().as_secs_f64(), [operation, result]);
    done
}

#[cfg(test)]
mod tests;
