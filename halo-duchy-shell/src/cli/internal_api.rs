//! `halo-duchy internal-api-server`.

use std::sync::Arc;

use clap::Args;

use super::CliError;
use super::blobs::BlobOptions;
use super::cleaner::IntermediateOptions;
use super::options::{
    ClientOptions, DuchyOptions, KingdomOptions, ListenOptions, PortOptions, StoreOptions, own_identity,
    own_principals,
};
use super::process::{self, Process};
use crate::clock::SystemClock;
use crate::identity::{Authenticate, Caller};
use crate::kingdom_log::KingdomLog;
use crate::proto::system::computation_log_entries_client::ComputationLogEntriesClient;
use crate::serve::routes;
use crate::serve::{KINGDOM_LOG_CAPACITY, routes_internal_api};
use crate::tls::TlsFiles;

/// The flags of the internal API server.
#[derive(Args, Clone, Debug)]
pub(super) struct InternalApiCommand {
    #[command(flatten)]
    duchy: DuchyOptions,
    #[command(flatten)]
    tls: TlsFiles,
    #[command(flatten)]
    port: PortOptions,
    #[command(flatten)]
    listen: ListenOptions,
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    blobs: BlobOptions,
    #[command(flatten)]
    intermediate: IntermediateOptions,
    #[command(flatten)]
    kingdom: KingdomOptions,
    #[command(flatten)]
    client: ClientOptions,
}

impl InternalApiCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::server(&self.listen, &self.client).run(self.serve())
    }

    async fn serve(&self) -> Result<(), CliError> {
        let duchy = &self.duchy.duchy_name;
        let tls = self.tls.load()?;
        let own = own_identity(&tls, duchy)?;
        let reloader = self.client.reloader().watch("TLS", self.tls.paths(), {
            let (files, duchy, tls, own) = (self.tls.clone(), duchy.clone(), tls.clone(), own.clone());
            move || {
                let newer = files.load()?;
                let principals = own_principals(&newer, &duchy)?;
                tls.replace(&newer);
                own.replace(principals);
                Ok::<_, CliError>(())
            }
        });
        let (log, sender) = KingdomLog::new(duchy, Arc::new(SystemClock), KINGDOM_LOG_CAPACITY);
        let logging = tokio::spawn(sender.run(ComputationLogEntriesClient::new(self.kingdom.channel(&tls)?)));
        let store = self.store.open().await?;
        let (blobs, ttl) = (self.blobs.open(&self.duchy)?, self.intermediate.intermediate_ttl);
        let routes = routes_internal_api(duchy, &store, &blobs, Some(log), ttl);
        let authenticate = Authenticate::only(own, Caller::Duchy(duchy.clone()));
        let served = process::serve(
            routes::INTERNAL_API,
            self.port.port,
            &self.listen,
            tls,
            authenticate,
            routes,
            reloader,
        )
        .await;
        logging.abort();
        served
    }
}
