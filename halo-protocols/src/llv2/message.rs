//! [`Message`]: what duchies send one another, and where it is awaited.

use super::Stage;
use crate::sketch::Layout;

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

    /// How many registers, tuples or matrix cells `payload` holds, in the group with this curve id.
    pub fn record_count(self, curve_id: i64, payload: &[u8]) -> usize {
        let layout = match self {
            Self::SetupPhaseInput | Self::ExecutionPhaseOneInput => Layout::REGISTER,
            Self::ExecutionPhaseTwoInput => Layout::FLAG_COUNT_TUPLE,
            Self::ExecutionPhaseThreeInput => Layout::CELL,
        };
        layout.whole_records(curve_id, payload)
    }
}

impl TryFrom<i32> for Message {
    type Error = UnknownMessage;

    fn try_from(number: i32) -> Result<Self, UnknownMessage> {
        Self::ALL.into_iter().find(|message| message.number() == number).ok_or(UnknownMessage(number))
    }
}

#[cfg(test)]
mod tests {
    use halo_crypto::{Group, P256, Ristretto255};

    use super::*;

    #[test]
    fn records_are_counted_by_their_layout() {
        let p256 = P256::CURVE_ID;
        assert_eq!(Message::SetupPhaseInput.record_count(p256, &[0; 198 * 7]), 7);
        assert_eq!(Message::ExecutionPhaseTwoInput.record_count(p256, &[0; 264 * 7]), 7);
        assert_eq!(Message::ExecutionPhaseThreeInput.record_count(p256, &[0; 66 * 7]), 7);
        assert_eq!(Message::ExecutionPhaseOneInput.record_count(Ristretto255::CURVE_ID, &[0; 192 * 7]), 7);
    }
}
