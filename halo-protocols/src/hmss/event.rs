//! [`Event`]: all that a host can tell a share shuffle.

use std::fmt;

use halo_crypto::Secret;

use super::Message;
use crate::duchy_id::DuchyId;
pub use crate::llv2::{Evidence, Outcome};
use crate::proto::protocol::honest_majority_share_shuffle::shuffle_phase_input::SecretSeed;

/// Something that happened, or work that is to be done now.
#[derive(Clone)]
#[non_exhaustive]
pub enum Event {
    /// Work on `INITIALIZED`.
    Initialize,
    /// First worker only: the Kingdom is `PENDING_COMPUTATION`, all requisitions are fulfilled.
    Start,
    /// Another duchy's data has arrived and is kept by the host.
    PeerMessage {
        /// The authenticated sender.
        from: DuchyId,
        /// What it sent.
        message: Message,
    },
    /// Work on `SETUP_PHASE`.
    Setup(SetupInputs),
    /// Work on `SHUFFLE_PHASE`.
    Shuffle(ShuffleInputs),
    /// Work on `AGGREGATION_PHASE`.
    Aggregate(AggregationInputs),
    /// The computation failed or was cancelled elsewhere.
    Stop(Outcome),
}

impl Event {
    /// The event's name, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Initialize => "Initialize",
            Self::Start => "Start",
            Self::PeerMessage { .. } => "PeerMessage",
            Self::Setup(_) => "Setup",
            Self::Shuffle(_) => "Shuffle",
            Self::Aggregate(_) => "Aggregate",
            Self::Stop(_) => "Stop",
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a worker passes on to the other.
#[derive(Clone, Default)]
pub struct SetupInputs {
    /// For each requisition fulfilled here, the seed that its data provider encrypted to the other worker.
    pub secret_seeds: Vec<SecretSeed>,
    /// What the host found out about consent, where it knows the nonces; upstream never looks in this protocol.
    pub evidence: Option<Evidence>,
}

/// What a worker shuffles.
#[derive(Clone, Default)]
pub struct ShuffleInputs {
    /// The ids of all requisitions of the computation.
    pub requisitions: Vec<String>,
    /// The shares of those fulfilled here.
    pub vectors: Vec<VectorShare>,
    /// The other worker's `ShufflePhaseInput`.
    pub peer_message: Vec<u8>,
    /// The seeds that are encrypted in it, opened and verified by the host (see [`secret_seeds`](super::secret_seeds)).
    pub seeds: Vec<SeedShare>,
    /// What an earlier attempt at this stage kept. It is sent again instead of being computed again.
    pub kept: Option<Vec<u8>>,
}

/// A share that a data provider handed to this worker.
#[derive(Clone)]
pub struct VectorShare {
    /// The requisition.
    pub requisition: String,
    /// How many registers the data provider said there are.
    pub register_count: i64,
    /// A serialised `FrequencyVector`.
    pub frequency_vector: Vec<u8>,
}

/// A share that a data provider encrypted to this worker.
#[derive(Clone)]
pub struct SeedShare {
    /// The requisition.
    pub requisition: String,
    /// The data of the opened `RandomSeed`.
    pub seed: Secret<Vec<u8>>,
}

/// What the aggregator counts.
#[derive(Clone, Default)]
pub struct AggregationInputs {
    /// The workers' `AggregationPhaseInput`s, the first worker's first.
    pub messages: Vec<Vec<u8>>,
}
