//! The time, as something handed in: tests decide what time it is.

use std::fmt;
use std::ops::Add;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::platform;

/// A point in time in whole milliseconds since 1970-01-01 UTC: the resolution of a token's version upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A `google.protobuf.Timestamp` that is not a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timestamp of {seconds} s and {nanos} ns is out of range")]
pub struct TimestampError {
    /// Seconds found.
    pub seconds: i64,
    /// Nanoseconds found, valid in 0..10^9.
    pub nanos: i32,
}

impl Timestamp {
    /// From milliseconds since 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the end of time.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::default() + since
    }
}

impl From<Timestamp> for prost_types::Timestamp {
    fn from(Timestamp(millis): Timestamp) -> Self {
        // The remainder is below 1000: its nanoseconds fit.
        Self { seconds: millis.div_euclid(1000), nanos: millis.rem_euclid(1000) as i32 * 1_000_000 }
    }
}

impl TryFrom<&prost_types::Timestamp> for Timestamp {
    type Error = TimestampError;

    fn try_from(time: &prost_types::Timestamp) -> Result<Self, TimestampError> {
        let &prost_types::Timestamp { seconds, nanos } = time;
        let error = TimestampError { seconds, nanos };
        if !(0..1_000_000_000).contains(&nanos) {
            return Err(error);
        }
        let millis =
            seconds.checked_mul(1000).and_then(|millis| millis.checked_add(i64::from(nanos) / 1_000_000));
        millis.map(Self).ok_or(error)
    }
}

/// Tells the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        platform::time().into()
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Lets `duration` pass.
    pub fn advance(&self, duration: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = *now + duration;
    }

    /// Sets the clock, also backwards.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_survive_the_wire() {
        for millis in [0, 1, 999, 1000, 1_763_953_280_123, -1] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(Timestamp::try_from(&prost_types::Timestamp::from(time)), Ok(time));
        }
    }

    #[test]
    fn impossible_timestamps_are_refused() {
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            let wire = prost_types::Timestamp { seconds, nanos };
            assert_eq!(Timestamp::try_from(&wire), Err(TimestampError { seconds, nanos }));
        }
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = ManualClock::new(Timestamp::from_millis(5));
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now().millis(), 1005);
        clock.set(Timestamp::from_millis(2));
        assert_eq!(clock.now().millis(), 2);
    }
}
