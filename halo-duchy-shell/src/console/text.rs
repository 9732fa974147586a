//! Times, spans and sizes, for people.

use std::time::Duration;

use time::OffsetDateTime;

use crate::clock::Timestamp;
use crate::proto::internal::computation_stage_attempt_details::EndReason;

/// A time in UTC, to the second: `2026-11-29 15:35:31Z`.
pub(crate) fn utc(time: Timestamp) -> String {
    let seconds = time.millis().div_euclid(1000);
    let Ok(time) = OffsetDateTime::from_unix_timestamp(seconds) else { return format!("{seconds} s") };
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// The time from `start` to `end`; zero if that is before.
pub(crate) fn between(start: Timestamp, end: Timestamp) -> Duration {
    let millis = end.millis().saturating_sub(start.millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// A span in its two largest units: `3d 4h`, `5m 12s`, `1.25s`.
pub(crate) fn brief(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 10 => format!("{:.2}s", span.as_secs_f64()),
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// A number of bytes in three digits and a unit.
pub(crate) fn bytes(count: u64) -> String {
    let scaled = count as f64;
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", scaled / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", scaled / 1e6),
        _ => format!("{:.1} GB", scaled / 1e9),
    }
}

/// How an attempt ended, in a word or two.
pub(crate) const fn end_reason(reason: EndReason, ended: bool) -> &'static str {
    match (reason, ended) {
        (EndReason::Unspecified, false) => "under way",
        (EndReason::Unspecified, true) => "unknown",
        (EndReason::Succeeded, _) => "succeeded",
        (EndReason::Error, _) => "error",
        (EndReason::LockOverwritten, _) => "lease ran out",
        (EndReason::Cancelled, _) => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(utc(Timestamp::from_millis(1_763_953_280_999)), "2025-11-24 03:01:20Z");
        assert_eq!(utc(Timestamp::from_millis(-1)), "1969-12-31 23:59:59Z");
        assert_eq!(utc(Timestamp::from_millis(i64::MAX)), format!("{} s", i64::MAX / 1000));
    }

    #[test]
    fn spans_and_sizes_are_short() {
        for (millis, text) in [
            (0, "0.00s"),
            (1_250, "1.25s"),
            (59_999, "59s"),
            (312_000, "5m 12s"),
            (7_500_000, "2h 5m"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(brief(Duration::from_millis(millis)), text);
        }
        assert_eq!([bytes(999), bytes(1_000), bytes(2_540_000)], ["999 B", "1.0 kB", "2.5 MB"]);
        assert_eq!(between(Timestamp::from_millis(5), Timestamp::from_millis(3)), Duration::ZERO);
    }
}
