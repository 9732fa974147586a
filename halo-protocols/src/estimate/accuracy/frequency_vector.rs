//! [`FrequencyVectorAccuracy`]: standard deviations of what a share shuffle estimates.
//!
//! A register is a person, so only sampling and noise make an estimate differ from the truth. With `P` people in the
//! population, of whom `n = P·w` are sampled and `R` are reached, `A` of the latter in the sample, `V₀` and `V` the
//! variances of the noise on empty registers and on those of each frequency, and `K` the maximum frequency:
//!
//! ```text
//! Var(A)            = n·(R/P)·(1 − R/P)·(P − n)/(P − 1)        A is hypergeometric
//! Var(reach)        = (Var(A) + V₀)/w²
//! Var(share f < K)  = f·(1 − f)/A·(R − A)/(R − 1) + (V + f²·V₀)/A²
//! Var(share K)      = f·(1 − f)/A·(R − A)/(R − 1) + ((K − 1)·V + (1 − f)²·V₀)/A²
//! ```
//!
//! The last share is what the others leave of the registers, so it has the noise of all. Shares are linearised; left
//! out are truncation and clamping, as for sketches.

/// A measurement whose accuracy is asked for.
///
/// ```
/// use halo_protocols::estimate::accuracy::{FrequencyVectorAccuracy, geometric_noise_variance};
///
/// // Both noises of the share shuffle have sensitivity 2.
/// let variance = geometric_noise_variance(1.0, 2.0);
/// let accuracy = FrequencyVectorAccuracy {
///     population: 10_000.0,
///     reach: 1_500.0,
///     width: 1.0,
///     reach_noise_variance: variance,
///     frequency_noise_variance: variance,
/// };
/// assert!((accuracy.reach_standard_deviation() - 2.80).abs() < 0.01);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrequencyVectorAccuracy {
    /// People in the population, at least 1.
    pub population: f64,
    /// How many of them are reached.
    pub reach: f64,
    /// Width of the sampled interval, in (0, 1].
    pub width: f32,
    /// Variance of both workers' noise on the number of empty registers together; 0 without noise.
    pub reach_noise_variance: f64,
    /// Variance of both workers' noise on the number of registers of each frequency together; 0 without noise.
    pub frequency_noise_variance: f64,
}

impl FrequencyVectorAccuracy {
    /// Of the estimated reach, in people.
    pub fn reach_standard_deviation(&self) -> f64 {
        let (population, width) = (self.population, f64::from(self.width));
        let share = self.reach / population;
        let left_out = if population > 1.0 { population * (1.0 - width) / (population - 1.0) } else { 0.0 };
        let sampled = population * width * share * (1.0 - share) * left_out;
        (sampled + self.reach_noise_variance).max(0.0).sqrt() / width
    }

    /// Of the share of one frequency below the maximum, whose true value is `share`, in [0, 1]. It has no unit and is
    /// infinite if nobody is in the sample.
    pub fn share_standard_deviation(&self, share: f64) -> f64 {
        self.shares(share, self.frequency_noise_variance + share * share * self.reach_noise_variance)
    }

    /// Of the share of the maximum frequency and all above, whose true value is `share`.
    pub fn last_share_standard_deviation(&self, share: f64, maximum_frequency: u32) -> f64 {
        let others = f64::from(maximum_frequency.saturating_sub(1)) * self.frequency_noise_variance;
        self.shares(share, others + (1.0 - share) * (1.0 - share) * self.reach_noise_variance)
    }

    fn shares(&self, share: f64, noise_variance: f64) -> f64 {
        let sampled = self.reach * f64::from(self.width);
        if sampled <= 0.0 {
            return f64::INFINITY;
        }
        let left_out = if self.reach > 1.0 { (self.reach - sampled) / (self.reach - 1.0) } else { 0.0 };
        let chance = share * (1.0 - share) / sampled * left_out.max(0.0);
        (chance + noise_variance / (sampled * sampled)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use halo_crypto::noise::{DistributedNoise, NoiseMechanism, NoiseParameters, PrivacyParameters};
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;
    use crate::estimate::accuracy::{discrete_gaussian_noise_variance, geometric_noise_variance};
    use crate::estimate::{FrequencyVectorEstimator, Histogram};

    const POPULATION: usize = 4_000;
    const MAXIMUM_FREQUENCY: u32 = 4;
    const RUNS: usize = 1_500;

    /// 1,600 of 4,000 people, half of them once, 400 twice, 240 three times, 160 four.
    fn frequency(person: usize) -> u32 {
        match person {
            0..800 => 1,
            800..1200 => 2,
            1200..1440 => 3,
            1440..1600 => 4,
            _ => 0,
        }
    }

    /// The first `count` people of a random order.
    fn sample(count: usize, rng: &mut ChaCha20Rng) -> Vec<usize> {
        let mut people: Vec<usize> = (0..POPULATION).collect();
        for index in 0..count {
            let other = index + (rng.next_u64() % (POPULATION - index) as u64) as usize;
            people.swap(index, other);
        }
        people.truncate(count);
        people
    }

    fn standard_deviation(values: &[f64]) -> f64 {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
    }

    fn simulate(mechanism: NoiseMechanism, epsilon: f64, width: f32) {
        let privacy = PrivacyParameters { epsilon, delta: 1e-5 };
        let parameters = NoiseParameters { privacy, contributors: 2, sensitivity: 2 };
        let noise = DistributedNoise::new(mechanism, &parameters).expect("possible noise");
        let baseline = 2 * u64::from(noise.offset());
        let mut rng = ChaCha20Rng::seed_from_u64(epsilon.to_bits());
        let registers = (POPULATION as f64 * f64::from(width)) as usize;
        let estimator =
            FrequencyVectorEstimator::new(registers as u64, width, baseline, baseline).expect("a width");
        let mut columns = vec![Vec::new(); 1 + MAXIMUM_FREQUENCY as usize];
        for _ in 0..RUNS {
            let mut histogram = Histogram::new();
            sample(registers, &mut rng).into_iter().for_each(|person| histogram.add(frequency(person)));
            for value in (0..=MAXIMUM_FREQUENCY).chain(0..=MAXIMUM_FREQUENCY) {
                (0..noise.sample(&mut rng)).for_each(|_| histogram.add(value));
            }
            let estimate =
                estimator.reach_and_frequency(&histogram, MAXIMUM_FREQUENCY).expect("small numbers");
            columns[0].push(estimate.reach as f64);
            let shares = estimate.frequency.expect("people");
            for (frequency, column) in (1..).zip(&mut columns[1..]) {
                column.push(shares.get(&frequency).copied().unwrap_or(0.0));
            }
        }
        let variance = match mechanism {
            NoiseMechanism::Geometric => geometric_noise_variance(epsilon, 2.0),
            NoiseMechanism::DiscreteGaussian => discrete_gaussian_noise_variance(epsilon, 1e-5),
        };
        let accuracy = FrequencyVectorAccuracy {
            population: POPULATION as f64,
            reach: 1_600.0,
            width,
            reach_noise_variance: variance,
            frequency_noise_variance: variance,
        };
        let expected = [
            accuracy.reach_standard_deviation(),
            accuracy.share_standard_deviation(0.5),
            accuracy.share_standard_deviation(0.25),
            accuracy.share_standard_deviation(0.15),
            accuracy.last_share_standard_deviation(0.1, MAXIMUM_FREQUENCY),
        ];
        for (column, (values, expected)) in columns.iter().zip(expected).enumerate() {
            let found = standard_deviation(values);
            println!(
                "{mechanism:?} ε = {epsilon}, w = {width}, column {column}: {found:.5}, expected {expected:.5}"
            );
            // Five standard deviations of a sample's: 5/√(2·1500) = 9 %.
            assert!(
                (found / expected - 1.0).abs() < 0.09,
                "{mechanism:?} {width} {column}: {found} {expected}"
            );
        }
    }

    #[test]
    fn simulated_vectors_spread_as_predicted() {
        simulate(NoiseMechanism::Geometric, 0.5, 1.0);
        simulate(NoiseMechanism::Geometric, 0.2, 0.5);
        simulate(NoiseMechanism::DiscreteGaussian, 1.0, 1.0);
        simulate(NoiseMechanism::DiscreteGaussian, 0.4, 0.25);
    }

    #[test]
    fn without_noise_and_sampling_nothing_is_off() {
        let exact = FrequencyVectorAccuracy {
            population: 1_000.0,
            reach: 600.0,
            width: 1.0,
            reach_noise_variance: 0.0,
            frequency_noise_variance: 0.0,
        };
        assert_eq!(exact.reach_standard_deviation(), 0.0);
        assert_eq!(exact.share_standard_deviation(0.3), 0.0);
        assert_eq!(exact.last_share_standard_deviation(0.3, 5), 0.0);
        assert!(FrequencyVectorAccuracy { reach: 0.0, ..exact }.share_standard_deviation(0.5).is_infinite());
    }
}
