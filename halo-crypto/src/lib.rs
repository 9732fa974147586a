#![doc = include_str!("../README.md")]
#![deny(unsafe_code, clippy::unwrap_used)]

pub mod group;
pub mod parallel;
pub mod prg;
mod secret;

pub use group::Group;
pub use secret::Secret;
