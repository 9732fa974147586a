//! A duchy's blobs in a store of one's own: here one with a quota, around any other.
//!
//! `halo_duchy_shell` reaches its blobs through the trait `ObjectStore` of the crate `object_store`. Whatever implements it is a
//! [`BlobStore`], which a duchy takes as `DuchyConfig::blobs`: digests, retries and names stay the shell's. Of the
//! trait it uses `put_opts` with `PutMode::Create` (the object must not exist), `put_multipart_opts`, `get_opts` with ranges and
//! `if_match`, `delete_stream` and `list`. A blob must be there as a whole or not at all.
//!
//! ```text
//! cargo run --release -p halo-duchy-shell --example custom_blob_store
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use halo_duchy_shell::blob::{BlobStore, Place};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

type AnyError = Box<dyn std::error::Error>;

/// A store that takes so many bytes in its life and no more.
#[derive(Debug)]
struct Quota<S> {
    inner: S,
    left: AtomicU64,
}

impl<S> Quota<S> {
    fn new(inner: S, bytes: u64) -> Self {
        Self { inner, left: AtomicU64::new(bytes) }
    }

    /// Takes `bytes` of what is left, or none.
    fn take(&self, bytes: usize) -> StoreResult<()> {
        let bytes = bytes as u64;
        let taken =
            self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        match taken {
            Ok(_) => Ok(()),
            Err(left) => {
                let source = format!("{bytes} bytes are more than the {left} that are left").into();
                Err(Error::Generic { store: "quota", source })
            }
        }
    }
}

impl<S: fmt::Display> fmt::Display for Quota<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with a quota", self.inner)
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Quota<S> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.take(payload.content_length())?;
        self.inner.put_opts(location, payload, options).await
    }

    /// Uploads in parts come without their length: they would need a `MultipartUpload` of ours around the inner one's.
    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented {
            operation: "uploads in parts".into(),
            implementer: "the example of a quota".into(),
        })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let blobs = BlobStore::new(Arc::new(Quota::new(InMemory::new(), 1000)), "worker1");
    let place = Place::Stage { computation: "computation", stage: "SETUP_PHASE", attempt: 1 };

    let blob = blobs.write(place, vec![7; 600]).await?;
    // The digest and length of what was written are in its path, and checked whenever it is read.
    println!("{} bytes at {}", blob.content.length, blob.path);
    println!("{} bytes read", blobs.read(&blob.path, 1 << 20).await?.len());

    match blobs.write(place, vec![7; 600]).await {
        // The mill gives the work back and tries again later.
        Err(error) if error.is_transient() => println!("full: {error}"),
        other => return Err(format!("{other:?} is not what a full store says").into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blobs_are_whole_or_refused() -> Result<(), AnyError> {
        let store = Arc::new(Quota::new(InMemory::new(), 1000));
        let blobs = BlobStore::new(store.clone(), "worker1");
        let place = Place::Requisition { computation: "computation", requisition: "requisition" };
        let blob = blobs.write(place, vec![7; 600]).await?;
        assert_eq!(blobs.read(&blob.path, 600).await?, [7; 600]);

        let full = blobs.write(place, vec![7; 600]).await.expect_err("400 bytes are left");
        assert!(full.is_transient(), "{full}");
        // What was refused has taken nothing.
        assert_eq!(store.left.load(Ordering::Relaxed), 400);
        blobs.write(place, vec![7; 400]).await?;
        blobs.delete(&blob.path).await?;
        assert!(blobs.read(&blob.path, 600).await.is_err());
        Ok(())
    }

    #[tokio::test]
    async fn what_it_cannot_count_is_refused() -> Result<(), AnyError> {
        let blobs = BlobStore::new(Arc::new(Quota::new(InMemory::new(), u64::MAX)), "worker1");
        let place = Place::Requisition { computation: "computation", requisition: "requisition" };
        // One request takes 8 MiB; more takes parts.
        assert!(blobs.write(place, vec![7; 8 << 20]).await.is_ok());
        assert!(blobs.write(place, vec![7; (8 << 20) + 1]).await.is_err());
        Ok(())
    }
}
