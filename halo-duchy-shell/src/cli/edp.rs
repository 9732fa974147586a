//! `halo-duchy edp`: a data provider's side, against any Kingdom and duchies that speak the public API.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use halo_crypto::parallel::Executor;
use halo_protocols::data_provider::VidIndexMap;

use super::CliError;
use super::options::{PublicApiOptions, peer, read_file};
use super::process::{Process, shutdown_on_signal};
use crate::client::{Channel, channel};
use crate::config::parse_positive_duration;
use crate::consent::Signer;
use crate::data_provider::{Connections, DataProvider, Misbehaviour, Outcome, ShareShuffleSide};
use crate::events::{EventLog, Vid};
use crate::hybrid_encryption::PrivateKeyset;
use crate::identity::Identities;
use crate::reload::Reloader;
use crate::seeds::SeedSource;
use crate::tls::{TlsError, TlsFiles, TlsIdentity};

/// The pause before each chunk of a slow upload.
const SLOWNESS: Duration = Duration::from_secs(1);

/// How often certificates are looked at by who goes on.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The number of the first person of a log.
const FIRST_VID: Vid = 1;

/// What to do about requisitions.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum EdpCommand {
    /// Check every requisition that waits, and hand the data to the duchies or refuse it; one line for each.
    Fulfill(Box<FulfillCommand>),
}

/// The flags of `edp fulfill`.
#[derive(Args, Clone, Debug)]
pub(super) struct FulfillCommand {
    #[command(flatten)]
    tls: TlsFiles,
    #[command(flatten)]
    kingdom: PublicApiOptions,
    /// Resource name of the data provider.
    #[arg(long, value_name = "dataProviders/ID")]
    data_provider_resource_name: String,
    /// The Tink keyset that requisition specs are decrypted with.
    #[arg(long, value_name = "FILE")]
    data_provider_encryption_private_keyset: PathBuf,
    /// The requisition fulfillment server of the duchy that gets the data.
    #[arg(long, value_name = "HOST:PORT")]
    requisition_fulfillment_service_target: String,
    /// Name to expect in its certificate. Default: the host of the target.
    #[arg(long, value_name = "HOST")]
    requisition_fulfillment_service_cert_host: Option<String>,
    #[command(flatten)]
    share_shuffle: Option<ShareShuffleOptions>,
    /// Event log, CSV or gzip: columns event_time, publisher and id in any order.
    #[arg(long, value_name = "FILE.csv[.gz]")]
    events: PathBuf,
    /// Whose events of the log are this data provider's.
    #[arg(long, value_name = "NAME")]
    publisher: String,
    /// Do to uploads what none should do, to see what duchies make of it. For development only.
    #[arg(long, value_name = "HOW", value_enum)]
    insecure_dev_upload: Option<UploadMode>,
    /// Go on until stopped, with this pause between two looks for requisitions.
    #[arg(long, value_name = "DURATION", value_parser = parse_positive_duration)]
    watch: Option<Duration>,
}

/// How uploads misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum UploadMode {
    /// A second before each chunk of 32 KiB.
    Slow,
    /// Everything twice, one after the other.
    Duplicate,
    /// The first byte inverted.
    Corrupt,
}

/// What share shuffles take beyond what sketches do; without it they are refused. People are then numbered over the
/// whole log, which must be the same at all data providers.
#[derive(Args, Clone, Debug)]
struct ShareShuffleOptions {
    /// Resource name of the data provider's certificate at the Kingdom; needed for share shuffles, with the next three.
    #[arg(long, value_name = "dataProviders/ID/certificates/ID")]
    #[arg(requires_all = ["data_provider_consent_signaling_private_key_der_file", "workers"], required = false)]
    data_provider_certificate_resource_name: String,
    /// The key of that certificate, which signs seeds, in DER (PKCS#8).
    #[arg(
        long,
        value_name = "FILE",
        requires = "data_provider_consent_signaling_certificate_der_file",
        required = false
    )]
    data_provider_consent_signaling_private_key_der_file: PathBuf,
    /// The certificate, in DER.
    #[arg(long, value_name = "FILE", requires = "data_provider_certificate_resource_name", required = false)]
    data_provider_consent_signaling_certificate_der_file: PathBuf,
    /// Requisition fulfillment server of a worker of share shuffles, once for each: the Kingdom says which gets the data.
    #[arg(long = "worker-requisition-fulfillment-service-target", value_name = "ID=HOST:PORT", value_parser = peer,
        requires = "data_provider_certificate_resource_name", required = false)]
    workers: Vec<(String, String)>,
    /// Name to expect in the workers' certificates. Default: the hosts of the targets.
    #[arg(long, value_name = "HOST")]
    worker_requisition_fulfillment_service_cert_host: Option<String>,
}

impl EdpCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        match self {
            Self::Fulfill(command) => Process::tool().run(command.fulfill()),
        }
    }
}

impl FulfillCommand {
    async fn fulfill(&self) -> Result<(), CliError> {
        let shutdown = shutdown_on_signal()?;
        let tls = self.tls.load()?;
        let principals = self.kingdom.principals()?;
        let provider = self.data_provider(&tls, principals.clone())?;
        if self.watch.is_some() {
            let reloader = Reloader::new(RELOAD_INTERVAL).tls(&self.tls, &tls);
            let reloader = self.kingdom.keep(reloader, &principals);
            tokio::spawn(reloader.run(shutdown.clone()));
        }
        loop {
            let outcomes = provider.fulfill_waiting().await;
            outcomes.iter().flatten().for_each(print);
            let Some(pause) = self.watch else {
                let waiting =
                    outcomes?.iter().filter(|outcome| matches!(outcome, Outcome::Waits { .. })).count();
                return if waiting == 0 { Ok(()) } else { Err(CliError::RequisitionsWait(waiting)) };
            };
            if let Err(error) = outcomes {
                tracing::warn!(%error, "the Kingdom is asked again what waits");
            }
            if shutdown.unless_requested(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    fn data_provider(&self, tls: &TlsIdentity, principals: Identities) -> Result<DataProvider, CliError> {
        let (kingdom, certificates) = self.kingdom.connect(tls, principals)?;
        let connections = Connections { kingdom, duchy: self.duchy(tls)?, certificates };
        let keyset = PrivateKeyset::parse_file(&read_file(&self.data_provider_encryption_private_keyset)?)?;
        let name = &self.data_provider_resource_name;
        let seed = SeedSource::OperatingSystem.seed(name, "", "")?;
        let log = EventLog::read(&self.events)?;
        let (log, side) = match &self.share_shuffle {
            Some(options) => (log.numbered(FIRST_VID), Some(options.side(tls, log.population(FIRST_VID))?)),
            None => (log, None),
        };
        let impressions = self.impressions(&log)?;
        let provider = DataProvider::new(name, impressions, keyset, connections, Executor::serial(), seed);
        let misbehaviour = self.insecure_dev_upload.map(|mode| {
            tracing::warn!(?mode, "--insecure-dev-upload: uploads are not what they should be");
            match mode {
                UploadMode::Slow => Misbehaviour::Slow(SLOWNESS),
                UploadMode::Duplicate => Misbehaviour::Duplicate,
                UploadMode::Corrupt => Misbehaviour::Corrupt,
            }
        });
        Ok(provider.with_share_shuffle(side).with_misbehaviour(misbehaviour))
    }

    fn duchy(&self, tls: &TlsIdentity) -> Result<Channel, CliError> {
        let host = self.requisition_fulfillment_service_cert_host.as_deref();
        Ok(channel(tls, &self.requisition_fulfillment_service_target, host)?)
    }

    fn impressions(&self, log: &EventLog) -> Result<Vec<Vid>, CliError> {
        let own = log.publishers().find(|(publisher, _)| *publisher == self.publisher);
        let unknown = || {
            let known: Vec<_> = log.publishers().map(|(publisher, _)| publisher).collect();
            CliError::flag("--publisher", format!("the log has events of {} only", known.join(", ")))
        };
        own.map(|(_, vids)| vids.to_vec()).ok_or_else(unknown)
    }
}

impl ShareShuffleOptions {
    fn side(&self, tls: &TlsIdentity, population: RangeInclusive<Vid>) -> Result<ShareShuffleSide, CliError> {
        let host = self.worker_requisition_fulfillment_service_cert_host.as_deref();
        let worker = |(duchy, target): &(String, String)| Ok((duchy.clone(), channel(tls, target, host)?));
        Ok(ShareShuffleSide {
            population: Arc::new(VidIndexMap::new(population)?),
            signer: Signer::load(
                &self.data_provider_consent_signaling_certificate_der_file,
                &self.data_provider_consent_signaling_private_key_der_file,
            )?,
            certificate: self.data_provider_certificate_resource_name.clone(),
            workers: self.workers.iter().map(worker).collect::<Result<_, TlsError>>()?,
        })
    }
}

fn print(outcome: &Outcome) {
    match outcome {
        Outcome::Fulfilled(fulfilled) => {
            println!("{} FULFILLED {} registers", fulfilled.requisition, fulfilled.registers);
        }
        Outcome::Refused { requisition, error } => println!("{requisition} REFUSED {error}"),
        Outcome::Waits { requisition, error } => println!("{requisition} WAITS {error}"),
    }
}
