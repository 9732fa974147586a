//! Each noise is distributed as it should be, seen from outside: kernels are run with many seeds on empty sketches,
//! what they emit is opened, and the numbers of each kind are compared with the exact distribution (see
//! [`draws`](crate::draws) for the significance).

use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, Ristretto255};
use halo_protocols::data_provider::{SketchParameters, plain_sketch};
use halo_protocols::estimate::{LiquidLegions, accuracy};
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::duchy::NoiseMechanism;
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;
use halo_protocols::sketch::Layout;

use crate::draws::{Draws, probabilities};
use crate::opening::{Opener, hash, tuples};
use crate::run::{Measurement, Noise, Run, context};

type G = Ristretto255;

const RUNS: u32 = 150;
const DUCHIES: u8 = 3;
const SKETCHES: u32 = 2;
const FREQUENCIES: usize = 2;

fn measurement(mechanism: NoiseMechanism) -> Measurement {
    Measurement {
        maximum_frequency: FREQUENCIES as i32,
        total_sketches_count: SKETCHES as i32,
        sketch: LiquidLegionsSketchParameters { decay_rate: 12.0, size: 100_000 },
        width: 1.0,
        noise: Some(Noise::little(mechanism)),
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
    let noise = Noise::little(mechanism);
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
    let noise = Noise::little(mechanism);
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
    // The estimator answers the largest reach that its truncated expectation allows: about half a person too many here.
    assert!(mean.abs() <= 4.0 * deviation / f64::from(SEEDS).sqrt(), "mean error {mean}, σ = {deviation}");
}

#[test]
fn geometric_estimates_are_near_the_truth() {
    estimates_are_near_the_truth(NoiseMechanism::Geometric);
}

#[test]
fn gaussian_estimates_are_near_the_truth() {
    estimates_are_near_the_truth(NoiseMechanism::DiscreteGaussian);
}
