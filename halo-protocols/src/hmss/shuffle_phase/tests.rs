//! Draws that only one worker makes, seen from inside.

use halo_crypto::parallel::Executor;

use super::*;
use crate::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use crate::proto::protocol::ShareShuffleFrequencyVectorParams;

fn parameters(kind: MeasurementKind, ring_modulus: i32) -> FrequencyVectorParameters {
    let privacy = DifferentialPrivacyParams { epsilon: 1.0, delta: 0.01 };
    let params =
        ShareShuffleFrequencyVectorParams { register_count: 3, maximum_combined_frequency: 4, ring_modulus };
    let mechanism = NoiseMechanism::Geometric as i32;
    FrequencyVectorParameters::new(kind, &params, mechanism, Some(&privacy), Some(&privacy)).expect("valid")
}

fn shuffled(parameters: &FrequencyVectorParameters, order: Order, seed: u8, share: &[u32]) -> Vec<u32> {
    let common_seed = PrngSeed::from_bytes(&[9; PrngSeed::LENGTH]).expect("a whole seed");
    let phase = ShufflePhase { parameters, common_seed, order: Some(order) };
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([seed; 32]));
    let share = Share::Vector(Values::Decoded(share));
    phase.complete([Ok(share)].into_iter(), &context).expect("shares of the ring").into_values()
}

/// The same sums in registers of every width.
#[test]
fn rings_of_every_width_add_up() {
    for kind in [MeasurementKind::ReachAndFrequency, MeasurementKind::ReachOnly] {
        for modulus in [7, 127, 251, 257, 65_521, 65_537, 1_073_741_789] {
            let parameters = parameters(kind, modulus);
            let ring = parameters.modulus();
            let secret = [0, 1, 4];
            let mask = [ring.get() - 1, ring.get() / 2, 3];
            let other: Vec<u32> =
                secret.iter().zip(mask).map(|(value, mask)| ring.difference(*value, mask)).collect();
            let mut sum = shuffled(&parameters, Order::First, 1, &mask);
            let second = shuffled(&parameters, Order::Second, 2, &other);
            ring.add(&mut sum, &second).expect("values of the ring");
            assert_eq!(sum.len(), parameters.shuffled_length());
            match kind {
                // Noise holds what registers can hold, or the sentinel; the secret is among it.
                MeasurementKind::ReachAndFrequency => {
                    assert!(sum.iter().all(|value| *value <= 4 || *value == ring.get() - 1), "{modulus}");
                    assert!(secret.iter().all(|value| sum.contains(value)), "{modulus}");
                }
                MeasurementKind::ReachOnly => {
                    assert!(sum.iter().filter(|value| **value != 0).count() >= 2, "{modulus}");
                }
            }
        }
    }
}

#[test]
fn private_noise_repeats_only_with_the_same_seed_and_sums() {
    let parameters = parameters(MeasurementKind::ReachAndFrequency, 127);
    let run = |seed, share: &[u32]| shuffled(&parameters, Order::First, seed, share);
    assert_eq!(run(1, &[1, 2, 3]), run(1, &[1, 2, 3]));
    assert_ne!(run(1, &[1, 2, 3]), run(2, &[1, 2, 3]));
    // With the same noise only the one register would differ.
    let (left, right) = (run(1, &[1, 2, 3]), run(1, &[1, 2, 4]));
    assert!(left.iter().zip(&right).filter(|(left, right)| left != right).count() > 1);
}
