//! Buckets of clouds: how they are reached, and as whom.
//!
//! Credentials come from where the clouds' own programs look, as far as `object_store` knows them (docs/blobs.md).

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "s3")]
use object_store::aws::AmazonS3Builder;
#[cfg(feature = "gcs")]
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, Result, RetryConfig};
use tonic::codegen::http::Uri;

use super::address::Bucket;
use crate::config::is_this_machine;

/// How long a connection may take to come about; upstream's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a request may take with its answer: one carries a part or a range of a blob, not all of it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Tries of one request after the first, and the time within which they begin; upstream's.
const RETRIES: usize = 5;
const RETRY_TIMEOUT: Duration = Duration::from_secs(180);

/// The longest pause between two tries; upstream's. The first one is about 100 ms.
const LONGEST_PAUSE: Duration = Duration::from_secs(32);

fn retries() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: LONGEST_PAUSE, ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT }
}

/// The HTTP client's options; without TLS only if the endpoint's address says so.
fn client(bucket: &Bucket) -> ClientOptions {
    crate::tls::provide_ring();
    let plain = bucket.endpoint.as_deref().filter(|endpoint| endpoint.starts_with("http://"));
    let is_elsewhere = |endpoint: &&str| {
        let host = endpoint.parse::<Uri>().ok().and_then(|uri| uri.host().map(is_this_machine));
        host != Some(true)
    };
    if let Some(endpoint) = plain.filter(is_elsewhere) {
        tracing::warn!(endpoint, "blobs go over the network without TLS");
    }
    ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(REQUEST_TIMEOUT)
        .with_allow_http(plain.is_some())
}

pub(super) fn prefixed(objects: impl ObjectStore, bucket: &Bucket) -> Arc<dyn ObjectStore> {
    if bucket.prefix.is_root() {
        Arc::new(objects)
    } else {
        Arc::new(PrefixStore::new(objects, bucket.prefix.clone()))
    }
}

/// A bucket of S3. Nothing is asked of it yet.
#[cfg(feature = "s3")]
pub(super) fn s3(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>> {
    Ok(prefixed(s3_builder(bucket).build()?, bucket))
}

/// How a bucket of S3 is reached.
#[cfg(feature = "s3")]
pub(super) fn s3_builder(bucket: &Bucket) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&bucket.name)
        .with_client_options(client(bucket))
        .with_retry(retries());
    if let Some(region) = &bucket.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder
}

/// A bucket of Google Cloud Storage. Nothing is asked of it yet. One at another address than Google's is an emulator's:
/// it is sent a token that opens nothing.
#[cfg(feature = "gcs")]
pub(super) fn gcs(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>> {
    let builder = match &bucket.endpoint {
        None => GoogleCloudStorageBuilder::from_env(),
        Some(endpoint) => {
            GoogleCloudStorageBuilder::new().with_base_url(endpoint).with_bearer_token("emulator")
        }
    };
    let builder =
        builder.with_bucket_name(&bucket.name).with_client_options(client(bucket)).with_retry(retries());
    Ok(prefixed(builder.build()?, bucket))
}
