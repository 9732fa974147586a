//! How far the mill is that works on a computation, as it has last recorded.

use halo_crypto::parallel::Progress;

use super::State;
use crate::clock::Timestamp;
use crate::mill::PROGRESS_STATISTICS;
use crate::store::Record;

/// Characters of a bar.
const WIDTH: usize = 20;

/// How far the kernel is of a computation that is being worked on; `None` of others, and for the first seconds of an attempt.
pub(crate) fn progress(record: &Record, now: Timestamp) -> Option<Progress> {
    let attempt = record.current()?.attempts.last()?;
    if State::of(record, now) != State::Running || attempt.ended.is_some() {
        return None;
    }
    let [step, done, total] = PROGRESS_STATISTICS.map(|name| attempt.stats.get(name).copied());
    let count = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    let (step, done, total) = (count(step)?, count(done)?, count(total)?);
    // The three are written one after the other.
    Some(Progress { step, done: done.min(total), total })
}

/// How many parts of `parts` are done.
fn part(progress: Progress, parts: usize) -> usize {
    let done = u128::from(progress.done) * parts as u128;
    // Not more than `parts`, for no more is done than there is.
    done.checked_div(progress.total.into()).unwrap_or_default() as usize
}

/// How much is done, in per cent.
pub(crate) fn percent(progress: Progress) -> usize {
    part(progress, 100)
}

/// A bar, and how much is done: `██████░░░░░░░░░░░░░░ 31 %`.
pub(crate) fn bar(progress: Progress) -> String {
    let full = part(progress, WIDTH);
    format!("{}{} {} %", "█".repeat(full), "░".repeat(WIDTH - full), percent(progress))
}

/// All that is known: `step 2, ██████░░░░░░░░░░░░░░ 31 % of 1000000 records`.
pub(crate) fn described_progress(progress: Progress) -> String {
    format!("step {}, {} of {} records", progress.step, bar(progress), progress.total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_what_is_done() {
        let of = |done, total| bar(Progress { step: 1, done, total });
        assert_eq!(of(0, 0), "░░░░░░░░░░░░░░░░░░░░ 0 %");
        assert_eq!(of(31, 100), "██████░░░░░░░░░░░░░░ 31 %");
        assert_eq!(of(999, 1000), "███████████████████░ 99 %");
        assert_eq!(of(u64::MAX, u64::MAX), "████████████████████ 100 %");
        let told = described_progress(Progress { step: 3, done: 1, total: 2 });
        assert_eq!(told, "step 3, ██████████░░░░░░░░░░ 50 % of 2 records");
    }
}
