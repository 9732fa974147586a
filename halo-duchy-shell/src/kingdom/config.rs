//! What a development Kingdom is told at its start.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::proto::api::measurement_spec::MeasurementType;
use crate::proto::system::computation::mpc_protocol_config::NoiseMechanism;

/// The configuration of a [`Kingdom`](super::Kingdom).
#[derive(Clone, Debug)]
pub struct KingdomConfig {
    /// The ids of the duchies; all take part in every computation of a Liquid Legions protocol.
    pub duchies: BTreeSet<String>,
    /// How measurements are computed: by the first of these that can measure what is asked for, unless one was
    /// [planned](super::Kingdom::plan_measurement).
    pub protocols: Vec<Protocol>,
    /// How the stream of active computations behaves.
    pub stream: StreamSettings,
    /// Whether `Certificates.GetCertificate` answers every failure with `UNKNOWN`, as the real Kingdom does.
    pub certificate_errors_unknown: bool,
    /// Whether the Kingdom's own service may inject faults.
    pub allow_faults: bool,
}

/// The protocol that measurements are computed with, and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// Liquid Legions v2, for reach and for reach and frequency.
    LiquidLegionsV2(LiquidLegionsSettings),
    /// Reach-only Liquid Legions v2, for reach.
    ReachOnlyLiquidLegionsV2(LiquidLegionsSettings),
    /// Honest-majority share shuffle, for reach and for reach and frequency.
    HonestMajorityShareShuffle(ShareShuffleSettings),
}

/// The parameters of the two Liquid Legions protocols.
#[derive(Clone, Debug, PartialEq)]
pub struct LiquidLegionsSettings {
    /// Decay rate of the sketch's exponential distribution.
    pub decay_rate: f64,
    /// Registers of the sketch.
    pub sketch_size: u32,
    /// Distinct sampling indicators, with which destroyed registers are found.
    pub sampling_indicator_size: u32,
    /// Noise in the histogram that the aggregator sees while it runs.
    pub blinded_histogram_noise: Privacy,
    /// Noise that hides how many registers a data provider sent.
    pub publisher_noise: Privacy,
    /// OpenSSL's number of the curve, or of another suite ours.
    pub elliptic_curve_id: i32,
    /// What distribution all noise has. `NONE` is for duchies that allow it.
    pub noise_mechanism: NoiseMechanism,
}

/// The parameters of the honest-majority share shuffle, and who plays which part.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareShuffleSettings {
    /// The workers, the one that starts first. Each is sent shares of about half of the requisitions.
    pub workers: [String; 2],
    /// Who reports the result.
    pub aggregator: String,
    /// Ring modulus of computations of reach and frequency: above maximum frequency · data providers + 1.
    pub reach_and_frequency_ring_modulus: i32,
    /// Ring modulus of computations of reach, a prime above data providers + 1.
    pub reach_ring_modulus: i32,
    /// What distribution all noise has. `NONE` is for duchies that allow it.
    pub noise_mechanism: NoiseMechanism,
}

/// A differential privacy budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Privacy {
    /// Epsilon, above 0.
    pub epsilon: f64,
    /// Delta, in 0..1.
    pub delta: f64,
}

/// How the stream of active computations behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// How long a stream lives before the Kingdom ends it (without error).
    pub timeout: Duration,
    /// The least time between two looks at the state.
    pub throttle: Duration,
    /// The most computations taken in one look.
    pub limit: usize,
}

impl Default for LiquidLegionsSettings {
    /// Upstream's test configuration.
    fn default() -> Self {
        Self {
            decay_rate: 5.6,
            sketch_size: 1_000_000,
            sampling_indicator_size: 10_000_000,
            blinded_histogram_noise: Privacy { epsilon: 1.0, delta: 1.0 },
            publisher_noise: Privacy { epsilon: 1.0, delta: 1.0 },
            elliptic_curve_id: 415,
            noise_mechanism: NoiseMechanism::DiscreteGaussian,
        }
    }
}

impl Default for StreamSettings {
    /// Upstream's settings.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(600), throttle: Duration::from_secs(1), limit: 50 }
    }
}

impl ShareShuffleSettings {
    /// Upstream's test configuration for these duchies.
    pub fn of(workers: [String; 2], aggregator: String) -> Self {
        Self {
            workers,
            aggregator,
            reach_and_frequency_ring_modulus: 127,
            reach_ring_modulus: 127,
            noise_mechanism: NoiseMechanism::DiscreteGaussian,
        }
    }
}

impl Protocol {
    /// As the command line spells it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LiquidLegionsV2(_) => "llv2",
            Self::ReachOnlyLiquidLegionsV2(_) => "ro-llv2",
            Self::HonestMajorityShareShuffle(_) => "hmss",
        }
    }

    /// Those of `duchies` that take part in a computation; in a share shuffle the three that it names.
    pub(super) fn participants(&self, duchies: &BTreeSet<String>) -> BTreeSet<String> {
        match self {
            Self::LiquidLegionsV2(_) | Self::ReachOnlyLiquidLegionsV2(_) => duchies.clone(),
            Self::HonestMajorityShareShuffle(settings) => {
                settings.workers.iter().chain([&settings.aggregator]).cloned().collect()
            }
        }
    }

    /// Whether it can measure what is asked for.
    pub(super) fn measures(&self, asked: &MeasurementType) -> bool {
        match self {
            Self::LiquidLegionsV2(_) | Self::HonestMajorityShareShuffle(_) => {
                matches!(asked, MeasurementType::Reach(_) | MeasurementType::ReachAndFrequency(_))
            }
            Self::ReachOnlyLiquidLegionsV2(_) => matches!(asked, MeasurementType::Reach(_)),
        }
    }
}
