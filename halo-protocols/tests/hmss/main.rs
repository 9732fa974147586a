//! The honest-majority share shuffle against the recorded computations of upstream's C++ core (`tests/vectors`),
//! against plain counting, and against broken input.
//!
//! How a recorded response is compared follows the `check` of the case's manifest; see [`vectors`].

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod case;
mod chains;
#[path = "../llv2/chi_squared.rs"]
mod chi_squared;
#[path = "../llv2/draws.rs"]
mod draws;
#[path = "../llv2/edit.rs"]
mod edit;
mod errors;
mod hostile_input;
mod machine;
mod privacy;
#[path = "../llv2/recorded.rs"]
mod recorded;
mod requisitions;
mod run;
mod settings;
mod statistics;
mod vectors;
