//! The flags of protocols and their parameters.

use clap::{Args, ValueEnum};
use halo_crypto::ring::RingModulus;

use crate::cli::CliError;
use crate::config::{DuchyDirectory, ProtocolsSetup};
use crate::demo::args::{Noise, Suite};
use crate::kingdom::config::{LiquidLegionsSettings, Privacy, Protocol, ShareShuffleSettings};
use crate::pki::Pki;
use crate::proto::system::computation::mpc_protocol_config::NoiseMechanism;

/// The parameters of protocols.
#[derive(Args, Clone, Debug)]
pub(super) struct ParameterOptions {
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

/// Protocols that the Kingdom can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProtocolName {
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

impl ParameterOptions {
    /// A protocol, between duchies whose roles are in `pki`.
    pub(super) fn protocol(
        &self,
        name: ProtocolName,
        pki: &Pki,
        directory: &DuchyDirectory,
    ) -> Result<Protocol, CliError> {
        Ok(match name {
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
