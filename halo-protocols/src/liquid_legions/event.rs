//! [`Event`]: all that a host can tell a Liquid Legions computation.

use std::fmt;

use super::key_set::Participant;
use crate::duchy_id::DuchyId;
use crate::llv2::Message;

/// Something that happened, or work that is to be done now. `M` names the payloads that duchies send one another.
#[derive(Clone)]
#[non_exhaustive]
pub enum Event<M = Message> {
    /// Work on `INITIALIZATION_PHASE`.
    Initialize,
    /// The Kingdom is `PENDING_PARTICIPANT_CONFIRMATION`: all keys are published, all requisitions fulfilled.
    KeySetPublished {
        /// The duchy that is to aggregate.
        aggregator: DuchyId,
        /// All duchies of the computation, in any order.
        participants: Vec<Participant>,
    },
    /// Work on `CONFIRMATION_PHASE`.
    Confirm(Evidence),
    /// The Kingdom is `PENDING_COMPUTATION`: all duchies are ready.
    Start,
    /// Another duchy's data has arrived and is kept by the host.
    PeerMessage {
        /// The authenticated sender.
        from: DuchyId,
        /// What it sent.
        message: M,
    },
    /// Work on `SETUP_PHASE` or an execution phase.
    Compute(StageInputs),
    /// The computation failed or was cancelled elsewhere.
    Stop(Outcome),
}

impl<M> Event<M> {
    /// The event's name, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Initialize => "Initialize",
            Self::KeySetPublished { .. } => "KeySetPublished",
            Self::Confirm(_) => "Confirm",
            Self::Start => "Start",
            Self::PeerMessage { .. } => "PeerMessage",
            Self::Compute(_) => "Compute",
            Self::Stop(_) => "Stop",
        }
    }
}

impl<M> fmt::Debug for Event<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a computation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This duchy has done its part.
    Succeeded,
    /// Somebody could not go on.
    Failed,
    /// It was called off.
    Cancelled,
}

/// The data a stage works on.
#[derive(Clone, Default)]
pub struct StageInputs {
    /// Data of the requisitions fulfilled at this duchy, by requisition id in ascending order; setup only.
    pub requisitions: Vec<Vec<u8>>,
    /// What other duchies sent: in setup at the aggregator one for each non-aggregator in ring order, in an execution
    /// phase exactly one.
    pub messages: Vec<Vec<u8>>,
    /// What an earlier attempt at this stage kept. It is sent again instead of being computed again.
    pub kept: Option<Vec<u8>>,
}

/// What the host found out about consent, for `CONFIRMATION_PHASE`.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// SHA-256 of the nonces that the measurement consumer listed.
    pub nonce_hashes: Vec<Vec<u8>>,
    /// The requisitions of the computation.
    pub requisitions: Vec<RequisitionEvidence>,
    /// One line for each certificate or signature of another party that did not verify.
    pub refused_signatures: Vec<String>,
}

/// What is known of one requisition.
#[derive(Clone, Debug)]
pub struct RequisitionEvidence {
    /// Its id.
    pub requisition: String,
    /// The nonce that the data provider revealed on fulfilling it.
    pub nonce: Option<u64>,
    /// Whether it was fulfilled at this duchy.
    pub fulfilled_here: bool,
    /// Whether its data is here.
    pub data_present: bool,
}
