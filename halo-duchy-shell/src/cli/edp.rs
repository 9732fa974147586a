//! `halo-duchy edp`: a data provider's side, against any Kingdom and duchies that speak the public API.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use halo_crypto::parallel::Executor;
use tonic::transport::Channel;

use super::CliError;
use super::options::{PublicApiOptions, read_file};
use super::process::{Process, shutdown_on_signal};
use crate::client::channel;
use crate::config::parse_positive_duration;
use crate::data_provider::{Connections, DataProvider, Outcome};
use crate::events::{EventLog, Vid};
use crate::hybrid_encryption::PrivateKeyset;
use crate::seeds::SeedSource;
use crate::tls::{TlsFiles, TlsIdentity};

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
    /// Event log, CSV or gzip: columns event_time, publisher and id in any order.
    #[arg(long, value_name = "FILE.csv[.gz]")]
    events: PathBuf,
    /// Whose events of the log are this data provider's.
    #[arg(long, value_name = "NAME")]
    publisher: String,
    /// Go on until stopped, with this pause between two looks for requisitions.
    #[arg(long, value_name = "DURATION", value_parser = parse_positive_duration)]
    watch: Option<Duration>,
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
        let provider = self.data_provider()?;
        loop {
            match (provider.fulfill_waiting().await, self.watch) {
                (Ok(outcomes), _) => outcomes.iter().for_each(print),
                (Err(error), Some(_)) => tracing::warn!(%error, "some requisitions have to wait"),
                (Err(error), None) => return Err(error.into()),
            }
            let Some(pause) = self.watch else { return Ok(()) };
            if shutdown.unless_requested(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    fn data_provider(&self) -> Result<DataProvider, CliError> {
        let tls = self.tls.load()?;
        let (kingdom, certificates) = self.kingdom.connect(&tls)?;
        let connections = Connections { kingdom, duchy: self.duchy(&tls)?, certificates };
        let keyset = PrivateKeyset::parse_file(&read_file(&self.data_provider_encryption_private_keyset)?)?;
        let name = &self.data_provider_resource_name;
        let seed = SeedSource::OperatingSystem.seed(name, "", "")?;
        let impressions = self.impressions()?;
        Ok(DataProvider::new(name, impressions, keyset, connections, Executor::serial(), seed))
    }

    fn duchy(&self, tls: &TlsIdentity) -> Result<Channel, CliError> {
        let host = self.requisition_fulfillment_service_cert_host.as_deref();
        Ok(channel(tls, &self.requisition_fulfillment_service_target, host)?)
    }

    fn impressions(&self) -> Result<Vec<Vid>, CliError> {
        let log = EventLog::read(&self.events)?;
        let own = log.publishers().find(|(publisher, _)| *publisher == self.publisher);
        let unknown = || {
            let known: Vec<_> = log.publishers().map(|(publisher, _)| publisher).collect();
            CliError::flag("--publisher", format!("the log has events of {} only", known.join(", ")))
        };
        own.map(|(_, vids)| vids.to_vec()).ok_or_else(unknown)
    }
}

fn print(outcome: &Outcome) {
    match outcome {
        Outcome::Fulfilled(fulfilled) => {
            println!("{} FULFILLED {} registers", fulfilled.requisition, fulfilled.registers);
        }
        Outcome::Refused { requisition, error } => println!("{requisition} REFUSED {error}"),
    }
}
