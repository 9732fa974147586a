//! One duchy in one process: its servers, its herald, its mills and its cleaner, with mutual TLS between them as if they were
//! processes of their own.
//!
//! [`DuchyConfig::bind`] takes the addresses, so that a trial can let the system choose ports and tell everyone
//! about them; [`BoundDuchy::start`] then learns where the Kingdom and the other duchies are and begins. The `routes_*`
//! functions are what the single servers' subcommands serve.

mod daemons;
pub mod routes;
mod servers;

pub use routes::{
    routes_async_control, routes_control, routes_fulfillment, routes_internal_api, with_reflection,
};
pub(crate) use servers::KINGDOM_LOG_CAPACITY;
pub use servers::run_server;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::blob::BlobStore;
use crate::cleaner::CleanerOptions;
use crate::client::{Channel, channel};
use crate::computation_secrets::ComputationSecrets;
use crate::config::{ConfigError, ProtocolsSetup};
use crate::herald::{HeraldError, HeraldOptions};
use crate::identity::Identities;
use crate::live::Live;
use crate::mill::{Consent, MillOptions, MillStartError, StageObserver};
use crate::peer::{PeerOptions, Peers};
use crate::private_key_store::PrivateKeyStore;
use crate::seeds::SeedSource;
use crate::server::ServerLimits;
use crate::service::{AdvanceLimits, FulfillmentLimits};
use crate::shutdown::{self, Trigger};
use crate::store::Store;
use crate::tls::{TlsError, TlsIdentity};

/// The name that a duchy's processes expect in one another's certificates, as in upstream's deployments.
pub const INTERNAL_CERT_HOST: &str = "localhost";

/// Where a duchy listens. Port 0 lets the system choose one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The internal API, for the duchy's own processes.
    pub internal_api: SocketAddr,
    /// The asynchronous control service, for the duchy's own control server.
    pub async_control: SocketAddr,
    /// The control service, for other duchies.
    pub control: SocketAddr,
    /// Requisition fulfillment, for data providers.
    pub fulfillment: SocketAddr,
    /// The health service, in plain text.
    pub health: Option<SocketAddr>,
}

impl Addresses {
    /// Ports of the system's choice on the loopback interface, without a health service.
    pub const fn loopback() -> Self {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self { internal_api: any, async_control: any, control: any, fulfillment: any, health: None }
    }
}

/// A server to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// The name to expect in its certificate; `None` for the host.
    pub cert_host: Option<String>,
}

/// The Kingdom's two sides, which may be one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KingdomTargets {
    /// The system API, for duchies.
    pub system: Target,
    /// The public API, from which workers of share shuffles have data providers' certificates.
    pub public: Target,
}

/// Limits of the services that others may call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of every server.
    pub server: ServerLimits,
    /// Of data from other duchies.
    pub advance: AdvanceLimits,
    /// Of data from data providers.
    pub fulfillment: FulfillmentLimits,
}

/// How a duchy gets rid of what it no longer needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaning {
    /// What goes, and after how long.
    pub options: CleanerOptions,
    /// How often it is looked for.
    pub interval: Duration,
}

/// Everything that makes a duchy.
#[derive(Clone, Debug)]
pub struct DuchyConfig {
    /// Its id.
    pub duchy: String,
    /// Its certificate and whom it trusts.
    pub tls: TlsIdentity,
    /// Who may call: the duchies, the data providers and the Kingdom.
    pub identities: Identities,
    /// Its roles.
    pub setup: Live<ProtocolsSetup>,
    /// Its signing key and whom it believes.
    pub consent: Consent,
    /// Where the private keys of a worker of share shuffles are.
    pub private_keys: Option<PrivateKeyStore>,
    /// How the secrets of its computations are kept.
    pub secrets: ComputationSecrets,
    /// Its computations.
    pub store: Arc<dyn Store>,
    /// Its blobs.
    pub blobs: BlobStore,
    /// Where it listens.
    pub addresses: Addresses,
    /// What its services take from others.
    pub limits: Limits,
    /// How its herald works.
    pub herald: HeraldOptions,
    /// How its mills work.
    pub mill: MillOptions,
    /// How it hands data to others.
    pub peer: PeerOptions,
    /// How long it keeps the blobs of stages after the end of their computation.
    pub intermediate_ttl: Duration,
    /// What else it deletes, and when; `None` for nothing.
    pub cleaning: Option<Cleaning>,
    /// Where the seeds of stages come from.
    pub seeds: SeedSource,
    /// Who watches the mill.
    pub observer: Arc<dyn StageObserver>,
}

/// Why a duchy did not start or did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A target is malformed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A configuration file is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The herald refuses its options, or gave up.
    #[error("the herald stopped")]
    Herald(#[from] HeraldError),
    /// The mill cannot start.
    #[error("the mill cannot start")]
    Mill(#[from] MillStartError),
    /// A server's transport failed.
    #[error("the {server} server failed")]
    Transport {
        /// Which server.
        server: &'static str,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// The services cannot be described to clients.
    #[error("the service descriptors are malformed")]
    Reflection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store's directory cannot be made.
    #[error("cannot make {0}")]
    Directory(std::path::PathBuf, #[source] io::Error),
}

impl DuchyConfig {
    /// Takes the addresses.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub async fn bind(self) -> Result<BoundDuchy, ServeError> {
        let wanted = self.addresses;
        let listeners = Listeners {
            internal_api: listen(wanted.internal_api).await?,
            async_control: listen(wanted.async_control).await?,
            control: listen(wanted.control).await?,
            fulfillment: listen(wanted.fulfillment).await?,
        };
        let bound = |listener: &TcpListener, wanted| listener.local_addr().unwrap_or(wanted);
        let addresses = Addresses {
            internal_api: bound(&listeners.internal_api, wanted.internal_api),
            async_control: bound(&listeners.async_control, wanted.async_control),
            control: bound(&listeners.control, wanted.control),
            fulfillment: bound(&listeners.fulfillment, wanted.fulfillment),
            health: wanted.health,
        };
        Ok(BoundDuchy { config: self, listeners, addresses })
    }
}

#[derive(Debug)]
struct Listeners {
    internal_api: TcpListener,
    async_control: TcpListener,
    control: TcpListener,
    fulfillment: TcpListener,
}

/// Listens on `address`.
///
/// # Errors
/// [`ServeError::Listen`].
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

/// A duchy that has its addresses and waits to begin.
#[derive(Debug)]
pub struct BoundDuchy {
    config: DuchyConfig,
    listeners: Listeners,
    addresses: Addresses,
}

impl BoundDuchy {
    /// Where the duchy will be reached: ports are those the system chose.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Begins to serve and to work. `peers` are the targets of the other duchies' control servers by duchy id.
    ///
    /// # Errors
    /// If a target is malformed, or the herald or the mill refuses its options.
    pub fn start(
        self,
        kingdom: &KingdomTargets,
        peers: &BTreeMap<String, String>,
    ) -> Result<RunningDuchy, ServeError> {
        let Self { config, listeners, addresses } = self;
        let channels = Channels::open(&config, addresses, kingdom)?;
        let peers = peers.iter().map(|(duchy, target)| (duchy.as_str(), target.as_str()));
        let peers = Peers::new(&config.tls, &config.consent.directory.current(), peers, config.peer)?;
        let (stop_servers, servers_stop) = shutdown::channel();
        let servers = servers::start(&config, listeners, addresses.health, &channels, &servers_stop)?;
        let (stop_daemons, daemons_stop) = shutdown::channel();
        let daemons = daemons::start(config, channels, peers, &daemons_stop)?;
        Ok(RunningDuchy { daemons, servers, stop_daemons, stop_servers, addresses })
    }
}

/// How the duchy's processes reach one another and the Kingdom.
struct Channels {
    internal_api: Channel,
    async_control: Channel,
    kingdom: Channel,
    kingdom_public: Channel,
}

impl Channels {
    fn open(config: &DuchyConfig, addresses: Addresses, kingdom: &KingdomTargets) -> Result<Self, TlsError> {
        let to = |target: &Target| channel(&config.tls, &target.address, target.cert_host.as_deref());
        let own = |address| channel(&config.tls, &reachable(address).to_string(), Some(INTERNAL_CERT_HOST));
        Ok(Self {
            internal_api: own(addresses.internal_api)?,
            async_control: own(addresses.async_control)?,
            kingdom: to(&kingdom.system)?,
            kingdom_public: to(&kingdom.public)?,
        })
    }
}

/// Where to call a server of this process that listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A duchy at work. Dropping it ends its tasks at once.
#[derive(Debug)]
pub struct RunningDuchy {
    daemons: Tasks,
    servers: Tasks,
    stop_daemons: Trigger,
    stop_servers: Trigger,
    addresses: Addresses,
}

type Tasks = JoinSet<Result<(), ServeError>>;

impl RunningDuchy {
    /// Where the duchy is reached.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Completes when a server or a daemon has ended, which none does by itself unless it fails; then the rest should
    /// be stopped.
    ///
    /// # Errors
    /// The failure.
    pub async fn ended(&mut self) -> Result<(), ServeError> {
        tokio::select! {
            Some(ended) = self.daemons.join_next() => ended.unwrap_or(Ok(())),
            Some(ended) = self.servers.join_next() => ended.unwrap_or(Ok(())),
            else => Ok(()),
        }
    }

    /// Stops. The mill gives back the work in progress before the servers go; their RPCs in progress may end.
    ///
    /// # Errors
    /// The first failure of a part.
    pub async fn stop(mut self) -> Result<(), ServeError> {
        self.stop_daemons.fire();
        let daemons = all(&mut self.daemons).await;
        self.stop_servers.fire();
        daemons.and(all(&mut self.servers).await)
    }
}

/// Waits for all tasks; the first failure. A panic in one has been printed.
async fn all(tasks: &mut Tasks) -> Result<(), ServeError> {
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        outcome = outcome.and(ended.unwrap_or(Ok(())));
    }
    outcome
}

/// Makes the directory `path` if there is none.
///
/// # Errors
/// [`ServeError::Directory`].
pub fn make_directory(path: &Path) -> Result<(), ServeError> {
    std::fs::create_dir_all(path).map_err(|source| ServeError::Directory(path.to_owned(), source))
}
