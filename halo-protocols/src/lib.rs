#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used)]

pub mod data_provider;
pub mod estimate;
pub mod kernel;
pub mod llv2;
pub mod proto;
pub mod ring;
pub mod role;
pub mod sketch;
#[cfg(test)]
mod vectors;

pub use role::Role;
