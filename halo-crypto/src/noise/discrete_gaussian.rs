//! [`DistributedDiscreteGaussian`]: discrete Gaussian noise of which each party adds its share of the variance.

use num_bigint::BigUint;
use rand_core::CryptoRng;

use super::bernoulli::{Ratio, bernoulli_exp, geometric};
use super::{NoiseParameters, NoiseParametersError, shifted};

/// One party's component `μ + y`, where `y` is the discrete Gaussian with variance `σ²/n` conditioned on `|y| ≤ μ`.
///
/// Sums of discrete Gaussians are very nearly, not exactly, discrete Gaussian (Kairouz, Liu and Steinke, "The
/// Distributed Discrete Gaussian Mechanism", 2021).
#[derive(Clone, Debug)]
pub struct DistributedDiscreteGaussian {
    sigma: f64,
    /// σ_d², exactly that of the floating-point σ_d.
    variance: Ratio,
    /// t = ⌊σ_d⌋ + 1, the scale of the discrete Laplace distribution from which proposals are drawn.
    scale: u32,
    offset: u32,
}

impl DistributedDiscreteGaussian {
    /// The distribution for `parameters`, whose sensitivity is not looked at.
    ///
    /// # Errors
    /// As [`DistributedNoise::new`](super::DistributedNoise::new).
    pub fn new(parameters: &NoiseParameters) -> Result<Self, NoiseParametersError> {
        parameters.check()?;
        let sigma = parameters.gaussian_sigma()?;
        let offset = parameters.gaussian_offset(sigma)?;
        let Ratio { numerator, denominator } = Ratio::from_f64(sigma);
        let variance = Ratio::new(&numerator * &numerator, &denominator * &denominator);
        // As δ ≤ 1, the offset is more than σ_d, which therefore fits.
        Ok(Self { sigma, variance, scale: sigma as u32 + 1, offset })
    }

    /// The standard deviation σ_d of a component, before it is truncated.
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    /// The mean `μ` of a component, and half of its largest value.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// Draws a component, in `0..=2 * offset`: Canonne, Kamath and Steinke, Algorithm 3, which takes a bounded
    /// expected number of proposals for every σ_d.
    pub fn sample<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> u32 {
        let step = Ratio::new(1u32.into(), self.scale.into());
        loop {
            // The second part of their Algorithm 2: a sign makes the geometric variable a discrete Laplace one. Zero
            // would come up with both signs.
            let magnitude = geometric(&step, rng);
            let negative = rng.next_u32() & 1 == 1;
            if negative && magnitude == 0 {
                continue;
            }
            let Some(magnitude) = u32::try_from(magnitude).ok().filter(|value| *value <= self.offset) else {
                continue;
            };
            if bernoulli_exp(&self.rejection_exponent(magnitude), rng) {
                return shifted(self.offset, negative, magnitude);
            }
        }
    }

    /// (|y| − σ_d²/t)² / (2σ_d²), which for σ_d² = a/b is (|y|·t·b − a)² / (2·a·b·t²).
    fn rejection_exponent(&self, magnitude: u32) -> Ratio {
        let Ratio { numerator: a, denominator: b } = &self.variance;
        let product = b * (u64::from(magnitude) * u64::from(self.scale));
        let distance = if product > *a { product - a } else { a - product };
        let scale = BigUint::from(self.scale);
        Ratio::new(&distance * &distance, a * b * &scale * &scale * 2u32)
    }
}
