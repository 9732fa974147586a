//! Writing, reading, deleting.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use super::super::*;
use super::{Fixture, PLACE};

async fn stream(store: &BlobStore, chunks: &[&'static [u8]]) -> Blob {
    let mut writer = store.writer(PLACE, 1 << 30).await.expect("begin");
    for chunk in chunks {
        writer.write(Bytes::from_static(chunk)).await.expect("write");
    }
    writer.finish().await.expect("finish")
}

/// Bytes that differ everywhere.
pub(super) fn pattern(length: usize) -> Bytes {
    (0..length).map(|n| (n % 251) as u8 ^ (n / 65_536) as u8).collect()
}

pub(super) async fn write_in_chunks(store: &BlobStore, bytes: &Bytes, chunk: usize) -> Blob {
    let mut writer = store.writer(PLACE, 1 << 30).await.expect("begin");
    for start in (0..bytes.len()).step_by(chunk) {
        writer.write(bytes.slice(start..bytes.len().min(start + chunk))).await.expect("write");
    }
    writer.finish().await.expect("finish")
}

pub(super) async fn read_in_chunks(store: &BlobStore, path: &str) -> Result<Vec<u8>, BlobError> {
    let chunks = store.read_chunks(path).await?;
    chunks.try_fold(Vec::new(), |whole, chunk| async move { Ok([&whole[..], &chunk].concat()) }).await
}

pub(super) async fn what_is_written_is_read(f: Fixture) {
    let streamed = stream(&f.store, &[b"regis", b"", b"ters"]).await;
    let whole = f.store.write(PLACE, &b"registers"[..]).await.expect("write");
    assert_eq!(streamed.content, Content::of(b"registers"));
    assert_eq!(whole.content, streamed.content);
    assert_ne!(whole.path, streamed.path, "a key is never used twice");
    for blob in [&streamed, &whole] {
        let folder = format!("duchy-a/computations/c1/SETUP_PHASE/2/{}-", blob.content);
        assert!(blob.path.starts_with(&folder), "{}", blob.path);
        assert_eq!(f.store.read(&blob.path, 9).await.expect("read"), b"registers");
        assert_eq!(read_in_chunks(&f.store, &blob.path).await.expect("read"), b"registers");
    }
    assert_eq!(f.keys().await.len(), 2, "nothing else is written");
}

pub(super) async fn an_empty_blob_is_a_blob(f: Fixture) {
    for blob in [stream(&f.store, &[]).await, f.store.write(PLACE, Bytes::new()).await.expect("write")] {
        assert_eq!(f.store.read(&blob.path, 0).await.expect("read"), b"");
        assert_eq!(read_in_chunks(&f.store, &blob.path).await.expect("read"), b"");
    }
}

pub(super) async fn a_blob_of_several_parts_is_whole(f: Fixture) {
    let bytes = pattern((20 << 20) + 17);
    let streamed = write_in_chunks(&f.store, &bytes, 1 << 20).await;
    let whole = f.store.write(PLACE, bytes.clone()).await.expect("write");
    for blob in [streamed, whole] {
        assert_eq!(blob.content, Content::of(&bytes));
        assert!(f.store.read(&blob.path, 1 << 30).await.expect("read") == bytes);
        assert!(read_in_chunks(&f.store, &blob.path).await.expect("read") == bytes);
    }
    assert_eq!(f.keys().await.len(), 2, "nothing else is written");
}

pub(super) async fn a_blob_that_just_fits_into_a_part_is_whole(f: Fixture) {
    for length in [ONE_REQUEST as usize, ONE_REQUEST as usize + 1, 2 * ONE_REQUEST as usize] {
        let bytes = pattern(length);
        for chunk in [length, length / 2 + 1] {
            let blob = write_in_chunks(&f.store, &bytes, chunk).await;
            assert!(
                f.store.read(&blob.path, length as u64).await.expect("read") == bytes,
                "{length} by {chunk}"
            );
        }
    }
}

pub(super) async fn limits_hold_for_writing_and_reading(f: Fixture) {
    let mut writer = f.store.writer(PLACE, 5).await.expect("begin");
    writer.write(Bytes::from_static(b"12345")).await.expect("within the limit");
    let refused = writer.write(Bytes::from_static(b"6")).await.expect_err("beyond it");
    assert!(matches!(refused, BlobError::TooLarge { limit: 5 }));
    writer.abort().await.expect("abort");
    let blob = f.store.write(PLACE, &b"123456"[..]).await.expect("write");
    let key = f.store.key_of(&blob.path).expect("a key");
    // One whose path tells its length, and one whose path does not.
    for path in [&blob.path, &key] {
        let refused = f.store.read(path, 5).await.expect_err("beyond the limit");
        assert!(matches!(refused, BlobError::TooLarge { limit: 5 }), "{path}: {refused}");
    }
    assert_eq!(f.keys().await, [key]);
}

/// Puts something else in the place of a blob, behind our back.
async fn change(f: &Fixture, blob: &Blob, bytes: Bytes) {
    let key = Path::parse(f.store.key_of(&blob.path).expect("a key")).expect("a key");
    f.store.objects.put(&key, bytes.into()).await.expect("overwrite");
}

pub(super) async fn a_changed_blob_is_noticed(f: Fixture) {
    for (changed, length) in [(&b"registerz"[..], false), (b"register", true), (b"registers!", true)] {
        let blob = f.store.write(PLACE, &b"registers"[..]).await.expect("write");
        change(&f, &blob, Bytes::from_static(changed)).await;
        for noticed in [
            f.store.read(&blob.path, 100).await.expect_err("changed"),
            read_in_chunks(&f.store, &blob.path).await.expect_err("changed"),
        ] {
            let named = match &noticed {
                BlobError::WrongLength { expected: 9, .. } => length,
                BlobError::Corrupt { .. } => !length,
                _ => false,
            };
            assert!(named, "{noticed}");
            assert!(!noticed.is_transient() && noticed.to_string().contains(&blob.path));
        }
    }
}

pub(super) async fn a_large_changed_blob_is_noticed(f: Fixture) {
    let bytes = pattern(18 << 20);
    let mut altered = bytes.to_vec();
    altered[17 << 20] ^= 1;
    let truncated = bytes.slice(..16 << 20);
    for (changed, length) in [(Bytes::from(altered), false), (truncated, true), (Bytes::new(), true)] {
        let blob = f.store.write(PLACE, bytes.clone()).await.expect("write");
        change(&f, &blob, changed).await;
        let noticed = f.store.read(&blob.path, 1 << 30).await.expect_err("changed");
        let named = match &noticed {
            BlobError::WrongLength { .. } => length,
            BlobError::Corrupt { .. } => !length,
            _ => false,
        };
        assert!(named, "{noticed}");
    }
}

pub(super) async fn a_path_of_upstream_is_read_unchecked(f: Fixture) {
    for (path, key) in
        [("c1/SETUP_PHASE/0", "computations/c1/SETUP_PHASE/0"), ("c1/r1", "requisitions/c1/r1")]
    {
        let bytes = pattern(9 << 20);
        f.store.objects.put(&Path::from(key), bytes.clone().into()).await.expect("write");
        assert!(f.store.read(path, 1 << 30).await.expect("read") == bytes);
        assert!(f.store.read(path, 9 << 20).await.expect("read") == bytes);
        f.store.delete(path).await.expect("delete");
    }
    assert_eq!(f.keys().await, [""; 0]);
}

pub(super) async fn deleting_twice_is_deleting(f: Fixture) {
    let blob = f.store.write(PLACE, &b"x"[..]).await.expect("write");
    f.store.delete(&blob.path).await.expect("once");
    f.store.delete(&blob.path).await.expect("twice");
    let missing = f.store.read(&blob.path, 1).await.expect_err("gone");
    assert!(matches!(missing, BlobError::NotFound { .. }));
    assert!(matches!(read_in_chunks(&f.store, &blob.path).await, Err(BlobError::NotFound { .. })));
}

pub(super) async fn hostile_names_stay_in_their_folder(f: Fixture) {
    let place = Place::Requisition { computation: "../../up", requisition: "a/b" };
    let blob = f.store.write(place, &b"x"[..]).await.expect("write");
    assert!(blob.path.starts_with("duchy-a/requisitions/"), "{}", blob.path);
    assert_eq!(blob.path.matches('/').count(), 4, "{}", blob.path);
    assert!(matches!(f.store.read("a/../../b", 1).await, Err(BlobError::BadPath { .. })));
    assert_eq!(f.store.read(&blob.path, 1).await.expect("read"), b"x");
}

pub(super) async fn what_is_discarded_leaves_nothing(f: Fixture) {
    for length in [1, 20 << 20] {
        for abort in [true, false] {
            let mut writer = f.store.writer(PLACE, 1 << 30).await.expect("begin");
            writer.write(pattern(length)).await.expect("write");
            if abort {
                writer.abort().await.expect("abort");
            }
        }
    }
    assert_eq!(f.keys().await, [""; 0]);
    #[cfg(feature = "gcs")]
    if let Some(gcs) = &f.gcs {
        // A dropped writer discards its parts in the background.
        let gone = async {
            while gcs.unfinished_uploads() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("no parts are left");
    }
}

pub(super) async fn a_private_key_is_written_once(f: Fixture) {
    f.store.write_private_key("-7", b"sealed".to_vec()).await.expect("write");
    f.store.write_private_key("-7", b"another".to_vec()).await.expect("it is there");
    let path = f.store.private_key_path("-7");
    assert_eq!(path, "duchy-a/tink-private-key/-7");
    assert_eq!(f.store.read(&path, 100).await.expect("read"), b"sealed");
}

/// A chunk of a message may be one byte of it, and the message four megabytes.
#[tokio::test]
async fn a_writer_keeps_nothing_of_the_buffers_that_chunks_are_of() {
    struct Owner(Arc<[u8]>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    let f = super::on_files().expect("a directory");
    let buffer: Arc<[u8]> = Arc::from(pattern(1 << 16).as_ref());
    let mut writer = f.store.writer(PLACE, 1 << 30).await.expect("begin");
    for start in 0..100 {
        let message = Bytes::from_owner(Owner(Arc::clone(&buffer)));
        writer.write(message.slice(start..start + 1)).await.expect("write");
        drop(message);
        assert_eq!(Arc::strong_count(&buffer), 1, "after chunk {start}");
    }
    let blob = writer.finish().await.expect("finish");
    assert_eq!(f.store.read(&blob.path, 100).await.expect("read"), &buffer[..100]);
}
