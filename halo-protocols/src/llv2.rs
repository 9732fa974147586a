//! Liquid Legions v2: reach and frequency of a union of encrypted sketches.
//!
//! - [`State`] is a computation at one duchy: events move it from stage to stage, and each step says what the duchy
//!   must do ([`crate::computation`]).
//! - The `complete_*` functions are the stage kernels under upstream's names, on upstream's messages; a state calls
//!   them, and so may anybody.

mod details;
mod event;
mod execution_phase_one;
mod execution_phase_three;
mod execution_phase_two;
mod initialization_phase;
pub mod key_set;
mod message;
mod setting;
mod setup_phase;
pub mod stage;
mod state;
mod step;

pub use details::{DetailsError, Surroundings};
pub use event::{Event, Evidence, Outcome, RequisitionEvidence, StageInputs};
pub use execution_phase_one::{complete_execution_phase_one, complete_execution_phase_one_at_aggregator};
pub use execution_phase_three::{
    complete_execution_phase_three, complete_execution_phase_three_at_aggregator,
};
pub use execution_phase_two::{complete_execution_phase_two, complete_execution_phase_two_at_aggregator};
pub use initialization_phase::complete_initialization_phase;
pub use message::{Message, UnknownMessage};
pub use setting::{NoisePolicy, Parameters, Setting, SettingError};
pub use setup_phase::complete_setup_phase;
pub use stage::{AfterTransition, Stage, StageKind};
pub use state::{Collecting, Confirmed, Created, Gathered, Keyed, State};
pub use step::{Retry, StepError};
