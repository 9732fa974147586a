//! Duchies in memory: whole computations without sockets, clocks or threads, for tests and benches of what is built on
//! this crate.
//!
//! The hosts here are the smallest that keep the contract of [`crate::computation`]: after every step they write the
//! state into a row and go on with what they read back, so whatever a row cannot hold is found missing at once.

pub mod hmss;
pub mod llv2;

pub use llv2::{Cluster, ClusterError, Delivery, Fulfilment, Interceptor, ReachOnlyCluster, RingCluster};
