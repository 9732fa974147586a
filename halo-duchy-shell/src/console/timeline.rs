//! The stages of a computation as a picture.

use std::fmt::{self, Write};

use halo_protocols::llv2::StageKind;

use super::text::{between, brief, end_reason, utc};
use crate::clock::Timestamp;
use crate::html::Escaped;
use crate::proto::internal::computation_stage_attempt_details::EndReason;
use crate::store::{AttemptRecord, Record};

/// Width of the picture, in units that the browser scales.
const WIDTH: f64 = 1160.0;
/// Left edge of the bars: names of stages lie before it.
const LEFT: f64 = 310.0;
/// Height of a stage.
const ROW: f64 = 24.0;
/// The attempts drawn of a stage, the last ones.
const MOST_ATTEMPTS: usize = 200;

/// Draws a bar for each stage, and one on it for each attempt at it.
pub(super) fn draw(f: &mut String, record: &Record, now: Timestamp) -> fmt::Result {
    let Some(first) = record.stages.first().map(|stage| stage.entered) else { return Ok(()) };
    let ended = record.stages.iter().filter(|stage| stage.stage == record.stage.protocol().terminal_stage());
    let last = ended.map(|stage| stage.entered).next().unwrap_or(now).max(first);
    let whole = between(first, last).as_secs_f64().max(0.001);
    let x = |time: Timestamp| {
        let part = between(first, time).as_secs_f64() / whole;
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - 12.0 - LEFT)
    };
    let height = ROW * record.stages.len() as f64 + 26.0;
    writeln!(f, "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\"><title>Stages by time</title>")?;
    for (stage, row) in record.stages.iter().zip(0_u32..) {
        let y = ROW * f64::from(row) + 4.0;
        let left = stage.left.unwrap_or(last);
        let spent = brief(between(stage.entered, left));
        let name = Escaped(stage.stage.name());
        let text = y + 13.0;
        writeln!(f, "<text x=\"0\" y=\"{text:.1}\">{name}</text>")?;
        writeln!(
            f,
            "<text class=\"dim\" x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{spent}</text>",
            LEFT - 8.0
        )?;
        let title = format!("{}, entered {}, for {spent}", stage.stage.name(), utc(stage.entered));
        bar(f, "stage", (x(stage.entered), x(left)), (y, 18.0), &title)?;
        // Nobody attempts the end.
        if stage.stage.kind() == StageKind::Terminal {
            continue;
        }
        let skipped = stage.attempts.len().saturating_sub(MOST_ATTEMPTS);
        for attempt in stage.attempts.iter().skip(skipped) {
            let end = attempt.ended.unwrap_or(last);
            bar(f, class(attempt), (x(attempt.begun), x(end)), (y + 4.0, 10.0), &told(attempt, end))?;
        }
    }
    let y = height - 8.0;
    writeln!(f, "<text class=\"dim\" x=\"{LEFT}\" y=\"{y:.1}\">{}</text>", utc(first))?;
    writeln!(
        f,
        "<text class=\"dim\" x=\"{:.0}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>",
        WIDTH - 12.0,
        utc(last)
    )?;
    writeln!(f, "</svg>")
}

fn bar(
    f: &mut String,
    class: &str,
    (from, to): (f64, f64),
    (y, height): (f64, f64),
    title: &str,
) -> fmt::Result {
    let width = (to - from).max(2.0);
    let title = Escaped(title);
    writeln!(
        f,
        "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\"><title>{title}</title></rect>"
    )
}

/// How an attempt is drawn.
const fn class(attempt: &AttemptRecord) -> &'static str {
    match attempt.reason {
        EndReason::Unspecified => "open",
        EndReason::Succeeded => "good",
        EndReason::Error | EndReason::LockOverwritten => "bad",
        EndReason::Cancelled => "off",
    }
}

fn told(attempt: &AttemptRecord, end: Timestamp) -> String {
    let outcome = end_reason(attempt.reason, attempt.ended.is_some());
    let spent = brief(between(attempt.begun, end));
    let error = if attempt.error.is_empty() { String::new() } else { format!(": {}", attempt.error) };
    format!("attempt {}, {outcome} after {spent}{error}", attempt.number)
}
