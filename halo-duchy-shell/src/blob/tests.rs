use futures::TryStreamExt;

use super::*;

const PLACE: Place<'static> = Place::Stage { computation: "c1", stage: "SETUP_PHASE", attempt: 2 };

struct Fixture {
    store: BlobStore,
    _folder: Option<tempfile::TempDir>,
}

/// Every test runs on files and in memory.
fn fixtures() -> [Fixture; 2] {
    let folder = tempfile::tempdir().expect("a directory");
    [
        Fixture {
            store: BlobStore::local(folder.path(), "duchy-a").expect("a directory"),
            _folder: Some(folder),
        },
        Fixture { store: BlobStore::in_memory("duchy-a"), _folder: None },
    ]
}

async fn stream(store: &BlobStore, chunks: &[&'static [u8]]) -> Blob {
    let mut writer = store.writer(PLACE, 1 << 30).await.expect("begin");
    for chunk in chunks {
        writer.write(Bytes::from_static(chunk)).await.expect("write");
    }
    writer.finish().await.expect("finish")
}

async fn objects(store: &BlobStore) -> Vec<String> {
    let list = store.objects.list(None).map_ok(|object| object.location.to_string());
    list.try_collect().await.expect("list")
}

#[tokio::test]
async fn what_is_written_is_read() {
    for Fixture { store, .. } in fixtures() {
        let streamed = stream(&store, &[b"regis", b"", b"ters"]).await;
        let whole = store.write(PLACE, &b"registers"[..]).await.expect("write");
        assert_eq!(streamed.content, Content::of(b"registers"));
        assert_eq!(whole.content, streamed.content);
        assert_ne!(whole.path, streamed.path, "a key is never used twice");
        for blob in [&streamed, &whole] {
            assert!(blob.path.starts_with("duchy-a/computations/c1/SETUP_PHASE/2/"), "{}", blob.path);
            assert_eq!(store.read(&blob.path, 9).await.expect("read"), b"registers");
        }
        assert_eq!(objects(&store).await.len(), 2, "no temporary object stays");
    }
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    for Fixture { store, .. } in fixtures() {
        for blob in [stream(&store, &[]).await, store.write(PLACE, Bytes::new()).await.expect("write")] {
            assert_eq!(store.read(&blob.path, 0).await.expect("read"), b"");
        }
    }
}

#[tokio::test]
async fn a_blob_of_several_parts_is_whole() {
    let megabyte = Bytes::from(vec![3; 1 << 20]);
    for Fixture { store, .. } in fixtures() {
        let mut writer = store.writer(PLACE, 100 << 20).await.expect("begin");
        for _ in 0..12 {
            writer.write(megabyte.clone()).await.expect("write");
        }
        let blob = writer.finish().await.expect("finish");
        let chunks = store.read_chunks(&blob.path).await.expect("open");
        let length = chunks.try_fold(0, |sum, chunk| async move { Ok(sum + chunk.len()) }).await;
        assert_eq!(length.expect("intact"), 12 << 20);
    }
}

#[tokio::test]
async fn limits_hold_for_writing_and_reading() {
    for Fixture { store, .. } in fixtures() {
        let mut writer = store.writer(PLACE, 5).await.expect("begin");
        writer.write(Bytes::from_static(b"12345")).await.expect("within the limit");
        let refused = writer.write(Bytes::from_static(b"6")).await.expect_err("beyond it");
        assert!(matches!(refused, BlobError::TooLarge { limit: 5 }));
        writer.abort().await.expect("abort");
        let blob = store.write(PLACE, &b"123456"[..]).await.expect("write");
        let refused = store.read(&blob.path, 5).await.expect_err("beyond the limit");
        assert!(matches!(refused, BlobError::TooLarge { limit: 5 }));
        assert_eq!(objects(&store).await, [blob.path]);
    }
}

#[tokio::test]
async fn a_changed_blob_is_noticed() {
    for Fixture { store, .. } in fixtures() {
        for changed in [&b"registerz"[..], b"register", b"registers!"] {
            let blob = store.write(PLACE, &b"registers"[..]).await.expect("write");
            let key = Path::parse(&blob.path).expect("a key");
            store.objects.put(&key, changed.into()).await.expect("overwrite behind our back");
            let noticed = store.read(&blob.path, 100).await.expect_err("changed");
            assert!(matches!(noticed, BlobError::Corrupt { .. }), "{noticed}");
            assert!(!noticed.is_transient());
        }
    }
}

#[tokio::test]
async fn a_path_of_upstream_is_read_unchecked() {
    for Fixture { store, .. } in fixtures() {
        let key = Path::parse("computations/c1/SETUP_PHASE/0").expect("a key");
        store.objects.put(&key, "old".into()).await.expect("write");
        assert_eq!(store.read(key.as_ref(), 100).await.expect("read"), b"old");
    }
}

#[tokio::test]
async fn deleting_twice_is_deleting() {
    for Fixture { store, .. } in fixtures() {
        let blob = store.write(PLACE, &b"x"[..]).await.expect("write");
        store.delete(&blob.path).await.expect("once");
        store.delete(&blob.path).await.expect("twice");
        let missing = store.read(&blob.path, 1).await.expect_err("gone");
        assert!(matches!(missing, BlobError::NotFound { .. }));
    }
}

#[tokio::test]
async fn hostile_names_stay_in_their_folder() {
    for Fixture { store, .. } in fixtures() {
        let place = Place::Requisition { computation: "../../up", requisition: "a/b" };
        let blob = store.write(place, &b"x"[..]).await.expect("write");
        assert!(blob.path.starts_with("duchy-a/requisitions/"), "{}", blob.path);
        assert_eq!(blob.path.matches('/').count(), 4, "{}", blob.path);
        assert!(matches!(store.read("a/../../b", 1).await, Err(BlobError::BadPath { .. })));
        assert_eq!(store.read(&blob.path, 1).await.expect("read"), b"x");
    }
}
