//! Distributed differential-privacy noise: each party draws one component, and the sum protects the result even if
//! all but the assumed number of parties reveal theirs.
//!
//! A component is a count in `[0, 2μ]` with mean `μ`, so that it can be added as records and its mean subtracted at
//! the end (docs/noise-and-accuracy.md#two-mechanisms). The parameters are upstream's
//! (`protocol/common/noise_parameters_computation.cc`), in its order of floating-point operations, because every party
//! must arrive at the same `μ`. The samplers are not upstream's: those compute with floating-point numbers, whose gaps
//! tell an observer about the value (Mironov, "On significance of the least significant bits for differential
//! privacy", 2012). Ours draw from exactly the stated distribution with integer arithmetic only, after Canonne, Kamath
//! and Steinke, "The Discrete Gaussian for Differential Privacy" (2020).
//!
//! ```
//! use halo_crypto::noise::{DistributedNoise, NoiseMechanism, NoiseParameters, PrivacyParameters};
//! # use rand_core::SeedableRng;
//! # let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1); // A test's source: real noise comes from the system's.
//!
//! let privacy = PrivacyParameters { epsilon: 1.0, delta: 0.001 };
//! let parameters = NoiseParameters { privacy, contributors: 3, sensitivity: 1 };
//! let noise = DistributedNoise::new(NoiseMechanism::Geometric, &parameters)?;
//! assert_eq!(noise.offset(), 11);
//! assert!(noise.sample(&mut rng) <= 2 * noise.offset());
//! # Ok::<(), halo_crypto::noise::NoiseParametersError>(())
//! ```

mod bernoulli;
mod discrete_gaussian;
mod geometric;
mod parameters;

use rand_core::CryptoRng;

pub use discrete_gaussian::DistributedDiscreteGaussian;
pub use geometric::DistributedGeometric;
pub use parameters::{MAX_OFFSET, NoiseParameters, NoiseParametersError, PrivacyParameters};

/// Which distribution the sum of all components approximates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoiseMechanism {
    /// The two-sided geometric distribution (discrete Laplace).
    Geometric,
    /// The discrete Gaussian.
    DiscreteGaussian,
}

/// The distribution of one party's component.
///
/// # Security
/// Sampling is by rejection: how long a draw takes depends on the randomness that was rejected and on the size of
/// the value drawn, never on anybody's data. One draw is hidden among the many of a stage; do not let a
/// peer time a single one. Intermediate integers are not wiped from memory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DistributedNoise {
    /// See [`NoiseMechanism::Geometric`].
    Geometric(DistributedGeometric),
    /// See [`NoiseMechanism::DiscreteGaussian`].
    DiscreteGaussian(DistributedDiscreteGaussian),
}

impl DistributedNoise {
    /// The distribution that `mechanism` needs for the guarantee in `parameters`.
    ///
    /// # Errors
    /// [`NoiseParametersError`] naming the parameter that is out of range, or the noise they would need together if
    /// it is more than [`MAX_OFFSET`].
    pub fn new(
        mechanism: NoiseMechanism,
        parameters: &NoiseParameters,
    ) -> Result<Self, NoiseParametersError> {
        Ok(match mechanism {
            NoiseMechanism::Geometric => Self::Geometric(DistributedGeometric::new(parameters)?),
            NoiseMechanism::DiscreteGaussian => {
                Self::DiscreteGaussian(DistributedDiscreteGaussian::new(parameters)?)
            }
        })
    }

    /// The mean `μ` of a component, at least 1 and at most [`MAX_OFFSET`]. A component is never more than twice that.
    pub fn offset(&self) -> u32 {
        match self {
            Self::Geometric(noise) => noise.offset(),
            Self::DiscreteGaussian(noise) => noise.offset(),
        }
    }

    /// Draws a component, in `0..=2 * offset`.
    pub fn sample<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> u32 {
        match self {
            Self::Geometric(noise) => noise.sample(rng),
            Self::DiscreteGaussian(noise) => noise.sample(rng),
        }
    }
}

/// `offset + value` for a value that its sampler has held within `-offset..=offset`.
fn shifted(offset: u32, negative: bool, magnitude: u32) -> u32 {
    if negative { offset - magnitude } else { offset + magnitude }
}

#[cfg(test)]
mod tests;
