//! [`Message`]: what duchies send one another, and where it is awaited.

use super::{Role, Stage, packed};

/// The kind of a payload between duchies; `HonestMajorityShareShuffle.Description` upstream, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// The first worker's random seed and the encrypted seeds that it holds for the second: a `ShufflePhaseInput`.
    ShufflePhaseInputOne,
    /// The same from the second worker to the first.
    ShufflePhaseInputTwo,
    /// A worker's shuffled share, to the aggregator: an `AggregationPhaseInput`.
    AggregationPhaseInput,
}

/// A description number that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("description {0} names no message of the honest-majority share shuffle")]
pub struct UnknownMessage(
    /// The number found.
    pub i32,
);

impl Message {
    /// All kinds, in the order of a computation.
    pub const ALL: [Self; 3] =
        [Self::ShufflePhaseInputOne, Self::ShufflePhaseInputTwo, Self::AggregationPhaseInput];

    /// The number on the wire.
    pub const fn number(self) -> i32 {
        match self {
            Self::ShufflePhaseInputOne => 1,
            Self::ShufflePhaseInputTwo => 2,
            Self::AggregationPhaseInput => 3,
        }
    }

    /// The stage in which a duchy waits for it.
    pub const fn awaited_in(self) -> Stage {
        match self {
            Self::ShufflePhaseInputOne => Stage::WaitOnShuffleInputPhaseOne,
            Self::ShufflePhaseInputTwo => Stage::WaitOnShuffleInputPhaseTwo,
            Self::AggregationPhaseInput => Stage::WaitOnAggregationInput,
        }
    }

    /// Who sends it.
    pub const fn senders(self) -> &'static [Role] {
        match self {
            Self::ShufflePhaseInputOne => &[Role::FirstNonAggregator],
            Self::ShufflePhaseInputTwo => &[Role::SecondNonAggregator],
            Self::AggregationPhaseInput => &[Role::FirstNonAggregator, Role::SecondNonAggregator],
        }
    }

    /// How many registers `payload` holds, those of noise included: none if it is no vector.
    pub fn record_count(self, payload: &[u8]) -> usize {
        match self {
            Self::ShufflePhaseInputOne | Self::ShufflePhaseInputTwo => 0,
            Self::AggregationPhaseInput => packed::value_count(payload).unwrap_or_default(),
        }
    }
}

impl TryFrom<i32> for Message {
    type Error = UnknownMessage;

    fn try_from(number: i32) -> Result<Self, UnknownMessage> {
        Self::ALL.into_iter().find(|message| message.number() == number).ok_or(UnknownMessage(number))
    }
}
