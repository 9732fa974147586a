//! Reading blobs, checked against what their paths tell.
//!
//! A small blob is one request. A large one is read in ranges, some ahead of the reader, so that memory is bounded
//! and a cut connection costs a range and not the blob; all ranges must be of one version of the object.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::location::Location;
use super::retry::retried;
use super::{BlobError, BlobStore, Content, ONE_REQUEST, measured};
use crate::platform;
use crate::telemetry::instruments::BLOB_BYTES;

/// Bytes of a range.
const RANGE: u64 = ONE_REQUEST;

/// Ranges that are fetched at a time.
const RANGES_IN_FLIGHT: usize = 4;

impl BlobStore {
    /// Reads a whole blob of at most `limit` bytes.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] before anything is read; those of [`BlobStore::read_chunks`].
    pub async fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, BlobError> {
        let whole = measured("read", self.read_location(Location::parse(path)?, limit)).await?;
        BLOB_BYTES.add(whole.len() as u64, ["read"]);
        // A blob of one request is not copied: nobody else holds its bytes.
        Ok(whole.into())
    }

    async fn read_location(&self, location: Location, limit: u64) -> Result<Bytes, BlobError> {
        let told = location.content.map(|content| content.length);
        if told.is_some_and(|length| length > limit) {
            return Err(BlobError::TooLarge { limit });
        }
        if told.unwrap_or(limit) <= self.whole {
            let whole = retried(|| async {
                let found = self.objects.get(&location.key).await?;
                if found.meta.size > limit { Ok(Err(found.meta.size)) } else { Ok(Ok(found.bytes().await?)) }
            });
            return match whole.await.map_err(BlobError::storage("read", &location.path))? {
                Ok(whole) => {
                    check_length(&location, whole.len() as u64)?;
                    check(&location, content_of(&whole).await)?;
                    Ok(whole)
                }
                Err(size) => {
                    check_length(&location, size)?;
                    Err(BlobError::TooLarge { limit })
                }
            };
        }
        let found = self.look_up(&location).await?;
        if found.size > limit {
            return Err(BlobError::TooLarge { limit });
        }
        let mut whole = Vec::with_capacity(usize::try_from(found.size).unwrap_or_default());
        let mut chunks = std::pin::pin!(self.verified(location, found));
        while let Some(chunk) = chunks.try_next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }

    /// Reads a blob in chunks of at most 8 MiB. The stream ends with [`BlobError::Corrupt`] if the whole is not what was
    /// written, so nothing read counts before the end. A path that names no content, as upstream's do not, is not
    /// checked.
    ///
    /// # Errors
    /// [`BlobError::BadPath`], [`BlobError::NotFound`], [`BlobError::Storage`]; [`BlobError::WrongLength`] before
    /// anything is read.
    pub async fn read_chunks(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>, BlobError> {
        let location = Location::parse(path)?;
        let found = self.look_up(&location).await?;
        Ok(self.verified(location, found))
    }

    /// The object, if it is as long as its path tells.
    async fn look_up(&self, location: &Location) -> Result<ObjectMeta, BlobError> {
        let found = retried(|| self.objects.head(&location.key)).await;
        let found = found.map_err(BlobError::storage("read", &location.path))?;
        check_length(location, found.size)?;
        Ok(found)
    }

    /// The chunks of a blob, and an error behind them if they are not its content.
    fn verified(
        &self,
        location: Location,
        found: ObjectMeta,
    ) -> impl Stream<Item = Result<Bytes, BlobError>> + Send + use<> {
        let state = (self.ranges(found), Sha256::new(), 0u64, location);
        futures::stream::try_unfold(state, |(mut chunks, hash, length, location)| async move {
            match chunks.next().await {
                Some(Ok(chunk)) => {
                    let (hash, length) = (hashed(hash, &chunk).await, length + chunk.len() as u64);
                    Ok(Some((chunk, (chunks, hash, length, location))))
                }
                Some(Err(error)) => Err(BlobError::storage("read", &location.path)(error)),
                None => {
                    check(&location, Content { digest: hash.finalize().into(), length })?;
                    Ok(None)
                }
            }
        })
    }

    /// The object's ranges in order. They are fetched while the reader is busy with earlier ones, until it goes away.
    fn ranges(&self, found: ObjectMeta) -> BoxStream<'static, Result<Bytes, Error>> {
        let objects = self.objects.clone();
        let starts = (0..found.size).step_by(RANGE as usize);
        let fetch = move |start: u64| {
            let (objects, found) = (objects.clone(), found.clone());
            async move {
                let range = start..found.size.min(start + RANGE);
                let options = GetOptions {
                    range: Some(GetRange::Bounded(range)),
                    if_match: found.e_tag.clone(),
                    ..GetOptions::default()
                };
                retried(|| async { objects.get_opts(&found.location, options.clone()).await?.bytes().await })
                    .await
            }
        };
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut ranges = futures::stream::iter(starts).map(fetch).buffered(RANGES_IN_FLIGHT);
            while let Some(range) = ranges.next().await {
                // The reader may have gone away.
                if sender.send(range).await.is_err() {
                    return;
                }
            }
        });
        ReceiverStream::new(receiver).boxed()
    }
}

/// Whether an object of `found` bytes can be what was written.
fn check_length(location: &Location, found: u64) -> Result<(), BlobError> {
    match location.content {
        Some(Content { length: expected, .. }) if expected != found => {
            Err(BlobError::WrongLength { path: location.path.clone(), expected, found })
        }
        _ => Ok(()),
    }
}

/// Whether what was read is what was written.
fn check(location: &Location, found: Content) -> Result<(), BlobError> {
    match location.content {
        Some(expected) if expected != found => {
            Err(BlobError::Corrupt { path: location.path.clone(), expected, found })
        }
        _ => Ok(()),
    }
}

/// The content of bytes so many that hashing them would hold up the tasks of a thread.
pub(super) async fn content_of(bytes: &Bytes) -> Content {
    let digest = hashed(Sha256::new(), bytes).await.finalize().into();
    Content { digest, length: bytes.len() as u64 }
}

/// Adds bytes to a hash where that holds up nobody.
async fn hashed(hash: Sha256, bytes: &Bytes) -> Sha256 {
    let (begun, shared) = (hash.clone(), bytes.clone());
    let done = platform::blocking(move || begun.chain_update(&shared)).await;
    // Only a runtime that is going down does not hash it.
    done.unwrap_or_else(|_| hash.chain_update(bytes))
}
