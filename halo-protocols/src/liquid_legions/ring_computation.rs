//! [`RingComputation`]: what a host of either protocol needs to know.

use std::fmt::Debug;
use std::ops::Range;

use super::details::{DetailsError, Surroundings};
use super::event::{Event, Outcome};
use super::key_set::{KeySetError, Ring};
use super::{Setting, StepError};
use crate::computation::Computation;
use crate::duchy_id::DuchyId;
use crate::effect::Effect;
use crate::kernel::{KernelContext, KernelError};
use crate::llv2::StageKind;
use crate::noise_account::StageNoise;
use crate::role::Role;

/// The stages of a protocol that starts like Liquid Legions v2.
pub trait RingStage: Copy + Debug + PartialEq + Send + Sync + 'static {
    /// What duchies send one another.
    type Message: Copy + Debug + PartialEq + Send + Sync + 'static;

    /// The stage in which a duchy makes its key pair.
    const INITIALIZATION_PHASE: Self;
    /// The stage in which it waits for the keys of all.
    const WAIT_REQUISITIONS_AND_KEY_SET: Self;
    /// The stage in which it checks them.
    const CONFIRMATION_PHASE: Self;
    /// The stage in which a non-aggregator waits for all to have confirmed.
    const WAIT_TO_START: Self;
    /// The stage in which the aggregator collects the others' registers.
    const WAIT_SETUP_PHASE_INPUTS: Self;
    /// The stage in which a duchy works on what data providers sent.
    const SETUP_PHASE: Self;
    /// What the aggregator collects.
    const SETUP_PHASE_INPUT: Self::Message;
    /// All that is sent, in the order of a computation.
    const MESSAGES: &'static [Self::Message];

    /// Upstream's name.
    fn name(self) -> &'static str;

    /// Who moves a computation out of this stage.
    fn kind(self) -> StageKind;

    /// The stage that follows this one for `role`, if it passes through this one.
    fn next(self, role: Role) -> Option<Self>;

    /// The stage in which a duchy waits for `message`.
    fn awaiting(message: Self::Message) -> Self;

    /// Whose messages the duchy at position `receiver` of a ring of `duchies` collects in this stage: their positions,
    /// in the order in which they are handed to the stage that follows.
    fn senders(self, receiver: usize, duchies: usize) -> Range<usize> {
        let none = 0..0;
        let Some(aggregator) = duchies.checked_sub(1).filter(|aggregator| receiver <= *aggregator) else {
            return none;
        };
        if self == Self::WAIT_SETUP_PHASE_INPUTS {
            return if receiver == aggregator { 0..aggregator } else { none };
        }
        let previous = receiver.checked_sub(1).unwrap_or(aggregator);
        let awaits = Self::MESSAGES.iter().any(|message| Self::awaiting(*message) == self);
        if awaits && previous != receiver { previous..previous + 1 } else { none }
    }
}

/// The payloads between duchies of a computation.
pub(crate) type MessageOf<C> = <<C as RingComputation>::Stage as RingStage>::Message;

/// A computation of duchies in a ring, as a host sees it: its state, told events and kept in rows.
pub trait RingComputation:
    Computation<
        Event = Event<<<Self as RingComputation>::Stage as RingStage>::Message>,
        Effect = Effect<<<Self as RingComputation>::Stage as RingStage>::Message>,
        Error = StepError<<Self as RingComputation>::Stage>,
        Context = KernelContext,
    > + Clone
    + Debug
    + PartialEq
{
    /// Its stages.
    type Stage: RingStage;
    /// The message that its rows hold.
    type Details: prost::Message + Default;

    /// The state of a new computation. The setting should have been validated.
    fn new(setting: Setting) -> Self;

    /// The stage of the state.
    fn stage(&self) -> Self::Stage;

    /// What is fixed for the computation.
    fn setting(&self) -> &Setting;

    /// The participants in ring order, once they are known.
    fn ring(&self) -> Option<&Ring>;

    /// Whose registers have arrived, at an aggregator that collects them.
    fn received(&self) -> Vec<DuchyId>;

    /// How it ended, if it has.
    fn outcome(&self) -> Option<Outcome>;

    /// The secret half of the key pair that this duchy made for the computation, once it has: what nobody else knows, and a
    /// host may derive a seed from.
    ///
    /// It is the scalar in big-endian bytes without leading zeros, so mostly 32 bytes, but not always: on P-256 one key in
    /// 256 has fewer, on Ristretto255 one in 16 or so. Hash it to get a fixed length.
    fn local_secret_key(&self) -> Option<&[u8]>;

    /// What noise this duchy adds in the stage of the state.
    ///
    /// # Errors
    /// [`KernelError`] if the parameters define none; a validated setting's do.
    fn stage_noise(&self) -> Result<StageNoise, KernelError>;

    /// Reads a state from a row.
    ///
    /// # Errors
    /// [`DetailsError`] if the row lacks what a computation in this stage has.
    fn from_details(
        stage: Self::Stage,
        details: &Self::Details,
        surroundings: Surroundings,
    ) -> Result<Self, DetailsError<Self::Stage>>;

    /// Writes what this state knows into a row's details; what it does not know stays as it is.
    ///
    /// # Errors
    /// If a participant's published key cannot be read; it was read when the participant was taken in.
    fn write_details(&self, details: &mut Self::Details) -> Result<(), KeySetError>;
}
