//! What the two Liquid Legions protocols have in common: parameters, keys, and expected deviations.

use halo_crypto::Group;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_protocols::data_provider::{SketchParameters, encrypt_sketch};
use halo_protocols::estimate::LiquidLegions;
use halo_protocols::estimate::accuracy::{
    discrete_gaussian_noise_variance, geometric_noise_variance, reach_standard_deviation,
};
use halo_protocols::kernel::{KernelContext, combine_el_gamal_public_keys};
use halo_protocols::liquid_legions::Parameters;
use halo_protocols::proto::any_sketch::Sketch;
use halo_protocols::proto::any_sketch::crypto::encrypt_sketch_request::DestroyedRegisterStrategy;
use halo_protocols::proto::any_sketch::crypto::{
    CombineElGamalPublicKeysRequest, ElGamalPublicKey, EncryptSketchRequest,
};
use halo_protocols::proto::duchy;
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::proto::protocol::liquid_legions_v2_noise_config::ReachNoiseConfig;
use halo_protocols::proto::protocol::{LiquidLegionsSketchParameters, LiquidLegionsV2NoiseConfig};

use crate::{DELTA, EPSILON, TestResult};

const DECAY_RATE: f64 = 12.0;
const SKETCH_SIZE: i64 = 100_000;

pub fn parameters<G: Group>(noise: Option<NoiseMechanism>, maximum_frequency: u32) -> Parameters {
    let privacy = Some(DifferentialPrivacyParams { epsilon: EPSILON, delta: DELTA });
    Parameters {
        curve_id: G::CURVE_ID,
        maximum_frequency: maximum_frequency as i32,
        sketch: LiquidLegionsSketchParameters { decay_rate: DECAY_RATE, size: SKETCH_SIZE },
        vid_sampling_width: 1.0,
        noise: noise.map(|mechanism| LiquidLegionsV2NoiseConfig {
            reach_noise_config: Some(ReachNoiseConfig {
                blind_histogram_noise: privacy,
                noise_for_publisher_noise: privacy,
                global_reach_dp_noise: privacy,
            }),
            frequency_noise_config: privacy.filter(|_| maximum_frequency > 1),
            noise_mechanism: mechanism as i32,
        }),
    }
}

/// The salt is drawn anew with the seed of a noised run, and with it the error of the sketch, as the bound on the mean
/// assumes. Without noise people fall into registers as upstream's data providers have them.
pub fn sketch_parameters(noise: Option<NoiseMechanism>, seed: u8) -> SketchParameters {
    SketchParameters {
        decay_rate: DECAY_RATE,
        size: SKETCH_SIZE,
        sampling_indicator_size: 10_000_000,
        salt: noise.map(|_| u64::from(seed)),
    }
}

pub fn sketch() -> TestResult<LiquidLegions> {
    Ok(LiquidLegions::new(DECAY_RATE, SKETCH_SIZE)?)
}

/// The sum of the duchies' keys.
pub fn composite<G: Group>(keys: Vec<duchy::ElGamalPublicKey>) -> TestResult<ElGamalPublicKey> {
    let keys = keys.into_iter();
    let request = CombineElGamalPublicKeysRequest {
        curve_id: G::CURVE_ID,
        el_gamal_keys: keys
            .map(|key| ElGamalPublicKey { generator: key.generator, element: key.element })
            .collect(),
    };
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([0; 32]));
    let combined = combine_el_gamal_public_keys::<G>(&request, &context)?;
    Ok(combined.el_gamal_keys.ok_or("no combined key")?)
}

pub fn encrypted<G: Group>(
    key: &ElGamalPublicKey,
    sketch: Sketch,
    maximum_frequency: u32,
    seed: u8,
) -> TestResult<Vec<u8>> {
    let request = EncryptSketchRequest {
        sketch: Some(sketch),
        el_gamal_keys: Some(key.clone()),
        curve_id: G::CURVE_ID,
        maximum_value: maximum_frequency as i32,
        destroyed_register_strategy: DestroyedRegisterStrategy::FlaggedKey as i32,
        noise_parameter: None,
    };
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([seed ^ 0x80; 32]));
    Ok(encrypt_sketch::<G>(&request, &context)?.encrypted_sketch)
}

/// Variances of the noise in the counts behind reach and behind a frequency.
pub fn variances(mechanism: NoiseMechanism) -> (f64, f64) {
    match mechanism {
        NoiseMechanism::Geometric => {
            (geometric_noise_variance(EPSILON, 1.0), geometric_noise_variance(EPSILON, 2.0))
        }
        _ => {
            let variance = discrete_gaussian_noise_variance(EPSILON, DELTA);
            (variance, variance)
        }
    }
}

/// Expected standard deviation of the estimate of `reach` people.
pub fn reach_sigma(mechanism: NoiseMechanism, reach: u64) -> TestResult<f64> {
    Ok(reach_standard_deviation(&sketch()?, reach as f64, 1.0, variances(mechanism).0))
}
