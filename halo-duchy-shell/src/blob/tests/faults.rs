//! Connections that are cut, and a server that is gone.

use bytes::Bytes;
use futures::TryStreamExt;

use super::super::*;
use super::basics::{pattern, read_in_chunks};
use super::proxy::{Proxy, Way};
use super::{MINIO, PLACE, gcs, gcs_at, s3_at};

/// A store behind a proxy, if the machine has its server; with what must live as long.
async fn s3() -> Option<(BlobStore, Proxy, Option<gcs::FakeGcs>)> {
    let proxy = Proxy::to(MINIO.as_ref()?.address()).await;
    Some((s3_at(&proxy.address().to_string()), proxy, None))
}

async fn fake_gcs() -> Option<(BlobStore, Proxy, Option<gcs::FakeGcs>)> {
    let server = gcs::FakeGcs::start().await;
    let proxy = Proxy::to(server.address()).await;
    Some((gcs_at(&proxy.address().to_string()), proxy, Some(server)))
}

macro_rules! faults {
    ($backend:ident: [$($test:ident),* $(,)?]) => {
        mod $backend {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some((store, proxy, _server)) = super::$backend().await {
                    super::$test(store, proxy).await;
                }
            })*
        }
    };
}

faults!(s3: [small_uploads_survive_cuts, large_uploads_survive_cuts, lost_answers_change_nothing, reads_survive_cuts, deletes_and_lists_survive_cuts]);
faults!(fake_gcs: [small_uploads_survive_cuts, large_uploads_survive_cuts, lost_answers_change_nothing, reads_survive_cuts, deletes_and_lists_survive_cuts]);

/// Bytes of what the tests cut in the middle, and the place where they do.
const SMALL: usize = 1 << 20;
const LARGE: usize = 20 << 20;
const MIDDLE: u64 = 600_000;

async fn stream(store: &BlobStore, bytes: &Bytes) -> Blob {
    let mut writer = store.writer(PLACE, 1 << 30).await.expect("begin");
    for start in (0..bytes.len()).step_by(SMALL) {
        writer.write(bytes.slice(start..bytes.len().min(start + SMALL))).await.expect("write");
    }
    writer.finish().await.expect("finish")
}

/// Whether exactly these blobs are there, intact.
async fn only(store: &BlobStore, blobs: &[(&Blob, &Bytes)]) {
    for (blob, bytes) in blobs {
        assert!(store.read(&blob.path, 1 << 30).await.expect("read") == **bytes);
    }
    let found: Vec<_> = store.list().try_collect().await.expect("a list");
    assert_eq!(found.len(), blobs.len(), "a try that failed leaves nothing: {found:?}");
}

async fn small_uploads_survive_cuts(store: BlobStore, proxy: Proxy) {
    let bytes = pattern(SMALL);
    proxy.cut(Way::ToServer, MIDDLE, 2);
    let streamed = stream(&store, &bytes).await;
    assert_eq!(proxy.cut_so_far(Way::ToServer), 2);
    proxy.cut(Way::ToServer, MIDDLE, 2);
    let whole = store.write(PLACE, bytes.clone()).await.expect("write");
    assert_eq!(proxy.cut_so_far(Way::ToServer), 4);
    only(&store, &[(&streamed, &bytes), (&whole, &bytes)]).await;
}

async fn large_uploads_survive_cuts(store: BlobStore, proxy: Proxy) {
    let bytes = pattern(LARGE);
    proxy.cut(Way::ToServer, 5 * MIDDLE, 3);
    let streamed = stream(&store, &bytes).await;
    assert_eq!(proxy.cut_so_far(Way::ToServer), 3);
    only(&store, &[(&streamed, &bytes)]).await;
}

/// The server does what it is asked and its answer does not arrive: for every request of an upload in turn.
async fn lost_answers_change_nothing(store: BlobStore, proxy: Proxy) {
    let (small, large) = (pattern(SMALL), pattern(LARGE / 2));
    let mut blobs = Vec::new();
    let mut lost = 0;
    for bytes in [&small, &large] {
        for answers in 0..10 {
            // After so many bytes of answers: each has some hundreds.
            proxy.cut(Way::ToClient, answers * 200, 1);
            blobs.push((stream(&store, bytes).await, bytes));
            lost = proxy.cut_so_far(Way::ToClient);
        }
    }
    proxy.cut(Way::ToClient, 0, 0);
    assert!(lost >= 5, "{lost} answers were lost");
    let blobs: Vec<_> = blobs.iter().map(|(blob, bytes)| (blob, *bytes)).collect();
    only(&store, &blobs).await;
}

async fn reads_survive_cuts(store: BlobStore, proxy: Proxy) {
    for length in [SMALL, LARGE] {
        let bytes = pattern(length);
        let blob = store.write(PLACE, bytes.clone()).await.expect("write");
        let before = proxy.cut_so_far(Way::ToClient);
        proxy.cut(Way::ToClient, MIDDLE, 3);
        assert!(store.read(&blob.path, 1 << 30).await.expect("read") == bytes);
        proxy.cut(Way::ToClient, MIDDLE, 3);
        assert!(read_in_chunks(&store, &blob.path).await.expect("read") == bytes);
        assert!(proxy.cut_so_far(Way::ToClient) >= before + 2, "connections are cut");
    }
}

async fn deletes_and_lists_survive_cuts(store: BlobStore, proxy: Proxy) {
    let blob = store.write(PLACE, &b"x"[..]).await.expect("write");
    proxy.cut(Way::ToClient, 0, 2);
    let found: Vec<_> = store.list().try_collect().await.expect("a list");
    assert_eq!(found.len(), 1);
    proxy.cut(Way::ToClient, 0, 2);
    store.delete(&blob.path).await.expect("delete");
    assert_eq!(proxy.cut_so_far(Way::ToClient), 4);
    only(&store, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_that_is_gone_may_come_back() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let store = gcs_at(&address);
    let place =
        location::Location::path(&location::new_key("duchy-a", PLACE).expect("a key"), Content::of(b"x"));
    let (read, written, deleted) =
        tokio::join!(store.read(&place, 1), store.write(PLACE, &b"x"[..]), store.delete(&place));
    for error in [read.map(drop), written.map(drop), deleted].map(|done| done.expect_err("nobody answers")) {
        assert!(error.is_transient(), "{error}");
    }
}
