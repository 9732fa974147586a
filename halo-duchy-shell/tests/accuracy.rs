//! The estimates of Liquid Legions v2 on the bundled event log, against plain counting: exact but for the sketch
//! without noise, and within the documented standard deviation with it.
//!
//! The bounds are those the project promises: every error within 4σ, the mean of 20 runs within 4σ/√20. A normal
//! variable leaves the first in 20 runs with probability 0.13 %, the second with 0.006 %; the seeds are fixed, so the
//! test gives the same answer every time.

use std::collections::BTreeMap;

use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, P256, Ristretto255};
use halo_duchy_shell::events::{EventLog, Truth, Vid};
use halo_protocols::MeasurementResult;
use halo_protocols::data_provider::{SketchParameters, encrypt_sketch, plain_sketch};
use halo_protocols::estimate::LiquidLegions;
use halo_protocols::estimate::accuracy::{
    discrete_gaussian_noise_variance, frequency_share_standard_deviation, geometric_noise_variance,
    reach_standard_deviation,
};
use halo_protocols::kernel::{KernelContext, combine_el_gamal_public_keys};
use halo_protocols::llv2::Parameters;
use halo_protocols::proto::any_sketch::crypto::encrypt_sketch_request::DestroyedRegisterStrategy;
use halo_protocols::proto::any_sketch::crypto::{
    CombineElGamalPublicKeysRequest, ElGamalPublicKey, EncryptSketchRequest,
};
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::proto::protocol::liquid_legions_v2_noise_config::ReachNoiseConfig;
use halo_protocols::proto::protocol::{LiquidLegionsSketchParameters, LiquidLegionsV2NoiseConfig};
use halo_protocols::testing::{Cluster, Fulfilment};

type TestResult<T = ()> = Result<T, Box<dyn std::error::Error>>;

const DECAY_RATE: f64 = 12.0;
const SKETCH_SIZE: i64 = 100_000;
/// Lower than the demo's: a matrix of half the size tells as much about the noise.
const MAXIMUM_FREQUENCY: u32 = 5;
const EPSILON: f64 = 1.0;
const DELTA: f64 = 1e-5;

fn log_and_truth() -> TestResult<(EventLog, Truth)> {
    let log = EventLog::bundled()?;
    let truth = log.truth(MAXIMUM_FREQUENCY, |_| true);
    assert_eq!(truth.reach, 2048, "the documented truth of the bundled log");
    Ok((log, truth))
}

fn parameters<G: Group>(noise: Option<NoiseMechanism>) -> Parameters {
    let privacy = Some(DifferentialPrivacyParams { epsilon: EPSILON, delta: DELTA });
    Parameters {
        curve_id: G::CURVE_ID,
        maximum_frequency: MAXIMUM_FREQUENCY as i32,
        sketch: LiquidLegionsSketchParameters { decay_rate: DECAY_RATE, size: SKETCH_SIZE },
        vid_sampling_width: 1.0,
        noise: noise.map(|mechanism| LiquidLegionsV2NoiseConfig {
            reach_noise_config: Some(ReachNoiseConfig {
                blind_histogram_noise: privacy,
                noise_for_publisher_noise: privacy,
                global_reach_dp_noise: privacy,
            }),
            frequency_noise_config: privacy,
            noise_mechanism: mechanism as i32,
        }),
    }
}

fn encrypted<G: Group>(
    key: &ElGamalPublicKey,
    vids: &[Vid],
    seed: u8,
    salt: Option<u64>,
) -> TestResult<Vec<u8>> {
    let sketch = SketchParameters {
        decay_rate: DECAY_RATE,
        size: SKETCH_SIZE,
        sampling_indicator_size: 10_000_000,
        salt,
    };
    let request = EncryptSketchRequest {
        sketch: Some(plain_sketch(&sketch, vids.iter().map(|vid| (*vid, 1)))),
        el_gamal_keys: Some(key.clone()),
        curve_id: G::CURVE_ID,
        maximum_value: MAXIMUM_FREQUENCY as i32,
        destroyed_register_strategy: DestroyedRegisterStrategy::FlaggedKey as i32,
        noise_parameter: None,
    };
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([seed ^ 0x80; 32]));
    Ok(encrypt_sketch::<G>(&request, &context)?.encrypted_sketch)
}

/// Three duchies, and a data provider for each publisher of the log. The seed of a noised run also salts the sketches: the
/// error of the sketch is drawn anew, as the bound on the mean assumes. Without noise people fall into registers as
/// upstream's data providers have them.
fn measure<G: Group>(
    log: &EventLog,
    noise: Option<NoiseMechanism>,
    seed: u8,
) -> TestResult<MeasurementResult> {
    let salt = noise.map(|_| u64::from(seed));
    let publishers: Vec<_> = log.publishers().collect();
    let cluster = Cluster::new(&parameters::<G>(noise), 3, publishers.len(), [seed; 32])?;
    let keys = cluster.published_keys().into_iter();
    let request = CombineElGamalPublicKeysRequest {
        curve_id: G::CURVE_ID,
        el_gamal_keys: keys
            .map(|key| ElGamalPublicKey { generator: key.generator, element: key.element })
            .collect(),
    };
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([0; 32]));
    let composite =
        combine_el_gamal_public_keys::<G>(&request, &context)?.el_gamal_keys.ok_or("no combined key")?;
    let fulfilments = publishers
        .iter()
        .enumerate()
        .map(|(index, (_, vids))| {
            let data = encrypted::<G>(&composite, vids, seed, salt)?;
            Ok(Fulfilment { duchy: index % 3, data })
        })
        .collect::<TestResult<Vec<_>>>()?;
    Ok(cluster.run(&fulfilments)?)
}

fn share(frequency: &Option<BTreeMap<i64, f64>>, k: u32) -> f64 {
    frequency.as_ref().and_then(|shares| shares.get(&i64::from(k))).copied().unwrap_or(0.0)
}

fn without_noise<G: Group>() -> TestResult {
    let (log, truth) = log_and_truth()?;
    let result = measure::<G>(&log, None, 1)?;
    let error = (result.reach as f64 - truth.reach as f64).abs() / truth.reach as f64;
    assert!(error <= 0.03, "{}: reach {} of {}", G::NAME, result.reach, truth.reach);
    for (k, expected) in &truth.frequency {
        let found = share(&result.frequency, *k);
        assert!((found - expected).abs() <= 0.03, "{}: frequency {k}: {found} of {expected}", G::NAME);
    }
    Ok(())
}

#[test]
fn without_noise_only_the_sketch_errs_on_p256() -> TestResult {
    without_noise::<P256>()
}

#[test]
fn without_noise_only_the_sketch_errs_on_ristretto255() -> TestResult {
    without_noise::<Ristretto255>()
}

/// 20 seeds, checked against the formulas of `docs/noise-and-accuracy.md`.
fn twenty_seeds(mechanism: NoiseMechanism, reach_variance: f64, frequency_variance: f64) -> TestResult {
    const SEEDS: u8 = 20;
    let (log, truth) = log_and_truth()?;
    let reach = truth.reach as f64;
    let sketch = LiquidLegions::new(DECAY_RATE, SKETCH_SIZE)?;
    let results = (1..=SEEDS)
        .map(|seed| measure::<P256>(&log, Some(mechanism), seed))
        .collect::<TestResult<Vec<_>>>()?;

    let within = |what: &str, sigma: f64, errors: &[f64]| {
        for error in errors {
            assert!(error.abs() <= 4.0 * sigma, "{what}: error {error}, σ = {sigma}, of {errors:?}");
        }
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let bound = 4.0 * sigma / (errors.len() as f64).sqrt();
        assert!(mean.abs() <= bound, "{what}: mean error {mean}, bound {bound}, of {errors:?}");
    };
    let errors: Vec<_> = results.iter().map(|result| result.reach as f64 - reach).collect();
    within("reach", reach_standard_deviation(&sketch, reach, 1.0, reach_variance), &errors);
    for (k, expected) in &truth.frequency {
        let sigma = frequency_share_standard_deviation(
            &sketch,
            reach,
            1.0,
            *expected,
            MAXIMUM_FREQUENCY,
            frequency_variance,
        );
        let errors: Vec<_> = results.iter().map(|result| share(&result.frequency, *k) - expected).collect();
        within(&format!("frequency {k}"), sigma, &errors);
    }
    Ok(())
}

#[test]
fn discrete_gaussian_noise_is_as_large_as_documented() -> TestResult {
    let variance = discrete_gaussian_noise_variance(EPSILON, DELTA);
    twenty_seeds(NoiseMechanism::DiscreteGaussian, variance, variance)
}

#[test]
fn geometric_noise_is_as_large_as_documented() -> TestResult {
    twenty_seeds(
        NoiseMechanism::Geometric,
        geometric_noise_variance(EPSILON, 1.0),
        geometric_noise_variance(EPSILON, 2.0),
    )
}
