//! `halo-duchy serve`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::CliError;
use super::admin::AdminOptions;
use super::blobs::BlobOptions;
use super::cleaner::RetentionOptions;
use super::control::AdvanceOptions;
use super::fulfillment::{PrincipalMapOptions, RequisitionOptions};
use super::herald::HeraldWorkOptions;
use super::key_encryption::{KeyEncryptionOptions, KeyEncryptionParts};
use super::mill::{ConsentOptions, MillWorkOptions};
use super::options::{
    ClientOptions, DuchyInfoOptions, DuchyOptions, KingdomOptions, ListenOptions, PeersOptions, StoreOptions,
};
use super::process::{Process, shutdown_on_signal};
use crate::config::{ProtocolsSetup, load_principals, parse_positive_duration};
use crate::identity::Identities;
use crate::mill::{MillOptions, Silent};
use crate::seeds::SeedSource;
use crate::serve::{Addresses, Cleaning, DuchyConfig, KingdomTargets, Limits, Target};
use crate::tls::TlsFiles;

/// How long one step of cleaning may take; that of the cleaner in a process of its own.
const CLEANING_DEADLINE: Duration = Duration::from_secs(300);

/// The flags of a whole duchy in one process.
#[derive(Args, Clone, Debug)]
pub(super) struct ServeCommand {
    #[command(flatten)]
    duchy: DuchyOptions,
    #[command(flatten)]
    tls: TlsFiles,
    #[command(flatten)]
    duchy_info: DuchyInfoOptions,
    #[command(flatten)]
    principals: PrincipalMapOptions,
    #[command(flatten)]
    listen: ListenOptions,
    /// Port to serve other duchies on.
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    computation_control_port: u16,
    /// Port to serve data providers on.
    #[arg(long, value_name = "PORT", default_value_t = 8444)]
    requisition_fulfillment_port: u16,
    #[command(flatten)]
    admin: AdminOptions,
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    blobs: BlobOptions,
    #[command(flatten)]
    kingdom: KingdomOptions,
    /// The Kingdom's public API server, which hands out the certificates of data providers. A worker of share shuffles
    /// needs it.
    #[arg(long, value_name = "HOST:PORT")]
    kingdom_public_api_target: Option<String>,
    /// Name to expect in its certificate. Default: the host of the target.
    #[arg(long, value_name = "HOST")]
    kingdom_public_api_cert_host: Option<String>,
    #[command(flatten)]
    key_encryption: KeyEncryptionOptions,
    #[command(flatten)]
    peers: PeersOptions,
    #[command(flatten)]
    consent: ConsentOptions,
    /// Name of the mill in claims and logs; that of the share shuffle's has `-hmss` behind it. Default: the duchy's id
    /// with `-mill`.
    #[arg(long, value_name = "ID")]
    mill_id: Option<String>,
    #[command(flatten)]
    mill: MillWorkOptions,
    #[command(flatten)]
    herald: HeraldWorkOptions,
    #[command(flatten)]
    advance: AdvanceOptions,
    #[command(flatten)]
    requisition: RequisitionOptions,
    #[command(flatten)]
    retention: RetentionOptions,
    /// How often what is kept no longer is looked for and deleted.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_positive_duration)]
    cleaner_interval: Duration,
    #[command(flatten)]
    client: ClientOptions,
}

impl ServeCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::server(&self.listen, &self.client).of(&self.duchy.duchy_name).run(self.serve())
    }

    async fn serve(&self) -> Result<(), CliError> {
        let shutdown = shutdown_on_signal()?;
        let keys = self.key_encryption.open().await?;
        let (config, peers) = self.config(&keys).await?;
        let duchies = &self.duchy_info.duchy_info_config;
        let map = &self.principals.authority_key_identifier_to_principal_map_file;
        let reloader = self
            .client
            .reloader()
            .tls(&self.tls, &config.tls)
            .principals(&config.duchy, duchies, Some(map), &config.identities)
            .directory(&config.duchy, duchies, &config.consent.directory)
            .signing(self.consent.files(&config.duchy)?, &config.consent.own)
            .setup(&config.duchy, &self.herald.protocols_setup_config, duchies, &config.setup);
        let reloader = keys.watched_by(reloader);
        tokio::spawn(reloader.run(shutdown.clone()));
        self.admin.show(&config.duchy, &config.store, shutdown.clone()).await?;
        let kingdom = self.kingdom(&config.setup.current())?;
        let mut running = config.bind().await?.start(&kingdom, &peers)?;
        let ended = tokio::select! {
            () = shutdown.requested() => Ok(()),
            ended = running.ended() => Err(ended.err().map_or(CliError::Ended, CliError::from)),
        };
        let stopped = running.stop().await;
        ended.and(stopped.map_err(CliError::from))
    }

    fn kingdom(&self, setup: &ProtocolsSetup) -> Result<KingdomTargets, CliError> {
        let system = self.kingdom.target();
        let public = match &self.kingdom_public_api_target {
            Some(address) => {
                Target { address: address.clone(), cert_host: self.kingdom_public_api_cert_host.clone() }
            }
            None if setup.is_share_shuffle_worker() => {
                let why = "the duchy is a worker of share shuffles, and needs data providers' certificates";
                return Err(CliError::flag("--kingdom-public-api-target", why));
            }
            // Nobody asks it for anything.
            None => system.clone(),
        };
        Ok(KingdomTargets { system, public })
    }

    async fn config(
        &self,
        keys: &KeyEncryptionParts,
    ) -> Result<(DuchyConfig, BTreeMap<String, String>), CliError> {
        let duchy = &self.duchy.duchy_name;
        let tls = self.tls.load()?;
        let directory = self.duchy_info.load(&self.duchy)?;
        let map = &self.principals.authority_key_identifier_to_principal_map_file;
        let peers = self.peers.targets(&directory, duchy)?;
        let peers = peers.iter().map(|(id, target)| (String::from(*id), String::from(*target))).collect();
        let setup = ProtocolsSetup::load(&self.herald.protocols_setup_config, duchy, &directory)?;
        let blobs = self.blobs.open(&self.duchy)?;
        let mill_id = self.mill_id.clone().unwrap_or_else(|| format!("{duchy}-mill"));
        // Nobody outside this process calls the internal servers.
        let internal = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let herald = self.herald.options();
        let mill = MillOptions { noise_policy: herald.noise_policy, ..self.mill.options(&mill_id) };
        let config = DuchyConfig {
            duchy: duchy.clone(),
            identities: Identities::new(load_principals(&directory, Some(map))?),
            private_keys: keys.private_keys(Some(&blobs), &setup)?,
            secrets: keys.secrets_to_be(),
            setup: setup.into(),
            consent: self.consent.load(duchy, directory.into(), &tls)?,
            tls,
            store: self.store.open().await?,
            blobs,
            addresses: Addresses {
                internal_api: internal,
                async_control: internal,
                control: self.listen.address(self.computation_control_port),
                fulfillment: self.listen.address(self.requisition_fulfillment_port),
                health: Some(self.listen.address(self.listen.health_port)),
            },
            limits: Limits {
                server: self.listen.limits(),
                advance: self.advance.limits(),
                fulfillment: self.requisition.limits(),
            },
            herald,
            mill,
            peer: self.mill.peer_options(),
            intermediate_ttl: self.retention.intermediate.intermediate_ttl,
            cleaning: Some(Cleaning {
                options: self.retention.options(CLEANING_DEADLINE, false),
                interval: self.cleaner_interval,
            }),
            seeds: SeedSource::OperatingSystem,
            observer: Arc::new(Silent),
        };
        Ok((config, peers))
    }
}
