//! [`Message`]: what duchies send one another, and where it is awaited.

use super::Stage;

/// The kind of a payload between duchies; `LiquidLegionsV2.Description` upstream, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// A non-aggregator's combined register vector, to the aggregator.
    SetupPhaseInput,
    /// The combined register vector on its way round the ring.
    ExecutionPhaseOneInput,
    /// The flag-count tuples on their way round the ring.
    ExecutionPhaseTwoInput,
    /// The same-key-aggregator matrix on its way round the ring.
    ExecutionPhaseThreeInput,
}

/// A description number that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("description {0} names no Liquid Legions v2 message")]
pub struct UnknownMessage(
    /// The number found.
    pub i32,
);

impl Message {
    /// All kinds, in the order of a computation.
    pub const ALL: [Self; 4] = [
        Self::SetupPhaseInput,
        Self::ExecutionPhaseOneInput,
        Self::ExecutionPhaseTwoInput,
        Self::ExecutionPhaseThreeInput,
    ];

    /// The number on the wire.
    pub const fn number(self) -> i32 {
        match self {
            Self::SetupPhaseInput => 1,
            Self::ExecutionPhaseOneInput => 2,
            Self::ExecutionPhaseTwoInput => 3,
            Self::ExecutionPhaseThreeInput => 4,
        }
    }

    /// The stage in which a duchy waits for it.
    pub const fn awaited_in(self) -> Stage {
        match self {
            Self::SetupPhaseInput => Stage::WaitSetupPhaseInputs,
            Self::ExecutionPhaseOneInput => Stage::WaitExecutionPhaseOneInputs,
            Self::ExecutionPhaseTwoInput => Stage::WaitExecutionPhaseTwoInputs,
            Self::ExecutionPhaseThreeInput => Stage::WaitExecutionPhaseThreeInputs,
        }
    }
}

impl TryFrom<i32> for Message {
    type Error = UnknownMessage;

    fn try_from(number: i32) -> Result<Self, UnknownMessage> {
        Self::ALL.into_iter().find(|message| message.number() == number).ok_or(UnknownMessage(number))
    }
}
