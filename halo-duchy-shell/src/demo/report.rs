//! What a demo run found: as a table and a bar chart, or as a page with charts, for people; as one JSON object for programs.

pub mod html;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::args::DemoArgs;

/// Columns of the widest bar.
const BAR: f64 = 40.0;

/// The outcome of a run beside the plain truth.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The protocol's name, as the option spells it.
    pub protocol: &'static str,
    /// The group's name; `None` if the protocol computes in none.
    pub suite: Option<&'static str>,
    /// The noise mechanism's name.
    pub noise: &'static str,
    /// What else was measured by.
    pub parameters: Parameters,
    /// Estimated number of distinct people.
    pub reach: i64,
    /// One standard deviation of that estimate: noise, sampling, and the sketch if there is one.
    pub reach_standard_deviation: f64,
    /// The same if no noise were added.
    pub reach_standard_deviation_without_noise: f64,
    /// Estimated share of the reached people per frequency; the last is "or more". Empty if only reach was asked for.
    pub frequency: BTreeMap<i64, f64>,
    /// One standard deviation of each of those shares: noise, and the sketch or the sample.
    pub frequency_standard_deviation: BTreeMap<u32, f64>,
    /// Distinct people in the log.
    pub true_reach: u64,
    /// Distinct people whose virtual ids are sampled.
    pub true_reach_in_sample: u64,
    /// Shares of frequencies in the log.
    pub true_frequency: BTreeMap<u32, f64>,
    /// Every stage of every duchy, in the order in which they ended.
    pub stages: Vec<StageTime>,
    /// Bytes that each party sent in requests that carry its data.
    pub bytes_sent: BTreeMap<String, u64>,
    /// From the first server's start to the result.
    pub seconds: f64,
}

/// What a run measures by, besides its protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Parameters {
    /// Duchies that take part.
    pub duchies: u8,
    /// Highest frequency told apart; 1 if only reach is measured.
    pub maximum_frequency: i32,
    /// ε of every kind of noise.
    pub epsilon: f64,
    /// δ of every kind of noise.
    pub delta: f64,
    /// Start of the sampled interval of virtual person ids.
    pub vid_sampling_start: f32,
    /// Its width.
    pub vid_sampling_width: f32,
    /// Registers of a sketch; `None` if the protocol has none.
    pub sketch_size: Option<u32>,
    /// Decay rate of the distribution over them; `None` if the protocol has none.
    pub decay_rate: Option<f64>,
    /// Whether random choices come from a seed.
    pub seeded: bool,
}

impl Parameters {
    /// Those of a run with these options.
    pub fn of(args: &DemoArgs) -> Self {
        // The protocols with a group are those with a sketch, which is encrypted in it.
        let has_sketch = args.suite().is_some();
        Self {
            duchies: args.duchies(),
            maximum_frequency: args.max_frequency(),
            epsilon: args.epsilon,
            delta: args.delta,
            vid_sampling_start: args.vid_sampling_start,
            vid_sampling_width: args.vid_sampling_width,
            sketch_size: has_sketch.then(|| args.sketch_size()),
            decay_rate: has_sketch.then(|| args.decay_rate()),
            seeded: args.seed.is_some(),
        }
    }
}

/// One stage at one duchy.
#[derive(Clone, Debug, Serialize)]
pub struct StageTime {
    /// Which duchy.
    pub duchy: String,
    /// The stage, by upstream's name.
    pub stage: String,
    /// How long it took, with reading, sending and bookkeeping.
    pub seconds: f64,
    /// How much of it the protocol's own step took.
    pub computing_seconds: f64,
    /// Registers (tuples, matrix cells) that it put out.
    pub registers: u64,
    /// Bytes that it sent in requests that carry data.
    pub bytes_sent: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_reach(f)?;
        if !self.frequency.is_empty() {
            self.write_frequency(f)?;
        }
        self.write_stages(f)?;
        self.write_bytes(f)
    }
}

impl Report {
    fn write_reach(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let difference = self.reach as f64 - self.true_reach as f64;
        let percent = if self.true_reach == 0 { 0.0 } else { 100.0 * difference / self.true_reach as f64 };
        let suite = self.suite.map(|suite| format!(" on {suite}")).unwrap_or_default();
        writeln!(f, "{}{suite} with noise: {}", self.protocol, self.noise)?;
        writeln!(f)?;
        writeln!(f, "  reach    estimated {:>10}   true {:>10}", self.reach, self.true_reach)?;
        writeln!(
            f,
            "           {difference:+.0} ({percent:+.2} %), one standard deviation is {:.1}",
            self.reach_standard_deviation
        )?;
        if self.true_reach_in_sample != self.true_reach {
            writeln!(f, "           {} people are in the sample", self.true_reach_in_sample)?;
        }
        writeln!(f)
    }

    fn write_frequency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.true_frequency.keys().copied().max().unwrap_or_default();
        let estimate = |frequency: u32| self.frequency.get(&i64::from(frequency)).copied().unwrap_or(0.0);
        let scale = self
            .true_frequency
            .iter()
            .map(|(k, truth)| truth.max(estimate(*k)))
            .fold(f64::MIN_POSITIVE, f64::max);
        writeln!(f, "  frequency   estimated       ±σ      true")?;
        for (frequency, truth) in &self.true_frequency {
            let label = if *frequency == last { format!("{frequency}+") } else { frequency.to_string() };
            let estimate = estimate(*frequency);
            let bar = bar(estimate / scale, truth / scale);
            let deviation = self.frequency_standard_deviation.get(frequency).copied().unwrap_or(0.0);
            writeln!(f, "  {label:>9}   {estimate:>9.4}  {deviation:>7.4}  {truth:>8.4}  {bar}")?;
        }
        writeln!(f, "{:46}█ estimated, │ true", "")?;
        writeln!(f)
    }

    fn write_stages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.stages.iter().map(|stage| stage.duchy.len()).max().unwrap_or(0).max(5);
        writeln!(f, "  {:<width$}  {:<30} {:>9} {:>10}", "duchy", "stage", "seconds", "registers")?;
        for StageTime { duchy, stage, seconds, registers, .. } in &self.stages {
            writeln!(f, "  {duchy:<width$}  {stage:<30} {seconds:>9.2} {registers:>10}")?;
        }
        writeln!(f)
    }

    fn write_bytes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.bytes_sent.keys().map(String::len).max().unwrap_or(0).max(5);
        writeln!(f, "  {:<width$}  {:>12}", "party", "bytes sent")?;
        for (party, bytes) in &self.bytes_sent {
            writeln!(f, "  {party:<width$}  {bytes:>12}")?;
        }
        writeln!(f)?;
        write!(f, "  {:.1} s in all", self.seconds)
    }
}

/// A bar for `estimate` with a mark at `truth`, both in `0..=1`.
fn bar(estimate: f64, truth: f64) -> String {
    let filled = (estimate.clamp(0.0, 1.0) * BAR).round() as usize;
    let mark = (truth.clamp(0.0, 1.0) * BAR).round() as usize;
    let mut columns: Vec<char> = vec![' '; BAR as usize + 1];
    columns.iter_mut().take(filled).for_each(|column| *column = '█');
    if let Some(column) = columns.get_mut(mark) {
        *column = '│';
    }
    columns.into_iter().collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two duchies, few people.
    pub(super) fn report() -> Report {
        Report {
            protocol: "llv2",
            suite: Some("p256"),
            noise: "none",
            parameters: Parameters {
                duchies: 2,
                maximum_frequency: 2,
                epsilon: 1.0,
                delta: 1e-5,
                vid_sampling_start: 0.0,
                vid_sampling_width: 1.0,
                sketch_size: Some(100_000),
                decay_rate: Some(12.0),
                seeded: false,
            },
            reach: 99,
            reach_standard_deviation: 2.5,
            reach_standard_deviation_without_noise: 1.5,
            frequency: [(1, 0.75), (2, 0.25)].into(),
            frequency_standard_deviation: [(1, 0.1), (2, 0.1)].into(),
            true_reach: 100,
            true_reach_in_sample: 100,
            true_frequency: [(1, 0.5), (2, 0.5)].into(),
            stages: vec![StageTime {
                duchy: "worker1".into(),
                stage: "SETUP_PHASE".into(),
                seconds: 0.5,
                computing_seconds: 0.25,
                registers: 12,
                bytes_sent: 2376,
            }],
            bytes_sent: [("worker1".to_owned(), 2376)].into(),
            seconds: 1.0,
        }
    }

    #[test]
    fn json_has_the_documented_keys() -> Result<(), serde_json::Error> {
        let value = serde_json::to_value(report())?;
        assert_eq!(value["protocol"], "llv2");
        assert_eq!(value["reach"], 99);
        assert_eq!(value["frequency"]["1"], 0.75);
        assert_eq!(value["true_frequency"]["2"], 0.5);
        assert_eq!(value["stages"][0]["registers"], 12);
        assert_eq!(
            (&value["stages"][0]["bytes_sent"], &value["parameters"]["epsilon"]),
            (&2376.into(), &1.0.into())
        );
        for key in ["true_reach", "true_reach_in_sample", "bytes_sent", "seconds"] {
            assert!(value.get(key).is_some(), "{key}");
        }
        Ok(())
    }

    #[test]
    fn the_table_names_the_error_and_the_open_last_frequency() {
        let text = report().to_string();
        assert!(text.contains("-1 (-1.00 %)"), "{text}");
        assert!(text.contains("2+"), "{text}");
        assert!(text.contains("SETUP_PHASE"), "{text}");
    }

    #[test]
    fn a_bar_marks_the_truth_where_it_lies() {
        assert_eq!(bar(0.0, 0.0), "│");
        let half = bar(0.5, 1.0);
        assert_eq!(half.chars().filter(|column| *column == '█').count(), 20);
        assert_eq!(half.chars().last(), Some('│'));
    }
}
