use num_bigint::BigUint;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::bernoulli::{Ratio, bernoulli, bernoulli_exp, geometric, uniform_below};
use super::*;

/// Five and a half standard deviations of a proportion: an exact coin fails with probability below 4e-8.
fn assert_proportion(hits: u32, trials: u32, probability: f64, what: &str) {
    let deviation = (probability * (1.0 - probability) / f64::from(trials)).sqrt();
    let found = f64::from(hits) / f64::from(trials);
    assert!((found - probability).abs() <= 5.5 * deviation, "{what}: {found} instead of {probability}");
}

fn ratio(numerator: u64, denominator: u64) -> Ratio {
    Ratio::new(numerator.into(), denominator.into())
}

#[test]
fn floating_point_numbers_are_fractions() {
    for (value, numerator, power) in
        [(1.0, 1u64, 0), (0.75, 3, 2), (6.0, 6, 0), (0.1, 3_602_879_701_896_397, 55)]
    {
        let found = Ratio::from_f64(value);
        assert_eq!(found.numerator, BigUint::from(numerator), "{value}");
        assert_eq!(found.denominator, BigUint::from(1u32) << power, "{value}");
    }
    // The largest number, the smallest normal one, the smallest one.
    assert_eq!(Ratio::from_f64(f64::MAX).numerator, BigUint::from((1u64 << 53) - 1) << 971);
    assert_eq!(Ratio::from_f64(f64::MIN_POSITIVE).denominator, BigUint::from(1u32) << 1022);
    assert_eq!(Ratio::from_f64(5e-324).denominator, BigUint::from(1u32) << 1074);
}

#[test]
fn coins_fall_as_often_as_they_should() {
    const TRIALS: u32 = 40_000;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let huge = BigUint::from(1u32) << 200;
    for (numerator, denominator) in [(0, 1), (1, 1), (1, 3), (2, 3), (1, 100), (255, 256)] {
        let probability = numerator as f64 / denominator as f64;
        let wide = Ratio::new(&huge * numerator, &huge * denominator);
        for coin in [ratio(numerator, denominator), wide] {
            let hits = (0..TRIALS).filter(|_| bernoulli(&coin, &mut rng)).count() as u32;
            assert_proportion(hits, TRIALS, probability, "bernoulli");
        }
    }
    for (numerator, denominator) in [(0, 1), (1, 1000), (1, 2), (1, 1), (3, 2), (2, 1), (9, 2)] {
        let gamma = ratio(numerator, denominator);
        let hits = (0..TRIALS).filter(|_| bernoulli_exp(&gamma, &mut rng)).count() as u32;
        assert_proportion(hits, TRIALS, (-(numerator as f64) / denominator as f64).exp(), "bernoulli_exp");
    }
    // Without an end to the whole part, this would take 2^80 trials.
    assert!(!bernoulli_exp(&Ratio::new(BigUint::from(1u32) << 80, 1u32.into()), &mut rng));
}

#[test]
fn uniform_values_fill_their_range() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    for bound in [1u128, 2, 3, u128::from(u64::MAX), 1 << 64, (1 << 64) + 1, 3 << 90] {
        let bound = BigUint::from(bound);
        let trials = 4_000;
        let values: Vec<BigUint> = (0..trials).map(|_| uniform_below(&bound, &mut rng)).collect();
        assert!(values.iter().all(|value| *value < bound));
        let half = (&bound + 1u32) / 2u32;
        let hits = values.iter().filter(|value| **value < half).count() as u32;
        let probability = if bound.bits() > 64 { 0.5 } else { u64_ratio(&half, &bound) };
        assert_proportion(hits, trials, probability, "uniform_below");
    }
}

fn u64_ratio(numerator: &BigUint, denominator: &BigUint) -> f64 {
    let value = |number: &BigUint| u64::try_from(number).expect("a small number") as f64;
    value(numerator) / value(denominator)
}

#[test]
fn geometric_tails_are_powers() {
    const TRIALS: u32 = 20_000;
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    for (numerator, denominator) in [(1, 1), (1, 7), (5, 2), (3, 10), (1, 1000)] {
        let gamma = numerator as f64 / denominator as f64;
        let draws: Vec<u64> =
            (0..TRIALS).map(|_| geometric(&ratio(numerator, denominator), &mut rng)).collect();
        for at_least in [1u64, 2, 5, 20, 400, 2000] {
            let hits = draws.iter().filter(|draw| **draw >= at_least).count() as u32;
            assert_proportion(hits, TRIALS, (-gamma * at_least as f64).exp(), "geometric");
        }
    }
}

#[test]
fn bad_parameters_are_named() {
    use NoiseParametersError::*;
    let refused = |mechanism, epsilon, delta, contributors, sensitivity| {
        let parameters =
            NoiseParameters { privacy: PrivacyParameters { epsilon, delta }, contributors, sensitivity };
        DistributedNoise::new(mechanism, &parameters).err()
    };
    for mechanism in [NoiseMechanism::Geometric, NoiseMechanism::DiscreteGaussian] {
        for epsilon in [0.0, -1.0, f64::INFINITY] {
            assert_eq!(refused(mechanism, epsilon, 0.1, 1, 1), Some(Epsilon(epsilon)));
        }
        for delta in [0.0, -0.1, 1.0 + f64::EPSILON, 2.5, f64::INFINITY] {
            assert_eq!(refused(mechanism, 1.0, delta, 1, 1), Some(Delta(delta)));
        }
        assert!(matches!(refused(mechanism, f64::NAN, 0.1, 1, 1), Some(Epsilon(_))));
        assert!(matches!(refused(mechanism, 1.0, f64::NAN, 1, 1), Some(Delta(_))));
        assert_eq!(refused(mechanism, 1.0, 0.1, 0, 1), Some(NoContributors));
        assert_eq!(refused(mechanism, 1.0, 0.1, 1, 0), Some(NoSensitivity));

        // e^ε overflows, and so does 1/ε; between them, the noise is too much.
        assert_eq!(refused(mechanism, 800.0, 0.1, 1, 1), Some(Offset(f64::INFINITY)));
        assert!(matches!(refused(mechanism, 1e-7, 1e-9, 1, 1), Some(Offset(offset)) if offset > 1e7));
        assert!(refused(mechanism, 5e-324, 0.1, 1, 1).is_some());
        assert_eq!(refused(mechanism, 1.0, 1.0, 1, 1), None);
        assert_eq!(refused(mechanism, 300.0, 1e-100, u32::MAX, 1), None);
    }
    // A sensitivity beyond every count.
    assert!(matches!(refused(NoiseMechanism::Geometric, 1.0, 0.1, 1, u32::MAX), Some(Offset(_))));
}

#[test]
fn a_component_stays_within_twice_its_offset() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    for (epsilon, delta, contributors) in
        [(10.0, 1.0, 1), (50.0, 0.5, 7), (0.3, 1.0, 5), (300.0, 1e-100, 1 << 20)]
    {
        let privacy = PrivacyParameters { epsilon, delta };
        let parameters = NoiseParameters { privacy, contributors, sensitivity: 1 };
        for mechanism in [NoiseMechanism::Geometric, NoiseMechanism::DiscreteGaussian] {
            let noise = DistributedNoise::new(mechanism, &parameters).expect("legal parameters");
            assert!((0..500).all(|_| noise.sample(&mut rng) <= 2 * noise.offset()), "{parameters:?}");
        }
    }
}
