//! The demo's options.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use halo_crypto::{Group, P256, Ristretto255};
use halo_protocols::proto::duchy::NoiseMechanism;

use crate::blob::BlobAddress;
use crate::store::StoreAddress;

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
    /// Duchies that take part, the aggregator included; hmss takes exactly 3. Default: 3.
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=9))]
    duchies: Option<u8>,
    /// Highest frequency told apart; 1 measures reach only, as ro-llv2 always does. Default: 10.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(i32).range(1..=1000))]
    max_frequency: Option<i32>,
    /// Measure reach only: a maximum frequency of 1.
    #[arg(long, conflicts_with = "max_frequency")]
    reach_only: bool,
    /// Start of the sampled interval of virtual person ids, in [0, 1).
    #[arg(long, default_value_t = 0.0, value_parser = sampling_start)]
    pub vid_sampling_start: f32,
    /// Width of the sampled interval of virtual person ids, in (0, 1]; it may wrap around.
    #[arg(long, default_value_t = 1.0, value_parser = sampling_width)]
    pub vid_sampling_width: f32,
    /// Registers of a sketch, which hmss does not use. Default: 100000.
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    sketch_size: Option<u32>,
    /// Decay rate of the distribution over registers of a sketch. Default: 12.
    #[arg(long, value_name = "RATE", value_parser = decay_rate)]
    decay_rate: Option<f64>,
    /// Group to compute in, which hmss does without. Default: p256.
    #[arg(long, value_enum)]
    suite: Option<Suite>,
    /// Derive every random choice from this number, the map from people to registers included, to repeat a run. Not
    /// for real data: whoever knows the number can undo noise and encryption. Without it people fall into registers
    /// as upstream's data providers have them.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Store of the duchies' blobs, in which each has a folder: file:DIR, s3://BUCKET/PREFIX?region=REGION&endpoint=URL
    /// or gs://BUCKET/PREFIX. What data providers sent is left there. Default: the working directory.
    #[arg(long, value_name = "ADDRESS")]
    pub blobs: Option<BlobAddress>,
    /// Where computations are kept: the address of a database, beside which each duchy has its own. -aggregator, -worker1
    /// and so on are put behind the name of a database of Cloud Spanner, or before the extension of an SQLite file.
    /// Default: SQLite files in the working folder.
    #[arg(long, value_name = "ADDRESS")]
    store: Option<StoreAddress>,
    /// A Spanner emulator, in place of Google's service. The databases are made there.
    #[arg(long, value_name = "HOST:PORT", env = "SPANNER_EMULATOR_HOST")]
    spanner_emulator_host: Option<String>,
    /// Where certificates, databases and blobs are put, and left. Default: a temporary folder, removed at the end.
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Print one JSON object on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
    /// Also write the result, with charts, as one HTML page that needs nothing else.
    #[arg(long, value_name = "OUT.html")]
    pub report: Option<PathBuf>,
}

/// Protocols that the demo can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Liquid Legions v2: reach and frequency.
    Llv2,
    /// Reach-only Liquid Legions v2.
    RoLlv2,
    /// Honest-majority share shuffle: reach and frequency, exact but for noise and sampling.
    Hmss,
}

/// An option that makes no sense beside the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag}: {why}")]
pub struct Misuse {
    /// The option, with its dashes.
    pub flag: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

impl DemoArgs {
    /// Checks what the options say together.
    ///
    /// # Errors
    /// [`Misuse`], naming an option that the protocol does not have.
    pub fn check(&self) -> Result<(), Misuse> {
        let refused: &[(&str, bool, &str)] = match self.protocol {
            Protocol::Llv2 => &[],
            Protocol::RoLlv2 => &[
                ("--reach-only", self.reach_only, "ro-llv2 never measures anything else"),
                ("--max-frequency", self.max_frequency.is_some(), "ro-llv2 measures reach only"),
            ],
            Protocol::Hmss => &[
                ("--duchies", self.duchies() != 3, "hmss takes exactly 3: an aggregator and two workers"),
                (
                    "--sketch-size",
                    self.sketch_size.is_some(),
                    "hmss has a register for every person, no sketch",
                ),
                (
                    "--decay-rate",
                    self.decay_rate.is_some(),
                    "hmss has a register for every person, no sketch",
                ),
                ("--suite", self.suite.is_some(), "hmss computes in a ring, not in a group"),
            ],
        };
        match refused.iter().find(|(_, given, _)| *given) {
            Some((flag, _, why)) => Err(Misuse { flag, why }),
            None => Ok(()),
        }
    }

    /// The database beside which each duchy has its own; `None` for files in the working folder.
    pub fn store(&self) -> Option<StoreAddress> {
        let emulator = self.spanner_emulator_host.as_deref().unwrap_or_default();
        self.store.clone().map(|address| address.on_emulator(emulator))
    }

    /// Duchies that take part.
    pub fn duchies(&self) -> u8 {
        self.duchies.unwrap_or(3)
    }

    /// Highest frequency told apart; 1 if only reach is measured.
    pub fn max_frequency(&self) -> i32 {
        match self.protocol {
            Protocol::RoLlv2 => 1,
            Protocol::Llv2 | Protocol::Hmss if self.reach_only => 1,
            Protocol::Llv2 | Protocol::Hmss => self.max_frequency.unwrap_or(10),
        }
    }

    /// Registers of a sketch.
    pub fn sketch_size(&self) -> u32 {
        self.sketch_size.unwrap_or(100_000)
    }

    /// Decay rate of the distribution over registers.
    pub fn decay_rate(&self) -> f64 {
        self.decay_rate.unwrap_or(12.0)
    }

    /// Group to compute in; `None` if the protocol has none.
    pub fn suite(&self) -> Option<Suite> {
        match self.protocol {
            Protocol::Llv2 | Protocol::RoLlv2 => Some(self.suite.unwrap_or(Suite::P256)),
            Protocol::Hmss => None,
        }
    }
}

impl Protocol {
    /// As the option spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llv2 => "llv2",
            Self::RoLlv2 => "ro-llv2",
            Self::Hmss => "hmss",
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
        assert_eq!((args.duchies(), args.sketch_size(), args.max_frequency()), (3, 100_000, 10));
        assert_eq!((args.suite(), args.noise), (Some(Suite::P256), Noise::DiscreteGaussian));
        Ok(())
    }

    #[test]
    fn reach_only_is_a_maximum_frequency_of_one() -> Result<(), clap::Error> {
        for options in [
            &["--reach-only"][..],
            &["--max-frequency", "1"],
            &["--protocol", "hmss", "--reach-only"],
            &["--protocol", "ro-llv2"],
        ] {
            let args = parse(options)?;
            assert_eq!((args.max_frequency(), args.check()), (1, Ok(())), "{options:?}");
        }
        assert!(parse(&["--reach-only", "--max-frequency", "3"]).is_err());
        Ok(())
    }

    #[test]
    fn options_that_a_protocol_does_not_have_are_refused_by_name() -> Result<(), clap::Error> {
        for (protocol, option, refused) in [
            ("ro-llv2", &["--reach-only"][..], "--reach-only"),
            ("ro-llv2", &["--max-frequency", "1"], "--max-frequency"),
            ("hmss", &["--duchies", "4"], "--duchies"),
            ("hmss", &["--sketch-size", "100000"], "--sketch-size"),
            ("hmss", &["--decay-rate", "12"], "--decay-rate"),
            ("hmss", &["--suite", "p256"], "--suite"),
        ] {
            let args = parse(&[&["--protocol", protocol], option].concat())?;
            assert_eq!(args.check().map_err(|misuse| misuse.flag), Err(refused));
            let args = parse(option)?;
            assert_eq!(args.check(), Ok(()), "llv2 with {option:?}");
        }
        assert_eq!(parse(&["--protocol", "hmss", "--duchies", "3"])?.check(), Ok(()));
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
