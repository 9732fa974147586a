//! Flags that several subcommands share.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};
use halo_protocols::llv2::NoisePolicy;

use super::CliError;
use super::postgres::PostgresOptions;
use crate::audit::{Entry, Event, Outcome};
use crate::client::{CallPolicy, Channel, channel, unary_channel};
use crate::clock::SystemClock;
use crate::config::{DuchyDirectory, is_valid_id, load_principals, parse_duration, parse_positive_duration};
use crate::identity::{Caller, Identities, Principals};
use crate::party_certificates::PartyCertificates;
use crate::reload::Reloader;
use crate::serve::{Target, make_directory};
use crate::server::ServerLimits;
use crate::store::{AddressError, Store, StoreAddress};
use crate::telemetry::LogFormat;
use crate::tls::{TlsError, TlsIdentity};

/// Which duchy it is.
#[derive(Args, Clone, Debug)]
pub(super) struct DuchyOptions {
    /// Id of this duchy.
    #[arg(long, value_name = "ID", value_parser = id)]
    pub duchy_name: String,
}

/// The known duchies.
#[derive(Args, Clone, Debug)]
pub(super) struct DuchyInfoOptions {
    /// The duchies by their root certificates: a DuchyCertConfig in protobuf text.
    #[arg(long, value_name = "FILE")]
    pub duchy_info_config: PathBuf,
}

/// How a server listens.
#[derive(Args, Clone, Debug)]
pub(super) struct ListenOptions {
    /// Address to listen on. Default: all interfaces.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub listen_address: IpAddr,
    /// Port of the health service, in plain text.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub health_port: u16,
    /// How long RPCs in progress may take when the server is told to stop, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 25)]
    pub shutdown_grace_period_seconds: u32,
    /// Clients must present certificates. They always must; `false` is refused.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", value_parser = client_auth)]
    pub require_client_auth: bool,
    /// Log gRPC frames, calls, and the types, sizes and ids of messages (not what else is in them).
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true")]
    pub debug_verbose_grpc_server_logging: bool,
    /// Connections at once; further ones wait in the system's queue. One of several clients has a quarter of them.
    #[arg(long, value_name = "N", default_value_t = ServerLimits::default().connections,
        value_parser = connections)]
    pub max_connections: usize,
    /// RPCs at once on one connection, and of one of several clients on all of its.
    #[arg(long, value_name = "N", default_value_t = ServerLimits::default().streams_per_connection,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrent_streams: u32,
    /// Threads of the process. Default: one for each core.
    #[arg(long, value_name = "N")]
    pub grpc_thread_pool_size: Option<NonZeroU16>,
}

/// The port of a process that serves one thing.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct PortOptions {
    /// Port to serve on.
    #[arg(long, short, default_value_t = 8443)]
    pub port: u16,
}

/// How a process calls others and keeps up with its configuration files.
#[derive(Args, Clone, Debug)]
pub(super) struct ClientOptions {
    /// How often certificates, keys and configuration files are looked at; those that changed are read again.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_positive_duration)]
    pub config_poll_interval: Duration,
    /// How long connections to others may take to close at the end.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = parse_duration)]
    pub channel_shutdown_timeout: Duration,
    /// Log gRPC frames, calls, and the types, sizes and ids of messages (not what else is in them).
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true")]
    pub debug_verbose_grpc_client_logging: bool,
    /// How a line of the log looks: for people, or one JSON object.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// File of the audit log, one for each process: it is created if need be and only ever added to. Default: none is kept.
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<PathBuf>,
}

/// Where the duchy's internal API is.
#[derive(Args, Clone, Debug)]
pub(super) struct InternalApiOptions {
    /// The duchy's internal API server.
    #[arg(long, value_name = "HOST:PORT")]
    pub computations_service_target: String,
    /// Name to expect in its certificate.
    #[arg(long, value_name = "HOST")]
    pub computations_service_cert_host: String,
    /// How long a call to it may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_positive_duration)]
    pub computations_default_deadline: Duration,
}

/// Where the duchy's asynchronous control server is.
#[derive(Args, Clone, Debug)]
pub(super) struct AsyncControlOptions {
    /// The duchy's asynchronous computation control server.
    #[arg(long, value_name = "HOST:PORT")]
    pub async_computation_control_service_target: String,
    /// Name to expect in its certificate.
    #[arg(long, value_name = "HOST")]
    pub async_computation_control_service_cert_host: String,
    /// How long a call to it may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_positive_duration)]
    pub async_computation_control_default_deadline: Duration,
}

/// Where the Kingdom is.
#[derive(Args, Clone, Debug)]
pub(super) struct KingdomOptions {
    /// The Kingdom's system API server.
    #[arg(long, value_name = "HOST:PORT")]
    pub kingdom_system_api_target: String,
    /// Name to expect in its certificate. Default: the host of the target.
    #[arg(long, value_name = "HOST")]
    pub kingdom_system_api_cert_host: Option<String>,
}

/// Where the Kingdom's public side is.
#[derive(Args, Clone, Debug)]
pub(super) struct KingdomPublicOptions {
    /// The Kingdom's public API server.
    #[arg(long, value_name = "HOST:PORT")]
    pub kingdom_public_api_target: String,
    /// Name to expect in its certificate. Default: the host of the target.
    #[arg(long, value_name = "HOST")]
    pub kingdom_public_api_cert_host: Option<String>,
}

/// Where the Kingdom's public side is, and whose certificates it hands out.
#[derive(Args, Clone, Debug)]
pub(super) struct PublicApiOptions {
    #[command(flatten)]
    pub kingdom: KingdomPublicOptions,
    #[command(flatten)]
    pub duchy_info: DuchyInfoOptions,
    /// The other parties by their root certificates: an AuthorityKeyToPrincipalMap in protobuf text.
    #[arg(long, value_name = "FILE")]
    pub authority_key_identifier_to_principal_map_file: PathBuf,
}

/// The other duchies.
#[derive(Args, Clone, Debug)]
pub(super) struct PeersOptions {
    /// Computation control server of another duchy; once for each of --duchy-info-config.
    #[arg(long = "duchy-computation-control-target", value_name = "ID=HOST:PORT", value_parser = peer)]
    pub targets: Vec<(String, String)>,
}

/// The duchy's database.
#[derive(Args, Clone, Debug)]
pub(super) struct StoreOptions {
    /// The duchy's database: sqlite:FILE, which is created if need be, or one that has been migrated,
    /// postgres://USER@HOST/DATABASE or spanner://projects/PROJECT/instances/INSTANCE/databases/DATABASE. Required, unless
    /// upstream's flags name the database.
    #[arg(long, value_name = "ADDRESS", required_unless_present_any = ["spanner_database", "postgres_database"],
        conflicts_with_all = ["spanner_database", "postgres_database"], value_parser = store_address)]
    store: Option<Result<StoreAddress, AddressError>>,
    /// Google Cloud project of the duchy's Cloud Spanner database: upstream's way to say what --store says.
    #[arg(long, value_name = "PROJECT", requires_all = ["spanner_instance", "spanner_database"])]
    spanner_project: Option<String>,
    /// Its instance.
    #[arg(long, value_name = "INSTANCE", requires = "spanner_project")]
    spanner_instance: Option<String>,
    /// Its name within the instance.
    #[arg(long, value_name = "DATABASE", requires = "spanner_project", conflicts_with = "postgres_database")]
    spanner_database: Option<String>,
    /// A Spanner emulator, in place of Google's service.
    #[arg(long, value_name = "HOST:PORT", env = "SPANNER_EMULATOR_HOST")]
    spanner_emulator_host: Option<String>,
    #[command(flatten)]
    postgres: PostgresOptions,
}

/// Whether computations may go without noise.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct NoiseOptions {
    /// Take part in computations without noise, which are not private. For development only.
    #[arg(long)]
    insecure_dev_allow_no_noise: bool,
}

impl NoiseOptions {
    /// The policy. Says so if privacy is given up.
    pub(super) fn policy(self) -> NoisePolicy {
        if !self.insecure_dev_allow_no_noise {
            return NoisePolicy::Required;
        }
        tracing::warn!("--insecure-dev-allow-no-noise: computations without noise are not private");
        audit_insecure("--insecure-dev-allow-no-noise");
        NoisePolicy::AllowNone
    }
}

/// Records that `flag`, which gives up security, is in force.
pub(super) fn audit_insecure(flag: &str) {
    Entry::new(Event::InsecureFlag, Outcome::Done).detail("flag", flag).record();
}

impl DuchyInfoOptions {
    /// The known duchies, of which `duchy` must be one.
    pub(super) fn load(&self, duchy: &DuchyOptions) -> Result<DuchyDirectory, CliError> {
        load_directory(&self.duchy_info_config, duchy)
    }
}

/// The known duchies, of which `duchy` must be one.
pub(super) fn load_directory(file: &Path, duchy: &DuchyOptions) -> Result<DuchyDirectory, CliError> {
    let directory = DuchyDirectory::load(file)?;
    match directory.get(&duchy.duchy_name) {
        Some(_) => Ok(directory),
        None => Err(CliError::flag(
            "--duchy-name",
            format!("{} is not among the duchies of --duchy-info-config", duchy.duchy_name),
        )),
    }
}

impl ListenOptions {
    /// `port` at the address to listen on.
    pub(super) fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.listen_address, port)
    }

    /// What clients may cost.
    pub(super) fn limits(&self) -> ServerLimits {
        let grace = Duration::from_secs(self.shutdown_grace_period_seconds.into());
        ServerLimits {
            connections: self.max_connections,
            streams_per_connection: self.max_concurrent_streams,
            grace,
            ..ServerLimits::default()
        }
    }
}

impl ClientOptions {
    /// What keeps the process's files in force.
    pub(super) fn reloader(&self) -> Reloader {
        Reloader::new(self.config_poll_interval)
    }
}

impl InternalApiOptions {
    pub(super) fn channel(&self, tls: &TlsIdentity) -> Result<Channel, TlsError> {
        let host = Some(self.computations_service_cert_host.as_str());
        unary_channel(tls, &self.computations_service_target, host, self.computations_default_deadline)
    }

    pub(super) fn policy(&self) -> CallPolicy {
        CallPolicy::with_deadline(self.computations_default_deadline)
    }
}

impl AsyncControlOptions {
    pub(super) fn channel(&self, tls: &TlsIdentity) -> Result<Channel, TlsError> {
        let host = Some(self.async_computation_control_service_cert_host.as_str());
        let deadline = self.async_computation_control_default_deadline;
        unary_channel(tls, &self.async_computation_control_service_target, host, deadline)
    }
}

impl KingdomOptions {
    pub(super) fn target(&self) -> Target {
        Target {
            address: self.kingdom_system_api_target.clone(),
            cert_host: self.kingdom_system_api_cert_host.clone(),
        }
    }

    pub(super) fn channel(&self, tls: &TlsIdentity) -> Result<Channel, TlsError> {
        channel(tls, &self.kingdom_system_api_target, self.kingdom_system_api_cert_host.as_deref())
    }
}

impl KingdomPublicOptions {
    pub(super) fn channel(&self, tls: &TlsIdentity) -> Result<Channel, TlsError> {
        channel(tls, &self.kingdom_public_api_target, self.kingdom_public_api_cert_host.as_deref())
    }
}

impl PublicApiOptions {
    /// The parties by their roots.
    pub(super) fn principals(&self) -> Result<Identities, CliError> {
        let directory = DuchyDirectory::load(&self.duchy_info.duchy_info_config)?;
        let map = &self.authority_key_identifier_to_principal_map_file;
        Ok(Identities::new(load_principals(&directory, Some(map))?))
    }

    /// Has `reloader` keep them in force.
    pub(super) fn keep(&self, reloader: Reloader, principals: &Identities) -> Reloader {
        let map = &self.authority_key_identifier_to_principal_map_file;
        reloader.parties(&self.duchy_info.duchy_info_config, map, principals)
    }

    /// The way to the Kingdom, and the certificates of other parties by it.
    pub(super) fn connect(
        &self,
        tls: &TlsIdentity,
        principals: Identities,
    ) -> Result<(Channel, PartyCertificates), CliError> {
        let kingdom = self.kingdom.channel(tls)?;
        let certificates = PartyCertificates::new(kingdom.clone(), tls.clone(), principals);
        Ok((kingdom, certificates))
    }
}

impl PeersOptions {
    /// The targets by duchy: one for each of `directory` but `own`, whose target is not needed.
    pub(super) fn targets<'a>(
        &'a self,
        directory: &DuchyDirectory,
        own: &str,
    ) -> Result<Vec<(&'a str, &'a str)>, CliError> {
        let refused = |why: String| Err(CliError::flag("--duchy-computation-control-target", why));
        for (index, (duchy, _)) in self.targets.iter().enumerate() {
            if directory.get(duchy).is_none() {
                return refused(format!("{duchy} is not among the duchies of --duchy-info-config"));
            }
            if self.targets[..index].iter().any(|(earlier, _)| earlier == duchy) {
                return refused(format!("{duchy} has two targets"));
            }
        }
        let has_target = |duchy: &str| self.targets.iter().any(|(id, _)| id == duchy);
        if let Some((duchy, _)) = directory.iter().find(|(id, _)| *id != own && !has_target(id)) {
            return refused(format!("{duchy} of --duchy-info-config has none"));
        }
        let others = self.targets.iter().filter(|(duchy, _)| duchy != own);
        Ok(others.map(|(duchy, target)| (duchy.as_str(), target.as_str())).collect())
    }
}

impl StoreOptions {
    /// The database named, by whichever flags.
    pub(super) async fn address(&self) -> Result<StoreAddress, CliError> {
        let address = match (&self.store, self.postgres.address().await?) {
            (Some(address), _) => address.clone().map_err(refused("--store"))?,
            (None, Some(postgres)) => parse(&postgres, "--postgres-database")?,
            (None, None) => {
                let [project, instance, database] =
                    [&self.spanner_project, &self.spanner_instance, &self.spanner_database]
                        .map(|name| name.as_deref().unwrap_or_default());
                let text = format!("spanner://projects/{project}/instances/{instance}/databases/{database}");
                parse(&text, "--spanner-database")?
            }
        };
        Ok(address.on_emulator(self.spanner_emulator_host.as_deref().unwrap_or_default()))
    }

    pub(super) async fn open(&self) -> Result<Arc<dyn Store>, CliError> {
        let address = self.address().await?;
        if let Some(directory) = address.directory() {
            make_directory(directory)?;
        }
        Ok(address.open(Arc::new(SystemClock)).await?)
    }

    /// The database named, which must exist.
    pub(super) async fn open_existing(&self) -> Result<Arc<dyn Store>, CliError> {
        Ok(self.address().await?.open_existing(Arc::new(SystemClock)).await?)
    }
}

/// An address that upstream's flags, such as `flag`, have been made into.
fn parse(address: &str, flag: &'static str) -> Result<StoreAddress, CliError> {
    address.parse().map_err(refused(flag))
}

fn refused(flag: &'static str) -> impl FnOnce(AddressError) -> CliError {
    move |error| CliError::flag(flag, error.to_string())
}

/// The duchy itself and nobody else, known by the root of the certificate that its processes share.
pub(super) fn own_principals(tls: &TlsIdentity, duchy: &str) -> Result<Principals, CliError> {
    let authority = tls.authority().map_err(CliError::OwnCertificate)?;
    Ok(Principals::new([(authority, Caller::Duchy(duchy.to_owned()))])?)
}

/// What is in a file that a flag names.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|source| CliError::Read { path: path.to_owned(), source })
}

fn id(text: &str) -> Result<String, String> {
    if is_valid_id(text) {
        Ok(text.to_owned())
    } else {
        Err("ids are made of A-Z, a-z, 0-9, _ and -".to_owned())
    }
}

/// What is wrong with an address is told later: clap would show the text, in which there may be a password.
fn store_address(text: &str) -> Result<Result<StoreAddress, AddressError>, Infallible> {
    Ok(text.parse())
}

pub(super) fn peer(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((duchy, target)) if !target.is_empty() => Ok((id(duchy)?, target.to_owned())),
        _ => Err("ID=HOST:PORT is expected".to_owned()),
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("a number from 1 to 1000000 is expected".to_owned()),
    }
}

fn client_auth(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        _ => Err("client certificates are always required: they tell who calls".to_owned()),
    }
}
