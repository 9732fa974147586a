//! Liquid Legions v2: reach and frequency of a union of encrypted sketches.
//!
//! - [`State`] is a computation at one duchy: events move it from stage to stage, and each step says what the duchy
//!   must do ([`crate::computation`]).
//! - The `complete_*` functions are the stage kernels under upstream's names, on upstream's messages; a state calls
//!   them, and so may anybody.

mod details;
mod execution_phase_one;
mod execution_phase_three;
mod execution_phase_two;
mod initialization_phase;
mod message;
mod setup_phase;
pub mod stage;
mod state;
mod step;

pub use execution_phase_one::{complete_execution_phase_one, complete_execution_phase_one_at_aggregator};
pub use execution_phase_three::{
    complete_execution_phase_three, complete_execution_phase_three_at_aggregator,
};
pub use execution_phase_two::{complete_execution_phase_two, complete_execution_phase_two_at_aggregator};
pub use initialization_phase::complete_initialization_phase;
pub use message::{Message, UnknownMessage};
pub use setup_phase::complete_setup_phase;
pub use stage::{AfterTransition, Stage, StageKind};
pub use state::State;

pub use crate::liquid_legions::{
    Collecting, Confirmed, Created, DetailsError, Event, Evidence, Gathered, Keyed, NoisePolicy, Outcome,
    Parameters, RequisitionEvidence, Retry, Setting, SettingError, StageInputs, StepError, Surroundings,
    key_set,
};
