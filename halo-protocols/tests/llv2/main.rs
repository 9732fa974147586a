//! Liquid Legions v2 against the recorded computations of upstream's C++ core (`tests/vectors`), against plain
//! computations, and against broken input.
//!
//! How a recorded response is compared follows the `check` of the case's manifest; see [`vectors`].

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::type_complexity, reason = "tables of cases")]

mod backends;
mod case;
mod chains;
mod chi_squared;
mod draws;
mod edit;
mod encryption;
mod errors;
mod hostile_input;
mod measurement;
mod opening;
mod plain;
mod privacy;
mod recorded;
mod reproducibility;
mod run;
mod statistics;
mod vectors;
mod view;
