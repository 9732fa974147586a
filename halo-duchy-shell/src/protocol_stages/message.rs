//! What duchies send one another, as the header of a stream names it.

use halo_protocols::{hmss, llv2, reach_only_llv2};

use super::{Protocol, ProtocolStage};
use crate::proto::system::advance_computation_request::header;
use crate::proto::system::{HonestMajorityShareShuffle, LiquidLegionsV2, ReachOnlyLiquidLegionsV2};

/// The kind of a payload between duchies, of some protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerMessage {
    /// Of Liquid Legions v2.
    LiquidLegionsV2(llv2::Message),
    /// Of reach-only Liquid Legions v2.
    ReachOnlyLiquidLegionsV2(reach_only_llv2::Message),
    /// Of the honest-majority share shuffle.
    HonestMajorityShareShuffle(hmss::Message),
}

/// A header that describes no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownMessage {
    /// Of Liquid Legions v2.
    #[error(transparent)]
    LiquidLegionsV2(#[from] llv2::UnknownMessage),
    /// Of reach-only Liquid Legions v2.
    #[error(transparent)]
    ReachOnlyLiquidLegionsV2(#[from] reach_only_llv2::UnknownMessage),
    /// Of the honest-majority share shuffle.
    #[error(transparent)]
    HonestMajorityShareShuffle(#[from] hmss::UnknownMessage),
}

impl PeerMessage {
    /// The stage in which a duchy waits for it.
    pub fn awaited_in(self) -> ProtocolStage {
        match self {
            Self::LiquidLegionsV2(message) => message.awaited_in().into(),
            Self::ReachOnlyLiquidLegionsV2(message) => message.awaited_in().into(),
            Self::HonestMajorityShareShuffle(message) => message.awaited_in().into(),
        }
    }
}

impl Protocol {
    /// The stages in which a duchy waits for a message of another.
    pub(crate) fn awaiting(self) -> Vec<ProtocolStage> {
        match self {
            Self::LiquidLegionsV2 => llv2::Message::ALL.map(|message| message.awaited_in().into()).into(),
            Self::ReachOnlyLiquidLegionsV2 => {
                reach_only_llv2::Message::ALL.map(|message| message.awaited_in().into()).into()
            }
            Self::HonestMajorityShareShuffle => {
                hmss::Message::ALL.map(|message| message.awaited_in().into()).into()
            }
        }
    }
}

impl From<PeerMessage> for header::Protocol {
    fn from(message: PeerMessage) -> Self {
        match message {
            PeerMessage::LiquidLegionsV2(message) => {
                Self::LiquidLegionsV2(LiquidLegionsV2 { description: message.number() })
            }
            PeerMessage::ReachOnlyLiquidLegionsV2(message) => {
                Self::ReachOnlyLiquidLegionsV2(ReachOnlyLiquidLegionsV2 { description: message.number() })
            }
            PeerMessage::HonestMajorityShareShuffle(message) => {
                Self::HonestMajorityShareShuffle(HonestMajorityShareShuffle { description: message.number() })
            }
        }
    }
}

impl TryFrom<&header::Protocol> for PeerMessage {
    type Error = UnknownMessage;

    fn try_from(header: &header::Protocol) -> Result<Self, UnknownMessage> {
        Ok(match header {
            header::Protocol::LiquidLegionsV2(header) => {
                Self::LiquidLegionsV2(header.description.try_into()?)
            }
            header::Protocol::ReachOnlyLiquidLegionsV2(header) => {
                Self::ReachOnlyLiquidLegionsV2(header.description.try_into()?)
            }
            header::Protocol::HonestMajorityShareShuffle(header) => {
                Self::HonestMajorityShareShuffle(header.description.try_into()?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let all = llv2::Message::ALL
            .map(PeerMessage::LiquidLegionsV2)
            .into_iter()
            .chain(reach_only_llv2::Message::ALL.map(PeerMessage::ReachOnlyLiquidLegionsV2))
            .chain(hmss::Message::ALL.map(PeerMessage::HonestMajorityShareShuffle));
        for message in all {
            assert_eq!(PeerMessage::try_from(&header::Protocol::from(message)), Ok(message));
        }
    }

    #[test]
    fn descriptions_that_there_are_not_are_refused() {
        for description in [-1, 0, 5] {
            for header in [
                header::Protocol::LiquidLegionsV2(LiquidLegionsV2 { description }),
                header::Protocol::ReachOnlyLiquidLegionsV2(ReachOnlyLiquidLegionsV2 { description }),
                header::Protocol::HonestMajorityShareShuffle(HonestMajorityShareShuffle { description }),
            ] {
                assert!(PeerMessage::try_from(&header).is_err(), "{header:?}");
            }
        }
    }
}
