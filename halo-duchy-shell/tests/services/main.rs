//! The services over gRPC: each RPC as it should be called, called wrongly, by the wrong party, and again.

#[path = "../store_conformance/fixture.rs"]
#[allow(dead_code, reason = "shared with the store's tests, which use all of it")]
mod fixture;

mod async_computation_control;
mod callers;
mod computation_control;
mod computations;
mod duchy;
mod herald;
mod herald_and_stats;
mod sweep;
