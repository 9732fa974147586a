//! Writing blobs.
//!
//! A blob becomes visible in one step, whole, under a key that nobody else has: small ones by a request that creates
//! the object only if there is none, others as parts that the last request puts together. That last request carries no
//! condition, because `object_store` offers none and none is needed: a key ends in 128 random bits drawn for this
//! blob alone, so that whatever is found under it has been put there by this writer.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart};
use sha2::{Digest, Sha256};

use super::location::{self, Location};
use super::read::content_of;
use super::retry::retried;
use super::{Blob, BlobError, BlobStore, Content, ONE_REQUEST, Place, measured, measured_since};
use crate::telemetry::instruments::BLOB_BYTES;

/// The most parts of an object that S3 and Google Cloud Storage allow.
const MAXIMUM_PARTS: u64 = 10_000;

/// Parts of an upload in flight at a time: what bounds a writer's memory.
const PARTS_IN_FLIGHT: usize = 4;

/// Bytes of a part of a blob of at most `limit` bytes; one that fits into a part is written by one request.
fn part_size(limit: u64) -> usize {
    usize::try_from(limit.div_ceil(MAXIMUM_PARTS).max(ONE_REQUEST)).unwrap_or(usize::MAX)
}

impl BlobStore {
    /// Begins a blob of at most `limit` bytes that arrives in chunks.
    ///
    /// # Errors
    /// [`BlobError::Randomness`].
    pub async fn writer(&self, place: Place<'_>, limit: u64) -> Result<BlobWriter, BlobError> {
        Ok(BlobWriter {
            key: location::new_key(&self.duchy, place)?,
            store: self.clone(),
            part: Vec::new(),
            parts: None,
            part_size: part_size(limit),
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
            let key = location::new_key(&self.duchy, place)?;
            if content.length <= self.whole {
                self.put(&key, bytes.into()).await?;
            } else {
                let size = part_size(content.length);
                let mut parts = self.begin(&key, size).await?;
                for start in (0..bytes.len()).step_by(size) {
                    let part = bytes.slice(start..bytes.len().min(start + size));
                    push(&mut parts, part).await.map_err(BlobError::object("write", &key))?;
                }
                self.complete(&key, parts, content.length).await?;
            }
            Ok(Blob { path: Location::path(&key, content), content })
        });
        let blob: Blob = written.await?;
        BLOB_BYTES.add(blob.content.length, ["write"]);
        Ok(blob)
    }

    /// Writes an object in one request.
    async fn put(&self, key: &Path, payload: PutPayload) -> Result<(), BlobError> {
        let length = payload.content_length() as u64;
        let create = || PutOptions::from(PutMode::Create);
        match retried(|| self.objects.put_opts(key, payload.clone(), create())).await {
            Ok(_) => Ok(()),
            // An earlier try was carried out, and its answer lost.
            Err(Error::AlreadyExists { .. }) if self.has(key, length).await => Ok(()),
            Err(error) => Err(BlobError::object("write", key)(error)),
        }
    }

    async fn begin(&self, key: &Path, part_size: usize) -> Result<WriteMultipart, BlobError> {
        // A try whose answer is lost leaves an upload without parts, which the bucket's life cycle ends.
        let upload = retried(|| self.objects.put_multipart(key)).await;
        let upload = upload.map_err(BlobError::object("begin", key))?;
        Ok(WriteMultipart::new_with_chunk_size(upload, part_size))
    }

    /// Makes an object of `length` bytes of its parts.
    async fn complete(&self, key: &Path, parts: WriteMultipart, length: u64) -> Result<(), BlobError> {
        match parts.finish().await {
            Ok(_) => Ok(()),
            // The last request was carried out, and its answer lost: then the upload is no longer known.
            Err(_) if self.has(key, length).await => Ok(()),
            Err(error) => {
                Err(BlobError::Storage { operation: "write", path: key.to_string(), source: error })
            }
        }
    }

    /// Whether there is an object of this length, which only this writer can have written.
    async fn has(&self, key: &Path, length: u64) -> bool {
        retried(|| self.objects.head(key)).await.is_ok_and(|found| found.size == length)
    }

    /// Writes a private key, which must be encrypted, under its id. One that is there already, which must be the same,
    /// stays.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn write_private_key(&self, id: &str, sealed: Vec<u8>) -> Result<(), BlobError> {
        let key = self.private_key(id);
        let sealed = PutPayload::from(sealed);
        let create = || PutOptions::from(PutMode::Create);
        match retried(|| self.objects.put_opts(&key, sealed.clone(), create())).await {
            Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(BlobError::object("write", &key)(error)),
        }
    }
}

/// Adds bytes to an upload once there is room, without copying them.
async fn push(parts: &mut WriteMultipart, bytes: Bytes) -> Result<(), Error> {
    parts.wait_for_capacity(PARTS_IN_FLIGHT).await?;
    parts.put(bytes);
    Ok(())
}

/// A blob that is being written. Dropped unfinished, it is discarded.
pub struct BlobWriter {
    store: BlobStore,
    key: Path,
    /// The bytes since the last whole part, copied: a chunk may be a few bytes of a large buffer, which it would keep.
    part: Vec<u8>,
    /// The upload, once there is more than a part.
    parts: Option<WriteMultipart>,
    part_size: usize,
    hash: Sha256,
    length: u64,
    limit: u64,
    begun: Instant,
}

impl BlobWriter {
    /// Appends a chunk. Of its buffer nothing is kept.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`], [`BlobError::Storage`].
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), BlobError> {
        self.length += chunk.len() as u64;
        if self.length > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        self.hash.update(&chunk);
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            if self.part.len() == self.part_size {
                self.push_part().await?;
            }
            let (piece, others) = rest.split_at(rest.len().min(self.part_size - self.part.len()));
            if self.part.capacity() - self.part.len() < piece.len() {
                // As a vector grows by itself, but not beyond a part.
                let more = piece.len().max(self.part.len()).min(self.part_size - self.part.len());
                self.part.reserve_exact(more);
            }
            self.part.extend_from_slice(piece);
            rest = others;
        }
        Ok(())
    }

    /// Sends a whole part.
    async fn push_part(&mut self) -> Result<(), BlobError> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            None => self.parts.insert(self.store.begin(&self.key, self.part_size).await?),
        };
        let part = std::mem::take(&mut self.part);
        push(parts, part.into()).await.map_err(BlobError::object("write", &self.key))
    }

    /// The bytes written so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing has been written yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Makes the blob readable.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn finish(mut self) -> Result<Blob, BlobError> {
        let digest = std::mem::take(&mut self.hash).finalize().into();
        let content = Content { digest, length: self.length };
        let begun = self.begun;
        let finished = async {
            // While the upload is still the writer's, which discards it if this fails.
            if self.parts.is_some() {
                self.push_part().await?;
            }
            match self.parts.take() {
                Some(parts) => self.store.complete(&self.key, parts, content.length).await,
                None => self.store.put(&self.key, std::mem::take(&mut self.part).into()).await,
            }
        };
        measured_since(begun, "write", finished).await?;
        BLOB_BYTES.add(content.length, ["write"]);
        Ok(Blob { path: Location::path(&self.key, content), content })
    }

    /// Discards what has been written.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn abort(mut self) -> Result<(), BlobError> {
        match self.parts.take() {
            Some(parts) => parts.abort().await.map_err(BlobError::object("discard", &self.key)),
            None => Ok(()),
        }
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        // Parts that nobody puts together would be kept, and paid for. A runtime that goes down leaves them to the
        // bucket's life cycle.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let key = self.key.clone();
            runtime.spawn(async move {
                if let Err(error) = parts.abort().await {
                    tracing::warn!(%key, %error, "parts of a discarded blob remain");
                }
            });
        }
    }
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobWriter")
            .field("key", &self.key)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blob_fits_into_the_parts_that_stores_allow() {
        assert_eq!(part_size(0), 8 << 20);
        assert_eq!(part_size(4 << 30), 8 << 20);
        for limit in [100 << 30, 5 << 40] {
            let parts = u64::div_ceil(limit, part_size(limit) as u64);
            assert!(parts <= MAXIMUM_PARTS, "{parts}");
        }
    }
}
