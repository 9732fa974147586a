//! Blobs: what a stage reads and writes, and what data providers and peers send.
//!
//! A key is written once and never again: it names the computation, the stage and the attempt, and ends in the
//! content's SHA-256 digest and length and a random number. So two duchies, two attempts or two uploads that share a
//! bucket cannot overwrite one another, and a reader can tell that it read what was written. A blob is written whole
//! under a temporary key, then moved; only then does anybody record its path.

use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, WriteMultipart};
use sha2::{Digest, Sha256};

use crate::telemetry::instruments::{BLOB_BYTES, BLOB_DURATION};

mod content;

pub use content::Content;

/// Parts of an upload in flight at a time; each is 5 MiB.
const PARTS_IN_FLIGHT: usize = 4;

/// The blobs of one duchy.
#[derive(Clone, Debug)]
pub struct BlobStore {
    objects: Arc<dyn ObjectStore>,
    duchy: String,
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
    /// The key, to be recorded.
    pub path: String,
    /// What it holds.
    pub content: Content,
}

/// Why a blob cannot be written, read or deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The text is no key.
    #[error("{path:?} is not a blob path")]
    BadPath {
        /// The text.
        path: String,
        /// Why.
        source: object_store::path::Error,
    },
    /// There is no such blob.
    #[error("blob {path} does not exist")]
    NotFound {
        /// The key.
        path: String,
    },
    /// The blob is larger than the caller allows.
    #[error("the blob is larger than {limit} bytes")]
    TooLarge {
        /// The most allowed.
        limit: u64,
    },
    /// What was read is not what was written.
    #[error("blob {path} holds {found} instead of {expected}")]
    Corrupt {
        /// The key.
        path: String,
        /// What was written.
        expected: Content,
        /// What was read.
        found: Content,
    },
    /// The storage fails.
    #[error("cannot {operation} blob {path}")]
    Storage {
        /// What was tried.
        operation: &'static str,
        /// The key.
        path: String,
        /// Why it failed.
        source: object_store::Error,
    },
    /// The operating system gives no random numbers.
    #[error("no randomness for a blob key")]
    Randomness(#[from] getrandom::Error),
}

impl BlobError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Storage { .. } | Self::Randomness(_) => true,
            Self::BadPath { .. } | Self::NotFound { .. } | Self::TooLarge { .. } | Self::Corrupt { .. } => {
                false
            }
        }
    }

    fn storage(operation: &'static str, path: &Path) -> impl FnOnce(object_store::Error) -> Self {
        let path = path.to_string();
        move |source| match source {
            object_store::Error::NotFound { .. } => Self::NotFound { path },
            source => Self::Storage { operation, path, source },
        }
    }
}

impl BlobStore {
    /// The blobs of `duchy` in any storage; duchies may share one.
    pub fn new(objects: Arc<dyn ObjectStore>, duchy: impl Into<String>) -> Self {
        Self { objects, duchy: duchy.into() }
    }

    /// Blobs as files under `root`, which must exist. A blob that is written survives a power failure.
    ///
    /// # Errors
    /// [`BlobError::Storage`] if there is no such directory.
    pub fn local(root: &FilePath, duchy: impl Into<String>) -> Result<Self, BlobError> {
        let files = LocalFileSystem::new_with_prefix(root).map_err(|source| BlobError::Storage {
            operation: "open the directory of",
            path: root.display().to_string(),
            source,
        })?;
        Ok(Self::new(Arc::new(files.with_fsync(true)), duchy))
    }

    /// Blobs in memory, for tests.
    pub fn in_memory(duchy: impl Into<String>) -> Self {
        Self::new(Arc::new(InMemory::new()), duchy)
    }

    /// Begins a blob of at most `limit` bytes that arrives in chunks.
    ///
    /// # Errors
    /// [`BlobError::Storage`], [`BlobError::Randomness`].
    pub async fn writer(&self, place: Place<'_>, limit: u64) -> Result<BlobWriter, BlobError> {
        let random = random_name()?;
        let temporary = Path::from_iter([&self.duchy, "uploads", &random]);
        let upload = self.objects.put_multipart(&temporary).await;
        let upload = upload.map_err(BlobError::storage("begin", &temporary))?;
        Ok(BlobWriter {
            objects: Arc::clone(&self.objects),
            upload: WriteMultipart::new(upload),
            temporary,
            folder: self.folder(place),
            random,
            hash: Sha256::new(),
            length: 0,
            limit,
            begun: Instant::now(),
        })
    }

    /// Writes a blob that is at hand.
    ///
    /// # Errors
    /// [`BlobError::Storage`], [`BlobError::Randomness`].
    pub async fn write(&self, place: Place<'_>, bytes: impl Into<Bytes>) -> Result<Blob, BlobError> {
        let bytes = bytes.into();
        let written = measured("write", async {
            let content = content_of(&bytes).await;
            let key = key(&self.folder(place), content, &random_name()?);
            let create = PutOptions::from(PutMode::Create);
            let written = self.objects.put_opts(&key, bytes.into(), create).await;
            written.map_err(BlobError::storage("write", &key))?;
            Ok(Blob { path: key.to_string(), content })
        });
        let blob: Blob = written.await?;
        BLOB_BYTES.add(blob.content.length, ["write"]);
        Ok(blob)
    }

    /// Where the private key with this id is: the only kind of blob that is found by its name, and not recorded.
    pub fn private_key_path(&self, id: &str) -> String {
        self.private_key(id).to_string()
    }

    /// Writes a private key, which must be encrypted, under its id. One that is there already, which must be the same,
    /// stays.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn write_private_key(&self, id: &str, sealed: Vec<u8>) -> Result<(), BlobError> {
        let key = self.private_key(id);
        let create = PutOptions::from(PutMode::Create);
        match self.objects.put_opts(&key, Bytes::from(sealed).into(), create).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(BlobError::storage("write", &key)(error)),
        }
    }

    fn private_key(&self, id: &str) -> Path {
        Path::from_iter([&self.duchy, "tink-private-key", id])
    }

    /// Reads a whole blob of at most `limit` bytes.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] before anything is read; those of [`BlobStore::read_chunks`].
    pub async fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, BlobError> {
        let read = measured("read", async {
            let (key, result) = self.open(path).await?;
            if result.meta.size > limit {
                return Err(BlobError::TooLarge { limit });
            }
            let whole = result.bytes().await.map_err(BlobError::storage("read", &key))?;
            check(&key, content_of(&whole).await)?;
            Ok(whole)
        });
        let whole = read.await?;
        BLOB_BYTES.add(whole.len() as u64, ["read"]);
        // Nobody else holds these bytes, so they are not copied.
        Ok(whole.into())
    }

    /// Reads a blob in chunks. The stream ends with [`BlobError::Corrupt`] if the whole is not what was written, so
    /// nothing read counts before the end. A path that names no content, as upstream's do not, is not checked.
    ///
    /// # Errors
    /// [`BlobError::BadPath`], [`BlobError::NotFound`], [`BlobError::Storage`].
    pub async fn read_chunks(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>, BlobError> {
        let (key, result) = self.open(path).await?;
        Ok(verified(key, result))
    }

    /// Deletes a blob; one that does not exist counts as deleted.
    ///
    /// # Errors
    /// [`BlobError::BadPath`], [`BlobError::Storage`].
    pub async fn delete(&self, path: &str) -> Result<(), BlobError> {
        let key = parse(path)?;
        let deleted = measured("delete", async {
            match self.objects.delete(&key).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(BlobError::storage("delete", &key)(error)),
            }
        });
        deleted.await
    }

    async fn open(&self, path: &str) -> Result<(Path, GetResult), BlobError> {
        let key = parse(path)?;
        let result = self.objects.get(&key).await.map_err(BlobError::storage("read", &key))?;
        Ok((key, result))
    }

    fn folder(&self, place: Place<'_>) -> Path {
        match place {
            Place::Stage { computation, stage, attempt } => {
                Path::from_iter([&self.duchy, "computations", computation, stage, &attempt.to_string()])
            }
            Place::Requisition { computation, requisition } => {
                Path::from_iter([&self.duchy, "requisitions", computation, requisition])
            }
        }
    }
}

/// The chunks of a blob, and an error behind them if they are not its content.
fn verified(key: Path, result: GetResult) -> impl Stream<Item = Result<Bytes, BlobError>> + Send {
    let state = (result.into_stream(), Sha256::new(), 0u64, key);
    futures::stream::try_unfold(state, move |(mut chunks, hash, length, key)| async move {
        match chunks.next().await {
            Some(Ok(chunk)) => {
                let (hash, length) = (hash.chain_update(&chunk), length + chunk.len() as u64);
                Ok(Some((chunk, (chunks, hash, length, key))))
            }
            Some(Err(error)) => Err(BlobError::storage("read", &key)(error)),
            None => {
                check(&key, Content { digest: hash.finalize().into(), length })?;
                Ok(None)
            }
        }
    })
}

/// Whether what was read under `key` is what was written there.
fn check(key: &Path, found: Content) -> Result<(), BlobError> {
    match Content::in_path(key.as_ref()) {
        Some(expected) if expected != found => {
            Err(BlobError::Corrupt { path: key.to_string(), expected, found })
        }
        _ => Ok(()),
    }
}

/// The content of bytes so many that hashing them would hold up the tasks of a thread.
async fn content_of(bytes: &Bytes) -> Content {
    let shared = bytes.clone();
    let hashed = tokio::task::spawn_blocking(move || Content::of(&shared)).await;
    // Only a runtime that is going down does not hash it.
    hashed.unwrap_or_else(|_| Content::of(bytes))
}

/// A blob that is being written. Dropped unfinished, it leaves at most a temporary object.
pub struct BlobWriter {
    objects: Arc<dyn ObjectStore>,
    upload: WriteMultipart,
    temporary: Path,
    folder: Path,
    random: String,
    hash: Sha256,
    length: u64,
    limit: u64,
    begun: Instant,
}

impl BlobWriter {
    /// Appends a chunk.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`], [`BlobError::Storage`].
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), BlobError> {
        self.length += chunk.len() as u64;
        if self.length > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        self.hash.update(&chunk);
        let capacity = self.upload.wait_for_capacity(PARTS_IN_FLIGHT).await;
        capacity.map_err(BlobError::storage("write", &self.temporary))?;
        self.upload.put(chunk);
        Ok(())
    }

    /// The bytes written so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing has been written yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Makes the blob readable under its final key.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn finish(self) -> Result<Blob, BlobError> {
        let content = Content { digest: self.hash.finalize().into(), length: self.length };
        let key = key(&self.folder, content, &self.random);
        let finished = async {
            self.upload.finish().await.map_err(BlobError::storage("write", &self.temporary))?;
            let moved = self.objects.rename_if_not_exists(&self.temporary, &key).await;
            moved.map_err(BlobError::storage("move", &self.temporary))
        };
        measured_since(self.begun, "write", finished).await?;
        BLOB_BYTES.add(content.length, ["write"]);
        Ok(Blob { path: key.to_string(), content })
    }

    /// Discards what has been written.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn abort(self) -> Result<(), BlobError> {
        self.upload.abort().await.map_err(BlobError::storage("discard", &self.temporary))
    }
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobWriter")
            .field("folder", &self.folder)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
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

fn key(folder: &Path, content: Content, random: &str) -> Path {
    folder.clone().join(format!("{content}-{random}"))
}

fn parse(path: &str) -> Result<Path, BlobError> {
    Path::parse(path).map_err(|source| BlobError::BadPath { path: path.to_owned(), source })
}

fn random_name() -> Result<String, getrandom::Error> {
    Ok(format!("{:016x}", getrandom::u64()?))
}

#[cfg(test)]
mod tests;
