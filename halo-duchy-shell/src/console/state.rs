//! What a computation is doing.

use clap::ValueEnum;
use halo_protocols::llv2::StageKind;

use crate::clock::Timestamp;
use crate::proto::internal::computation_details::CompletedReason;
use crate::protocol_stages::ProtocolStage;
use crate::store::Record;

/// What a computation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// Waits for a mill to claim it.
    Queued,
    /// Waits for the time of its next attempt.
    Delayed,
    /// A mill works on it.
    Running,
    /// The lease of the mill that worked on it has run out.
    Expired,
    /// Waits for others: the Kingdom, data providers or duchies.
    Waiting,
    /// Has a result, or its part of one.
    Succeeded,
    /// Has failed.
    Failed,
    /// The Kingdom has cancelled it.
    Canceled,
}

impl State {
    /// Every state, in the order of a computation's life.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Delayed,
        Self::Running,
        Self::Expired,
        Self::Waiting,
        Self::Succeeded,
        Self::Failed,
        Self::Canceled,
    ];

    /// The state of a computation at `now`.
    pub fn of(record: &Record, now: Timestamp) -> Self {
        match record.stage.kind() {
            StageKind::Terminal => match record.details.ending_state() {
                CompletedReason::Succeeded => Self::Succeeded,
                CompletedReason::Failed | CompletedReason::Unspecified => Self::Failed,
                CompletedReason::Canceled => Self::Canceled,
            },
            StageKind::Wait => Self::Waiting,
            StageKind::Compute => {
                let over = record.lock_expiration.is_none_or(|expiration| expiration <= now);
                match (&record.lock_owner, over) {
                    (Some(_), false) => Self::Running,
                    (Some(_), true) => Self::Expired,
                    (None, false) => Self::Delayed,
                    (None, true) => Self::Queued,
                }
            }
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delayed => "delayed",
            Self::Running => "running",
            Self::Expired => "expired",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Whether the computation is over.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }

    /// Whether a computation in `stage` can be in this state.
    pub fn occurs_in(self, stage: ProtocolStage) -> bool {
        match stage.kind() {
            StageKind::Terminal => self.is_end(),
            StageKind::Wait => self == Self::Waiting,
            StageKind::Compute => !self.is_end() && self != Self::Waiting,
        }
    }
}
