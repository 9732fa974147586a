//! Reach-only Liquid Legions v2: reach of a union of encrypted sketches that hold nothing but ids.
//!
//! The protocol is that of [`llv2`](crate::llv2) without keys, counts and the rounds that need them: once around the
//! ring, and the aggregator counts different ids. What noise adds to that count is known but for the ids of the
//! blinded histogram, whose number each duchy adds, encrypted, to the *excessive noise ciphertext* that travels behind
//! the registers.
//!
//! - [`State`] is a computation at one duchy: events move it from stage to stage, and each step says what the duchy
//!   must do ([`crate::computation`]). Its setting is that of Liquid Legions v2 with a maximum frequency of 1, checked by
//!   [`Setting::validate_reach_only`](crate::liquid_legions::Setting::validate_reach_only).
//! - The `complete_*` functions are the stage kernels under upstream's names, on upstream's messages; a state calls
//!   them, and so may anybody.

mod details;
mod excessive_noise;
mod execution_phase;
mod initialization_phase;
mod message;
mod setup_phase;
pub mod stage;
mod state;
mod step;

pub use execution_phase::{
    complete_reach_only_execution_phase, complete_reach_only_execution_phase_at_aggregator,
};
pub use initialization_phase::complete_reach_only_initialization_phase;
pub use message::{Message, UnknownMessage};
pub use setup_phase::{
    SetupPhaseAtAggregator, complete_reach_only_setup_phase, complete_reach_only_setup_phase_at_aggregator,
};
pub use stage::Stage;
pub use state::State;

/// What can be told to a reach-only computation.
pub type Event = crate::liquid_legions::Event<Message>;
/// What it asks of its host.
pub type Effect = crate::effect::Effect<Message>;
/// Why it refuses an event.
pub type StepError = crate::liquid_legions::StepError<Stage>;
/// Why a row describes no state of it.
pub type DetailsError = crate::liquid_legions::DetailsError<Stage>;
