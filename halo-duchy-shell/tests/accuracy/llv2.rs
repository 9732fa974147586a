//! Liquid Legions v2: reach and frequency, and reach.

use halo_crypto::{Group, P256, Ristretto255};
use halo_duchy_shell::events::EventLog;
use halo_protocols::MeasurementResult;
use halo_protocols::data_provider::plain_sketch;
use halo_protocols::estimate::accuracy::frequency_share_standard_deviation;
use halo_protocols::proto::duchy::NoiseMechanism;
use halo_protocols::testing::{Cluster, Fulfilment};

use crate::bounds::{Tail, check_reach, check_shares, share};
use crate::liquid_legions::{
    composite, encrypted, parameters, reach_sigma, sketch, sketch_parameters, variances,
};
use crate::{MAXIMUM_FREQUENCY, SEEDS, TestResult, log_and_truth};

/// Three duchies, and a data provider for each publisher of the log.
fn measure<G: Group>(
    log: &EventLog,
    noise: Option<NoiseMechanism>,
    maximum_frequency: u32,
    seed: u8,
) -> TestResult<MeasurementResult> {
    let publishers: Vec<_> = log.publishers().collect();
    let parameters = parameters::<G>(noise, maximum_frequency);
    let cluster = Cluster::new(&parameters, 3, publishers.len(), [seed; 32])?;
    let key = composite::<G>(cluster.published_keys())?;
    let fulfilments = publishers
        .iter()
        .enumerate()
        .map(|(index, (_, vids))| {
            let sketch = plain_sketch(&sketch_parameters(noise, seed), vids.iter().map(|vid| (*vid, 1)));
            Ok(Fulfilment { duchy: index % 3, data: encrypted::<G>(&key, sketch, maximum_frequency, seed)? })
        })
        .collect::<TestResult<Vec<_>>>()?;
    Ok(cluster.run(&fulfilments)?)
}

fn without_noise<G: Group>() -> TestResult {
    let (log, truth) = log_and_truth()?;
    let result = measure::<G>(&log, None, MAXIMUM_FREQUENCY, 1)?;
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
fn twenty_seeds(mechanism: NoiseMechanism, maximum_frequency: u32) -> TestResult {
    let (log, truth) = log_and_truth()?;
    let results = (1..=SEEDS)
        .map(|seed| measure::<P256>(&log, Some(mechanism), maximum_frequency, seed))
        .collect::<TestResult<Vec<_>>>()?;
    let what = format!("llv2 to {maximum_frequency}, {}", mechanism.as_str_name());
    check_reach(&what, &results, &truth, reach_sigma(mechanism, truth.reach)?);
    if maximum_frequency == 1 {
        assert!(results.iter().all(|result| result.frequency.is_none()), "only reach was asked for");
        return Ok(());
    }
    let sketch = sketch()?;
    check_shares(&what, &results, &truth, Tail::Normal, |_, expected| {
        let (reach, variance) = (truth.reach as f64, variances(mechanism).1);
        frequency_share_standard_deviation(&sketch, reach, 1.0, expected, maximum_frequency, variance)
    });
    Ok(())
}

#[test]
fn discrete_gaussian_noise_is_as_large_as_documented() -> TestResult {
    twenty_seeds(NoiseMechanism::DiscreteGaussian, MAXIMUM_FREQUENCY)
}

#[test]
fn geometric_noise_is_as_large_as_documented() -> TestResult {
    twenty_seeds(NoiseMechanism::Geometric, MAXIMUM_FREQUENCY)
}

#[test]
fn discrete_gaussian_noise_of_reach_alone_is_as_large_as_documented() -> TestResult {
    twenty_seeds(NoiseMechanism::DiscreteGaussian, 1)
}

#[test]
fn geometric_noise_of_reach_alone_is_as_large_as_documented() -> TestResult {
    twenty_seeds(NoiseMechanism::Geometric, 1)
}
