//! Charts of what was found beside what is true: reach, frequencies, and errors in standard deviations.

use std::fmt::{self, Formatter};

use super::{Escaped, grouped, signed};
use crate::demo::report::Report;

/// Width of every chart, in units that the browser scales.
pub(super) const WIDTH: f64 = 860.0;
/// Left and right edges of the plots with an axis of numbers at the left.
const PLOT: (f64, f64) = (56.0, WIDTH - 12.0);
/// The most labels along an axis that do not overlap.
const MOST_LABELS: usize = 26;

/// Begins a chart of this height; `title` is what is read out in its place.
pub(super) fn begin(f: &mut Formatter<'_>, height: f64, title: &str) -> fmt::Result {
    let title = Escaped(title);
    writeln!(f, "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\"><title>{title}</title>")
}

/// Ends a chart.
pub(super) fn end(f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "</svg>")
}

/// A number from `low..=high` on the way from `start` to `stop`; what is no number lies at the start.
fn place(value: f64, (low, high): (f64, f64), (start, stop): (f64, f64)) -> f64 {
    let part = (value - low) / (high - low);
    if part.is_finite() { start + part.clamp(0.0, 1.0) * (stop - start) } else { start }
}

/// Round numbers within `low..=high`, three to eight of them.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 8.0;
    if !(rough.is_finite() && rough > 0.0) {
        return Vec::new();
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let first = (low / step).ceil();
    (0..=10).map(|index| (first + f64::from(index)) * step).filter(|tick| *tick <= high).collect()
}

/// The truth with its bands, and the estimate, on a line of numbers.
pub(super) fn reach(f: &mut Formatter<'_>, report: &Report) -> fmt::Result {
    let (truth, estimate) = (report.true_reach as f64, report.reach as f64);
    let deviation = report.reach_standard_deviation;
    let reach = [4.0 * deviation, 1.3 * (estimate - truth).abs(), 1.0].into_iter().fold(0.0, f64::max);
    let range = (truth - reach, truth + reach);
    let x = |value| place(value, range, (20.0, WIDTH - 20.0));
    begin(f, 104.0, "Estimated and true reach on a line of numbers")?;
    for sigmas in [2.0, 1.0] {
        let [left, right] = [truth - sigmas * deviation, truth + sigmas * deviation].map(x);
        let width = right - left;
        writeln!(f, "<rect class=\"band\" x=\"{left:.1}\" y=\"26\" width=\"{width:.1}\" height=\"44\"/>")?;
    }
    writeln!(f, "<path class=\"axis\" d=\"M20 70H{:.0}\"/>", WIDTH - 20.0)?;
    for tick in ticks(range.0, range.1) {
        let at = x(tick);
        let tick = if tick.fract() == 0.0 { grouped(tick) } else { format!("{tick:.1}") };
        writeln!(f, "<path class=\"axis\" d=\"M{at:.1} 70v5\"/>")?;
        writeln!(f, "<text class=\"dim\" x=\"{at:.1}\" y=\"90\" text-anchor=\"middle\">{tick}</text>")?;
    }
    let (true_at, found_at) = (x(truth), x(estimate));
    // Each label on its own side, so that they cannot overlap.
    let (true_side, found_side) = if estimate >= truth { ("end", "start") } else { ("start", "end") };
    let nudge = |side| if side == "end" { -6.0 } else { 6.0 };
    writeln!(f, "<path class=\"truth\" d=\"M{true_at:.1} 22V70\"/>")?;
    let (at, text) = (true_at + nudge(true_side), grouped(report.true_reach));
    writeln!(
        f,
        "<text class=\"truth-text\" x=\"{at:.1}\" y=\"18\" text-anchor=\"{true_side}\">true {text}</text>"
    )?;
    writeln!(f, "<circle class=\"main\" cx=\"{found_at:.1}\" cy=\"48\" r=\"6\"/>")?;
    let (at, text) = (found_at + nudge(found_side), grouped(report.reach));
    writeln!(f, "<text x=\"{at:.1}\" y=\"18\" text-anchor=\"{found_side}\">estimated {text}</text>")?;
    end(f)
}

/// Where values lie in a chart with an axis of numbers at the left.
#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// The height at which a value lies.
    fn y(self, value: f64) -> f64 {
        place(value, (self.low, self.high), (240.0, 10.0))
    }

    /// Horizontal lines at round numbers, and the numbers.
    fn draw(self, f: &mut Formatter<'_>, label: impl Fn(f64) -> String) -> fmt::Result {
        for tick in ticks(self.low, self.high) {
            let (at, label) = (self.y(tick), label(tick));
            writeln!(f, "<path class=\"axis\" d=\"M{} {at:.1}H{}\"/>", PLOT.0, PLOT.1)?;
            let (x, at) = (PLOT.0 - 8.0, at + 4.0);
            writeln!(f, "<text class=\"dim\" x=\"{x}\" y=\"{at:.1}\" text-anchor=\"end\">{label}</text>")?;
        }
        Ok(())
    }
}

/// Bars of estimated shares; the truth with its deviation in each.
pub(super) fn frequency(f: &mut Formatter<'_>, report: &Report) -> fmt::Result {
    let shares = report.true_frequency.iter();
    let tops = shares.map(|(k, truth)| report.share(*k).max(truth + report.share_standard_deviation(*k)));
    let high = tops.fold(f64::MIN_POSITIVE, f64::max) * 1.05;
    begin(f, 280.0, "Estimated and true shares of frequencies")?;
    let axis = Axis { low: 0.0, high };
    axis.draw(f, |tick| format!("{:.0} %", 100.0 * tick))?;
    let y = |value| axis.y(value);
    let count = report.true_frequency.len();
    let step = (PLOT.1 - PLOT.0) / count.max(1) as f64;
    for (index, (frequency, truth)) in report.true_frequency.iter().enumerate() {
        let middle = PLOT.0 + (index as f64 + 0.5) * step;
        let (share, label) = (report.share(*frequency), report.label(*frequency));
        let deviation = report.share_standard_deviation(*frequency);
        let (left, top, half) = (middle - 0.32 * step, y(share), 0.4 * step);
        let (width, height) = (0.64 * step, y(0.0) - top);
        writeln!(
            f,
            "<rect class=\"main\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{label}: estimated {share:.4}, true {truth:.4}</title></rect>"
        )?;
        let (from, at, to) = (y(truth - deviation), y(*truth), y(truth + deviation));
        writeln!(f, "<path class=\"spread\" d=\"M{middle:.1} {from:.1}V{to:.1}\"/>")?;
        writeln!(f, "<path class=\"truth\" d=\"M{:.1} {at:.1}h{:.1}\"/>", middle - half, 2.0 * half)?;
        label_below(f, index, count, middle, &label)?;
    }
    writeln!(
        f,
        "<text class=\"dim\" x=\"{}\" y=\"276\" text-anchor=\"middle\">impressions</text>",
        WIDTH / 2.0
    )?;
    end(f)
}

/// Every label, or as many as there is room for.
fn label_below(f: &mut Formatter<'_>, index: usize, count: usize, x: f64, label: &str) -> fmt::Result {
    let every = count.div_ceil(MOST_LABELS).max(1);
    if !index.is_multiple_of(every) {
        return Ok(());
    }
    writeln!(f, "<text class=\"dim\" x=\"{x:.1}\" y=\"257\" text-anchor=\"middle\">{label}</text>")
}

/// Errors in standard deviations: reach, then each frequency. Where nothing is random there is nothing to compare with.
pub(super) fn errors(f: &mut Formatter<'_>, report: &Report) -> fmt::Result {
    let reach = ("reach".to_owned(), report.reach_error(), report.reach_standard_deviation);
    let shares = report.true_frequency.iter().filter(|_| !report.frequency.is_empty());
    let shares = shares
        .map(|(k, truth)| (report.label(*k), report.share(*k) - truth, report.share_standard_deviation(*k)));
    let all: Vec<_> = std::iter::once(reach).chain(shares).collect();
    let errors: Vec<_> = all
        .iter()
        .filter(|(_, _, deviation)| *deviation > 0.0)
        .map(|(label, error, deviation)| (label, error / deviation))
        .collect();
    if errors.is_empty() {
        let largest = all.iter().map(|(_, error, _)| error.abs()).fold(0.0, f64::max);
        return writeln!(
            f,
            "<p>Nothing is random in this run: it should be exact. Largest error: {largest}.</p>"
        );
    }
    let high = errors.iter().map(|(_, error)| error.abs()).fold(3.0, f64::max) * 1.1;
    let axis = Axis { low: -high, high };
    let y = |value| axis.y(value);
    begin(f, 264.0, "Errors in standard deviations")?;
    for sigmas in [2.0, 1.0] {
        let [top, bottom] = [sigmas, -sigmas].map(y);
        let (width, height) = (PLOT.1 - PLOT.0, bottom - top);
        let x = PLOT.0;
        writeln!(
            f,
            "<rect class=\"band\" x=\"{x}\" y=\"{top:.1}\" width=\"{width}\" height=\"{height:.1}\"/>"
        )?;
    }
    axis.draw(f, |tick| if tick == 0.0 { "0".to_owned() } else { format!("{} σ", signed(tick, 0)) })?;
    let step = (PLOT.1 - PLOT.0) / errors.len() as f64;
    for (index, (label, error)) in errors.iter().enumerate() {
        let middle = PLOT.0 + (index as f64 + 0.5) * step;
        let (zero, at, text) = (y(0.0), y(*error), signed(*error, 2));
        writeln!(f, "<path class=\"truth\" d=\"M{middle:.1} {zero:.1}V{at:.1}\"/>")?;
        writeln!(
            f,
            "<circle class=\"main\" cx=\"{middle:.1}\" cy=\"{at:.1}\" r=\"5\"><title>{label}: {text} σ</title></circle>"
        )?;
        label_below(f, index, errors.len(), middle, label)?;
    }
    end(f)?;
    writeln!(
        f,
        "<p>Two in three should lie within one standard deviation, nineteen in twenty within two.</p>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_range() {
        assert_eq!(ticks(1990.0, 2110.0), [2000.0, 2020.0, 2040.0, 2060.0, 2080.0, 2100.0]);
        assert_eq!(ticks(-3.3, 3.3), [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]);
        for (low, high) in [(0.0, 0.0), (1.0, 0.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            assert_eq!(ticks(low, high), [0.0; 0], "{low} to {high}");
        }
    }

    #[test]
    fn what_is_out_of_range_stays_within_the_plot() {
        let at = |value| place(value, (0.0, 10.0), (100.0, 0.0));
        assert_eq!([at(0.0), at(5.0), at(10.0), at(-1.0), at(11.0)], [100.0, 50.0, 0.0, 100.0, 0.0]);
        assert_eq!(at(f64::NAN), 100.0);
        assert_eq!(place(0.0, (0.0, 0.0), (7.0, 9.0)), 7.0);
    }
}
