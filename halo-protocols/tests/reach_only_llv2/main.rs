//! Reach-only Liquid Legions v2 against the recorded computations of upstream's C++ core (`tests/vectors`), against
//! plain counting, and against broken input.
//!
//! How a recorded response is compared follows the `check` of the case's manifest; see [`vectors`].

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::type_complexity, reason = "tables of cases")]

#[path = "../llv2/backends.rs"]
mod backends;
#[path = "../llv2/case.rs"]
#[allow(dead_code, reason = "shared with the tests of Liquid Legions v2")]
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
#[path = "../llv2/measurement.rs"]
#[allow(dead_code, reason = "shared with the tests of Liquid Legions v2")]
mod measurement;
#[path = "../llv2/opening.rs"]
#[allow(dead_code, reason = "shared with the tests of Liquid Legions v2")]
mod opening;
mod plain;
mod privacy;
#[path = "../llv2/recorded.rs"]
mod recorded;
mod run;
mod statistics;
mod vectors;
#[path = "../llv2/view.rs"]
mod view;

/// The recorded computations of this protocol.
const CASES: [&str; 5] = [
    "rollv2_2duchies_no_noise",
    "rollv2_3duchies_gaussian",
    "rollv2_3duchies_geometric",
    "rollv2_3duchies_no_noise",
    "rollv2_4duchies_gaussian",
];
