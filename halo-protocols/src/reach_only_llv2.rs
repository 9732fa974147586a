//! Reach-only Liquid Legions v2: reach of a union of encrypted sketches that hold nothing but ids.
//!
//! The protocol is that of [`llv2`](crate::llv2) without keys, counts and the rounds that need them: once around the
//! ring, and the aggregator counts different ids. What noise adds to that count is known but for the ids of the
//! blinded histogram, whose number each duchy adds, encrypted, to the *excessive noise ciphertext* that travels behind
//! the registers.
//!
//! The `complete_*` functions are the stage kernels under upstream's names, on upstream's messages.

mod excessive_noise;
mod execution_phase;
mod initialization_phase;
mod setup_phase;

pub use execution_phase::{
    complete_reach_only_execution_phase, complete_reach_only_execution_phase_at_aggregator,
};
pub use initialization_phase::complete_reach_only_initialization_phase;
pub use setup_phase::{
    SetupPhaseAtAggregator, complete_reach_only_setup_phase, complete_reach_only_setup_phase_at_aggregator,
};
