//! Results as Markdown and as a picture, always in relation to a peer of the same run.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::results::Measurement;

/// The measurements that share a table and a picture: those of a bench, backend and processor.
struct Run<'m> {
    title: String,
    measurements: Vec<&'m Measurement>,
}

fn runs(measurements: &[Measurement]) -> Vec<Run<'_>> {
    let key = |m: &Measurement| (m.bench.clone(), m.backend.clone(), m.cpu.clone());
    let keys: BTreeSet<_> = measurements.iter().map(key).collect();
    let run = |wanted: (String, String, String)| Run {
        title: format!("{}, backend {}, {}", wanted.0, wanted.1, wanted.2),
        measurements: measurements.iter().filter(|m| key(m) == wanted).collect(),
    };
    keys.into_iter().map(run).collect()
}

/// Tables in Markdown, a section for each bench, backend and processor.
pub fn markdown(measurements: &[Measurement]) -> String {
    let mut text = String::from("# Benchmarks\n");
    for run in runs(measurements) {
        // Writing to a string cannot fail, here and below.
        let _ = write!(
            text,
            "\n## {}\n\n| work | records | cost ÷ peer's | peer | two threads | peak memory ÷ (in + out) | ns a record |\n\
             | --- | ---: | ---: | --- | ---: | ---: | ---: |\n",
            run.title
        );
        for m in run.measurements {
            let optional =
                |value: Option<f64>, unit: &str| value.map_or(String::new(), |v| format!("{v:.2}{unit}"));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} ({} ns) | {} | {} | {} |",
                cell(&m.work),
                m.records,
                significant(m.ratio()),
                cell(&m.peer),
                significant(m.peer_nanoseconds),
                optional(m.two_threads, " ×"),
                optional(m.memory, ""),
                significant(m.nanoseconds),
            );
        }
    }
    text
}

/// A name that cannot end its cell.
fn cell(name: &str) -> String {
    name.replace('|', "\\|")
}

/// `value` to three significant digits, or to the unit.
pub(crate) fn significant(value: f64) -> String {
    let digits = if value > 0.0 { value.log10().floor() as i32 } else { 0 };
    format!("{value:.*}", usize::try_from(2 - digits).unwrap_or_default().min(6))
}

/// Pixels of the picture's parts.
const NAMES: usize = 470;
const BARS: usize = 420;
const FIGURES: usize = 70;
const LINE: usize = 18;

/// The shortest and the longest bar, as powers of ten of the ratio to the peer.
const DECADES: (f64, f64) = (-3.0, 3.0);

/// A picture (SVG) with a bar for each measurement: how many of the peer's times it takes, on a logarithmic scale, with a
/// line where both take as long. What is cheaper than the peer is green.
pub fn svg(measurements: &[Measurement]) -> String {
    let runs = runs(measurements);
    let lines: usize = runs.iter().map(|run| run.measurements.len() + 2).sum();
    let (width, height) = (NAMES + BARS + FIGURES, (lines + 1) * LINE);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let mut y = LINE;
    for run in runs {
        let _ = writeln!(
            text,
            "<text x=\"4\" y=\"{y}\" font-weight=\"bold\">{}: cost ÷ peer's</text>",
            escape(&run.title)
        );
        let (top, bottom) = (y + 4, y + (run.measurements.len()) * LINE + 4);
        let even = NAMES as f64 + length(1.0);
        for m in run.measurements {
            y += LINE;
            bar(&mut text, m, y);
        }
        let _ = writeln!(
            text,
            "<line x1=\"{even:.1}\" y1=\"{top}\" x2=\"{even:.1}\" y2=\"{bottom}\" stroke=\"black\"/>"
        );
        y += 2 * LINE;
    }
    text.push_str("</svg>\n");
    text
}

fn bar(text: &mut String, m: &Measurement, y: usize) {
    let (ratio, length) = (m.ratio(), length(m.ratio()));
    let color = if ratio <= 1.0 { "#3a7d44" } else { "#b5523b" };
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{} × {} ÷ {}</text>\n\
         <rect x=\"{NAMES}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{color}\"/>\n\
         <text x=\"{:.1}\" y=\"{y}\">{}</text>",
        NAMES - 6,
        m.records,
        escape(&m.work),
        escape(m.peer.split(':').next().unwrap_or_default()),
        y - LINE / 2 - 2,
        LINE - 4,
        NAMES as f64 + length + 4.0,
        significant(ratio),
    );
}

/// Pixels of a bar.
fn length(ratio: f64) -> f64 {
    let (least, most) = DECADES;
    (ratio.log10().clamp(least, most) - least) / (most - least) * BARS as f64
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
