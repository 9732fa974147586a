//! `halo-duchy kingdom`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use halo_crypto::ring::RingModulus;

use super::CliError;
use super::options::{ClientOptions, ListenOptions, PortOptions, read_file};
use super::process::{self, Process};
use crate::clock::SystemClock;
use crate::config::{
    DuchyDirectory, ProtocolsSetup, load_principals, parse_duration, parse_positive_duration,
    parse_principal_map, read,
};
use crate::demo::args::{Noise, Suite};
use crate::identity::{Authenticate, Caller, Identities};
use crate::kingdom::config::{
    LiquidLegionsSettings, Privacy, Protocol, ShareShuffleSettings, StreamSettings,
};
use crate::kingdom::{Kingdom, KingdomConfig};
use crate::pki::{KINGDOM, Pki};
use crate::proto::system::computation::mpc_protocol_config::NoiseMechanism;
use crate::seeds::SeedSource;
use crate::serve::routes::ServerNames;
use crate::trial::certificate_name;

/// The flags of a development Kingdom.
#[derive(Args, Clone, Debug)]
pub(super) struct KingdomCommand {
    /// Folder that `halo-duchy pki` wrote: the parties, their certificates, and the Kingdom's own key.
    #[arg(long, value_name = "DIR")]
    pki: PathBuf,
    #[command(flatten)]
    port: PortOptions,
    #[command(flatten)]
    listen: ListenOptions,
    #[command(flatten)]
    protocol: ProtocolOptions,
    #[command(flatten)]
    stream: StreamOptions,
    #[command(flatten)]
    client: ClientOptions,
}

/// How measurements are computed.
#[derive(Args, Clone, Debug)]
struct ProtocolOptions {
    /// Protocol of the measurements.
    #[arg(long, value_enum, default_value_t = ProtocolName::Llv2)]
    protocol: ProtocolName,
    /// Registers of a sketch.
    #[arg(long, value_name = "M", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    sketch_size: u32,
    /// Decay rate of the distribution over registers.
    #[arg(long, value_name = "RATE", default_value_t = 5.6)]
    decay_rate: f64,
    /// Distinct sampling indicators of a register.
    #[arg(long, value_name = "N", default_value_t = 10_000_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    sampling_indicator_size: u32,
    /// Noise that every duchy adds.
    #[arg(long, value_enum, default_value_t = Noise::DiscreteGaussian)]
    noise: Noise,
    /// ε of the noise in the histogram that the aggregator sees.
    #[arg(long, value_name = "EPSILON", default_value_t = 1.0)]
    blinded_histogram_epsilon: f64,
    /// δ of the noise in the histogram that the aggregator sees.
    #[arg(long, value_name = "DELTA", default_value_t = 1.0)]
    blinded_histogram_delta: f64,
    /// ε of the noise that hides how many registers a data provider sent.
    #[arg(long, value_name = "EPSILON", default_value_t = 1.0)]
    publisher_epsilon: f64,
    /// δ of the noise that hides how many registers a data provider sent.
    #[arg(long, value_name = "DELTA", default_value_t = 1.0)]
    publisher_delta: f64,
    /// Group to compute in.
    #[arg(long, value_enum, default_value_t = Suite::P256)]
    suite: Suite,
    /// Modulus of the ring of share shuffles of reach and frequency: at least the maximum frequency times the number of
    /// data providers, plus 2.
    #[arg(long, value_name = "Q", default_value_t = 127, value_parser = ring_modulus())]
    reach_and_frequency_ring_modulus: i32,
    /// Modulus of the ring of share shuffles of reach: a prime above the number of data providers plus 1.
    #[arg(long, value_name = "Q", default_value_t = 127, value_parser = ring_modulus())]
    reach_ring_modulus: i32,
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
}

/// Protocols that the Kingdom can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProtocolName {
    /// Liquid Legions v2: reach and frequency.
    Llv2,
    /// Reach-only Liquid Legions v2.
    RoLlv2,
    /// Honest-majority share shuffle: reach and frequency.
    Hmss,
}

fn ring_modulus() -> clap::builder::RangedI64ValueParser<i32> {
    clap::value_parser!(i32).range(2..=i64::from(RingModulus::MAX))
}

impl ProtocolOptions {
    /// The protocol, between duchies whose roles are in `pki`.
    fn protocol(&self, pki: &Pki, directory: &DuchyDirectory) -> Result<Protocol, CliError> {
        Ok(match self.protocol {
            ProtocolName::Llv2 => Protocol::LiquidLegionsV2(self.sketch()),
            ProtocolName::RoLlv2 => Protocol::ReachOnlyLiquidLegionsV2(self.sketch()),
            ProtocolName::Hmss => Protocol::HonestMajorityShareShuffle(self.share_shuffle(pki, directory)?),
        })
    }

    fn sketch(&self) -> LiquidLegionsSettings {
        let privacy = |epsilon, delta| Privacy { epsilon, delta };
        LiquidLegionsSettings {
            decay_rate: self.decay_rate,
            sketch_size: self.sketch_size,
            sampling_indicator_size: self.sampling_indicator_size,
            blinded_histogram_noise: privacy(self.blinded_histogram_epsilon, self.blinded_histogram_delta),
            publisher_noise: privacy(self.publisher_epsilon, self.publisher_delta),
            elliptic_curve_id: i32::try_from(self.suite.curve_id()).unwrap_or_default(),
            noise_mechanism: self.noise_mechanism(),
        }
    }

    fn share_shuffle(&self, pki: &Pki, directory: &DuchyDirectory) -> Result<ShareShuffleSettings, CliError> {
        for (duchy, _) in directory.iter() {
            let setup = ProtocolsSetup::load(&pki.protocols_setup(duchy), duchy, directory)?;
            if let Some(setup) = setup.honest_majority_share_shuffle {
                let workers = [setup.first_non_aggregator, setup.second_non_aggregator];
                return Ok(ShareShuffleSettings {
                    reach_and_frequency_ring_modulus: self.reach_and_frequency_ring_modulus,
                    reach_ring_modulus: self.reach_ring_modulus,
                    noise_mechanism: self.noise_mechanism(),
                    ..ShareShuffleSettings::of(workers, setup.aggregator)
                });
            }
        }
        Err(CliError::flag("--protocol", "hmss takes three duchies, and the folder of --pki has fewer"))
    }

    const fn noise_mechanism(&self) -> NoiseMechanism {
        match self.noise {
            Noise::None => NoiseMechanism::None,
            Noise::DiscreteGaussian => NoiseMechanism::DiscreteGaussian,
            Noise::Geometric => NoiseMechanism::Geometric,
        }
    }
}

impl KingdomCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::server(&self.listen, &self.client).run(self.serve())
    }

    async fn serve(&self) -> Result<(), CliError> {
        tracing::warn!(
            "THIS KINGDOM IS FOR DEVELOPMENT ONLY: it keeps everything in memory and lets every party do anything"
        );
        let pki = Pki::at(&self.pki);
        let directory = DuchyDirectory::load(&pki.duchy_cert_config())?;
        let config = KingdomConfig {
            duchies: directory.iter().map(|(id, _)| id.to_owned()).collect(),
            protocol: self.protocol.protocol(&pki, &directory)?,
            stream: StreamSettings {
                timeout: self.stream.stream_timeout,
                throttle: self.stream.stream_throttle,
                ..StreamSettings::default()
            },
            certificate_errors_unknown: false,
        };
        let ids = SeedSource::OperatingSystem.seed(KINGDOM, "", "")?.stream("ids", 0);
        let kingdom = Kingdom::new(config, Arc::new(SystemClock), ids);
        for owner in owners(&pki, &directory)? {
            let party = owner.rsplit('/').next().unwrap_or_default();
            let certificate = read_file(&pki.consent_certificate(party))?;
            let name = certificate_name(&owner);
            tracing::info!(%name, "registered");
            kingdom.register_certificate(&name, certificate)?;
        }
        let identities = Identities::new(load_principals(&directory, Some(&pki.principal_map()))?);
        let authenticate = Authenticate::new(identities);
        let tls = pki.tls(KINGDOM).load()?;
        let (routes, reloader) = (kingdom.routes(), self.client.reloader());
        // Those who run it look at the process as a whole.
        let names = ServerNames { server: "Kingdom", services: &[] };
        process::serve(names, self.port.port, &self.listen, tls, authenticate, routes, reloader).await
    }
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
