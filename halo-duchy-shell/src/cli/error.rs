//! Why a subcommand ended before its time.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use halo_crypto::backend::BackendError;
use halo_protocols::data_provider::PopulationError;

use crate::audit::{AuditError, VerifyError};
use crate::blob::BlobError;
use crate::config::ConfigError;
use crate::consent::ConsentError;
use crate::data_provider::DataProviderError;
use crate::demo::DemoError;
use crate::events::EventLogError;
use crate::herald::HeraldError;
use crate::hybrid_encryption::HybridEncryptionError;
use crate::identity::PrincipalsError;
use crate::key_encryption::{KeyEncryptionError, OpenKeyError};
use crate::kingdom::config_file::ConfigFileError;
use crate::kingdom::{DatabaseError, KingdomError};
use crate::measurement_consumer::MeasurementError;
use crate::mill::MillStartError;
use crate::pki::PkiError;
#[cfg(feature = "kubernetes")]
use crate::scheduler::{ClusterError, SchedulerError};
use crate::serve::ServeError;
use crate::store::transfer::TransferError;
use crate::store::{OpenError, StoreError};
use crate::telemetry::TelemetryError;
use crate::tls::TlsError;
use crate::x509::CertificateError;

/// Why a subcommand ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// A flag contradicts another or a configuration file.
    #[error("{flag}: {why}")]
    Flag {
        /// The flag, with its dashes, or the environment variable.
        flag: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The implementation of P-256 that was asked for cannot be had.
    #[error("HALO_BACKEND")]
    Backend(#[from] BackendError),
    /// The operating system does not give threads or signals.
    #[error("the process cannot be set up")]
    Process(#[source] io::Error),
    /// Logs, spans or metrics cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The audit log cannot be kept.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// An audit log is not as it was written.
    #[error(transparent)]
    AuditLog(#[from] VerifyError),
    /// The operating system gives no randomness.
    #[error("no randomness")]
    Randomness(#[from] getrandom::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The process's own TLS certificate is by no trusted root, so that nobody could know it.
    #[error("the TLS certificate")]
    OwnCertificate(#[source] CertificateError),
    /// Two parties share an authority.
    #[error(transparent)]
    Principals(#[from] PrincipalsError),
    /// A configuration file is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The consent-signaling key is refused.
    #[error("the consent-signaling key")]
    Consent(#[from] ConsentError),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The user of a database cannot be read.
    #[cfg(feature = "aws-secrets")]
    #[error(transparent)]
    Secret(#[from] crate::aws_secrets::SecretError),
    /// What is in a database cannot be read or changed.
    #[error(transparent)]
    Records(#[from] StoreError),
    /// A computation is not as it would have to be for what an operator wants.
    #[error("computation {id}: {why}")]
    Computation {
        /// Its global id.
        id: String,
        /// What is in the way, and what to do.
        why: String,
    },
    /// The Kingdom does not take the report of a failure.
    #[error("the Kingdom")]
    KingdomRefuses(#[source] Box<tonic::Status>),
    /// What is in a database cannot be moved.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The blobs cannot be opened.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// A server or the whole duchy failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A part of the process ended without being asked to.
    #[error("a part of the process ended by itself")]
    Ended,
    /// The herald gave up.
    #[error(transparent)]
    Herald(#[from] HeraldError),
    /// The mill cannot start.
    #[error(transparent)]
    Mill(#[from] MillStartError),
    /// The mill job scheduler gave up.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// Kubernetes cannot be reached at all.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The duchy's internal API does not answer the mill.
    #[error("the internal API")]
    InternalApi(#[source] Box<tonic::Status>),
    /// The Kingdom refuses a certificate.
    #[error(transparent)]
    Kingdom(#[from] KingdomError),
    /// The development Kingdom's database cannot be used.
    #[error("{path}")]
    KingdomDatabase {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: DatabaseError,
    },
    /// The development Kingdom's configuration file is refused.
    #[error("{path}")]
    KingdomConfig {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<ConfigFileError>,
    },
    /// The development Kingdom refuses what it is told, or does not answer.
    #[error("the Kingdom")]
    DevKingdom(#[source] Box<tonic::Status>),
    /// Duchies broke invariants.
    #[error("invariants were broken {0} times")]
    Violations(usize),
    /// The key encryption key cannot be had.
    #[error("the key encryption key")]
    OpenKey(#[from] OpenKeyError),
    /// The key encryption key does not encrypt and open.
    #[error("the key encryption key")]
    KeyEncryption(#[from] KeyEncryptionError),
    /// A keyset cannot be read.
    #[error("the keyset")]
    Keyset(#[from] HybridEncryptionError),
    /// The event log cannot be read.
    #[error(transparent)]
    Events(#[from] EventLogError),
    /// The people of the event log are too many for a population.
    #[error("--events")]
    Population(#[from] PopulationError),
    /// The Kingdom does not say what it asks of a data provider.
    #[error(transparent)]
    DataProvider(#[from] DataProviderError),
    /// Something beyond the data provider is in the way of requisitions.
    #[error("requisitions that wait for another try: {0}; run the command again, or with --watch")]
    RequisitionsWait(usize),
    /// There is no result.
    #[error(transparent)]
    Measurement(#[from] MeasurementError),
    /// The certificates of a trial cannot be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The demo has no result.
    #[error(transparent)]
    Demo(DemoError),
    /// A result cannot be written as JSON.
    #[error("the result as JSON")]
    Report(#[from] serde_json::Error),
}

impl From<DemoError> for CliError {
    fn from(error: DemoError) -> Self {
        match error {
            DemoError::Misuse(misuse) => Self::flag(misuse.flag, misuse.why),
            error => Self::Demo(error),
        }
    }
}

impl CliError {
    /// A flag that contradicts another or a configuration file.
    pub(super) fn flag(flag: &'static str, why: impl Into<String>) -> Self {
        Self::Flag { flag, why: why.into() }
    }

    /// The error and its causes on one line.
    pub fn report(&self) -> String {
        let mut report = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let message = error.to_string();
            // Some errors say their cause themselves.
            if !report.ends_with(&message) {
                report = format!("{report}: {message}");
            }
            cause = error.source();
        }
        report.replace('\n', " ")
    }

    /// 2 if the command line is at fault, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Flag { .. } | Self::Backend(_) | Self::Telemetry(_) | Self::Tls(TlsError::Uri(_)) => {
                ExitCode::from(2)
            }
            _ => ExitCode::FAILURE,
        }
    }
}
