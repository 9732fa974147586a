//! Processes that die, stop or dawdle in the middle of what they do, and networks, databases and storage that fail
//! (docs/reliability.md): a measurement has the result that it has when nothing happens, or fails at the Kingdom with a
//! reason. None hangs, none has another result.

#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod authority;
mod campaign;
mod clocks;
mod crashes;
mod failures;
#[allow(dead_code, reason = "not every test does everything to a fleet")]
#[path = "../processes/fleet.rs"]
mod fleet;
#[cfg(feature = "gcs")]
#[path = "../servers/gcs.rs"]
mod gcs;
mod incidents;
mod kills;
mod leases;
mod network;
mod noise;
mod points;
#[cfg(feature = "postgres")]
#[allow(dead_code, reason = "not every test does everything to a server")]
#[path = "../servers/postgres.rs"]
mod postgres;
#[path = "../servers/proxy.rs"]
mod proxy;
mod restores;
mod rotation;
mod rows;
mod settings;
mod storage;
mod system;
mod versions;
#[allow(dead_code, reason = "faults of the Kingdom have their own tests")]
#[path = "../kingdom_faults/world.rs"]
mod world;
