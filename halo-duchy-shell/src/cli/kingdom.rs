//! `halo-duchy kingdom`: a development Kingdom, and the commands that look at one and tell it what to do.

mod admin;
mod inject;
mod parameters;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use zeroize::Zeroizing;

use super::CliError;
use super::options::{ClientOptions, ListenOptions, PortOptions, read_file};
use super::process::{self, Process};
use crate::clock::SystemClock;
use crate::config::{
    DuchyDirectory, load_principals, parse_duration, parse_positive_duration, parse_principal_map, read,
};
use crate::hybrid_encryption::{PrivateKeyset, Scheme};
use crate::identity::{Authenticate, Caller, Identities};
use crate::kingdom::config::StreamSettings;
use crate::kingdom::{Kingdom, KingdomConfig};
use crate::pki::{KINGDOM, Pki};
use crate::seeds::SeedSource;
use crate::serve::routes::ServerNames;
use crate::trial::certificate_name;
use admin::AdminCommand;
use parameters::{ParameterOptions, ProtocolName};

/// A development Kingdom, or a command to one.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct KingdomCommand {
    #[command(flatten)]
    serve: ServeOptions,
    #[command(subcommand)]
    admin: Option<AdminCommand>,
}

/// The flags of a development Kingdom.
#[derive(Args, Clone, Debug)]
struct ServeOptions {
    /// Folder that `halo-duchy pki` wrote: the parties, their certificates, and the Kingdom's own key. Private keys of
    /// others that are there are used to look into results, and watched for in what duchies log.
    #[arg(long, value_name = "DIR", required = true)]
    pki: Option<PathBuf>,
    /// SQLite file to keep everything in, which is created if need be; a Kingdom that is started again goes on from it.
    /// Default: in memory, to be forgotten.
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// Protocols of the measurements, separated by commas: each is computed by the first that can, unless it was planned.
    #[arg(long = "protocol", value_enum, value_delimiter = ',', default_value = "llv2")]
    protocols: Vec<ProtocolName>,
    /// Answer every failure to get a certificate with UNKNOWN, as upstream's Kingdom does.
    #[arg(long)]
    certificate_errors_unknown: bool,
    /// Let `kingdom inject` make it misbehave.
    #[arg(long)]
    insecure_dev_faults: bool,
    #[command(flatten)]
    port: PortOptions,
    #[command(flatten)]
    listen: ListenOptions,
    #[command(flatten)]
    parameters: ParameterOptions,
    #[command(flatten)]
    stream: StreamOptions,
    #[command(flatten)]
    client: ClientOptions,
}

/// How duchies hear of computations.
#[derive(Args, Clone, Copy, Debug)]
struct StreamOptions {
    /// How long a stream of computations lives before duchies must open it again.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_positive_duration)]
    stream_timeout: Duration,
    /// Least time between two looks for changes.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    stream_throttle: Duration,
    /// Most computations found in one look.
    #[arg(long, value_name = "N", default_value_t = StreamSettings::default().limit, value_parser = limit)]
    stream_limit: usize,
}

impl KingdomCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        match (&self.admin, &self.serve.pki) {
            (Some(command), _) => command.run(),
            (None, Some(pki)) => {
                let ServeOptions { listen, client, .. } = &self.serve;
                Process::server(listen, client).run(self.serve.serve(&Pki::at(pki)))
            }
            (None, None) => Err(CliError::flag("--pki", "missing")),
        }
    }
}

impl ServeOptions {
    async fn serve(&self, pki: &Pki) -> Result<(), CliError> {
        tracing::warn!(
            "THIS KINGDOM IS FOR DEVELOPMENT ONLY: it approves of everything and lets every party do anything"
        );
        if self.insecure_dev_faults {
            tracing::warn!("THIS KINGDOM MISBEHAVES WHEN TOLD TO: --insecure-dev-faults");
        }
        let directory = DuchyDirectory::load(&pki.duchy_cert_config())?;
        let kingdom = self.kingdom(self.config(pki, &directory)?)?;
        for owner in owners(pki, &directory)? {
            let party = owner.rsplit('/').next().unwrap_or_default();
            let certificate = read_file(&pki.consent_certificate(party))?;
            let name = certificate_name(&owner);
            tracing::info!(%name, "registered");
            kingdom.register_certificate(&name, certificate)?;
            register_keys(&kingdom, pki, &owner, party)?;
        }
        let identities = Identities::new(load_principals(&directory, Some(&pki.principal_map()))?);
        let authenticate = Authenticate::new(identities);
        let tls = pki.tls(KINGDOM).load()?;
        let (routes, reloader) = (kingdom.routes(), self.client.reloader());
        // Those who run it look at the process as a whole.
        let names = ServerNames { server: "Kingdom", services: &[] };
        process::serve(names, self.port.port, &self.listen, tls, authenticate, routes, reloader).await
    }

    fn config(&self, pki: &Pki, directory: &DuchyDirectory) -> Result<KingdomConfig, CliError> {
        let protocols = self.protocols.iter().map(|name| self.parameters.protocol(*name, pki, directory));
        Ok(KingdomConfig {
            duchies: directory.iter().map(|(id, _)| id.to_owned()).collect(),
            protocols: protocols.collect::<Result<_, _>>()?,
            stream: StreamSettings {
                timeout: self.stream.stream_timeout,
                throttle: self.stream.stream_throttle,
                limit: self.stream.stream_limit,
            },
            certificate_errors_unknown: self.certificate_errors_unknown,
            allow_faults: self.insecure_dev_faults,
        })
    }

    fn kingdom(&self, config: KingdomConfig) -> Result<Kingdom, CliError> {
        let ids = SeedSource::OperatingSystem.seed(KINGDOM, "", "")?.stream("ids", 0);
        let Some(path) = &self.database else { return Ok(Kingdom::new(config, Arc::new(SystemClock), ids)) };
        let kingdom = Kingdom::open(path, config, Arc::new(SystemClock), ids);
        kingdom.map_err(|source| CliError::KingdomDatabase { path: path.clone(), source })
    }
}

/// Tells the Kingdom the private keys of a party that are in the folder, as they are in a trial.
fn register_keys(kingdom: &Kingdom, pki: &Pki, owner: &str, party: &str) -> Result<(), CliError> {
    let mut secrets = vec![pki.tls(party).key, pki.consent_private_key(party), pki.key_encryption_key(party)];
    for scheme in [Scheme::Hpke, Scheme::Ecies] {
        let path = pki.encryption_private(party, scheme);
        if let Some(keyset) = present(&path)? {
            kingdom.register_result_key(owner, PrivateKeyset::parse_file(&keyset)?);
        }
        secrets.push(path);
    }
    for path in secrets {
        if let Some(secret) = present(&path)? {
            kingdom.register_secret(&secret);
        }
    }
    Ok(())
}

/// What is in a file, if there is one.
fn present(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, CliError> {
    if path.exists() { Ok(Some(Zeroizing::new(read_file(path)?))) } else { Ok(None) }
}

/// The resource names of everyone with a certificate.
fn owners(pki: &Pki, directory: &DuchyDirectory) -> Result<Vec<String>, CliError> {
    let duchies = directory.iter().map(|(id, _)| format!("duchies/{id}"));
    let others = parse_principal_map(&read(&pki.principal_map())?)?;
    let others = others.into_iter().filter_map(|(_, caller)| match caller {
        Caller::DataProvider(name) | Caller::MeasurementConsumer(name) => Some(name),
        Caller::Duchy(_) | Caller::Kingdom => None,
    });
    Ok(duchies.chain(others).collect())
}

fn limit(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| "must be a number above 0".to_owned())
}
