//! [`Message`]: what duchies send one another, where it is awaited, and how its payload is put together.

use halo_crypto::Group;

use super::Stage;
use crate::sketch::Layout;

/// The kind of a payload between duchies; `ReachOnlyLiquidLegionsV2.Description` upstream, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// A non-aggregator's registers and noise ciphertext, to the aggregator.
    SetupPhaseInput,
    /// All registers and the noise ciphertext on their way round the ring.
    ExecutionPhaseInput,
}

/// A description number that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("description {0} names no reach-only Liquid Legions v2 message")]
pub struct UnknownMessage(
    /// The number found.
    pub i32,
);

impl Message {
    /// All kinds, in the order of a computation.
    pub const ALL: [Self; 2] = [Self::SetupPhaseInput, Self::ExecutionPhaseInput];

    /// The number on the wire.
    pub const fn number(self) -> i32 {
        match self {
            Self::SetupPhaseInput => 1,
            Self::ExecutionPhaseInput => 2,
        }
    }

    /// The stage in which a duchy waits for it.
    pub const fn awaited_in(self) -> Stage {
        match self {
            Self::SetupPhaseInput => Stage::WaitSetupPhaseInputs,
            Self::ExecutionPhaseInput => Stage::WaitExecutionPhaseInputs,
        }
    }

    /// How many registers `payload` holds, in the group with this curve id.
    pub fn record_count(self, curve_id: i64, payload: &[u8]) -> usize {
        // Behind the registers is a ciphertext as long as one.
        Layout::REACH_ONLY_REGISTER.whole_records(curve_id, payload).saturating_sub(1)
    }
}

impl TryFrom<i32> for Message {
    type Error = UnknownMessage;

    fn try_from(number: i32) -> Result<Self, UnknownMessage> {
        Self::ALL.into_iter().find(|message| message.number() == number).ok_or(UnknownMessage(number))
    }
}

/// The payload of either message: registers, and behind them the excessive noise ciphertext.
pub(super) fn join(mut registers: Vec<u8>, excessive_noise: &[u8]) -> Vec<u8> {
    registers.extend_from_slice(excessive_noise);
    registers
}

/// Takes a payload apart; `None` if it does not consist of registers and a ciphertext.
pub(super) fn split<G: Group>(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    // A register is one ciphertext, too.
    let ciphertext = Layout::REACH_ONLY_REGISTER.length::<G>();
    if !payload.len().is_multiple_of(ciphertext) {
        return None;
    }
    payload.split_at_checked(payload.len().checked_sub(ciphertext)?)
}

#[cfg(test)]
mod tests {
    use halo_crypto::{P256, Ristretto255};

    use super::*;

    #[test]
    fn the_noise_ciphertext_is_no_register() {
        for message in Message::ALL {
            assert_eq!(message.record_count(P256::CURVE_ID, &[0; 66 * 8]), 7);
            assert_eq!(message.record_count(Ristretto255::CURVE_ID, &[0; 64]), 0);
            assert_eq!(message.record_count(P256::CURVE_ID, &[]), 0);
        }
    }
}
