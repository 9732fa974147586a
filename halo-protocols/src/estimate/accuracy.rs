//! How far an estimate may be from the truth: standard deviations of reach and of frequency shares. For frequency
//! vectors see [`FrequencyVectorAccuracy`]; the rest is about sketches.
//!
//! Two things make an estimate differ from the truth: chance in the sketch (which ids are sampled, which people
//! share a register) and the noise that the duchies draw. Both have known variances; the derivations are in
//! `docs/noise-and-accuracy.md`. With `a` the decay rate, `m` the size, `w` the sampling width, `R` the reach,
//! `N = R·w` people sampled, and λ the expected number of people in a register, which falls from
//! `λ₀ = (N/m)·a/(1 − e^(−a))` to `λ₁ = λ₀·e^(−a)` along the sketch:
//!
//! ```text
//! c  = non-empty registers          E'(N)  = dE(c)/dN = (m/(a·N))·(e^(−λ₁) − e^(−λ₀))
//! Var(c) = (m/a)·(E₁(λ₁) − E₁(λ₀) − E₁(2λ₁) + E₁(2λ₀)) − N·E'(N)²
//! Var(reach)   = (Var(c) + Var(noise)) / (E'(N)·w)² + R·(1 − w)/w
//! L = registers with one person = N·E'(N)
//! Var(share f) = f·(1 − f)/L·(R − L)/(R − 1) + Var(noise)·(1 − 2f + K·f²)/L²
//! ```
//!
//! The sums over registers are replaced by integrals, as in the estimator. Left out: rounding to whole registers
//! and people, the truncation of the noise (of probability δ), and the clamping of noisy counts at zero, which
//! biases shares that are smaller than the noise.

use super::LiquidLegions;
use super::exponential_integral::exponential_integral;

mod frequency_vector;
#[cfg(test)]
mod tests;

pub use frequency_vector::FrequencyVectorAccuracy;

/// Variance of what all duchies' geometric noise adds up to, for `sensitivity` 1 in the case of reach and 2 in
/// that of a frequency.
///
/// The sum is a two-sided geometric variable with ratio `p = e^(−ε/sensitivity)`: `2p/(1 − p)²`.
pub fn geometric_noise_variance(epsilon: f64, sensitivity: f64) -> f64 {
    let p = (-epsilon / sensitivity).exp();
    let complement = -(-epsilon / sensitivity).exp_m1();
    2.0 * p / (complement * complement)
}

/// Variance of what all duchies' discrete Gaussian noise adds up to, the same for reach and for a frequency.
///
/// It is the square of `σ = √(2·ln(1.25/(δ/2)))/ε`; each of `n` duchies draws with σ/√n.
pub fn discrete_gaussian_noise_variance(epsilon: f64, delta: f64) -> f64 {
    2.0 * (2.5 / delta).ln() / (epsilon * epsilon)
}

/// Standard deviation of the estimate of `reach` people, of whom `width` (in (0, 1]) are sampled into `sketch`.
///
/// `noise_variance` is that of the number of non-empty registers: 0 without noise, else
/// [`geometric_noise_variance`] with sensitivity 1 or [`discrete_gaussian_noise_variance`].
/// The result is in people. It is infinite if so many people fill the sketch that it tells nothing more.
///
/// ```
/// use halo_protocols::estimate::accuracy::{geometric_noise_variance, reach_standard_deviation};
/// let sketch = halo_protocols::estimate::LiquidLegions::new(12.0, 100_000)?;
/// let without_noise = reach_standard_deviation(&sketch, 2_048.0, 1.0, 0.0);
/// assert!((without_noise - 11.52).abs() < 0.01);
/// let with_noise = reach_standard_deviation(&sketch, 2_048.0, 1.0, geometric_noise_variance(0.1, 1.0));
/// assert!((with_noise - 19.67).abs() < 0.01);
/// # Ok::<(), halo_protocols::estimate::EstimateError>(())
/// ```
pub fn reach_standard_deviation(sketch: &LiquidLegions, reach: f64, width: f32, noise_variance: f64) -> f64 {
    let width = f64::from(width);
    let occupancy = Occupancy::of(sketch, reach * width);
    let registers = (occupancy.variance + noise_variance).sqrt() / (occupancy.slope * width);
    registers.hypot((reach * (1.0 - width) / width).sqrt())
}

/// Standard deviation of the share of one frequency, whose true value is `share` (in [0, 1]), in a measurement of
/// `reach` people of whom `width` (in (0, 1]) are sampled into `sketch`.
///
/// `maximum_frequency` is the number of shares that noise is added to (`K` above), `noise_variance` that of the
/// count behind each: 0 without noise, else [`geometric_noise_variance`] with sensitivity 2 or
/// [`discrete_gaussian_noise_variance`]. The result has no unit and is infinite if no register holds one person.
///
/// ```
/// use halo_protocols::estimate::accuracy::frequency_share_standard_deviation;
/// let sketch = halo_protocols::estimate::LiquidLegions::new(12.0, 100_000)?;
/// let half_sampled = frequency_share_standard_deviation(&sketch, 2_048.0, 0.5, 0.36, 10, 0.0);
/// assert!((half_sampled - 0.01125).abs() < 1e-5);
/// # Ok::<(), halo_protocols::estimate::EstimateError>(())
/// ```
pub fn frequency_share_standard_deviation(
    sketch: &LiquidLegions,
    reach: f64,
    width: f32,
    share: f64,
    maximum_frequency: u32,
    noise_variance: f64,
) -> f64 {
    let live = Occupancy::of(sketch, reach * f64::from(width)).live;
    if live <= 0.0 {
        return f64::INFINITY;
    }
    let left_out = if reach > 1.0 { ((reach - live) / (reach - 1.0)).clamp(0.0, 1.0) } else { 0.0 };
    let sampled = share * (1.0 - share) / live * left_out;
    let noised =
        noise_variance * (1.0 - 2.0 * share + f64::from(maximum_frequency) * share * share) / (live * live);
    (sampled + noised).sqrt()
}

/// The registers of a sketch after some number of people were inserted.
struct Occupancy {
    /// Variance of the number of non-empty registers.
    variance: f64,
    /// By how much one person more raises the expected number of non-empty registers: E'(N).
    slope: f64,
    /// Expected number of registers with exactly one person.
    live: f64,
}

impl Occupancy {
    fn of(sketch: &LiquidLegions, people: f64) -> Self {
        if people < 1.0 {
            // The limit for nobody; below one person the formulas only lose precision.
            return Self { variance: 0.0, slope: 1.0, live: people.max(0.0) };
        }
        let (decay, size) = (sketch.decay_rate(), sketch.size() as f64);
        let fullest = people / size * decay / -(-decay).exp_m1();
        let emptiest = fullest * (-decay).exp();
        let per_rate = size / decay;
        let live = per_rate * ((-emptiest).exp() - (-fullest).exp());
        let slope = live / people;
        // E₁(z) = −Ei(−z)
        let independent = per_rate
            * (exponential_integral(-fullest) - exponential_integral(-emptiest)
                + exponential_integral(-2.0 * emptiest)
                - exponential_integral(-2.0 * fullest));
        Self { variance: (independent - live * slope).max(0.0), slope, live }
    }
}
