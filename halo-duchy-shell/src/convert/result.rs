//! A result as the measurement consumer will read it.

use halo_protocols::MeasurementResult;
use halo_protocols::proto::duchy::NoiseMechanism;

use crate::proto::api::measurement::Result as ApiResult;
use crate::proto::api::measurement::result::{Frequency, Reach, frequency, reach};
use crate::proto::api::protocol_config::NoiseMechanism as ApiNoiseMechanism;
use crate::proto::api::{HonestMajorityShareShuffleMethodology, LiquidLegionsV2Methodology};

/// How a result was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Methodology {
    /// From sketches.
    LiquidLegionsV2,
    /// From frequency vectors of so many registers.
    HonestMajorityShareShuffle { frequency_vector_size: i64 },
}

impl From<Methodology> for reach::Methodology {
    fn from(methodology: Methodology) -> Self {
        match methodology {
            Methodology::LiquidLegionsV2 => Self::LiquidLegionsV2(LiquidLegionsV2Methodology {}),
            Methodology::HonestMajorityShareShuffle { frequency_vector_size } => {
                Self::HonestMajorityShareShuffle(HonestMajorityShareShuffleMethodology {
                    frequency_vector_size,
                })
            }
        }
    }
}

impl From<Methodology> for frequency::Methodology {
    fn from(methodology: Methodology) -> Self {
        match methodology {
            Methodology::LiquidLegionsV2 => Self::LiquidLegionsV2(LiquidLegionsV2Methodology {}),
            Methodology::HonestMajorityShareShuffle { frequency_vector_size } => {
                Self::HonestMajorityShareShuffle(HonestMajorityShareShuffleMethodology {
                    frequency_vector_size,
                })
            }
        }
    }
}

/// The public API's message for `result`, noised by the mechanism of this number.
pub(super) fn measurement_result(
    result: &MeasurementResult,
    noise: Option<i32>,
    methodology: Methodology,
) -> ApiResult {
    let noise_mechanism = noise_mechanism(noise) as i32;
    ApiResult {
        reach: Some(Reach { value: result.reach, noise_mechanism, methodology: Some(methodology.into()) }),
        frequency: result.frequency.as_ref().map(|distribution| Frequency {
            relative_frequency_distribution: distribution.clone(),
            noise_mechanism,
            methodology: Some(methodology.into()),
        }),
        ..ApiResult::default()
    }
}

fn noise_mechanism(mechanism: Option<i32>) -> ApiNoiseMechanism {
    let Some(mechanism) = mechanism else { return ApiNoiseMechanism::None };
    match NoiseMechanism::try_from(mechanism) {
        Ok(NoiseMechanism::None) => ApiNoiseMechanism::None,
        Ok(NoiseMechanism::Geometric) => ApiNoiseMechanism::Geometric,
        Ok(NoiseMechanism::DiscreteGaussian) => ApiNoiseMechanism::DiscreteGaussian,
        Ok(NoiseMechanism::ContinuousGaussian) => ApiNoiseMechanism::ContinuousGaussian,
        Ok(NoiseMechanism::DeterministicTruncatedLaplace) => ApiNoiseMechanism::DeterministicTruncatedLaplace,
        Ok(NoiseMechanism::Unspecified) | Err(_) => ApiNoiseMechanism::Unspecified,
    }
}
