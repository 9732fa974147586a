//! Reach-only Liquid Legions v2.

use halo_crypto::{Group, P256, Ristretto255};
use halo_duchy_shell::events::EventLog;
use halo_protocols::MeasurementResult;
use halo_protocols::data_provider::reach_only_sketch;
use halo_protocols::proto::duchy::NoiseMechanism;
use halo_protocols::testing::{Fulfilment, ReachOnlyCluster};

use crate::bounds::check_reach;
use crate::liquid_legions::{composite, encrypted, parameters, reach_sigma, sketch_parameters};
use crate::{SEEDS, TestResult, log_and_truth};

/// Three duchies, and a data provider for each publisher of the log.
fn measure<G: Group>(
    log: &EventLog,
    noise: Option<NoiseMechanism>,
    seed: u8,
) -> TestResult<MeasurementResult> {
    let publishers: Vec<_> = log.publishers().collect();
    let cluster = ReachOnlyCluster::new(&parameters::<G>(noise, 1), 3, publishers.len(), [seed; 32])?;
    let key = composite::<G>(cluster.published_keys())?;
    let fulfilments = publishers
        .iter()
        .enumerate()
        .map(|(index, (_, vids))| {
            let sketch = reach_only_sketch(&sketch_parameters(noise, seed), vids.iter().copied());
            Ok(Fulfilment { duchy: index % 3, data: encrypted::<G>(&key, sketch, 0, seed)? })
        })
        .collect::<TestResult<Vec<_>>>()?;
    Ok(cluster.run(&fulfilments)?)
}

fn without_noise<G: Group>() -> TestResult {
    let (log, truth) = log_and_truth()?;
    let result = measure::<G>(&log, None, 1)?;
    let error = (result.reach as f64 - truth.reach as f64).abs() / truth.reach as f64;
    assert!(error <= 0.03, "{}: reach {} of {}", G::NAME, result.reach, truth.reach);
    assert_eq!(result.frequency, None);
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
fn twenty_seeds(mechanism: NoiseMechanism) -> TestResult {
    let (log, truth) = log_and_truth()?;
    let results = (1..=SEEDS)
        .map(|seed| measure::<P256>(&log, Some(mechanism), seed))
        .collect::<TestResult<Vec<_>>>()?;
    let what = format!("ro-llv2, {}", mechanism.as_str_name());
    check_reach(&what, &results, &truth, reach_sigma(mechanism, truth.reach)?);
    Ok(())
}

#[test]
fn discrete_gaussian_noise_is_as_large_as_documented() -> TestResult {
    twenty_seeds(NoiseMechanism::DiscreteGaussian)
}

#[test]
fn geometric_noise_is_as_large_as_documented() -> TestResult {
    twenty_seeds(NoiseMechanism::Geometric)
}
