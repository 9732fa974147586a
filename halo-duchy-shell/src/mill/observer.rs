//! Watching a mill at work.

use std::fmt;
use std::time::Duration;

use halo_crypto::parallel::Progress;

/// Something that happened in a stage of a computation.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    /// The duchy.
    pub duchy: String,
    /// The global id of the computation.
    pub computation: String,
    /// The stage's name, such as `SETUP_PHASE`.
    pub stage: &'static str,
    /// Which attempt at the stage.
    pub attempt: i32,
    /// What happened.
    pub event: StageEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StageEvent {
    /// A mill has begun.
    Started,
    /// A kernel is at work.
    Progressed {
        /// How far its current step is.
        progress: Progress,
        /// Since the beginning of the stage.
        elapsed: Duration,
    },
    /// The data is ready, but the peer does not await it yet.
    Waiting {
        /// Which duchy.
        peer: String,
    },
    /// The stage is done.
    Finished {
        /// Registers, tuples or matrix cells in what the stage sent; none if it sends nothing.
        registers: u64,
        /// Bytes sent to a peer.
        sent_bytes: u64,
        /// How long the protocol's step took, which is the library's part of the stage.
        computing: Duration,
        /// How long the stage took, waiting for a peer included.
        elapsed: Duration,
    },
    /// The attempt failed; there will be another.
    Interrupted {
        /// Why.
        reason: String,
    },
    /// The computation failed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Hears what a mill does. Must not block.
pub trait StageObserver: fmt::Debug + Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, report: StageReport);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl StageObserver for Silent {
    fn observe(&self, _: StageReport) {}
}
