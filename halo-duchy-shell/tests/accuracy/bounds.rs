//! How far estimates may be off.

use std::collections::BTreeMap;

use halo_duchy_shell::events::Truth;
use halo_protocols::MeasurementResult;

/// How seldom errors are large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// As a normal variable, or a sum of several errors.
    Normal,
    /// As geometric noise alone, whose tail is exponential: it is beyond 7σ as seldom as a normal variable is beyond 4σ.
    Exponential,
}

/// Each error is within 4σ (7σ for an exponential tail), their mean within 4σ/√n; prints σ beside the root mean square.
pub fn within(what: &str, sigma: f64, tail: Tail, errors: &[f64]) {
    let most = match tail {
        Tail::Normal => 4.0 * sigma,
        Tail::Exponential => 7.0 * sigma,
    };
    let count = errors.len() as f64;
    let mean = errors.iter().sum::<f64>() / count;
    let measured = (errors.iter().map(|error| error * error).sum::<f64>() / count).sqrt();
    println!("{what}: σ {sigma:.4}, measured {measured:.4}, mean {mean:+.4}");
    for error in errors {
        assert!(error.abs() <= most, "{what}: error {error}, σ = {sigma}, of {errors:?}");
    }
    let bound = 4.0 * sigma / count.sqrt();
    assert!(mean.abs() <= bound, "{what}: mean error {mean}, bound {bound}, of {errors:?}");
}

/// Checks the reach of every result.
pub fn check_reach(what: &str, results: &[MeasurementResult], truth: &Truth, sigma: f64) {
    let errors: Vec<_> = results.iter().map(|result| result.reach as f64 - truth.reach as f64).collect();
    within(&format!("{what}, reach"), sigma, Tail::Normal, &errors);
}

/// Checks each frequency's share in every result; `sigma` is told the frequency and its true share.
pub fn check_shares(
    what: &str,
    results: &[MeasurementResult],
    truth: &Truth,
    tail: Tail,
    sigma: impl Fn(u32, f64) -> f64,
) {
    for (k, expected) in &truth.frequency {
        let errors: Vec<_> = results.iter().map(|result| share(&result.frequency, *k) - expected).collect();
        within(&format!("{what}, frequency {k}"), sigma(*k, *expected), tail, &errors);
    }
}

/// The share of frequency `k`, 0 if it is not listed.
pub fn share(frequency: &Option<BTreeMap<i64, f64>>, k: u32) -> f64 {
    frequency.as_ref().and_then(|shares| shares.get(&i64::from(k))).copied().unwrap_or(0.0)
}
