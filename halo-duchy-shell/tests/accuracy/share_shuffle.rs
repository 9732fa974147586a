//! The honest-majority share shuffle: exact without noise, and with it off by the noise and the sample alone.

use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_duchy_shell::events::{EventLog, Truth};
use halo_protocols::MeasurementResult;
use halo_protocols::data_provider::{FrequencyVectorBuilder, VidIndexMap};
use halo_protocols::estimate::accuracy::{
    FrequencyVectorAccuracy, discrete_gaussian_noise_variance, geometric_noise_variance,
};
use halo_protocols::hmss::{Noise, Parameters};
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::testing::hmss::{Cluster, Fulfilment};

use crate::bounds::{Tail, check_reach, check_shares};
use crate::{DELTA, EPSILON, MAXIMUM_FREQUENCY, SEEDS, TestResult, log_and_truth};

/// Twice as many people as the log has: a noised reach must have room above.
const POPULATION: i64 = 4096;
const MODULUS: u32 = 127;

#[derive(Clone, Copy)]
struct Case {
    noise: Option<NoiseMechanism>,
    maximum_frequency: u32,
    width: f32,
}

impl Case {
    fn parameters(self) -> Parameters {
        let privacy = DifferentialPrivacyParams { epsilon: EPSILON, delta: DELTA };
        Parameters {
            maximum_frequency: self.maximum_frequency as i32,
            ring_modulus: MODULUS as i32,
            vid_sampling_width: self.width,
            noise: self.noise.map(|mechanism| Noise {
                mechanism: mechanism.into(),
                reach: privacy,
                frequency: (self.maximum_frequency > 1).then_some(privacy),
            }),
        }
    }

    /// A data provider for each publisher. The seed also numbers the people: others are in the sample.
    fn measure(self, log: &EventLog, seed: u8) -> TestResult<MeasurementResult> {
        let first = 1 + i64::from(seed) * POPULATION;
        let population = VidIndexMap::new(first..first + POPULATION)?;
        let publishers: Vec<_> = log.publishers().collect();
        let cluster = Cluster::new(&self.parameters(), publishers.len(), [seed; 32])?;
        let fulfilments = publishers
            .iter()
            .enumerate()
            .map(|(index, (name, vids))| {
                let mut frequencies =
                    FrequencyVectorBuilder::new(&population, 0.25, self.width, self.maximum_frequency)?;
                vids.iter().for_each(|vid| frequencies.increment(first - 1 + vid));
                let context = KernelContext::new(
                    Executor::serial(),
                    StreamSeed::new([seed ^ 0x80; 32]).derive(name.as_bytes()),
                );
                Ok(Fulfilment::new(*name, index % 2, frequencies.build(), MODULUS, &context)?)
            })
            .collect::<TestResult<Vec<_>>>()?;
        Ok(cluster.run(&fulfilments)?)
    }

    fn accuracy(self, truth: &Truth) -> FrequencyVectorAccuracy {
        let variance = match self.noise {
            None => 0.0,
            // Both noises are upstream's of the blinded histogram, with sensitivity 2.
            Some(NoiseMechanism::Geometric) => geometric_noise_variance(EPSILON, 2.0),
            Some(_) => discrete_gaussian_noise_variance(EPSILON, DELTA),
        };
        FrequencyVectorAccuracy {
            population: POPULATION as f64,
            reach: truth.reach as f64,
            width: self.width,
            reach_noise_variance: variance,
            frequency_noise_variance: variance,
        }
    }

    /// 20 seeds, checked against the formulas of `docs/noise-and-accuracy.md`.
    fn twenty_seeds(self) -> TestResult {
        let (log, truth) = log_and_truth()?;
        let log = log.numbered(1);
        let results = (1..=SEEDS).map(|seed| self.measure(&log, seed)).collect::<TestResult<Vec<_>>>()?;
        let noise = self.noise.map_or("no noise", |mechanism| mechanism.as_str_name());
        let what = format!("hmss to {}, w = {}, {noise}", self.maximum_frequency, self.width);
        let accuracy = self.accuracy(&truth);
        check_reach(&what, &results, &truth, accuracy.reach_standard_deviation());
        if self.maximum_frequency == 1 {
            assert!(results.iter().all(|result| result.frequency.is_none()), "only reach was asked for");
            return Ok(());
        }
        // Elsewhere the sample errs much more.
        let geometric = self.noise == Some(NoiseMechanism::Geometric) && self.width == 1.0;
        let tail = if geometric { Tail::Exponential } else { Tail::Normal };
        check_shares(&what, &results, &truth, tail, |k, expected| {
            if k == self.maximum_frequency {
                accuracy.last_share_standard_deviation(expected, k)
            } else {
                accuracy.share_standard_deviation(expected)
            }
        });
        Ok(())
    }
}

#[test]
fn without_noise_nothing_errs() -> TestResult {
    let (log, truth) = log_and_truth()?;
    let log = log.numbered(1);
    let case = Case { noise: None, maximum_frequency: MAXIMUM_FREQUENCY, width: 1.0 };
    let result = case.measure(&log, 1)?;
    assert_eq!(result.reach, truth.reach as i64);
    let shares = truth.frequency.iter().map(|(k, share)| (i64::from(*k), *share)).collect();
    assert_eq!(result.frequency, Some(shares));
    let reach = Case { maximum_frequency: 1, ..case }.measure(&log, 1)?;
    assert_eq!((reach.reach, reach.frequency), (truth.reach as i64, None));
    Ok(())
}

#[test]
fn noise_of_reach_and_frequency_is_as_large_as_documented() -> TestResult {
    for mechanism in [NoiseMechanism::DiscreteGaussian, NoiseMechanism::Geometric] {
        for width in [1.0, 0.5] {
            let noise = Some(mechanism);
            Case { noise, maximum_frequency: MAXIMUM_FREQUENCY, width }.twenty_seeds()?;
        }
    }
    Ok(())
}

#[test]
fn noise_of_reach_alone_is_as_large_as_documented() -> TestResult {
    for mechanism in [NoiseMechanism::DiscreteGaussian, NoiseMechanism::Geometric] {
        for width in [1.0, 0.5] {
            Case { noise: Some(mechanism), maximum_frequency: 1, width }.twenty_seeds()?;
        }
    }
    Ok(())
}

#[test]
fn a_sample_alone_errs_as_much_as_documented() -> TestResult {
    Case { noise: None, maximum_frequency: MAXIMUM_FREQUENCY, width: 0.5 }.twenty_seeds()
}
