//! `halo-duchy internal-api-server`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::CliError;
use super::admin::AdminOptions;
use super::blobs::BlobOptions;
use super::cleaner::IntermediateOptions;
use super::options::{
    ClientOptions, DuchyOptions, KingdomOptions, ListenOptions, PortOptions, StoreOptions, load_directory,
    own_principals,
};
use super::process::{self, Process};
use crate::clock::SystemClock;
use crate::config::load_principals;
use crate::identity::{Authenticate, Caller, Identities};
use crate::kingdom_log::KingdomLog;
use crate::proto::system::computation_log_entries_client::ComputationLogEntriesClient;
use crate::reload::{Reloader, TLS};
use crate::serve::routes;
use crate::serve::{KINGDOM_LOG_CAPACITY, routes_internal_api};
use crate::shutdown;
use crate::tls::{TlsFiles, TlsIdentity};

/// The flags of the internal API server.
#[derive(Args, Clone, Debug)]
pub(super) struct InternalApiCommand {
    #[command(flatten)]
    duchy: DuchyOptions,
    #[command(flatten)]
    tls: TlsFiles,
    /// The duchies and their root certificates: a DuchyCertConfig in protobuf text. With it the duchy's other processes
    /// are known by all its roots, as they have to be while its root is replaced; without it, by that of this server's
    /// own certificate.
    #[arg(long, value_name = "FILE")]
    duchy_info_config: Option<PathBuf>,
    #[command(flatten)]
    port: PortOptions,
    #[command(flatten)]
    listen: ListenOptions,
    #[command(flatten)]
    admin: AdminOptions,
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
        Process::server(&self.listen, &self.client).of(&self.duchy.duchy_name).run(self.serve())
    }

    async fn serve(&self) -> Result<(), CliError> {
        let duchy = &self.duchy.duchy_name;
        let tls = self.tls.load()?;
        let (own, reloader) = self.own_identity(&tls)?;
        let (log, sender) = KingdomLog::new(duchy, Arc::new(SystemClock), KINGDOM_LOG_CAPACITY);
        let logging = tokio::spawn(sender.run(ComputationLogEntriesClient::new(self.kingdom.channel(&tls)?)));
        let store = self.store.open().await?;
        let (stop, stopped) = shutdown::channel();
        self.admin.show(duchy, &store, stopped).await?;
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
        stop.fire();
        logging.abort();
        served
    }

    /// The duchy as a caller, and what keeps that and the certificates in force.
    fn own_identity(&self, tls: &TlsIdentity) -> Result<(Identities, Reloader), CliError> {
        let duchy = &self.duchy.duchy_name;
        let reloader = self.client.reloader();
        if let Some(duchies) = &self.duchy_info_config {
            let own = Identities::new(load_principals(&load_directory(duchies, &self.duchy)?, None)?);
            let reloader = reloader.tls(&self.tls, tls).principals(duchy, duchies, None, &own);
            return Ok((own, reloader));
        }
        let own = Identities::new(own_principals(tls, duchy)?);
        tls.measure();
        let reloader = reloader.watch(TLS, self.tls.paths(), {
            let (files, duchy, tls, own) = (self.tls.clone(), duchy.clone(), tls.clone(), own.clone());
            move || {
                let newer = files.load()?;
                let principals = own_principals(&newer, &duchy)?;
                tls.replace(&newer);
                own.replace(principals);
                Ok::<_, CliError>(())
            }
        });
        Ok((own, reloader))
    }
}
