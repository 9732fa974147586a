//! The estimates of the three protocols on the bundled event log, against plain counting: exact but for the sketch
//! without noise, and within the documented standard deviation with it.
//!
//! The bounds are those the project promises: every error within 4σ, the mean of 20 runs within 4σ/√20. A normal
//! variable leaves the first in 20 runs with probability 0.13 %, the second with 0.006 %; the seeds are fixed, so the
//! test gives the same answer every time. With `--nocapture` it prints the table of `docs/noise-and-accuracy.md`.

mod bounds;
mod liquid_legions;
mod llv2;
mod reach_only;
mod share_shuffle;

use halo_duchy_shell::events::{EventLog, Truth};

type TestResult<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Lower than the demo's: a matrix of half the size tells as much about the noise.
const MAXIMUM_FREQUENCY: u32 = 5;
const EPSILON: f64 = 1.0;
const DELTA: f64 = 1e-5;
const SEEDS: u8 = 20;

fn log_and_truth() -> TestResult<(EventLog, Truth)> {
    let log = EventLog::bundled()?;
    let truth = log.truth(MAXIMUM_FREQUENCY, |_| true);
    assert_eq!(truth.reach, 2048, "the documented truth of the bundled log");
    Ok((log, truth))
}
