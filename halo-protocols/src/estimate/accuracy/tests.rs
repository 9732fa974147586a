//! The formulas against their defining sums and against simulated sketches.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;

fn sketch(decay_rate: f64, size: i64) -> LiquidLegions {
    LiquidLegions::new(decay_rate, size).expect("test parameters are valid")
}

/// Uniform in [0, 1).
fn uniform(rng: &mut ChaCha20Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Draws the register of a person (docs/noise-and-accuracy.md#reach).
fn register(decay_rate: f64, size: f64, rng: &mut ChaCha20Rng) -> usize {
    let top = decay_rate.exp();
    let x = 1.0 - (top + uniform(rng) * (1.0 - top)).ln() / decay_rate;
    (x * size) as usize
}

fn mean_and_variance(samples: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    (mean, samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (count - 1.0))
}

fn assert_near(found: f64, expected: f64, relative: f64, what: &str) {
    assert!((found - expected).abs() <= relative * expected.abs(), "{what}: {found}, not {expected}");
}

#[test]
fn closed_forms_are_the_sums_over_registers() {
    for (decay, size, people) in [(12.0, 100_000, 2_048.0), (12.0, 100_000, 3e5), (2.0, 10_000, 7_000.0)] {
        let occupancy = Occupancy::of(&sketch(decay, size), people);
        let (mut slope, mut variance) = (0.0, 0.0);
        for i in 0..size {
            let [left, right] = [i, i + 1].map(|edge| (-decay * edge as f64 / size as f64).exp());
            let probability = (left - right) / (1.0 - (-decay).exp());
            let empty = (-people * probability).exp();
            slope += probability * empty;
            variance += empty * (1.0 - empty);
        }
        assert_near(occupancy.slope, slope, 1e-6, "E'(N)");
        assert_near(occupancy.live, people * slope, 1e-6, "live registers");
        assert_near(occupancy.variance, variance - people * slope * slope, 1e-6, "Var(c)");
    }
}

#[test]
fn nobody_has_no_spread_of_their_own() {
    let sketch = sketch(12.0, 1_000);
    for reach in [0.0, 0.5, 1.0] {
        assert!(reach_standard_deviation(&sketch, reach, 1.0, 0.0) < 0.1);
        assert_near(reach_standard_deviation(&sketch, reach, 1.0, 9.0), 3.0, 0.01, "noise alone");
    }
    assert!(frequency_share_standard_deviation(&sketch, 0.0, 1.0, 0.5, 10, 1.0).is_infinite());
}

#[test]
fn noise_variances_are_those_of_the_summed_distributions() {
    // Σ k²·P(k) of the two-sided geometric distribution P(k) = (1−p)/(1+p)·p^|k|.
    for (epsilon, sensitivity) in [(0.1_f64, 1.0_f64), (1.0, 2.0), (3.0, 1.0)] {
        let p = (-epsilon / sensitivity).exp();
        let expected: f64 =
            (1..5_000).map(|k| 2.0 * f64::from(k).powi(2) * (1.0 - p) / (1.0 + p) * p.powi(k)).sum();
        assert_near(geometric_noise_variance(epsilon, sensitivity), expected, 1e-9, "geometric");
    }
    assert_near(discrete_gaussian_noise_variance(0.5, 1e-9).sqrt(), 13.157_37, 1e-6, "discrete Gaussian");
}

/// The sample variance of `n` near-normal draws has a relative standard deviation of √(2/(n−1)); the tolerance is
/// five of them, so that a correct formula fails with probability below 10⁻⁶ for another seed.
#[test]
fn simulated_sketches_spread_as_predicted() {
    const RUNS: usize = 1_500;
    let tolerance = 5.0 * (2.0 / (RUNS as f64 - 1.0)).sqrt();
    let (decay, size, people_with_one) = (12.0, 2_000, 0.35);
    let mut rng = ChaCha20Rng::seed_from_u64(0x5eed);
    for (reach, width, noise) in [(800_u32, 1.0_f32, 0.0), (2_000, 0.5, 0.0), (1_000, 0.75, 400.0)] {
        let sketch = sketch(decay, size);
        let noise_deviation = f64::sqrt(noise);
        let (mut reaches, mut shares) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let mut registers = vec![(0_u32, false); size as usize];
            for person in 0..reach {
                if uniform(&mut rng) < f64::from(width) {
                    let register = &mut registers[register(decay, size as f64, &mut rng)];
                    *register = (register.0 + 1, f64::from(person) < people_with_one * f64::from(reach));
                }
            }
            let active = registers.iter().filter(|(people, _)| *people > 0).count() as f64;
            let live: Vec<_> = registers.iter().filter(|(people, _)| *people == 1).collect();
            let noised = active + noise_deviation * normal(&mut rng);
            // The first-order estimate, which the standard deviation describes, without the estimator's rounding.
            let occupancy = Occupancy::of(&sketch, f64::from(reach) * f64::from(width));
            reaches.push(noised / occupancy.slope / f64::from(width));
            shares.push(live.iter().filter(|(_, once)| *once).count() as f64 / live.len() as f64);
        }
        let reach = f64::from(reach);
        let predicted = reach_standard_deviation(&sketch, reach, width, noise).powi(2);
        assert_near(mean_and_variance(&reaches).1, predicted, tolerance, "Var(reach)");
        let predicted = frequency_share_standard_deviation(&sketch, reach, width, people_with_one, 10, 0.0);
        // A little more: the number of live registers varies too.
        assert_near(mean_and_variance(&shares).1, predicted.powi(2), tolerance + 0.02, "Var(share)");
    }
}

/// The spread of a share of noisy counts, each bucket with noise of its own.
#[test]
fn noisy_shares_spread_as_predicted() {
    const RUNS: usize = 4_000;
    let counts = [400.0, 250.0, 150.0, 100.0];
    let (live, noise): (f64, f64) = (counts.iter().sum(), 30.0);
    let mut rng = ChaCha20Rng::seed_from_u64(0x5eed);
    let shares: Vec<f64> = (0..RUNS)
        .map(|_| {
            let noisy = counts.map(|count| count + noise.sqrt() * normal(&mut rng));
            noisy[0] / noisy.iter().sum::<f64>()
        })
        .collect();
    // A sketch so large that nobody shares a register, and all are sampled: only the noise is left.
    let sketch = sketch(1.001, 1_000_000_000);
    let predicted = frequency_share_standard_deviation(&sketch, live, 1.0, counts[0] / live, 4, noise);
    let tolerance = 5.0 * (2.0 / (RUNS as f64 - 1.0)).sqrt();
    assert_near(mean_and_variance(&shares).1, predicted.powi(2), tolerance, "Var(share)");
}

/// A standard normal draw (Box and Muller).
fn normal(rng: &mut ChaCha20Rng) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    radius * (core::f64::consts::TAU * uniform(rng)).cos()
}
