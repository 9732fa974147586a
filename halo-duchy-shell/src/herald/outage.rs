//! When the Kingdom's stream is opened again after it broke, and when no longer.
//!
//! Upstream pauses 500 ms after the first failure and 1.5 times longer after each further one, each time up to half of it
//! more or less, and ends with the fifth failure in a row: after about four seconds. Here the count also starts anew when
//! a stream has told something, or has lasted, and the herald gives up only if the failures have gone on for long, too.

use std::time::Duration;

use tokio::time::Instant;

use super::HeraldOptions;
use crate::retry::Backoff;

/// By how much the pause grows from failure to failure.
const GROWTH: f64 = 1.5;

/// The longest pause, before it is varied. A stream that lasted longer was one: who cannot connect is told sooner.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// By which part of it a pause may be longer or shorter, so that the heralds of all duchies do not come back together.
const VARIATION: f64 = 0.5;

/// Failures of the stream in a row.
#[derive(Debug, Default)]
pub(super) struct Outage {
    failures: u32,
    /// When the first of them was.
    since: Option<Instant>,
}

impl Outage {
    /// The stream works.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// How many failures there have been.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes in a failure, at `now`, of a stream that was opened at `opened`. How long to pause; `None` to give up.
    pub(super) fn fail(
        &mut self,
        options: &HeraldOptions,
        opened: Instant,
        now: Instant,
    ) -> Option<Duration> {
        if now.duration_since(opened) > LONGEST_PAUSE {
            self.end();
        }
        self.failures = self.failures.saturating_add(1);
        let lasted = now.duration_since(*self.since.get_or_insert(now));
        if self.failures >= options.stream_attempts && lasted >= options.stream_patience {
            return None;
        }
        let backoff = Backoff::new(options.stream_pause, GROWTH, LONGEST_PAUSE);
        Some(backoff.spread(1.0 - VARIATION, 1.0 + VARIATION).pause(self.failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails at once whenever it is opened, until it gives up or `limit` has passed; how long that took, and the pauses.
    fn down_for(limit: Duration, options: &HeraldOptions, outage: &mut Outage) -> (Duration, Vec<Duration>) {
        let begun = Instant::now();
        let (mut now, mut pauses) = (begun, Vec::new());
        while now.duration_since(begun) < limit {
            let Some(pause) = outage.fail(options, now, now) else { break };
            pauses.push(pause);
            now += pause.max(options.stream_floor);
        }
        (now.duration_since(begun), pauses)
    }

    #[test]
    fn half_a_minute_without_a_kingdom_does_not_end_a_herald() {
        for _ in 0..100 {
            let half_a_minute = Duration::from_secs(30);
            let (lasted, pauses) = down_for(half_a_minute, &HeraldOptions::default(), &mut Outage::default());
            assert!(lasted >= half_a_minute, "gave up after {lasted:?}");
            // More often than upstream's herald tries at all.
            assert!(pauses.len() > 5, "{pauses:?}");
        }
    }

    #[test]
    fn pauses_grow_to_the_longest() {
        let (_, pauses) = down_for(Duration::MAX, &HeraldOptions::default(), &mut Outage::default());
        for (index, pause) in pauses.iter().enumerate() {
            let middle = (0.5 * 1.5f64.powi(index as i32)).min(LONGEST_PAUSE.as_secs_f64());
            let expected = middle * 0.49..=middle * 1.51;
            assert!(expected.contains(&pause.as_secs_f64()), "pause {index} is {pause:?}");
        }
        assert!(pauses.len() > 20, "{pauses:?}");
    }

    #[test]
    fn a_herald_gives_up_for_good_reasons_only() {
        let options = HeraldOptions { stream_patience: Duration::ZERO, ..HeraldOptions::default() };
        let (_, pauses) = down_for(Duration::MAX, &options, &mut Outage::default());
        assert_eq!(pauses.len(), 4, "the fifth failure is the last, as it is upstream");

        let patience = Duration::from_secs(60);
        let options =
            HeraldOptions { stream_attempts: 1, stream_patience: patience, ..HeraldOptions::default() };
        let (lasted, _) = down_for(Duration::MAX, &options, &mut Outage::default());
        assert!((patience..patience + 2 * LONGEST_PAUSE).contains(&lasted), "{lasted:?}");
    }

    #[test]
    fn what_works_in_between_starts_the_count_anew() {
        let options = HeraldOptions { stream_patience: Duration::ZERO, ..HeraldOptions::default() };
        let mut outage = Outage::default();
        let now = Instant::now();
        for _ in 0..10 {
            for failures in 1..=4 {
                assert!(outage.fail(&options, now, now).is_some());
                assert_eq!(outage.failures(), failures);
            }
            outage.end();
        }
        // A stream that told nothing but lasted: something between here and the Kingdom cuts idle connections.
        let mut now = now;
        for _ in 0..10 {
            let opened = now;
            now += LONGEST_PAUSE + Duration::from_secs(1);
            assert!(outage.fail(&options, opened, now).is_some());
            assert_eq!(outage.failures(), 1);
        }
    }
}
