//! What a demo run should find, and how far off it may be (`docs/noise-and-accuracy.md`).

use std::collections::BTreeMap;

use halo_protocols::estimate::LiquidLegions;
use halo_protocols::estimate::accuracy::{
    FrequencyVectorAccuracy, discrete_gaussian_noise_variance, frequency_share_standard_deviation,
    geometric_noise_variance, reach_standard_deviation,
};

use super::DemoError;
use super::args::{DemoArgs, Noise, Protocol};
use super::people::People;
use super::report::Report;
use crate::events::Truth;

/// A report without findings: the truth, and the standard deviations of what should be found.
pub(super) fn expected(args: &DemoArgs, people: &People) -> Result<Report, DemoError> {
    let maximum_frequency = u32::try_from(args.max_frequency()).unwrap_or(1);
    let truth = people.log.truth(maximum_frequency, |_| true);
    let in_sample = people.truth_in_sample(args, maximum_frequency)?;
    let accuracy = Accuracy::new(args, args.noise, people, &truth)?;
    let without_noise = Accuracy::new(args, Noise::None, people, &truth)?;
    let frequency_standard_deviation = match maximum_frequency {
        1 => BTreeMap::new(),
        _ => {
            let shares = truth.frequency.iter();
            shares.map(|(k, share)| (*k, accuracy.of_share(*k, *share, maximum_frequency))).collect()
        }
    };
    Ok(Report {
        reach_standard_deviation: accuracy.of_reach(),
        reach_standard_deviation_without_noise: without_noise.of_reach(),
        frequency_standard_deviation,
        true_reach: truth.reach,
        true_reach_in_sample: in_sample.reach,
        true_frequency: truth.frequency,
        ..Report::default()
    })
}

/// The accuracy of one kind of estimate.
enum Accuracy {
    Sketch { sketch: LiquidLegions, reach: f64, width: f32, reach_noise: f64, frequency_noise: f64 },
    FrequencyVector(FrequencyVectorAccuracy),
}

impl Accuracy {
    fn new(args: &DemoArgs, noise: Noise, people: &People, truth: &Truth) -> Result<Self, DemoError> {
        let (reach, width) = (truth.reach as f64, args.vid_sampling_width);
        // By how much one person changes what is noised: the reach by 1, a histogram by 2.
        let variance = |sensitivity| match noise {
            Noise::None => 0.0,
            Noise::DiscreteGaussian => discrete_gaussian_noise_variance(args.epsilon, args.delta),
            Noise::Geometric => geometric_noise_variance(args.epsilon, sensitivity),
        };
        Ok(match (args.protocol, &people.population) {
            (Protocol::Hmss, Some(population)) => Self::FrequencyVector(FrequencyVectorAccuracy {
                population: (population.end() - population.start() + 1) as f64,
                reach,
                width,
                reach_noise_variance: variance(2.0),
                frequency_noise_variance: variance(2.0),
            }),
            _ => Self::Sketch {
                sketch: LiquidLegions::new(args.decay_rate(), args.sketch_size().into())?,
                reach,
                width,
                reach_noise: variance(1.0),
                frequency_noise: variance(2.0),
            },
        })
    }

    fn of_reach(&self) -> f64 {
        match self {
            Self::Sketch { sketch, reach, width, reach_noise, .. } => {
                reach_standard_deviation(sketch, *reach, *width, *reach_noise)
            }
            Self::FrequencyVector(accuracy) => accuracy.reach_standard_deviation(),
        }
    }

    fn of_share(&self, frequency: u32, share: f64, maximum_frequency: u32) -> f64 {
        match self {
            Self::Sketch { sketch, reach, width, frequency_noise, .. } => frequency_share_standard_deviation(
                sketch,
                *reach,
                *width,
                share,
                maximum_frequency,
                *frequency_noise,
            ),
            Self::FrequencyVector(accuracy) if frequency == maximum_frequency => {
                accuracy.last_share_standard_deviation(share, maximum_frequency)
            }
            Self::FrequencyVector(accuracy) => accuracy.share_standard_deviation(share),
        }
    }
}
