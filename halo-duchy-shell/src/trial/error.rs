//! Why a trial did not come about.

use std::path::PathBuf;

use halo_protocols::data_provider::PopulationError;

use crate::blob::BlobError;
use crate::config::ConfigError;
use crate::consent::ConsentError;
use crate::data_provider::DataProviderError;
use crate::hybrid_encryption::HybridEncryptionError;
use crate::key_encryption::FileKeyError;
use crate::kingdom::KingdomError;
use crate::measurement_consumer::MeasurementError;
use crate::pki::PkiError;
use crate::serve::ServeError;
use crate::store::{AddressError, OpenError};
use crate::tls::TlsError;

/// Why a trial did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The certificates cannot be made.
    #[error("the certificates")]
    Pki(#[from] PkiError),
    /// TLS cannot be set up.
    #[error("TLS")]
    Tls(#[from] TlsError),
    /// The configuration that was just made is refused.
    #[error("the configuration")]
    Config(#[from] ConfigError),
    /// A signing key is refused.
    #[error("the consent-signaling keys")]
    Consent(#[from] ConsentError),
    /// A keyset is refused.
    #[error("the encryption keys")]
    Keyset(#[from] HybridEncryptionError),
    /// A key encryption key cannot be read.
    #[error("a key encryption key")]
    KeyEncryption(#[from] FileKeyError),
    /// The Kingdom refuses a certificate.
    #[error("the Kingdom")]
    Kingdom(#[from] KingdomError),
    /// The database cannot be opened.
    #[error("the database of {duchy}")]
    Store {
        /// Whose.
        duchy: String,
        /// Why.
        source: Box<OpenError>,
    },
    /// A duchy's database cannot have the name that it would have.
    #[error("the name of a duchy's database")]
    StoreName(#[from] AddressError),
    /// The store of blobs cannot be opened.
    #[error("the blobs")]
    Blobs(#[from] BlobError),
    /// A file that was just made cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A duchy did not start or stop.
    #[error("a duchy")]
    Serve(#[from] ServeError),
    /// A data provider does not hear what is asked of it.
    #[error("a data provider")]
    DataProvider(#[from] DataProviderError),
    /// A data provider refused what it was asked, or could not deliver it.
    #[error("{requisition} is not fulfilled: {source}")]
    NotFulfilled {
        /// The requisition.
        requisition: String,
        /// Why.
        source: Box<DataProviderError>,
    },
    /// There is no result.
    #[error("the measurement")]
    Measurement(#[from] MeasurementError),
    /// The population of a share shuffle is refused.
    #[error("the population")]
    Population(#[from] PopulationError),
    /// There are no duchies.
    #[error("a trial takes at least one duchy")]
    NoDuchies,
    /// The operating system gives no randomness.
    #[error("no randomness")]
    Randomness(#[from] getrandom::Error),
}
