//! A result as the measurement consumer will read it.

use halo_protocols::MeasurementResult;
use halo_protocols::llv2::Setting;
use halo_protocols::proto::duchy::NoiseMechanism;

use crate::proto::api::LiquidLegionsV2Methodology;
use crate::proto::api::measurement::Result as ApiResult;
use crate::proto::api::measurement::result::{Frequency, Reach, frequency, reach};
use crate::proto::api::protocol_config::NoiseMechanism as ApiNoiseMechanism;

/// The public API's message for `result`.
pub fn measurement_result(result: &MeasurementResult, setting: &Setting) -> ApiResult {
    let noise_mechanism = noise_mechanism(setting) as i32;
    ApiResult {
        reach: Some(Reach {
            value: result.reach,
            noise_mechanism,
            methodology: Some(reach::Methodology::LiquidLegionsV2(LiquidLegionsV2Methodology {})),
        }),
        frequency: result.frequency.as_ref().map(|distribution| Frequency {
            relative_frequency_distribution: distribution.clone(),
            noise_mechanism,
            methodology: Some(frequency::Methodology::LiquidLegionsV2(LiquidLegionsV2Methodology {})),
        }),
        ..ApiResult::default()
    }
}

fn noise_mechanism(setting: &Setting) -> ApiNoiseMechanism {
    match setting.parameters.noise.as_ref().map(|noise| noise.noise_mechanism()) {
        None | Some(NoiseMechanism::None) => ApiNoiseMechanism::None,
        Some(NoiseMechanism::Geometric) => ApiNoiseMechanism::Geometric,
        Some(NoiseMechanism::DiscreteGaussian) => ApiNoiseMechanism::DiscreteGaussian,
        Some(NoiseMechanism::ContinuousGaussian) => ApiNoiseMechanism::ContinuousGaussian,
        Some(NoiseMechanism::DeterministicTruncatedLaplace) => {
            ApiNoiseMechanism::DeterministicTruncatedLaplace
        }
        Some(NoiseMechanism::Unspecified) => ApiNoiseMechanism::Unspecified,
    }
}
