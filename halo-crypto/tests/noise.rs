//! The noise against upstream's tables of parameters, its histograms, and the exact distributions.
//!
//! Each chi-squared test has a significance of one in a million and a fixed seed.

use halo_crypto::noise::{
    DistributedDiscreteGaussian, DistributedNoise, NoiseMechanism, NoiseParameters, PrivacyParameters,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::Value;

fn rows(json: &str) -> Vec<Value> {
    serde_json::from_str(json).expect("a table")
}

fn float(value: &Value) -> f64 {
    value.as_str().and_then(|digits| digits.parse().ok()).expect("a decimal number in a string")
}

fn integer(value: &Value) -> u32 {
    value.as_u64().and_then(|value| value.try_into().ok()).expect("a small integer")
}

fn privacy(row: &Value) -> PrivacyParameters {
    PrivacyParameters { epsilon: float(&row["epsilon"]), delta: float(&row["delta"]) }
}

fn mechanism(row: &Value) -> NoiseMechanism {
    match row["mechanism"].as_str() {
        Some("GEOMETRIC") => NoiseMechanism::Geometric,
        Some("DISCRETE_GAUSSIAN") => NoiseMechanism::DiscreteGaussian,
        other => panic!("unknown mechanism {other:?}"),
    }
}

fn sensitivity(row: &Value) -> u32 {
    match row["noiser"].as_str() {
        Some("blind_histogram" | "frequency") => 2,
        Some("publisher") => integer(&row["publisher_count"]),
        Some("global_reach") => 1,
        other => panic!("unknown noiser {other:?}"),
    }
}

#[test]
fn the_duchies_parameters() {
    let rows = rows(include_str!("vectors/noise_parameters.json"));
    assert_eq!(rows.len(), 1296);
    for row in &rows {
        let parameters = NoiseParameters {
            privacy: privacy(row),
            contributors: integer(&row["contributor_count"]),
            sensitivity: sensitivity(row),
        };
        let noise = DistributedNoise::new(mechanism(row), &parameters).expect("legal parameters");
        assert_eq!(noise.offset(), integer(&row["shift_offset"]), "{row}");
        assert_eq!(noise.offset(), integer(&row["truncate_threshold"]), "{row}");
        match noise {
            DistributedNoise::DiscreteGaussian(noise) => {
                assert_eq!(noise.sigma(), float(&row["sigma_distributed"]), "{row}");
            }
            // Ours has no p, which is no fraction, but the tests against the exact distribution have this one.
            _ => assert_eq!(ratio(&parameters), float(&row["p"]), "{row}"),
        }
    }
}

#[test]
fn the_data_providers_parameters() {
    let rows = rows(include_str!("vectors/any_sketch_noise_options.json"));
    assert_eq!(rows.len(), 162);
    for row in &rows {
        let (privacy, count) = (privacy(row), integer(&row["count"]));
        let publisher = NoiseParameters { privacy, contributors: 1, sensitivity: count };
        let noise = DistributedNoise::new(NoiseMechanism::Geometric, &publisher).expect("legal parameters");
        assert_eq!(noise.offset(), integer(&row["geometric_publisher"]["shift_offset"]), "{row}");
        assert_eq!(noise.offset(), integer(&row["geometric_publisher"]["truncate_threshold"]), "{row}");
        assert_eq!(ratio(&publisher), float(&row["geometric_publisher"]["p"]), "{row}");

        let parameters = NoiseParameters { privacy, contributors: count, sensitivity: 1 };
        let noise = DistributedDiscreteGaussian::new(&parameters).expect("legal parameters");
        assert_eq!(noise.offset(), integer(&row["discrete_gaussian"]["shift_offset"]), "{row}");
        assert_eq!(noise.offset(), integer(&row["discrete_gaussian"]["truncate_threshold"]), "{row}");
        assert_eq!(noise.sigma(), float(&row["discrete_gaussian"]["sigma_distributed"]), "{row}");
    }
}

/// The ratio p = e^(−ε/s) of the geometric mechanism.
fn ratio(parameters: &NoiseParameters) -> f64 {
    (-parameters.privacy.epsilon / f64::from(parameters.sensitivity)).exp()
}

/// The probabilities of the components `0..=2μ`, in floating point from the textbook formulas.
fn distribution(mechanism: NoiseMechanism, parameters: &NoiseParameters, offset: u32) -> Vec<f64> {
    let PrivacyParameters { epsilon, delta } = parameters.privacy;
    let n = f64::from(parameters.contributors);
    let width = offset as usize;
    let weights: Vec<f64> = match mechanism {
        NoiseMechanism::DiscreteGaussian => {
            let variance = 2.0 * (2.5 / delta).ln() / (epsilon * epsilon) / n;
            (0..=2 * width)
                .map(|value| (-(value as f64 - width as f64).powi(2) / (2.0 * variance)).exp())
                .collect()
        }
        NoiseMechanism::Geometric => {
            let p = ratio(parameters);
            let mut polya = vec![1.0];
            for k in 1..=width {
                polya.push(polya[k - 1] * p * (1.0 / n + k as f64 - 1.0) / k as f64);
            }
            let mut difference = vec![0.0; 2 * width + 1];
            for (a, weight_a) in polya.iter().enumerate() {
                for (b, weight_b) in polya.iter().enumerate() {
                    difference[width + a - b] += weight_a * weight_b;
                }
            }
            difference
        }
    };
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// The value that a chi-squared variable exceeds with probability 1e-6 (Wilson and Hilferty's approximation).
fn critical_value(degrees_of_freedom: usize) -> f64 {
    const NORMAL_QUANTILE: f64 = 4.7534;
    let df = degrees_of_freedom as f64;
    let spread = 2.0 / (9.0 * df);
    df * (1.0 - spread + NORMAL_QUANTILE * spread.sqrt()).powi(3)
}

/// Pearson's test of `counts` against `probabilities`. Values that are expected fewer than ten times are counted
/// together with their neighbours.
fn assert_fits(counts: &[u32], probabilities: &[f64], what: &str) {
    let samples: f64 = counts.iter().copied().map(f64::from).sum();
    let mut bins: Vec<(f64, f64)> = vec![(0.0, 0.0)];
    for (count, probability) in counts.iter().zip(probabilities) {
        if bins.last().is_some_and(|bin| bin.1 >= 10.0) {
            bins.push((0.0, 0.0));
        }
        let last = bins.len() - 1;
        bins[last].0 += f64::from(*count);
        bins[last].1 += samples * probability;
    }
    if let Some((count, expected)) = bins.pop_if(|bin| bin.1 < 10.0) {
        let last = bins.len() - 1;
        bins[last].0 += count;
        bins[last].1 += expected;
    }
    assert!(bins.len() >= 3, "{what}: too few bins to test anything");
    let statistic: f64 = bins.iter().map(|(count, expected)| (count - expected).powi(2) / expected).sum();
    let limit = critical_value(bins.len() - 1);
    assert!(statistic < limit, "{what}: {statistic} is more than {limit} with {} bins", bins.len());
}

struct Case {
    mechanism: NoiseMechanism,
    parameters: NoiseParameters,
    noise: DistributedNoise,
    upstream: Vec<u32>,
    what: String,
}

fn cases() -> Vec<Case> {
    let rows = rows(include_str!("vectors/noise_samples.json"));
    assert_eq!(rows.len(), 12);
    let case = |row: &Value| {
        let parameters = NoiseParameters {
            privacy: privacy(row),
            contributors: integer(&row["uncorrupted_parties"]),
            sensitivity: sensitivity(row),
        };
        let noise = DistributedNoise::new(mechanism(row), &parameters).expect("legal parameters");
        assert_eq!(noise.offset(), integer(&row["shift_offset"]));
        let upstream = (0..=2 * noise.offset())
            .map(|value| row["histogram"].get(value.to_string()).map_or(0, integer))
            .collect::<Vec<u32>>();
        assert_eq!(
            upstream.iter().sum::<u32>(),
            integer(&row["samples"]),
            "every sample within twice the offset"
        );
        Case { mechanism: mechanism(row), parameters, noise, upstream, what: row["noiser"].to_string() }
    };
    rows.iter().map(case).collect()
}

/// The formula in [`distribution`] is what upstream samples, so testing ours against it compares the two.
#[test]
fn upstreams_samples_fit_the_distribution() {
    for Case { mechanism, parameters, noise, upstream, what } in cases() {
        assert_fits(&upstream, &distribution(mechanism, &parameters, noise.offset()), &what);
    }
}

#[test]
fn our_samples_fit_the_distribution() {
    for (index, Case { mechanism, parameters, noise, what, .. }) in cases().into_iter().enumerate() {
        let mut rng = ChaCha20Rng::seed_from_u64(index as u64);
        let mut counts = vec![0; 2 * noise.offset() as usize + 1];
        for _ in 0..40_000 {
            counts[noise.sample(&mut rng) as usize] += 1;
        }
        assert_fits(
            &counts,
            &distribution(mechanism, &parameters, noise.offset()),
            &format!("{what} {parameters:?}"),
        );
    }
}

/// The components of all parties add up to the noise that the guarantee is about.
#[test]
fn components_add_up_to_the_whole_noise() {
    let privacy = PrivacyParameters { epsilon: 0.5, delta: 1e-9 };
    for mechanism in [NoiseMechanism::Geometric, NoiseMechanism::DiscreteGaussian] {
        let whole = NoiseParameters { privacy, contributors: 1, sensitivity: 1 };
        let part = NoiseParameters { contributors: 4, ..whole };
        let noise = DistributedNoise::new(mechanism, &part).expect("legal parameters");
        let width = 4 * noise.offset();
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut counts = vec![0; 2 * width as usize + 1];
        for _ in 0..10_000 {
            let sum: u32 = (0..4).map(|_| noise.sample(&mut rng)).sum();
            counts[sum as usize] += 1;
        }
        assert_fits(&counts, &distribution(mechanism, &whole, width), &format!("{mechanism:?}"));
    }
}

/// The statistic notices what it must: a neighbour's ε, or an offset that is one too large.
#[test]
fn the_test_can_fail() {
    let Case { mechanism, parameters, noise, upstream, .. } = cases().remove(1);
    let mut other = parameters;
    other.privacy.epsilon *= 1.05;
    for probabilities in [
        distribution(mechanism, &other, noise.offset()),
        [vec![0.0], distribution(mechanism, &parameters, noise.offset())].concat(),
    ] {
        let outcome =
            std::panic::catch_unwind(|| assert_fits(&upstream, &probabilities, "another distribution"));
        assert!(outcome.is_err());
    }
}
