//! What a fleet's measurements are like, and how accurate.

use halo_protocols::estimate::LiquidLegions;
use halo_protocols::estimate::accuracy::{
    FrequencyVectorAccuracy, discrete_gaussian_noise_variance, geometric_noise_variance,
    reach_standard_deviation,
};

/// How measurements are computed.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub protocol: Protocol,
    pub noise: Noise,
}

#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    /// Liquid Legions v2, on a sketch that is large beside the measured people.
    Llv2,
    /// The same, for reach only.
    ReachOnlyLlv2,
    ShareShuffle,
}

#[derive(Clone, Copy, Debug)]
pub enum Noise {
    DiscreteGaussian,
    Geometric,
}

const DECAY_RATE: f64 = 12.0;
const SKETCH_SIZE: i64 = 20_000;

impl Settings {
    pub fn kingdom_flags(self) -> Vec<String> {
        let sketch = [format!("--decay-rate={DECAY_RATE}"), format!("--sketch-size={SKETCH_SIZE}")];
        let (protocol, more) = match self.protocol {
            Protocol::Llv2 => ("llv2", &sketch[..]),
            Protocol::ReachOnlyLlv2 => ("ro-llv2", &sketch[..]),
            Protocol::ShareShuffle => ("hmss", &[][..]),
        };
        let noise = match self.noise {
            Noise::DiscreteGaussian => "discrete-gaussian",
            Noise::Geometric => "geometric",
        };
        let flags = [format!("--protocol={protocol}"), format!("--noise={noise}")];
        flags.into_iter().chain(more.iter().cloned()).collect()
    }

    /// What a reach is off by once in ten thousand measurements or less often: these processes draw real randomness. The
    /// tail of geometric noise is exponential, beyond 4σ once in 300 times and beyond 7σ as seldom as a normal one beyond 4σ.
    pub fn largest_error(self, people: f64) -> f64 {
        let deviations = match self.noise {
            Noise::DiscreteGaussian => 4.0,
            Noise::Geometric => 7.0,
        };
        deviations * self.standard_deviation(people)
    }

    /// Of a reach measured with [`EPSILON`] and [`DELTA`].
    fn standard_deviation(self, people: f64) -> f64 {
        // By how much one person changes what is noised: the reach by 1, a histogram by 2.
        let sensitivity = match self.protocol {
            Protocol::Llv2 | Protocol::ReachOnlyLlv2 => 1.0,
            Protocol::ShareShuffle => 2.0,
        };
        let variance = match self.noise {
            Noise::DiscreteGaussian => discrete_gaussian_noise_variance(EPSILON, DELTA),
            Noise::Geometric => geometric_noise_variance(EPSILON, sensitivity),
        };
        match self.protocol {
            Protocol::Llv2 | Protocol::ReachOnlyLlv2 => {
                let sketch = LiquidLegions::new(DECAY_RATE, SKETCH_SIZE).expect("a sketch");
                reach_standard_deviation(&sketch, people, 1.0, variance)
            }
            Protocol::ShareShuffle => {
                let accuracy = FrequencyVectorAccuracy {
                    population: 2.0 * people,
                    reach: people,
                    width: 1.0,
                    reach_noise_variance: variance,
                    frequency_noise_variance: variance,
                };
                accuracy.reach_standard_deviation()
            }
        }
    }
}

/// The privacy budget of every measurement.
pub const EPSILON: f64 = 1.0;
pub const DELTA: f64 = 1e-5;
