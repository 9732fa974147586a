//! The stages of a computation, as one table: what each is, what follows it for each role, how many blobs it collects.
//! Numbers and names are upstream's (`HonestMajorityShareShuffle.Stage`), since they travel to peers and to the Kingdom
//! and lie in databases.

use super::{Message, Role};
pub use crate::llv2::stage::{AfterTransition, StageKind};
use crate::proto::protocol::honest_majority_share_shuffle as proto;

/// A stage of a share shuffle at one duchy. The order is the order in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Announce the key that data providers encrypt seeds under; the aggregator, that it takes part.
    Initialized,
    /// First worker: until the Kingdom says that all requisitions are fulfilled.
    WaitToStart,
    /// Second worker: until the first has sent its random seed and the encrypted seeds that it holds.
    WaitOnShuffleInputPhaseOne,
    /// Send the other worker this one's random seed and the encrypted seeds that are for it.
    SetupPhase,
    /// First worker: until the second has sent its seeds.
    WaitOnShuffleInputPhaseTwo,
    /// Aggregator: until both workers have sent their shuffled shares.
    WaitOnAggregationInput,
    /// Add up the shares, add noise, permute.
    ShufflePhase,
    /// Add the workers' shares and count.
    AggregationPhase,
    /// Succeeded, failed or cancelled.
    Complete,
}

/// A stage number that the share shuffle does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stage {0} is not a stage of the honest-majority share shuffle")]
pub struct UnknownStage(
    /// The number found.
    pub i32,
);

impl Stage {
    /// All stages in the order of time.
    pub const ALL: [Self; 9] = [
        Self::Initialized,
        Self::WaitToStart,
        Self::WaitOnShuffleInputPhaseOne,
        Self::SetupPhase,
        Self::WaitOnShuffleInputPhaseTwo,
        Self::WaitOnAggregationInput,
        Self::ShufflePhase,
        Self::AggregationPhase,
        Self::Complete,
    ];

    /// The stage of a new computation.
    pub const INITIAL: Self = Self::Initialized;

    /// The number on the wire and in databases: the position in time, from 1.
    pub const fn number(self) -> i32 {
        self.proto() as i32
    }

    /// Upstream's name, such as `SHUFFLE_PHASE`.
    pub fn name(self) -> &'static str {
        self.proto().as_str_name()
    }

    /// The generated enum's value.
    pub const fn proto(self) -> proto::Stage {
        match self {
            Self::Initialized => proto::Stage::Initialized,
            Self::WaitToStart => proto::Stage::WaitToStart,
            Self::WaitOnShuffleInputPhaseOne => proto::Stage::WaitOnShuffleInputPhaseOne,
            Self::SetupPhase => proto::Stage::SetupPhase,
            Self::WaitOnShuffleInputPhaseTwo => proto::Stage::WaitOnShuffleInputPhaseTwo,
            Self::WaitOnAggregationInput => proto::Stage::WaitOnAggregationInput,
            Self::ShufflePhase => proto::Stage::ShufflePhase,
            Self::AggregationPhase => proto::Stage::AggregationPhase,
            Self::Complete => proto::Stage::Complete,
        }
    }

    /// Who moves a computation out of this stage.
    pub const fn kind(self) -> StageKind {
        match self {
            Self::Initialized | Self::SetupPhase | Self::ShufflePhase | Self::AggregationPhase => {
                StageKind::Compute
            }
            Self::WaitToStart
            | Self::WaitOnShuffleInputPhaseOne
            | Self::WaitOnShuffleInputPhaseTwo
            | Self::WaitOnAggregationInput => StageKind::Wait,
            Self::Complete => StageKind::Terminal,
        }
    }

    /// The stage that follows this one for `role`. `None` where a computation can only be finished, and for a stage
    /// that the role does not pass through. Finishing ([`Stage::Complete`]) is possible from every stage and is not a
    /// successor in this sense.
    pub const fn next(self, role: Role) -> Option<Self> {
        use Role::{Aggregator, FirstNonAggregator, SecondNonAggregator};
        match (self, role) {
            (Self::Initialized, FirstNonAggregator) => Some(Self::WaitToStart),
            (Self::Initialized, SecondNonAggregator) => Some(Self::WaitOnShuffleInputPhaseOne),
            (Self::Initialized, Aggregator) => Some(Self::WaitOnAggregationInput),
            (Self::WaitToStart, FirstNonAggregator)
            | (Self::WaitOnShuffleInputPhaseOne, SecondNonAggregator) => Some(Self::SetupPhase),
            (Self::SetupPhase, FirstNonAggregator) => Some(Self::WaitOnShuffleInputPhaseTwo),
            (Self::SetupPhase, SecondNonAggregator)
            | (Self::WaitOnShuffleInputPhaseTwo, FirstNonAggregator) => Some(Self::ShufflePhase),
            (Self::WaitOnAggregationInput, Aggregator) => Some(Self::AggregationPhase),
            _ => None,
        }
    }

    /// Whose messages a duchy that plays the part `receiver` collects in this stage, in the order in which they are
    /// handed to the stage that follows.
    pub const fn senders(self, receiver: Role) -> &'static [Role] {
        match (self, receiver) {
            (Self::WaitOnShuffleInputPhaseOne, Role::SecondNonAggregator) => {
                Message::ShufflePhaseInputOne.senders()
            }
            (Self::WaitOnShuffleInputPhaseTwo, Role::FirstNonAggregator) => {
                Message::ShufflePhaseInputTwo.senders()
            }
            (Self::WaitOnAggregationInput, Role::Aggregator) => Message::AggregationPhaseInput.senders(),
            _ => &[],
        }
    }

    /// Whether the stage that follows works on what this one was given, not on what it put out. The second worker has
    /// the first one's message in its setup phase, and needs it in the shuffle phase.
    pub const fn hands_inputs_on(self) -> bool {
        matches!(self, Self::SetupPhase)
    }

    /// Whether data providers may still hand in their data. The second worker waits for the first while they may still be
    /// at work.
    pub const fn takes_requisitions(self) -> bool {
        matches!(self, Self::Initialized | Self::WaitToStart | Self::WaitOnShuffleInputPhaseOne)
    }

    /// Whether a computation entering this stage becomes work for a mill.
    pub const fn after_transition(self) -> AfterTransition {
        match self.kind() {
            StageKind::Compute => AfterTransition::AddUnclaimedToQueue,
            StageKind::Wait | StageKind::Terminal => AfterTransition::DoNotAddToQueue,
        }
    }

    /// The number of blobs that this stage must have produced (compute) or received (wait) before the next one.
    ///
    /// Upstream keeps nothing in `SHUFFLE_PHASE` and computes it again after a crash, with other noise, so that the
    /// aggregator may get two vectors to compare. Ours keeps what it has sent
    /// (docs/protocols/hmss.md#repeating-a-stage).
    pub const fn output_slots(self) -> usize {
        match self {
            Self::Initialized
            | Self::WaitToStart
            | Self::SetupPhase
            | Self::AggregationPhase
            | Self::Complete => 0,
            Self::WaitOnShuffleInputPhaseOne | Self::WaitOnShuffleInputPhaseTwo | Self::ShufflePhase => 1,
            Self::WaitOnAggregationInput => 2,
        }
    }
}

impl TryFrom<i32> for Stage {
    type Error = UnknownStage;

    fn try_from(number: i32) -> Result<Self, UnknownStage> {
        Self::ALL.into_iter().find(|stage| stage.number() == number).ok_or(UnknownStage(number))
    }
}

#[cfg(test)]
mod tests;
