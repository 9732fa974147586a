//! Deterministic simulation: the duchies' processes as they are, in one thread, under a seed.
//!
//! The herald, the mills, the services and the stores' SQL are those of production, and so are the development Kingdom,
//! the data providers and the measurement consumer. What lies below them is not: time is the runtime's, paused, and
//! passes when nobody has anything left to do; randomness comes from the seed (`platform`); calls go from a channel to the
//! services of another process through a network of ours (`network`); databases and blobs are in memory (`records`).
//! So every choice in a run is the seed's, and the same seed gives the same run to the last event.
//!
//! The seed also decides what goes wrong (`plan`): messages get lost, late, doubled and out of order, processes die
//! between any two effects and stand still for longer than their leases, clocks are set, transactions and blobs fail, and
//! the Kingdom goes away. What must hold nevertheless is watched by `checker`; what must come out is computed in plain
//! (`plain`).
//!
//! The group is P-256 as in production, the sketches are tiny.

mod campaign;
mod checker;
mod flaws;
mod keys;
mod machine;
mod network;
mod plain;
mod plan;
mod records;
mod tests;
mod world;

pub(crate) use network::Link;
