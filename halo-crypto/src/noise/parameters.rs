//! From a privacy guarantee to the parameters of one component.
//!
//! The formulas and the order of their operations are those of upstream's
//! `internal/duchy/protocol/common/noise_parameters_computation.cc`: another association of the same products can
//! move a ceiling by one, and then the parties no longer agree on how many noise records there are.

/// The largest offset that is computed with, 2^24.
///
/// Noise is added as records, twice the offset of them, so anything near this is far beyond what a computation can
/// hold; protocols set their own lower limits on the number of records.
pub const MAX_OFFSET: u32 = 1 << 24;

/// An (ε, δ) guarantee of differential privacy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrivacyParameters {
    /// The bound ε on the privacy loss, positive and finite.
    pub epsilon: f64,
    /// The probability δ with which it may be exceeded, in (0, 1].
    pub delta: f64,
}

/// What determines the distribution of one party's component.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseParameters {
    /// The guarantee that the sum of the components gives.
    pub privacy: PrivacyParameters,
    /// How many parties contribute a component, at least 1.
    pub contributors: u32,
    /// By how much one person changes the count, at least 1. Only the geometric mechanism looks at it.
    pub sensitivity: u32,
}

impl NoiseParameters {
    /// Checks the ranges of the parameters one by one.
    pub(super) fn check(&self) -> Result<(), NoiseParametersError> {
        let PrivacyParameters { epsilon, delta } = self.privacy;
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return Err(NoiseParametersError::Epsilon(epsilon));
        }
        if !(delta > 0.0 && delta <= 1.0) {
            return Err(NoiseParametersError::Delta(delta));
        }
        if self.contributors == 0 {
            return Err(NoiseParametersError::NoContributors);
        }
        if self.sensitivity == 0 {
            return Err(NoiseParametersError::NoSensitivity);
        }
        Ok(())
    }

    /// μ of the geometric mechanism: ⌈ ln(2·n·s·(1+e^ε)/δ) / (ε/s) ⌉.
    pub(super) fn geometric_offset(&self) -> Result<u32, NoiseParametersError> {
        let PrivacyParameters { epsilon, delta } = self.privacy;
        let (n, s) = (f64::from(self.contributors), f64::from(self.sensitivity));
        checked_offset(((2.0 * n * s * (1.0 + epsilon.exp()) / delta).ln() / (epsilon / s)).ceil())
    }

    /// σ_d of the discrete Gaussian, the standard deviation of one component: √(2·ln(1.25/(δ/2)))/ε / √n.
    pub(super) fn gaussian_sigma(&self) -> Result<f64, NoiseParametersError> {
        let PrivacyParameters { epsilon, delta } = self.privacy;
        let sigma = (2.0 * (1.25 / (delta / 2.0)).ln()).sqrt() / epsilon;
        let distributed = sigma / f64::from(self.contributors).sqrt();
        if distributed.is_normal() && distributed > 0.0 {
            Ok(distributed)
        } else {
            Err(NoiseParametersError::StandardDeviation(distributed))
        }
    }

    /// μ of the discrete Gaussian: ⌈ σ_d·√(2·ln(n·(1+e^ε)/(δ/2))) ⌉.
    pub(super) fn gaussian_offset(&self, sigma_distributed: f64) -> Result<u32, NoiseParametersError> {
        let PrivacyParameters { epsilon, delta } = self.privacy;
        let n = f64::from(self.contributors);
        let tail = n * (1.0 + epsilon.exp()) / (delta / 2.0);
        checked_offset((sigma_distributed * (2.0 * tail.ln()).sqrt()).ceil())
    }
}

/// `offset` as an integer, if it is one in `1..=MAX_OFFSET`.
fn checked_offset(offset: f64) -> Result<u32, NoiseParametersError> {
    if (1.0..=f64::from(MAX_OFFSET)).contains(&offset) {
        Ok(offset as u32)
    } else {
        Err(NoiseParametersError::Offset(offset))
    }
}

/// Noise parameters that are refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseParametersError {
    /// ε is not a positive finite number.
    #[error("epsilon must be positive and finite, not {0}")]
    Epsilon(f64),
    /// δ is not a probability other than zero.
    #[error("delta must be in (0, 1], not {0}")]
    Delta(f64),
    /// Nobody contributes noise.
    #[error("there must be at least one contributor of noise")]
    NoContributors,
    /// The sensitivity is zero.
    #[error("the sensitivity must be at least 1")]
    NoSensitivity,
    /// The standard deviation overflows or vanishes.
    #[error("the parameters need a standard deviation of {0}")]
    StandardDeviation(f64),
    /// The offset overflows, or is larger than [`MAX_OFFSET`].
    #[error("the parameters need an offset of {0}, more than {MAX_OFFSET} or no number")]
    Offset(f64),
}
