//! Measurements that always have the same result: small, and without noise. What campaigns are told.

/// By which protocol a measurement is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Settings {
    Llv2,
    ReachOnlyLlv2,
    ShareShuffle,
}

pub const PROTOCOLS: [Settings; 3] = [Settings::Llv2, Settings::ReachOnlyLlv2, Settings::ShareShuffle];

/// The privacy budget of every measurement, which nobody spends.
pub const EPSILON: f64 = 1.0;
pub const DELTA: f64 = 1e-5;

impl Settings {
    /// As the Kingdom names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llv2 => "llv2",
            Self::ReachOnlyLlv2 => "ro-llv2",
            Self::ShareShuffle => "hmss",
        }
    }

    pub fn kingdom_flags(self) -> Vec<String> {
        let flags = ["--noise=none", "--decay-rate=2", "--sketch-size=200"];
        [format!("--protocol={}", self.name())].into_iter().chain(flags.map(str::to_owned)).collect()
    }

    /// What is measured: all that the protocol can.
    pub fn metric(self) -> &'static [&'static str] {
        match self {
            Self::ReachOnlyLlv2 => &["--reach"],
            Self::Llv2 | Self::ShareShuffle => &[
                "--reach-and-frequency",
                "--frequency-privacy-epsilon=1",
                "--frequency-privacy-delta=1e-5",
                "--max-frequency=3",
            ],
        }
    }
}

/// A number that a campaign is told in a variable of its environment.
pub fn number<N: std::str::FromStr>(variable: &str, default: N) -> N {
    std::env::var(variable)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}
