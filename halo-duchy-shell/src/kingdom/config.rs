//! What a development Kingdom is told at its start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::error::KingdomError;
use crate::clock::Timestamp;
use crate::proto::api::measurement_spec::MeasurementType;
use crate::proto::system::computation::mpc_protocol_config::NoiseMechanism;

/// The configuration of a [`Kingdom`](super::Kingdom).
#[derive(Clone, Debug)]
pub struct KingdomConfig {
    /// The duchies by id, and when they take part in new measurements.
    pub duchies: BTreeMap<String, ActiveWindow>,
    /// How measurements are computed: by the first of these that can measure what is asked for, unless one was
    /// [planned](super::Kingdom::plan_measurement).
    pub protocols: Vec<Protocol>,
    /// The duchies of computations of Liquid Legions v2.
    pub liquid_legions_v2: DuchySelection,
    /// The duchies of computations of reach-only Liquid Legions v2.
    pub reach_only_liquid_legions_v2: DuchySelection,
    /// How the stream of active computations behaves.
    pub stream: StreamSettings,
    /// Whether `Certificates.GetCertificate` answers every failure with `UNKNOWN`, as the real Kingdom does.
    pub certificate_errors_unknown: bool,
    /// Whether the Kingdom's own service may inject faults.
    pub allow_faults: bool,
}

/// When a duchy takes part in new measurements: from its start to its end, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActiveWindow {
    /// Since ever, if not given.
    pub start: Option<Timestamp>,
    /// For ever, if not given.
    pub end: Option<Timestamp>,
}

/// Which duchies take part in the computations of a Liquid Legions protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DuchySelection {
    /// All; there are no measurements while one of them is not active.
    #[default]
    All,
    /// Some, as upstream's Kingdom selects them.
    Chosen {
        /// These in any case; there are no measurements while one of them is not active.
        required: BTreeSet<String>,
        /// So many at least: active ones are added in the order of their ids.
        minimum: usize,
    },
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

impl KingdomConfig {
    /// A well-behaved Kingdom whose duchies are always active and all take part in every computation of a Liquid Legions
    /// protocol. Streams are as upstream's.
    pub fn new(duchies: impl IntoIterator<Item = String>, protocols: Vec<Protocol>) -> Self {
        Self {
            duchies: duchies.into_iter().map(|id| (id, ActiveWindow::default())).collect(),
            protocols,
            liquid_legions_v2: DuchySelection::All,
            reach_only_liquid_legions_v2: DuchySelection::All,
            stream: StreamSettings::default(),
            certificate_errors_unknown: false,
            allow_faults: false,
        }
    }

    /// The duchies of a computation by `protocol` that is created at `now`.
    pub(super) fn participants(
        &self,
        protocol: &Protocol,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, KingdomError> {
        let all = || self.duchies.keys().cloned().collect();
        let selected = |selection: &DuchySelection| match selection {
            DuchySelection::All => (all(), 0),
            DuchySelection::Chosen { required, minimum } => (required.clone(), *minimum),
        };
        let (mut participants, minimum): (BTreeSet<String>, usize) = match protocol {
            Protocol::LiquidLegionsV2(_) => selected(&self.liquid_legions_v2),
            Protocol::ReachOnlyLiquidLegionsV2(_) => selected(&self.reach_only_liquid_legions_v2),
            Protocol::HonestMajorityShareShuffle(_) => {
                (protocol.named_duchies().into_iter().cloned().collect(), 0)
            }
        };
        let is_active = |id: &String| self.duchies.get(id).is_some_and(|window| window.contains(now));
        if let Some(idle) = participants.iter().find(|id| !is_active(id)) {
            return Err(KingdomError::DuchyNotActive(idle.clone()));
        }
        let more = self.duchies.keys().filter(|id| is_active(id) && !participants.contains(*id)).cloned();
        let more: Vec<_> = more.take(minimum.saturating_sub(participants.len())).collect();
        participants.extend(more);
        if participants.len() < minimum {
            return Err(KingdomError::TooFewDuchies { active: participants.len(), minimum });
        }
        Ok(participants)
    }
}

impl ActiveWindow {
    /// Whether the duchy is active at `now`.
    pub fn contains(&self, now: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= now) && self.end.is_none_or(|end| now <= end)
    }
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

    /// The duchies that it names itself: the three of a share shuffle.
    pub(super) fn named_duchies(&self) -> Vec<&String> {
        match self {
            Self::LiquidLegionsV2(_) | Self::ReachOnlyLiquidLegionsV2(_) => Vec::new(),
            Self::HonestMajorityShareShuffle(settings) => {
                settings.workers.iter().chain([&settings.aggregator]).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(43_200_000);

    fn window(start: Option<i64>, end: Option<i64>) -> ActiveWindow {
        let at = |millis| Timestamp::from_millis(NOON.millis() + millis);
        ActiveWindow { start: start.map(at), end: end.map(at) }
    }

    fn sketch() -> Protocol {
        Protocol::LiquidLegionsV2(LiquidLegionsSettings::default())
    }

    fn of(windows: [(&str, ActiveWindow); 4], required: &[&str], minimum: usize) -> KingdomConfig {
        let required = required.iter().map(|id| String::from(*id)).collect();
        KingdomConfig {
            duchies: windows.map(|(id, window)| (id.to_owned(), window)).into(),
            liquid_legions_v2: DuchySelection::Chosen { required, minimum },
            ..KingdomConfig::new([], vec![sketch()])
        }
    }

    #[test]
    fn windows_include_both_ends() {
        for (start, end, expected) in [
            (None, None, true),
            (Some(0), None, true),
            (Some(1), None, false),
            (None, Some(0), true),
            (None, Some(-1), false),
            (Some(-1), Some(1), true),
            (Some(1), Some(2), false),
        ] {
            assert_eq!(window(start, end).contains(NOON), expected, "{start:?} {end:?}");
        }
    }

    #[test]
    fn active_duchies_are_added_until_there_are_enough() {
        let always = ActiveWindow::default();
        let idle = window(Some(1), None);
        let windows = [("a", idle), ("b", always), ("c", always), ("d", always)];
        let chosen =
            |required: &[&str], minimum| of(windows, required, minimum).participants(&sketch(), NOON);
        let names = |ids: &[&str]| Ok(ids.iter().map(|id| String::from(*id)).collect());
        assert_eq!(chosen(&["d"], 1), names(&["d"]));
        assert_eq!(chosen(&["d"], 2), names(&["b", "d"]));
        assert_eq!(chosen(&["b", "d"], 1), names(&["b", "d"]));
        assert_eq!(chosen(&[], 3), names(&["b", "c", "d"]));
        assert_eq!(chosen(&["d"], 4), Err(KingdomError::TooFewDuchies { active: 3, minimum: 4 }));
        assert_eq!(chosen(&["a"], 1), Err(KingdomError::DuchyNotActive("a".into())));
        assert_eq!(chosen(&["z"], 1), Err(KingdomError::DuchyNotActive("z".into())));
        // Later it is.
        let later = NOON + Duration::from_millis(1);
        assert_eq!(of(windows, &["a"], 1).participants(&sketch(), later), names(&["a"]));
        // The other protocol selects for itself.
        let other = Protocol::ReachOnlyLiquidLegionsV2(LiquidLegionsSettings::default());
        let config = of(windows, &["d"], 1);
        assert_eq!(config.participants(&other, later), names(&["a", "b", "c", "d"]));
        assert_eq!(config.participants(&other, NOON), Err(KingdomError::DuchyNotActive("a".into())));
    }

    #[test]
    fn a_share_shuffle_names_its_duchies() {
        let always = ActiveWindow::default();
        let windows = [("a", always), ("b", always), ("c", window(None, Some(-1))), ("d", always)];
        let shuffle = |workers: [&str; 2], aggregator: &str| {
            let settings = ShareShuffleSettings::of(workers.map(str::to_owned), aggregator.to_owned());
            of(windows, &[], 4).participants(&Protocol::HonestMajorityShareShuffle(settings), NOON)
        };
        assert_eq!(shuffle(["d", "a"], "b"), Ok(["a", "b", "d"].map(str::to_owned).into()));
        assert_eq!(shuffle(["d", "a"], "c"), Err(KingdomError::DuchyNotActive("c".into())));
    }
}
