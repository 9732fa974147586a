//! How long to wait before another try.

use std::time::Duration;

use crate::platform;

/// Pauses that grow from failure to failure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// After the first failure.
    pub initial: Duration,
    /// By how much the pause grows; at least 1.
    pub multiplier: f64,
    /// The longest pause.
    pub max: Duration,
    /// Between how many times the pause and how many times it each one is drawn.
    pub spread: (f64, f64),
}

/// Between 0.8 and 1.2 times the pause: gRPC's.
const SPREAD: (f64, f64) = (0.8, 1.2);

impl Backoff {
    /// Pauses that are spread as gRPC spreads them, by a fifth.
    pub const fn new(initial: Duration, multiplier: f64, max: Duration) -> Self {
        Self { initial, multiplier, max, spread: SPREAD }
    }

    /// The same pauses, spread between `low` times and `high` times each.
    #[must_use]
    pub const fn spread(self, low: f64, high: f64) -> Self {
        Self { spread: (low, high), ..self }
    }

    /// The pause after the `failures`th failure, counted from 1.
    pub fn pause(&self, failures: u32) -> Duration {
        spread(self.unspread(failures), self.spread)
    }

    /// The same before it is spread.
    pub fn unspread(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.multiplier.powi(exponent);
        // Beyond the longest pause, which infinity is too, nobody needs to know how far.
        if seconds >= self.max.as_secs_f64() { self.max } else { Duration::from_secs_f64(seconds) }
    }
}

fn spread(pause: Duration, (low, high): (f64, f64)) -> Duration {
    // Without randomness pauses are just not spread.
    let unit = platform::random_u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(low + (high - low) * unit)
}
