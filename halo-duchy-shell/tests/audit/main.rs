//! The audit log and the account of noise, on whole measurements, single stages, and the program.

mod measurement;
mod program;
mod secrets;
#[allow(dead_code, reason = "processes have more that is started so")]
#[path = "../processes/single.rs"]
mod single;
mod stages;
