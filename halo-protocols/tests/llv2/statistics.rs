//! Each noise is distributed as it should be, seen from outside: kernels are run with many seeds on empty sketches,
//! what they emit is opened, and the numbers of each kind are compared with the exact distribution by a χ² test.
//!
//! Significance: each test below would fail with probability 10⁻⁶ for correct noise. Seeds are fixed, so that a test
//! that passes once passes always.

use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, Ristretto255};
use halo_protocols::data_provider::{SketchParameters, plain_sketch};
use halo_protocols::estimate::{LiquidLegions, accuracy};
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::duchy::NoiseMechanism;
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;
use halo_protocols::sketch::Layout;

use crate::opening::{Opener, hash, tuples};
use crate::run::{Measurement, Noise, Run, context};

type G = Ristretto255;

const RUNS: u32 = 150;
const DUCHIES: u8 = 3;
const SKETCHES: u32 = 2;
const FREQUENCIES: usize = 2;

/// How often each number was drawn.
#[derive(Clone)]
pub struct Draws {
    counts: Vec<u32>,
}

impl Draws {
    pub fn new(offset: u32) -> Self {
        Self { counts: vec![0; 2 * offset as usize + 1] }
    }

    pub fn add(&mut self, number: usize) {
        self.counts[number] += 1;
    }

    /// The χ² test against probabilities that add up to one.
    pub fn check(&self, what: &str, probabilities: &[f64]) {
        assert_eq!(self.counts.len(), probabilities.len());
        let total = f64::from(self.counts.iter().sum::<u32>());
        // Neighbours share a bin until five draws are expected in it.
        let (mut statistic, mut bins) = (0.0, 0.0);
        let (mut found, mut expected) = (0.0, 0.0);
        let mut remaining = total;
        for (count, probability) in self.counts.iter().zip(probabilities) {
            found += f64::from(*count);
            expected += probability * total;
            remaining -= probability * total;
            if expected >= 5.0 && remaining >= 5.0 {
                statistic += (found - expected).powi(2) / expected;
                bins += 1.0;
                (found, expected) = (0.0, 0.0);
            }
        }
        statistic += (found - expected).powi(2) / expected;
        let freedom: f64 = bins;
        assert!(freedom >= 2.0, "{what}: too few bins for a test");
        // Wilson and Hilferty's approximation of the quantile; 4.753 is that of 1 − 10⁻⁶ of the normal distribution.
        let spread = 2.0 / (9.0 * freedom);
        let limit = freedom * (1.0 - spread + 4.753 * spread.sqrt()).powi(3);
        println!("{what}: χ² = {statistic:.1} with {freedom} degrees of freedom, at most {limit:.1}");
        assert!(
            statistic <= limit,
            "{what}: χ² = {statistic}, at most {limit} is credible: {:?}",
            self.counts
        );
    }
}

/// The exact probabilities of 0 … 2μ (crypto.md §A9).
pub fn probabilities(
    mechanism: NoiseMechanism,
    epsilon: f64,
    delta: f64,
    contributors: u8,
    sensitivity: u32,
    offset: u32,
) -> Vec<f64> {
    let mu = offset as usize;
    let n = f64::from(contributors);
    let mut weights = vec![0.0; 2 * mu + 1];
    if mechanism == NoiseMechanism::Geometric {
        let p = (-epsilon / f64::from(sensitivity)).exp();
        // Pólya with shape 1/n: w(k) = w(k−1)·(1/n + k − 1)/k·p.
        let mut polya = vec![1.0];
        for k in 1..=mu {
            polya.push(polya[k - 1] * (1.0 / n + k as f64 - 1.0) / k as f64 * p);
        }
        for (a, weight_a) in polya.iter().enumerate() {
            for (b, weight_b) in polya.iter().enumerate() {
                weights[mu + a - b] += weight_a * weight_b;
            }
        }
    } else {
        let sigma = (2.0 * (1.25 / (delta / 2.0)).ln()).sqrt() / epsilon / n.sqrt();
        for (drawn, weight) in weights.iter_mut().enumerate() {
            let distance = drawn as f64 - mu as f64;
            *weight = (-distance * distance / (2.0 * sigma * sigma)).exp();
        }
    }
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

fn noise(mechanism: NoiseMechanism) -> Noise {
    // Little noise, so that many draws are cheap, but several values of each.
    match mechanism {
        NoiseMechanism::Geometric => Noise::uniform(mechanism, 1.5, 0.9),
        _ => Noise::uniform(mechanism, 2.0, 0.5),
    }
}

fn measurement(mechanism: NoiseMechanism) -> Measurement {
    Measurement {
        maximum_frequency: FREQUENCIES as i32,
        total_sketches_count: SKETCHES as i32,
        sketch: LiquidLegionsSketchParameters { decay_rate: 12.0, size: 100_000 },
        width: 1.0,
        noise: Some(noise(mechanism)),
    }
}

/// One computation for each seed, all with the same keys.
fn runs(mechanism: NoiseMechanism) -> impl Iterator<Item = Run<G>> {
    let mut run = Run::<G>::new(measurement(mechanism), DUCHIES, context(0));
    (0..RUNS).map(move |seed| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&seed.to_be_bytes());
        bytes[4] = mechanism as u8;
        run.context = KernelContext::new(Executor::serial(), StreamSeed::new(bytes));
        run.clone()
    })
}

fn register_noise_is_exact(mechanism: NoiseMechanism) {
    let noise = noise(mechanism);
    let duchies = usize::from(DUCHIES);
    let blind = noise.distribution(noise.blind_histogram, duchies, 2).offset();
    let publisher = noise.distribution(noise.publisher, duchies, SKETCHES).offset();
    let reach = noise.distribution(noise.reach, duchies, 1).offset();
    let mut blind_draws = vec![Draws::new(blind); SKETCHES as usize];
    let (mut publisher_draws, mut reach_draws) = (Draws::new(publisher), Draws::new(reach));

    let opener = Opener::<G>::new(&Run::<G>::new(measurement(mechanism), DUCHIES, context(0)).pairs);
    let (blinded, destroyed) =
        (hash::<G>("blinded_histogram_noise_register_key"), hash::<G>("destroyed_register_key"));
    let publisher_id = hash::<G>("publisher_noise_register_id");
    for run in runs(mechanism) {
        let registers = run.setup_at_one(Vec::new(), Vec::new()).unwrap();
        let ids = opener.column(&registers, Layout::ID);
        let keys = opener.column(&registers, Layout::KEY);
        let mut of_blinded: std::collections::BTreeMap<_, usize> = Default::default();
        for (id, _) in ids.iter().zip(&keys).filter(|(_, key)| **key == blinded) {
            *of_blinded.entry(id).or_default() += 1;
        }
        for (bucket, draws) in blind_draws.iter_mut().enumerate() {
            draws.add(of_blinded.values().filter(|size| **size == bucket + 1).count());
        }
        publisher_draws.add(ids.iter().filter(|id| **id == publisher_id).count());
        reach_draws.add(keys.iter().filter(|key| **key == destroyed).count());
    }
    let exact = |privacy: halo_protocols::proto::duchy::DifferentialPrivacyParams, sensitivity, offset| {
        probabilities(mechanism, privacy.epsilon, privacy.delta, DUCHIES, sensitivity, offset)
    };
    for (bucket, draws) in blind_draws.iter().enumerate() {
        let what = format!("blinded histogram, bucket {}", bucket + 1);
        draws.check(&what, &exact(noise.blind_histogram, 2, blind));
    }
    publisher_draws.check("publisher", &exact(noise.publisher, SKETCHES, publisher));
    reach_draws.check("reach", &exact(noise.reach, 1, reach));
}

fn tuple_noise_is_exact(mechanism: NoiseMechanism) {
    let noise = noise(mechanism);
    let offset = noise.distribution(noise.frequency, usize::from(DUCHIES), 2).offset();
    let mut draws = vec![Draws::new(offset); FREQUENCIES + 1];
    let opener = Opener::<G>::new(&Run::<G>::new(measurement(mechanism), DUCHIES, context(0)).pairs);
    let counts = halo_crypto::count::count_points::<G>(FREQUENCIES as u32);
    let counts: Vec<_> = counts.iter().map(|count| G::encode_one(count).unwrap()).collect();
    for run in runs(mechanism) {
        let noise = run.phase_one_at_aggregator(Vec::new()).unwrap();
        let opened = tuples(&opener, &opener, &noise);
        assert_eq!(opened.len(), 2 * offset as usize * (FREQUENCIES + 1));
        for (index, draws) in draws.iter_mut().enumerate() {
            draws.add(
                opened
                    .iter()
                    .filter(|[a, b, c, count]| match counts.get(index) {
                        Some(expected) => a.is_empty() && !b.is_empty() && !c.is_empty() && count == expected,
                        None => !a.is_empty() && !b.is_empty() && !c.is_empty(),
                    })
                    .count(),
            );
        }
        let padding = opened.iter().filter(|[a, b, c, count]| a.is_empty() && b.is_empty() && c == count);
        let kinds = opened.iter().filter(|[a, b, ..]| !(a.is_empty() && b.is_empty())).count();
        assert_eq!(padding.count() + kinds, opened.len());
    }
    let exact = probabilities(mechanism, noise.frequency.epsilon, noise.frequency.delta, DUCHIES, 2, offset);
    for (index, draws) in draws.iter().enumerate() {
        let what =
            if index < FREQUENCIES { format!("frequency {}", index + 1) } else { "destroyed".to_owned() };
        draws.check(&what, &exact);
    }
}

#[test]
fn geometric_register_noise_is_exact() {
    register_noise_is_exact(NoiseMechanism::Geometric);
}

#[test]
fn gaussian_register_noise_is_exact() {
    register_noise_is_exact(NoiseMechanism::DiscreteGaussian);
}

#[test]
fn geometric_tuple_noise_is_exact() {
    tuple_noise_is_exact(NoiseMechanism::Geometric);
}

#[test]
fn gaussian_tuple_noise_is_exact() {
    tuple_noise_is_exact(NoiseMechanism::DiscreteGaussian);
}

/// The test can fail: draws from a neighbouring distribution do not pass.
#[test]
#[should_panic(expected = "is credible")]
fn the_test_sees_a_wrong_offset() {
    let exact = probabilities(NoiseMechanism::Geometric, 1.5, 0.9, DUCHIES, 2, 6);
    let mut draws = Draws::new(6);
    for (number, probability) in exact.iter().enumerate() {
        // As many as expected, one to the right.
        let count = (probability * 400.0).round() as u32;
        draws.counts[(number + 1).min(12)] += count;
    }
    draws.check("shifted", &exact);
}

/// Many seeded computations on one set of people: no estimate is further than four standard deviations from the
/// truth, and their mean not further than four of its own. Chance lies in the noise and, with another map from people
/// to registers each time, in the sketch. For a normal distribution this fails with probability 1.3·10⁻³ (20 runs) and 6.3·10⁻⁵ (the mean).
fn estimates_are_near_the_truth(mechanism: NoiseMechanism) {
    const PEOPLE: i64 = 150;
    const SEEDS: u32 = 20;
    let noise = Noise::uniform(mechanism, 2.0, 0.01);
    let measurement = Measurement { maximum_frequency: 1, noise: Some(noise), ..measurement(mechanism) };
    let LiquidLegionsSketchParameters { decay_rate, size } = measurement.sketch;
    let sketch = LiquidLegions::new(decay_rate, size).unwrap();
    let variance = match mechanism {
        NoiseMechanism::Geometric => accuracy::geometric_noise_variance(2.0, 1.0),
        _ => accuracy::discrete_gaussian_noise_variance(2.0, 0.01),
    };
    let deviation = accuracy::reach_standard_deviation(&sketch, PEOPLE as f64, 1.0, variance);
    let mut total = 0.0;
    for (run, seed) in runs(mechanism).zip(0..SEEDS) {
        let run = Run::<G>::with_keys(measurement.clone(), run.pairs, run.context);
        let parameters = SketchParameters {
            decay_rate,
            size,
            sampling_indicator_size: 10_000_000,
            salt: Some(seed.into()),
        };
        let sketch =
            |people: std::ops::Range<i64>| run.encrypt(plain_sketch(&parameters, people.map(|vid| (vid, 1))));
        let requisitions = [sketch(0..100), sketch(50..PEOPLE), Vec::new()];
        let error = run.complete(&requisitions).unwrap().reach as f64 - PEOPLE as f64;
        println!("seed {seed}: {error:+}, σ = {deviation:.1}");
        assert!(error.abs() <= 4.0 * deviation, "seed {seed}: {error}, σ = {deviation}");
        total += error;
    }
    let mean = total / f64::from(SEEDS);
    println!("mean {mean:+.2}");
    // The estimator answers the largest reach that its truncated expectation allows: about a person too many here.
    let rounding = 1.0;
    assert!(
        mean.abs() <= rounding + 4.0 * deviation / f64::from(SEEDS).sqrt(),
        "mean error {mean}, σ = {deviation}"
    );
}

#[test]
fn geometric_estimates_are_near_the_truth() {
    estimates_are_near_the_truth(NoiseMechanism::Geometric);
}

#[test]
fn gaussian_estimates_are_near_the_truth() {
    estimates_are_near_the_truth(NoiseMechanism::DiscreteGaussian);
}
