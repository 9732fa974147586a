//! Google's credentials, found as Google's own libraries find them: the file that `GOOGLE_APPLICATION_CREDENTIALS`
//! names, the one that `gcloud auth application-default login` leaves, or the metadata server of the machine.

use std::sync::Arc;

use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder};

/// Finds them, for Google's whole platform; nothing is asked of Google yet. They are renewed before they end.
pub(crate) fn find_credentials() -> object_store::Result<GcpCredentialProvider> {
    crate::tls::provide_ring();
    // object_store gives its credentials out through a bucket only. No bucket is ever looked at.
    let bucket = GoogleCloudStorageBuilder::new().with_bucket_name("none").build()?;
    Ok(Arc::clone(bucket.credentials()))
}
