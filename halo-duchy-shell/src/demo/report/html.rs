//! The report as one HTML page that fetches nothing: styles and charts are within it, and there are no scripts.
//!
//! The same report always makes the same page. Names come from an event log, so every text is escaped.

mod charts;
mod stages;

use std::fmt::{self, Display, Formatter};

use super::Report;
use crate::html::Escaped;

/// The widest name of a party that a chart shows whole.
const LONGEST_NAME: usize = 22;

/// A report's page.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a>(pub &'a Report);

/// A name, cut if a chart has no room for it.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some(_) => name.chars().take(LONGEST_NAME - 1).chain(['…']).collect(),
        None => name.to_owned(),
    }
}

/// A whole number in groups of three digits.
fn grouped(number: impl Display) -> String {
    let text = number.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("−", digits));
    let mut grouped = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            // A narrow space: what stands for thousands elsewhere stands for fractions here.
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes in three digits and a unit.
fn bytes(count: u64) -> String {
    let (scaled, unit) = match count as f64 {
        few if few < 1e3 => return format!("{count} B"),
        count if count < 1e6 => (count / 1e3, "kB"),
        count if count < 1e9 => (count / 1e6, "MB"),
        count => (count / 1e9, "GB"),
    };
    let decimals = if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) };
    format!("{scaled:.decimals$} {unit}")
}

/// A number with its sign, or nothing for what is not a number.
fn signed(number: f64, digits: usize) -> String {
    if number.is_finite() { format!("{number:+.digits$}").replace('-', "−") } else { "–".to_owned() }
}

impl Report {
    /// The estimate of reach less the truth.
    fn reach_error(&self) -> f64 {
        self.reach as f64 - self.true_reach as f64
    }

    /// The estimated share of a frequency.
    fn share(&self, frequency: u32) -> f64 {
        self.frequency.get(&i64::from(frequency)).copied().unwrap_or(0.0)
    }

    /// One standard deviation of it.
    fn share_standard_deviation(&self, frequency: u32) -> f64 {
        self.frequency_standard_deviation.get(&frequency).copied().unwrap_or(0.0)
    }

    /// A frequency as it is written: the highest one is "or more".
    fn label(&self, frequency: u32) -> String {
        let last = self.true_frequency.keys().next_back().copied();
        if last == Some(frequency) { format!("{frequency}+") } else { frequency.to_string() }
    }

    /// The standard deviation of reach that is due to noise alone, in people.
    fn reach_noise(&self) -> f64 {
        let [all, without] = [self.reach_standard_deviation, self.reach_standard_deviation_without_noise];
        (all * all - without * without).max(0.0).sqrt()
    }

    /// What was measured by, as a table: names and values.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let parameters = &self.parameters;
        let mut rows = vec![
            ("Protocol", self.protocol.to_owned()),
            ("Group", self.suite.unwrap_or("none").to_owned()),
            ("Duchies", parameters.duchies.to_string()),
            ("Highest frequency told apart", parameters.maximum_frequency.to_string()),
            ("Noise mechanism", self.noise.to_owned()),
            ("ε", parameters.epsilon.to_string()),
            ("δ", format!("{:e}", parameters.delta)),
            ("Sampling starts at", parameters.vid_sampling_start.to_string()),
            ("Sampling width", parameters.vid_sampling_width.to_string()),
        ];
        rows.extend(parameters.sketch_size.map(|size| ("Registers of a sketch", grouped(size))));
        rows.extend(parameters.decay_rate.map(|rate| ("Decay rate of a sketch", rate.to_string())));
        rows.push(("Random choices", if parameters.seeded { "from a seed" } else { "fresh" }.to_owned()));
        rows
    }
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        let protocol = Escaped(report.protocol);
        writeln!(f, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
        // Should a name get around the escaping, the browser still runs and fetches nothing.
        writeln!(
            f,
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        )?;
        writeln!(f, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")?;
        writeln!(f, "<title>Halo Duchy: a measurement by {protocol}</title>")?;
        writeln!(f, "<style>\n{}</style>\n</head>\n<body>\n<main>", include_str!("html/style.css"))?;
        self.header(f)?;
        self.accuracy(f)?;
        self.costs(f)?;
        self.parameters(f)?;
        writeln!(f, "</main>\n</body>\n</html>")
    }
}

impl Page<'_> {
    fn header(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        let suite = report.suite.map(|suite| format!(" on {suite}")).unwrap_or_default();
        writeln!(f, "<h1>A measurement by {}{}</h1>", Escaped(report.protocol), Escaped(suite))?;
        let error = report.reach_error();
        let percent = match report.true_reach {
            0 => String::new(),
            truth => format!("{} %", signed(100.0 * error / truth as f64, 2)),
        };
        let deviations = match report.reach_standard_deviation {
            0.0 => "nothing random is expected".to_owned(),
            deviation => format!("{} standard deviations", signed(error / deviation, 2)),
        };
        let sent: u64 = report.bytes_sent.values().sum();
        writeln!(f, "<ul class=\"tiles\">")?;
        for (name, value, beside) in [
            (
                "Reach, estimated",
                grouped(report.reach),
                format!("± {:.1} expected", report.reach_standard_deviation),
            ),
            ("Reach, true", grouped(report.true_reach), {
                format!("{} in the sample", grouped(report.true_reach_in_sample))
            }),
            ("Error", percent, deviations),
            ("Noise in it", format!("± {:.1}", report.reach_noise()), report.noise.to_owned()),
            ("Sent", bytes(sent), format!("by {} parties", report.bytes_sent.len())),
            ("Time", format!("{:.1} s", report.seconds), format!("{} stages", report.stages.len())),
        ] {
            let [value, beside] = [value, beside].map(Escaped);
            writeln!(f, "<li><span>{name}</span><strong>{value}</strong><small>{beside}</small></li>")?;
        }
        writeln!(f, "</ul>")
    }

    fn accuracy(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        writeln!(f, "<section>\n<h2>Reach</h2>")?;
        charts::reach(f, report)?;
        writeln!(f, "<p>Bands: one and two standard deviations around the truth. They come from the noise")?;
        writeln!(f, "({:.1} people) and from sketch and sample", report.reach_noise())?;
        writeln!(f, "({:.1} people).</p>\n</section>", report.reach_standard_deviation_without_noise)?;
        if !report.frequency.is_empty() {
            writeln!(f, "<section>\n<h2>Frequency</h2>")?;
            charts::frequency(f, report)?;
            writeln!(
                f,
                "<p>Share of the reached people by number of impressions. The marks are the truth, with"
            )?;
            writeln!(f, "one standard deviation to each side.</p>\n</section>")?;
        }
        writeln!(f, "<section>\n<h2>Error against the truth</h2>")?;
        charts::errors(f, report)?;
        writeln!(f, "</section>")?;
        if report.frequency.is_empty() {
            return Ok(());
        }
        writeln!(f, "<section>\n<h2>Frequencies in numbers</h2>\n<table>")?;
        writeln!(f, "<tr><th>Frequency<th>Estimated<th>True<th>Error<th>Expected ±σ</tr>")?;
        for (frequency, truth) in &report.true_frequency {
            let (share, label) = (report.share(*frequency), report.label(*frequency));
            let deviation = report.share_standard_deviation(*frequency);
            let error = signed(share - truth, 4);
            writeln!(f, "<tr><td>{label}<td>{share:.4}<td>{truth:.4}<td>{error}<td>{deviation:.4}</tr>")?;
        }
        writeln!(f, "</table>\n</section>")
    }

    fn costs(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        writeln!(f, "<section>\n<h2>Time of each stage</h2>")?;
        stages::seconds(f, report)?;
        writeln!(
            f,
            "<p>Full colour: in the protocol's own step. Pale: reading, sending, bookkeeping, waiting.</p>"
        )?;
        writeln!(f, "</section>\n<section>\n<h2>Bytes sent</h2>")?;
        stages::bytes_sent(f, report)?;
        writeln!(
            f,
            "<p>In requests that carry data, by stage and duchy, and by data provider.</p>\n</section>"
        )?;
        writeln!(f, "<section>\n<h2>Stages in numbers</h2>\n<table class=\"stages\">")?;
        writeln!(f, "<tr><th>Duchy<th>Stage<th>Seconds<th>Computing<th>Registers<th>Bytes sent</tr>")?;
        for stage in &report.stages {
            let [duchy, name] = [&stage.duchy, &stage.stage].map(Escaped);
            let (seconds, computing) = (stage.seconds, stage.computing_seconds);
            let [registers, sent] = [stage.registers, stage.bytes_sent].map(grouped);
            writeln!(
                f,
                "<tr><td>{duchy}<td>{name}<td>{seconds:.3}<td>{computing:.3}<td>{registers}<td>{sent}</tr>"
            )?;
        }
        writeln!(f, "</table>\n</section>")
    }

    fn parameters(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "<section>\n<h2>Parameters</h2>\n<table>")?;
        for (name, value) in self.0.settings() {
            writeln!(f, "<tr><th>{name}<td>{}</tr>", Escaped(value))?;
        }
        writeln!(f, "</table>\n</section>")
    }
}

#[cfg(test)]
mod tests;
