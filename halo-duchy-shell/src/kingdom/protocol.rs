//! Protocols as messages of the Kingdom's own service, in which form they are also kept.

use halo_crypto::ring::RingModulus;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::config::{LiquidLegionsSettings, Privacy, Protocol, ShareShuffleSettings};
use super::convert;
use super::error::KingdomError;
use super::saved::message;
use crate::config::is_valid_id;
use crate::proto::dev_kingdom;
use crate::proto::system::DifferentialPrivacyParams;
use crate::proto::system::computation::mpc_protocol_config::{
    self, LiquidLegionsV2, NoiseMechanism, Protocol as Parameters,
};

impl From<&Protocol> for dev_kingdom::Protocol {
    fn from(protocol: &Protocol) -> Self {
        let message = Self { parameters: Some(convert::mpc_protocol(protocol)), ..Self::default() };
        match protocol {
            Protocol::LiquidLegionsV2(settings) | Protocol::ReachOnlyLiquidLegionsV2(settings) => {
                Self { sampling_indicator_size: settings.sampling_indicator_size, ..message }
            }
            Protocol::HonestMajorityShareShuffle(settings) => Self {
                workers: settings.workers.to_vec(),
                aggregator: settings.aggregator.clone(),
                ..message
            },
        }
    }
}

impl TryFrom<dev_kingdom::Protocol> for Protocol {
    type Error = KingdomError;

    fn try_from(message: dev_kingdom::Protocol) -> Result<Self, KingdomError> {
        let parameters = message.parameters.and_then(|parameters| parameters.protocol);
        let indicators = message.sampling_indicator_size;
        match parameters.ok_or_else(|| invalid("no parameters"))? {
            Parameters::LiquidLegionsV2(parameters) => {
                Ok(Self::LiquidLegionsV2(liquid_legions(&parameters, indicators)?))
            }
            Parameters::ReachOnlyLiquidLegionsV2(parameters) => {
                Ok(Self::ReachOnlyLiquidLegionsV2(liquid_legions(&parameters, indicators)?))
            }
            Parameters::HonestMajorityShareShuffle(parameters) => {
                let settings = share_shuffle(&parameters, message.workers, message.aggregator)?;
                Ok(Self::HonestMajorityShareShuffle(settings))
            }
            Parameters::TrusTee(_) => Err(invalid("TrusTEE is not measured by")),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        message::serialize(&dev_kingdom::Protocol::from(self), serializer)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let message: dev_kingdom::Protocol = message::deserialize(deserializer)?;
        Self::try_from(message).map_err(D::Error::custom)
    }
}

fn liquid_legions(
    parameters: &LiquidLegionsV2,
    sampling_indicator_size: u32,
) -> Result<LiquidLegionsSettings, KingdomError> {
    let sketch = parameters.sketch_params.unwrap_or_default();
    let sketch_size = u32::try_from(sketch.max_size).ok().filter(|size| *size > 0);
    if !(sketch.decay_rate > 0.0 && sketch.decay_rate.is_finite()) {
        return Err(invalid(format!("decay rate {}, expected a positive number", sketch.decay_rate)));
    }
    if sampling_indicator_size == 0 {
        return Err(invalid("no sampling_indicator_size"));
    }
    let noise = parameters.mpc_noise.unwrap_or_default();
    Ok(LiquidLegionsSettings {
        decay_rate: sketch.decay_rate,
        sketch_size: sketch_size
            .ok_or_else(|| invalid(format!("{} registers, expected 1 to 2³² - 1", sketch.max_size)))?,
        sampling_indicator_size,
        blinded_histogram_noise: privacy(noise.blinded_histogram_noise)?,
        publisher_noise: privacy(noise.publisher_noise)?,
        elliptic_curve_id: parameters.elliptic_curve_id,
        noise_mechanism: mechanism(parameters.noise_mechanism)?,
    })
}

fn privacy(params: Option<DifferentialPrivacyParams>) -> Result<Privacy, KingdomError> {
    let DifferentialPrivacyParams { epsilon, delta } = params.ok_or_else(|| invalid("noise is missing"))?;
    // Upstream's test configuration has a δ of 1.
    if epsilon > 0.0 && epsilon.is_finite() && (0.0..=1.0).contains(&delta) {
        Ok(Privacy { epsilon, delta })
    } else {
        Err(invalid(format!("noise of epsilon {epsilon} (expected above 0) and delta {delta} (0 to 1)")))
    }
}

fn share_shuffle(
    parameters: &mpc_protocol_config::HonestMajorityShareShuffle,
    workers: Vec<String>,
    aggregator: String,
) -> Result<ShareShuffleSettings, KingdomError> {
    let roles = "two workers and an aggregator are expected, each another duchy";
    let workers: [String; 2] = workers.try_into().map_err(|_| invalid(roles))?;
    let ids = [&workers[0], &workers[1], &aggregator];
    if ids.iter().any(|id| !is_valid_id(id)) || ids[0] == ids[1] || workers.contains(&aggregator) {
        return Err(invalid(roles));
    }
    let moduli = [parameters.reach_and_frequency_ring_modulus, parameters.reach_ring_modulus];
    if moduli.iter().any(|modulus| !(2..=i64::from(RingModulus::MAX)).contains(&i64::from(*modulus))) {
        return Err(invalid(format!("ring moduli {moduli:?}, expected 2 to {}", RingModulus::MAX)));
    }
    Ok(ShareShuffleSettings {
        workers,
        aggregator,
        reach_and_frequency_ring_modulus: parameters.reach_and_frequency_ring_modulus,
        reach_ring_modulus: parameters.reach_ring_modulus,
        noise_mechanism: mechanism(parameters.noise_mechanism)?,
    })
}

fn mechanism(number: i32) -> Result<NoiseMechanism, KingdomError> {
    match NoiseMechanism::try_from(number) {
        Ok(NoiseMechanism::Unspecified) | Err(_) => Err(invalid(format!("noise mechanism {number}"))),
        Ok(mechanism) => Ok(mechanism),
    }
}

fn invalid(problem: impl Into<String>) -> KingdomError {
    KingdomError::invalid("protocol", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocols() -> [Protocol; 3] {
        let workers = ["worker1", "worker2"].map(str::to_owned);
        let sketch = LiquidLegionsSettings { decay_rate: 0.1 + 0.2, ..LiquidLegionsSettings::default() };
        [
            Protocol::LiquidLegionsV2(sketch.clone()),
            Protocol::ReachOnlyLiquidLegionsV2(sketch),
            Protocol::HonestMajorityShareShuffle(ShareShuffleSettings::of(workers, "aggregator".to_owned())),
        ]
    }

    #[test]
    fn protocols_survive_being_written() {
        for protocol in protocols() {
            let text = serde_json::to_string(&protocol).expect("text");
            assert_eq!(serde_json::from_str::<Protocol>(&text).expect("read"), protocol);
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let [legions, _, shuffle] = protocols().map(|protocol| dev_kingdom::Protocol::from(&protocol));
        let changed = |change: &dyn Fn(&mut LiquidLegionsV2)| {
            let mut message = legions.clone();
            let parameters = message.parameters.as_mut().and_then(|parameters| parameters.protocol.as_mut());
            let Some(Parameters::LiquidLegionsV2(parameters)) = parameters else {
                panic!("another protocol")
            };
            change(parameters);
            message
        };
        let sketch =
            |change: &dyn Fn(&mut mpc_protocol_config::liquid_legions_v2::LiquidLegionsSketchParams)| {
                changed(&|parameters| change(parameters.sketch_params.as_mut().expect("given")))
            };
        for (message, problem) in [
            (dev_kingdom::Protocol::default(), "no parameters"),
            (
                dev_kingdom::Protocol { sampling_indicator_size: 0, ..legions.clone() },
                "sampling_indicator_size",
            ),
            (sketch(&|sketch| sketch.max_size = 0), "0 registers"),
            (sketch(&|sketch| sketch.max_size = 1 << 32), "4294967296 registers"),
            (sketch(&|sketch| sketch.decay_rate = f64::NAN), "decay rate NaN"),
            (changed(&|parameters| parameters.mpc_noise = None), "noise is missing"),
            (changed(&|parameters| parameters.noise_mechanism = 0), "noise mechanism 0"),
            (changed(&|parameters| parameters.noise_mechanism = 99), "noise mechanism 99"),
            (dev_kingdom::Protocol { workers: vec!["worker1".into()], ..shuffle.clone() }, "two workers"),
            (dev_kingdom::Protocol { aggregator: "worker1".into(), ..shuffle.clone() }, "two workers"),
            (dev_kingdom::Protocol { aggregator: "a/b".into(), ..shuffle }, "two workers"),
        ] {
            let refused = Protocol::try_from(message).expect_err(problem).to_string();
            assert!(refused.contains(problem), "{refused}");
        }
    }
}
