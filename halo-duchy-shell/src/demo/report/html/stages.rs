//! Charts of what stages cost at each duchy: time and bytes, a bar for each.

use std::collections::BTreeMap;
use std::fmt::{self, Formatter};

use super::charts::{WIDTH, begin, end};
use super::{Escaped, bytes, shortened};
use crate::demo::report::{Report, StageTime};

/// Colours of duchies in the style sheet; the next one is for data providers.
const COLOURS: usize = 9;
/// Where bars begin, right of their stage's name.
const LEFT: f64 = 200.0;
/// Room for the number beside a bar.
const NUMBER: f64 = 84.0;
/// Height of a bar, gaps included.
const BAR: f64 = 13.0;
/// Duchies side by side in the list of colours.
const LEGEND_COLUMNS: usize = 6;

/// One bar.
struct Bar {
    colour: usize,
    who: String,
    value: f64,
    /// The part of the value in full colour.
    part: f64,
    text: String,
}

/// Bars under one name.
struct Row {
    name: String,
    bars: Vec<Bar>,
}

/// Duchies in the order of their names, each with its colour.
fn duchies(report: &Report) -> BTreeMap<&str, usize> {
    let mut duchies: BTreeMap<_, _> = report.stages.iter().map(|stage| (stage.duchy.as_str(), 0)).collect();
    duchies.values_mut().enumerate().for_each(|(index, colour)| *colour = index.min(COLOURS - 1));
    duchies
}

/// Stages in the order in which each first ended, and what they cost each duchy, all attempts together.
fn rows(report: &Report, cost: impl Fn(&StageTime) -> (f64, f64), text: impl Fn(f64) -> String) -> Vec<Row> {
    let duchies = duchies(report);
    let mut names: Vec<&str> = Vec::new();
    let mut sums = BTreeMap::<(&str, &str), (f64, f64)>::new();
    for stage in &report.stages {
        if !names.contains(&stage.stage.as_str()) {
            names.push(&stage.stage);
        }
        let (sum, part) = sums.entry((&stage.stage, &stage.duchy)).or_default();
        let (more, more_of_part) = cost(stage);
        (*sum, *part) = (*sum + more, *part + more_of_part);
    }
    let bars = |name| {
        let bar = |(duchy, colour): (&&str, &usize)| {
            let (value, part) = sums.get(&(name, *duchy)).copied()?;
            Some(Bar { colour: *colour, who: (*duchy).to_owned(), value, part, text: text(value) })
        };
        duchies.iter().filter_map(bar).collect()
    };
    names.into_iter().map(|name| Row { name: name.to_owned(), bars: bars(name) }).collect()
}

/// Seconds, and those of computing.
pub(super) fn seconds(f: &mut Formatter<'_>, report: &Report) -> fmt::Result {
    let rows = rows(
        report,
        |stage| (stage.seconds, stage.computing_seconds),
        |seconds| {
            if seconds < 1.0 { format!("{:.0} ms", 1e3 * seconds) } else { format!("{seconds:.2} s") }
        },
    );
    chart(f, report, "Time of each stage at each duchy", &rows)
}

/// Bytes that duchies sent to one another, and that data providers sent.
pub(super) fn bytes_sent(f: &mut Formatter<'_>, report: &Report) -> fmt::Result {
    let text = |count| bytes(count as u64);
    let mut rows = rows(report, |stage| [stage.bytes_sent as f64; 2].into(), text);
    rows.iter_mut().for_each(|row| row.bars.retain(|bar| bar.value > 0.0));
    let duchies = duchies(report);
    for (party, sent) in report.bytes_sent.iter().filter(|(party, _)| !duchies.contains_key(party.as_str())) {
        let value = *sent as f64;
        let bar =
            Bar { colour: COLOURS, who: "data provider".to_owned(), value, part: value, text: bytes(*sent) };
        rows.push(Row { name: party.clone(), bars: vec![bar] });
    }
    rows.retain(|row| !row.bars.is_empty());
    chart(f, report, "Bytes sent in each stage by each duchy, and by data providers", &rows)
}

fn chart(f: &mut Formatter<'_>, report: &Report, title: &str, rows: &[Row]) -> fmt::Result {
    let most = rows.iter().flat_map(|row| &row.bars).map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let scale = |value: f64| (value / most).clamp(0.0, 1.0) * (WIDTH - LEFT - NUMBER);
    let heights = rows.iter().map(|row| BAR * row.bars.len() as f64 + 9.0);
    let mut y = legend_height(report);
    begin(f, y + heights.sum::<f64>(), title)?;
    legend(f, report)?;
    for Row { name, bars } in rows {
        let middle = y + BAR * bars.len() as f64 / 2.0 + 3.0;
        let (short, whole) = (Escaped(shortened(name)), Escaped(name));
        let x = LEFT - 10.0;
        writeln!(
            f,
            "<text x=\"{x}\" y=\"{middle:.1}\" text-anchor=\"end\"><title>{whole}</title>{short}</text>"
        )?;
        for Bar { colour, who, value, part, text } in bars {
            let (width, full) = (scale(*value).max(1.0), scale(part.min(*value)));
            let (who, whole, height) = (Escaped(who), Escaped(name), BAR - 2.0);
            writeln!(f, "<g class=\"c{colour}\"><title>{who}, {whole}: {text}</title>")?;
            writeln!(
                f,
                "<rect class=\"pale\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\"/>"
            )?;
            writeln!(f, "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{full:.1}\" height=\"{height}\"/></g>")?;
            let (x, below) = (LEFT + width + 6.0, y + BAR - 3.0);
            writeln!(f, "<text class=\"dim\" x=\"{x:.1}\" y=\"{below:.1}\">{text}</text>")?;
            y += BAR;
        }
        y += 9.0;
    }
    end(f)
}

/// Height of the list of who has which colour.
fn legend_height(report: &Report) -> f64 {
    12.0 + 18.0 * duchies(report).len().div_ceil(LEGEND_COLUMNS) as f64
}

/// Which colour is whose.
fn legend(f: &mut Formatter<'_>, report: &Report) -> fmt::Result {
    for (index, (duchy, colour)) in duchies(report).into_iter().enumerate() {
        let x = LEFT + 110.0 * (index % LEGEND_COLUMNS) as f64;
        let y = 5.0 + 18.0 * (index / LEGEND_COLUMNS) as f64;
        writeln!(f, "<rect class=\"c{colour}\" x=\"{x}\" y=\"{y}\" width=\"10\" height=\"10\"/>")?;
        writeln!(f, "<text x=\"{}\" y=\"{}\">{}</text>", x + 15.0, y + 9.0, Escaped(shortened(duchy)))?;
    }
    Ok(())
}
