//! Watching a mill at work.

use std::fmt;
use std::time::Duration;

use halo_crypto::{Group, P256, Ristretto255};
use halo_protocols::llv2::Message;
use halo_protocols::sketch::Layout;

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
        /// Records finished so far, over all steps of the kernel: a register may count several times.
        records: u64,
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
        /// How long the stage took.
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

/// How many registers, tuples or cells there are in `bytes` bytes of `message` in the group with this curve id.
pub(super) fn records(message: Message, curve_id: i64, bytes: usize) -> u64 {
    let layout = match message {
        Message::SetupPhaseInput | Message::ExecutionPhaseOneInput => Layout::REGISTER,
        Message::ExecutionPhaseTwoInput => Layout::FLAG_COUNT_TUPLE,
        Message::ExecutionPhaseThreeInput => Layout::CELL,
    };
    let length = match curve_id {
        Ristretto255::CURVE_ID => layout.length::<Ristretto255>(),
        _ => layout.length::<P256>(),
    };
    (bytes / length) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_by_their_layout() {
        let p256 = P256::CURVE_ID;
        assert_eq!(records(Message::SetupPhaseInput, p256, 198 * 7), 7);
        assert_eq!(records(Message::ExecutionPhaseTwoInput, p256, 264 * 7), 7);
        assert_eq!(records(Message::ExecutionPhaseThreeInput, p256, 66 * 7), 7);
        assert_eq!(records(Message::ExecutionPhaseOneInput, Ristretto255::CURVE_ID, 192 * 7), 7);
    }
}
