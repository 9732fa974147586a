//! What every kind of store must do, written once and run on files, in memory, on a MinIO (S3) and on a fake of Google
//! Cloud Storage; the latter two also with connections that are cut.

mod basics;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod faults;
mod listing;
mod throughput;

use futures::TryStreamExt;

use super::*;

#[cfg(feature = "gcs")]
#[path = "../../tests/servers/gcs.rs"]
mod gcs;
#[cfg(feature = "s3")]
#[path = "../../tests/servers/minio.rs"]
mod minio;
#[cfg(all(feature = "s3", feature = "gcs"))]
#[path = "../../tests/servers/proxy.rs"]
mod proxy;

const PLACE: Place<'static> = Place::Stage { computation: "c1", stage: "SETUP_PHASE", attempt: 2 };

/// An empty store, and what it is on.
struct Fixture {
    store: BlobStore,
    _folder: Option<tempfile::TempDir>,
    #[cfg(feature = "gcs")]
    gcs: Option<gcs::FakeGcs>,
}

impl Fixture {
    fn new(store: BlobStore, folder: Option<tempfile::TempDir>) -> Self {
        Self {
            store,
            _folder: folder,
            #[cfg(feature = "gcs")]
            gcs: None,
        }
    }

    /// Another duchy's blobs in the same store.
    fn of(&self, duchy: &str) -> BlobStore {
        BlobStore { duchy: duchy.to_owned(), ..self.store.clone() }
    }

    async fn keys(&self) -> Vec<String> {
        let found = self.store.objects.list(None).map_ok(|object| object.location.to_string());
        found.try_collect().await.expect("a list")
    }
}

fn on_files() -> Option<Fixture> {
    let folder = tempfile::tempdir().expect("a directory");
    let address = BlobAddress::File(folder.path().join("blobs"));
    let store = BlobStore::open(&address, "duchy-a").expect("a directory is made");
    Some(Fixture::new(store, Some(folder)))
}

fn in_memory() -> Option<Fixture> {
    Some(Fixture::new(BlobStore::in_memory("duchy-a"), None))
}

#[cfg(feature = "s3")]
static MINIO: std::sync::LazyLock<Option<minio::Minio>> = std::sync::LazyLock::new(minio::Minio::start);

/// A part of MinIO's bucket that nobody else uses, reached at `address`.
#[cfg(feature = "s3")]
fn s3_at(address: &str) -> BlobStore {
    let random = getrandom::u64().expect("a number");
    let prefix = format!("t{random:x}/a");
    let bucket = address::Bucket::new(minio::BUCKET)
        .and_then(|bucket| bucket.with_endpoint(&format!("http://{address}")));
    let bucket = bucket.map(|bucket| address::Bucket { prefix: prefix.into(), ..bucket }).expect("a bucket");
    let builder = remote::s3_builder(&bucket)
        .with_access_key_id(minio::ACCESS_KEY_ID)
        .with_secret_access_key(minio::SECRET_ACCESS_KEY);
    BlobStore::new(remote::prefixed(builder.build().expect("a bucket"), &bucket), "duchy-a")
}

#[cfg(feature = "s3")]
fn on_s3() -> Option<Fixture> {
    Some(Fixture::new(s3_at(MINIO.as_ref()?.address()), None))
}

#[cfg(feature = "gcs")]
fn gcs_at(address: &str) -> BlobStore {
    let address = format!("gs://{}/some/prefix?endpoint=http://{address}", gcs::BUCKET);
    BlobStore::open(&address.parse().expect("an address"), "duchy-a").expect("a bucket")
}

#[cfg(feature = "gcs")]
async fn on_gcs() -> Option<Fixture> {
    let server = gcs::FakeGcs::start().await;
    let store = gcs_at(server.address());
    Some(Fixture { gcs: Some(server), ..Fixture::new(store, None) })
}

/// Runs tests on stores that `$open` makes, where the machine has what that needs.
macro_rules! suite {
    ($backend:ident, $open:expr) => {
        mod $backend {
            suite!(@ $open, basics: [
                what_is_written_is_read,
                an_empty_blob_is_a_blob,
                a_blob_of_several_parts_is_whole,
                a_blob_that_just_fits_into_a_part_is_whole,
                limits_hold_for_writing_and_reading,
                a_changed_blob_is_noticed,
                a_large_changed_blob_is_noticed,
                a_path_of_upstream_is_read_unchecked,
                deleting_twice_is_deleting,
                hostile_names_stay_in_their_folder,
                what_is_discarded_leaves_nothing,
                a_private_key_is_written_once,
            ]);
            suite!(@ $open, listing: [
                objects_tell_whose_they_are,
                a_duchy_sees_its_own_objects,
                the_stages_of_a_computation_go_together,
                objects_are_deleted_many_at_a_time,
            ]);
        }
    };
    (@ $open:expr, $module:ident: [$($test:ident),* $(,)?]) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            #[allow(unused_imports, reason = "not every backend needs it")]
            use crate::blob::tests::*;
            if let Some(fixture) = $open {
                crate::blob::tests::$module::$test(fixture).await;
            }
        })*
    };
}

suite!(files, on_files());
suite!(memory, in_memory());
#[cfg(feature = "s3")]
suite!(s3, on_s3());
#[cfg(feature = "gcs")]
suite!(fake_gcs, on_gcs().await);
