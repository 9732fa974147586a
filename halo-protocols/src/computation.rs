//! [`Computation`]: the contract between a protocol and whoever hosts it.
//!
//! A host (a unit test, a thread with channels, a duchy's mill) holds the state of a computation, tells it what
//! happened, carries out what it asks for, and keeps what it becomes:
//!
//! ```text
//! state, event ──▶ step ──▶ next state, effects ──▶ host
//! ```
//!
//! A step does no I/O. What a host must do with a [`Step`], in this order:
//!
//! 1. Persist what is new in `next` besides its stage (keys, an estimate), and every [`Keep`](crate::Effect::Keep).
//!    From here on a repetition of the event finds it and nothing random is drawn twice.
//! 2. Carry out the remaining effects in their order. Each can be repeated: after a crash the host tells the state
//!    the same event again, with the kept output, and the same effects come out.
//! 3. Commit `next`'s stage. If that is a stage to be computed, it may be told to start.

use crate::duchy_id::DuchyId;
use crate::liquid_legions::Retry;

/// A protocol run by one party: a value that events move from stage to stage.
pub trait Computation: Sized {
    /// What a host can tell it.
    type Event;
    /// What it can ask of a host.
    type Effect;
    /// Why an event was refused.
    type Error: Refusal;
    /// What a step may use besides its arguments: threads, a cancel flag, the seed of its random choices.
    type Context;

    /// Moves on by one event. The state is taken by value: after an error the host still has the one it stored.
    ///
    /// # Errors
    /// If the event does not belong in this state, or its data is refused; nothing has happened then.
    fn step(self, event: Self::Event, context: &Self::Context) -> Result<Step<Self>, Self::Error>;
}

/// What a step leads to.
#[derive(Clone, Debug)]
#[must_use = "the effects must be carried out and the next state kept"]
pub struct Step<C: Computation> {
    /// The state after the step.
    pub next: C,
    /// What the host owes, in order.
    pub effects: Vec<C::Effect>,
}

/// Why a computation refused an event, as far as its host acts on it.
pub trait Refusal: std::error::Error + Send + Sync + 'static {
    /// The duchy whose doing it is, if it can be told.
    fn culprit(&self) -> Option<&DuchyId>;

    /// Whether trying again can help.
    fn retry(&self) -> Retry;
}
