//! The noise distributions that a request's parameters stand for (docs/noise-and-accuracy.md).

use halo_crypto::noise::{DistributedNoise, NoiseMechanism, NoiseParameters, PrivacyParameters};

use super::KernelError;
use crate::proto::duchy::{self, DifferentialPrivacyParams};

/// By how much one person changes a blinded-histogram bucket or a frequency bucket: out of one and into another.
pub(crate) const HISTOGRAM_SENSITIVITY: u32 = 2;
/// By how much one person changes the reach.
pub(crate) const REACH_SENSITIVITY: u32 = 1;

/// The distribution of one duchy's component of a noise; `field` holds its (ε, δ).
pub(crate) fn distributed_noise(
    field: &'static str,
    mechanism: i32,
    contributors_count: i32,
    privacy: Option<&DifferentialPrivacyParams>,
    sensitivity: u32,
) -> Result<DistributedNoise, KernelError> {
    let mechanism = match duchy::NoiseMechanism::try_from(mechanism) {
        Ok(duchy::NoiseMechanism::Geometric) => NoiseMechanism::Geometric,
        Ok(duchy::NoiseMechanism::DiscreteGaussian) => NoiseMechanism::DiscreteGaussian,
        _ => {
            return Err(KernelError::OutOfRange {
                field: "noise_mechanism",
                found: i64::from(mechanism),
                expected: "GEOMETRIC (1) or DISCRETE_GAUSSIAN (2)",
            });
        }
    };
    let contributors = positive("contributors_count", contributors_count)?;
    let DifferentialPrivacyParams { epsilon, delta } = *privacy.ok_or(KernelError::Missing(field))?;
    let parameters =
        NoiseParameters { privacy: PrivacyParameters { epsilon, delta }, contributors, sensitivity };
    DistributedNoise::new(mechanism, &parameters).map_err(|reason| KernelError::Noise { field, reason })
}

/// A field that must be at least one.
pub(crate) fn positive(field: &'static str, value: i32) -> Result<u32, KernelError> {
    u32::try_from(value).ok().filter(|value| *value >= 1).ok_or(KernelError::OutOfRange {
        field,
        found: i64::from(value),
        expected: "at least 1",
    })
}
