//! Liquid Legions v2: reach and frequency of a union of encrypted sketches.

mod execution_phase_one;
mod execution_phase_three;
mod execution_phase_two;
mod initialization_phase;
mod setup_phase;
pub mod stage;

pub use execution_phase_one::{complete_execution_phase_one, complete_execution_phase_one_at_aggregator};
pub use execution_phase_three::{
    complete_execution_phase_three, complete_execution_phase_three_at_aggregator,
};
pub use execution_phase_two::{complete_execution_phase_two, complete_execution_phase_two_at_aggregator};
pub use initialization_phase::complete_initialization_phase;
pub use setup_phase::complete_setup_phase;
pub use stage::{AfterTransition, Stage, StageKind};
