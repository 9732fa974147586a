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
use super::options::{ClientOptions, ListenOptions, PortOptions, audit_insecure, read_file};
use super::process::{self, Process};
use crate::clock::SystemClock;
use crate::config::{
    DuchyDirectory, load_principals, parse_duration, parse_positive_duration, parse_principal_map, read,
};
use crate::hybrid_encryption::{PrivateKeyset, Scheme};
use crate::identity::{Authenticate, Caller, Identities};
use crate::kingdom::config::{ActiveWindow, LiquidLegionsSettings, Protocol, StreamSettings};
use crate::kingdom::config_file::ConfigFile;
use crate::kingdom::plaintext::believe;
use crate::kingdom::{Kingdom, KingdomConfig};
use crate::pki::{KINGDOM, Pki};
use crate::seeds::SeedSource;
use crate::serve::routes::ServerNames;
use crate::serve::{ServeError, with_reflection};
use crate::server::serve_plaintext;
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
    #[arg(long, value_name = "DIR", required_unless_present = "insecure_dev")]
    pki: Option<PathBuf>,
    /// Configuration in protobuf text (halo.dev.kingdom.v1.KingdomConfig): the duchies and when they are active, protocols
    /// with their parameters and duchies, more certificates. Takes the place of the flags for protocols.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["protocols", "ParameterOptions"])]
    config: Option<PathBuf>,
    /// Serve in plain text and believe callers who say in a header that they are a duchy (`duchy-identity`) or another party
    /// (`principal`). For development only.
    #[arg(long)]
    insecure_dev: bool,
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
        let Some(command) = &self.admin else {
            let ServeOptions { listen, client, .. } = &self.serve;
            return Process::server(listen, client).run(self.serve.serve());
        };
        command.run()
    }
}

impl ServeOptions {
    async fn serve(&self) -> Result<(), CliError> {
        tracing::warn!(
            "THIS KINGDOM IS FOR DEVELOPMENT ONLY: it approves of everything and lets every party do anything"
        );
        if self.insecure_dev_faults {
            tracing::warn!("THIS KINGDOM MISBEHAVES WHEN TOLD TO: --insecure-dev-faults");
            audit_insecure("--insecure-dev-faults");
        }
        let parties = self.parties()?;
        let file = self.config.as_deref().map(load_config).transpose()?;
        let certificates = file.as_ref().map(|file| file.certificates.clone()).unwrap_or_default();
        let kingdom = self.kingdom(self.config(file, parties.as_ref())?)?;
        if let Some(parties) = &parties {
            for owner in parties.owners()? {
                let party = owner.rsplit('/').next().unwrap_or_default();
                let name = certificate_name(&owner);
                register(&kingdom, &name, &parties.pki.consent_certificate(party))?;
                register_keys(&kingdom, &parties.pki, &owner, party)?;
            }
        }
        for (name, file) in &certificates {
            register(&kingdom, name, file)?;
        }
        // Those who run it look at the process as a whole.
        let names = ServerNames { server: "Kingdom", services: &[] };
        let (port, routes, reloader) = (self.port.port, kingdom.routes(), self.client.reloader());
        if self.insecure_dev {
            tracing::warn!(
                "THIS KINGDOM BELIEVES EVERYBODY AND ENCRYPTS NOTHING: --insecure-dev; whoever reaches its port is \
                 whoever they say they are"
            );
            audit_insecure("--insecure-dev");
            let (limits, routes) = (self.listen.limits(), with_reflection(routes)?);
            return process::serve_by(
                names,
                port,
                &self.listen,
                reloader,
                move |listener, shutdown| async move {
                    let stop = async move { shutdown.requested().await };
                    let served = serve_plaintext(believe, limits, listener, routes, stop).await;
                    served.map_err(|source| ServeError::Transport { server: names.server, source })
                },
            )
            .await;
        }
        let Some(Parties { pki, directory }) = parties else {
            return Err(CliError::flag("--pki", "missing"));
        };
        let identities = Identities::new(load_principals(&directory, Some(&pki.principal_map()))?);
        let files = pki.tls(KINGDOM);
        let tls = files.load()?;
        let reloader =
            reloader.tls(&files, &tls).parties(&pki.duchy_cert_config(), &pki.principal_map(), &identities);
        let authenticate = Authenticate::new(identities);
        process::serve(names, port, &self.listen, tls, authenticate, routes, reloader).await
    }

    /// Those of the folder, if one is given.
    fn parties(&self) -> Result<Option<Parties>, CliError> {
        let Some(folder) = &self.pki else { return Ok(None) };
        let pki = Pki::at(folder);
        let directory = DuchyDirectory::load(&pki.duchy_cert_config())?;
        Ok(Some(Parties { pki, directory }))
    }

    /// What the file says, if there is one, or else the flags; on top of what the folder has.
    fn config(&self, file: Option<ConfigFile>, parties: Option<&Parties>) -> Result<KingdomConfig, CliError> {
        let known = parties.into_iter().flat_map(|parties| parties.directory.iter());
        let known = known.map(|(id, _)| id.to_owned());
        let mut config = match file {
            Some(file) => KingdomConfig {
                liquid_legions_v2: file.liquid_legions_v2,
                reach_only_liquid_legions_v2: file.reach_only_liquid_legions_v2,
                duchies: match file.duchies.is_empty() {
                    true => known.map(|id| (id, ActiveWindow::default())).collect(),
                    false => file.duchies,
                },
                ..KingdomConfig::new(
                    [],
                    match file.protocols.is_empty() {
                        true => vec![Protocol::LiquidLegionsV2(LiquidLegionsSettings::default())],
                        false => file.protocols,
                    },
                )
            },
            None => {
                let parties = parties.ok_or_else(|| {
                    CliError::flag(
                        "--insecure-dev",
                        "without --pki, a file of --config must name the duchies",
                    )
                })?;
                let Parties { pki, directory } = parties;
                let protocols =
                    self.protocols.iter().map(|name| self.parameters.protocol(*name, pki, directory));
                KingdomConfig::new(known, protocols.collect::<Result<_, _>>()?)
            }
        };
        if config.duchies.is_empty() {
            return Err(CliError::flag("--config", "names no duchies, and there is no --pki that would"));
        }
        if let Some(parties) = parties.filter(|_| !self.insecure_dev) {
            // A duchy that cannot be told from a stranger can do nothing.
            let stranger = config.duchies.keys().find(|id| parties.directory.get(id).is_none());
            if let Some(stranger) = stranger {
                let why = format!("duchy {stranger} has no certificates in the folder of --pki");
                return Err(CliError::flag("--config", why));
            }
        }
        config.stream = StreamSettings {
            timeout: self.stream.stream_timeout,
            throttle: self.stream.stream_throttle,
            limit: self.stream.stream_limit,
        };
        config.certificate_errors_unknown = self.certificate_errors_unknown;
        config.allow_faults = self.insecure_dev_faults;
        Ok(config)
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
    let mut secrets = vec![pki.tls_key(party), pki.consent_private_key(party), pki.key_encryption_key(party)];
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

/// The parties of a folder that `halo-duchy pki` wrote.
struct Parties {
    pki: Pki,
    directory: DuchyDirectory,
}

impl Parties {
    /// The resource names of everyone with a certificate.
    fn owners(&self) -> Result<Vec<String>, CliError> {
        let duchies = self.directory.iter().map(|(id, _)| format!("duchies/{id}"));
        let others = parse_principal_map(&read(&self.pki.principal_map())?)?;
        let others = others.into_iter().filter_map(|(_, caller)| match caller {
            Caller::DataProvider(name) | Caller::MeasurementConsumer(name) => Some(name),
            Caller::Duchy(_) | Caller::Kingdom => None,
        });
        Ok(duchies.chain(others).collect())
    }
}

fn load_config(path: &Path) -> Result<ConfigFile, CliError> {
    ConfigFile::load(path)
        .map_err(|source| CliError::KingdomConfig { path: path.to_owned(), source: Box::new(source) })
}

/// Tells the Kingdom a certificate.
fn register(kingdom: &Kingdom, name: &str, file: &Path) -> Result<(), CliError> {
    kingdom.register_certificate(name, read_file(file)?)?;
    tracing::info!(%name, "registered");
    Ok(())
}

fn limit(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| "must be a number above 0".to_owned())
}
