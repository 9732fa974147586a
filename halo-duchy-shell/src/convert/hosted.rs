//! [`Hosted`]: a protocol as the herald and the mills see it.

use std::fmt::Debug;

use halo_protocols::kernel::KernelContext;
use halo_protocols::liquid_legions::Outcome;
use halo_protocols::{Computation, Effect, MeasurementResult};

use super::ConvertError;
use crate::config::ProtocolsSetup;
use crate::consent::Signature;
use crate::proto::api::measurement::Result as ApiResult;
use crate::proto::internal::{ComputationDetails, ComputationToken};
use crate::proto::system::computation_participant::requisition_params;
use crate::protocol_stages::{PeerMessage, ProtocolStage};

/// A protocol that a duchy hosts: states that lie in rows, messages that travel to peers, keys and results that go to
/// the Kingdom.
pub trait Hosted:
    Computation<Event: Send, Effect = Effect<Self::Message>, Context = KernelContext> + Send + Sync + 'static
{
    /// What duchies send one another.
    type Message: Copy + Debug + Send + Sync + Into<PeerMessage>;

    /// The state of a stored computation at `duchy`, which plays the parts of `setup`.
    ///
    /// # Errors
    /// If the row is of another protocol, or lacks what its stage needs.
    fn read(token: &ComputationToken, duchy: &str, setup: &ProtocolsSetup) -> Result<Self, ConvertError>;

    /// Writes what the state knows into the details of its row.
    ///
    /// # Errors
    /// If they are of another protocol.
    fn write(&self, details: &mut ComputationDetails) -> Result<(), ConvertError>;

    /// The stage of the state.
    fn stage(&self) -> ProtocolStage;

    /// How the computation has ended, if it has.
    fn outcome(&self) -> Option<Outcome>;

    /// The stage in which this duchy waits for the Kingdom to start everyone; `None` if others start it.
    fn waits_to_start_in(&self) -> Option<ProtocolStage>;

    /// That the Kingdom has started everyone.
    fn started() -> Self::Event;

    /// What a duchy that takes part publishes, with its key if it has one.
    fn participation(key: Option<SignedKey>) -> requisition_params::Protocol;

    /// How many registers (tuples, matrix cells) a message holds.
    fn record_count(&self, message: Self::Message, payload: &[u8]) -> usize;

    /// A result as the measurement consumer will read it.
    fn measurement_result(&self, result: &MeasurementResult) -> ApiResult;
}

/// A public key of this duchy, signed by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedKey {
    /// The serialised key.
    pub key: Vec<u8>,
    /// The signature over it.
    pub signature: Signature,
}
