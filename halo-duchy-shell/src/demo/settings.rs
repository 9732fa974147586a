//! What the demo's Kingdom is told to measure by.

use halo_crypto::ring::RingModulus;

use super::args::{DemoArgs, Noise, Protocol, Suite};
use crate::kingdom::config::{
    LiquidLegionsSettings, Privacy, Protocol as KingdomProtocol, ShareShuffleSettings,
};
use crate::proto::system::computation::mpc_protocol_config::NoiseMechanism;

/// Distinct sampling indicators of a person: two people in one register are told apart unless they share one.
const SAMPLING_INDICATOR_SIZE: u32 = 10_000_000;

/// The protocol and its parameters, for these duchies, the first of which aggregates, and so many data providers.
pub(super) fn protocol(args: &DemoArgs, duchies: &[String], data_providers: usize) -> KingdomProtocol {
    let noise_mechanism = match args.noise {
        Noise::None => NoiseMechanism::None,
        Noise::DiscreteGaussian => NoiseMechanism::DiscreteGaussian,
        Noise::Geometric => NoiseMechanism::Geometric,
    };
    let privacy = Privacy { epsilon: args.epsilon, delta: args.delta };
    let sketch = || LiquidLegionsSettings {
        decay_rate: args.decay_rate(),
        sketch_size: args.sketch_size(),
        sampling_indicator_size: SAMPLING_INDICATOR_SIZE,
        blinded_histogram_noise: privacy,
        publisher_noise: privacy,
        elliptic_curve_id: args.suite().map_or(0, Suite::curve_id) as i32,
        noise_mechanism,
    };
    match (args.protocol, duchies) {
        (Protocol::Hmss, [aggregator, first, second, ..]) => {
            let shuffle = ShareShuffleSettings::of([first.clone(), second.clone()], aggregator.clone());
            let modulus = |least, maximum_frequency| ring_modulus(least, maximum_frequency, data_providers);
            KingdomProtocol::HonestMajorityShareShuffle(ShareShuffleSettings {
                reach_and_frequency_ring_modulus: modulus(
                    shuffle.reach_and_frequency_ring_modulus,
                    args.max_frequency(),
                ),
                reach_ring_modulus: modulus(shuffle.reach_ring_modulus, 1),
                noise_mechanism,
                ..shuffle
            })
        }
        (Protocol::RoLlv2, _) => KingdomProtocol::ReachOnlyLiquidLegionsV2(sketch()),
        (Protocol::Llv2 | Protocol::Hmss, _) => KingdomProtocol::LiquidLegionsV2(sketch()),
    }
}

/// `least`, or the next prime in which the frequencies of one person at all data providers add up.
fn ring_modulus(least: i32, maximum_frequency: i32, data_providers: usize) -> i32 {
    let sum = i32::try_from(data_providers).unwrap_or(i32::MAX).saturating_mul(maximum_frequency);
    let prime = |modulus: &i32| {
        u32::try_from(*modulus)
            .is_ok_and(|modulus| RingModulus::new(modulus).is_ok_and(RingModulus::is_prime))
    };
    let least = least.max(sum.saturating_add(2));
    (least..=RingModulus::MAX as i32).find(prime).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_has_room_for_everybody_s_frequencies_and_a_sentinel() {
        assert_eq!(ring_modulus(127, 10, 3), 127);
        assert_eq!(ring_modulus(127, 25, 5), 127);
        assert_eq!(ring_modulus(127, 126, 1), 131);
        assert_eq!(ring_modulus(127, 1000, 3), 3011);
    }
}
