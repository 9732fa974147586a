//! How often noise had which size, against the exact distribution.
//!
//! The χ² test has a significance of 10⁻⁶: it would fail once in a million seeds for correct noise. Seeds are fixed, so
//! that a test that passes once passes always.

use halo_protocols::proto::duchy::NoiseMechanism;

use crate::chi_squared::limit;

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
        let (mut statistic, mut freedom) = (0.0, 0);
        let (mut found, mut expected) = (0.0, 0.0);
        let mut remaining = total;
        for (count, probability) in self.counts.iter().zip(probabilities) {
            found += f64::from(*count);
            expected += probability * total;
            remaining -= probability * total;
            if expected >= 5.0 && remaining >= 5.0 {
                statistic += (found - expected).powi(2) / expected;
                freedom += 1;
                (found, expected) = (0.0, 0.0);
            }
        }
        statistic += (found - expected).powi(2) / expected;
        assert!(freedom >= 2, "{what}: too few bins for a test");
        let limit = limit(freedom);
        println!("{what}: χ² = {statistic:.1} with {freedom} degrees of freedom, at most {limit:.1}");
        assert!(
            statistic <= limit,
            "{what}: χ² = {statistic}, at most {limit} is credible: {:?}",
            self.counts
        );
    }
}

/// The exact probabilities of 0 … 2μ (docs/noise-and-accuracy.md#two-mechanisms).
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

/// The test can fail: draws from a neighbouring distribution do not pass.
#[test]
#[should_panic(expected = "is credible")]
fn the_test_sees_a_wrong_offset() {
    let exact = probabilities(NoiseMechanism::Geometric, 1.5, 0.9, 3, 2, 6);
    let mut draws = Draws::new(6);
    for (number, probability) in exact.iter().enumerate() {
        // As many as expected, one to the right.
        let count = (probability * 400.0).round() as u32;
        draws.counts[(number + 1).min(12)] += count;
    }
    draws.check("shifted", &exact);
}
