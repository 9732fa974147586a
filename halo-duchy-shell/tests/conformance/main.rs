//! What other parties' programs rely on: the servers as processes, over mutual TLS. Each RPC is called as it should be,
//! wrongly in every way, by the wrong party, again, at the same time, and half; what comes of it is in
//! `docs/status-codes.md`.

#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "../store_conformance/fixture.rs"]
#[allow(dead_code, reason = "shared with the store's tests, which use all of it")]
mod fixture;

#[path = "../requisition_fulfillment/world.rs"]
#[allow(dead_code, reason = "of another test; its messages serve here too")]
mod in_process;

mod callers;
mod case;
mod computations;
mod control;
mod fulfillment;
mod internal;
mod load;
mod python;
mod requisitions;
mod rows;
mod table;
mod world;

use world::World;

#[tokio::test]
async fn computations() {
    computations::suite().run(World::start("aggregator")).await;
}

#[tokio::test]
async fn internal_services() {
    internal::computation_stats().run(World::start("aggregator")).await;
    internal::continuation_tokens().run(World::start("aggregator")).await;
    internal::async_computation_control().run(World::start("aggregator")).await;
}

#[tokio::test]
async fn computation_control() {
    control::suite().run(World::start("aggregator")).await;
}

#[tokio::test]
async fn requisition_fulfillment() {
    fulfillment::suite().run(World::start("worker1")).await;
}
