//! The demo's options.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use halo_crypto::{Group, P256, Ristretto255};
use halo_protocols::proto::duchy::NoiseMechanism;

/// Three duchies, a data provider per publisher of an event log and a small Kingdom, on loopback ports over mutual TLS.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Event log to measure, CSV or gzip: columns event_time, publisher and id in any order. Default: the log that
    /// comes with this program, a week of departures from three airports.
    #[arg(long, value_name = "FILE.csv[.gz]")]
    pub events: Option<PathBuf>,
    /// Protocol to measure by.
    #[arg(long, value_enum, default_value_t = Protocol::Llv2)]
    pub protocol: Protocol,
    /// Noise that every duchy adds.
    #[arg(long, value_enum, default_value_t = Noise::DiscreteGaussian)]
    pub noise: Noise,
    /// ε of every kind of noise.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub epsilon: f64,
    /// δ of every kind of noise.
    #[arg(long, default_value_t = 1e-5, value_parser = positive)]
    pub delta: f64,
    /// Duchies that take part, the aggregator included.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=9))]
    pub duchies: u8,
    /// Highest frequency told apart; 1 measures reach only.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub max_frequency: i32,
    /// Start of the sampled interval of virtual person ids, in [0, 1).
    #[arg(long, default_value_t = 0.0, value_parser = sampling_start)]
    pub vid_sampling_start: f32,
    /// Width of the sampled interval of virtual person ids, in (0, 1]; it may wrap around.
    #[arg(long, default_value_t = 1.0, value_parser = sampling_width)]
    pub vid_sampling_width: f32,
    /// Registers of a sketch.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    pub sketch_size: i64,
    /// Decay rate of the distribution over registers.
    #[arg(long, default_value_t = 12.0, value_parser = decay_rate)]
    pub decay_rate: f64,
    /// Group to compute in.
    #[arg(long, value_enum, default_value_t = Suite::P256)]
    pub suite: Suite,
    /// Derive every random choice from this number, the map from people to registers included, to repeat a run. Not
    /// for real data: whoever knows the number can undo noise and encryption. Without it people fall into registers
    /// as upstream's data providers have them.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where certificates, databases and blobs are put, and left. Default: a temporary folder, removed at the end.
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Print one JSON object on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
}

/// Protocols that the demo can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Liquid Legions v2: reach and frequency.
    Llv2,
}

impl Protocol {
    /// As the option spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llv2 => "llv2",
        }
    }
}

/// Noise mechanisms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Noise {
    /// None at all: exact but for the sketch. Every duchy must be started with --insecure-dev-allow-no-noise.
    None,
    /// Discrete Gaussian.
    DiscreteGaussian,
    /// Distributed two-sided geometric.
    Geometric,
}

impl Noise {
    /// As the option spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::DiscreteGaussian => "discrete-gaussian",
            Self::Geometric => "geometric",
        }
    }

    /// As messages spell it.
    pub const fn mechanism(self) -> NoiseMechanism {
        match self {
            Self::None => NoiseMechanism::None,
            Self::DiscreteGaussian => NoiseMechanism::DiscreteGaussian,
            Self::Geometric => NoiseMechanism::Geometric,
        }
    }
}

/// Groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// NIST P-256: understood by every duchy.
    P256,
    /// ristretto255: understood by ours only.
    Ristretto255,
}

impl Suite {
    /// As the option spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => P256::NAME,
            Self::Ristretto255 => Ristretto255::NAME,
        }
    }

    /// As parameters name it.
    pub const fn curve_id(self) -> i64 {
        match self {
            Self::P256 => P256::CURVE_ID,
            Self::Ristretto255 => Ristretto255::CURVE_ID,
        }
    }
}

fn number<T: std::str::FromStr>(text: &str, fits: impl Fn(&T) -> bool, range: &str) -> Result<T, String> {
    text.parse().ok().filter(fits).ok_or_else(|| format!("must be a number {range}"))
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, |value: &f64| *value > 0.0 && value.is_finite(), "above 0")
}

fn decay_rate(text: &str) -> Result<f64, String> {
    number(text, |value: &f64| *value > 1.0 && value.is_finite(), "above 1")
}

fn sampling_start(text: &str) -> Result<f32, String> {
    number(text, |value: &f32| (0.0..1.0).contains(value), "in [0, 1)")
}

fn sampling_width(text: &str) -> Result<f32, String> {
    number(text, |value: &f32| *value > 0.0 && *value <= 1.0, "in (0, 1]")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        demo: DemoArgs,
    }

    fn parse(options: &[&str]) -> Result<DemoArgs, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"demo").chain(options)).map(|cli| cli.demo)
    }

    #[test]
    fn defaults_are_the_documented_ones() -> Result<(), clap::Error> {
        let args = parse(&[])?;
        assert_eq!((args.duchies, args.sketch_size, args.max_frequency), (3, 100_000, 10));
        assert_eq!((args.suite.curve_id(), args.noise), (415, Noise::DiscreteGaussian));
        Ok(())
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_range() {
        for (options, range) in [
            (["--vid-sampling-width", "0"], "(0, 1]"),
            (["--vid-sampling-width", "NaN"], "(0, 1]"),
            (["--vid-sampling-start", "1"], "[0, 1)"),
            (["--decay-rate", "1"], "above 1"),
            (["--epsilon", "inf"], "above 0"),
            (["--duchies", "1"], "2..=9"),
        ] {
            let error = parse(&options).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(range), "{options:?}: {error}");
        }
    }
}
