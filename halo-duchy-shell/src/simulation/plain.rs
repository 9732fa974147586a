//! The same measurement in plain, without noise: what the duchies must find.

use std::collections::{BTreeMap, BTreeSet};

use halo_protocols::data_provider::{SketchParameters, plain_sketch};
use halo_protocols::estimate::LiquidLegions;

use super::plan::{Kind, Measured};
use crate::kingdom::config::{LiquidLegionsSettings, Protocol, ShareShuffleSettings};
use crate::proto::system::computation::mpc_protocol_config::NoiseMechanism;

use super::keys::DUCHIES;

/// This and larger frequencies are one.
pub const MAXIMUM_FREQUENCY: i32 = 3;

const DECAY_RATE: f64 = 2.0;
const SKETCH_SIZE: u32 = 100;

/// The parameters of a protocol, without noise.
pub fn protocol(kind: Kind) -> Protocol {
    let sketch = LiquidLegionsSettings {
        decay_rate: DECAY_RATE,
        sketch_size: SKETCH_SIZE,
        noise_mechanism: NoiseMechanism::None,
        ..LiquidLegionsSettings::default()
    };
    match kind {
        Kind::Llv2 => Protocol::LiquidLegionsV2(sketch),
        Kind::ReachOnly => Protocol::ReachOnlyLiquidLegionsV2(sketch),
        Kind::ShareShuffle => {
            let [aggregator, workers @ ..] = DUCHIES.map(str::to_owned);
            Protocol::HonestMajorityShareShuffle(ShareShuffleSettings {
                noise_mechanism: NoiseMechanism::None,
                ..ShareShuffleSettings::of(workers, aggregator)
            })
        }
    }
}

/// Reach, and the share of each frequency if frequencies are asked for.
pub fn result(measured: Measured, impressions: &[Vec<(i64, u32)>]) -> (i64, BTreeMap<i64, f64>) {
    let (reach, frequencies): (i64, Vec<u32>) = match measured.kind {
        Kind::ShareShuffle => {
            let mut people = BTreeMap::<i64, u32>::new();
            for (vid, count) in impressions.iter().flatten() {
                *people.entry(*vid).or_default() += count;
            }
            (people.len() as i64, people.into_values().collect())
        }
        Kind::Llv2 | Kind::ReachOnly => sketched(impressions),
    };
    let mut shares = BTreeMap::new();
    if measured.frequency {
        for frequency in &frequencies {
            *shares.entry(i64::from(*frequency).min(MAXIMUM_FREQUENCY.into())).or_insert(0.0) += 1.0;
        }
        for share in shares.values_mut() {
            *share /= frequencies.len() as f64;
        }
    }
    (reach, shares)
}

/// The reach that the union of the sketches stands for, and the frequencies in registers that hold one person.
fn sketched(impressions: &[Vec<(i64, u32)>]) -> (i64, Vec<u32>) {
    let parameters = SketchParameters {
        decay_rate: DECAY_RATE,
        size: SKETCH_SIZE.into(),
        sampling_indicator_size: LiquidLegionsSettings::default().sampling_indicator_size.into(),
        salt: None,
    };
    let mut registers = BTreeMap::<i64, (BTreeSet<i64>, i64)>::new();
    for people in impressions {
        for register in plain_sketch(&parameters, people.iter().copied()).registers {
            let (keys, count) = registers.entry(register.index).or_default();
            // The key 0 is that of a register which several people share already.
            keys.insert(register.values[0]);
            *count += register.values[1];
        }
    }
    let sketch = LiquidLegions::new(DECAY_RATE, SKETCH_SIZE.into()).expect("a sketch");
    let reach = sketch.reach(registers.len() as u64, 1.0).expect("an estimate");
    let whole = registers.into_values().filter(|(keys, _)| keys.len() == 1 && !keys.contains(&0));
    (reach, whole.map(|(_, count)| count as u32).collect())
}
