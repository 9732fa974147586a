#![doc = include_str!("../README.md")]
#![deny(unsafe_code, clippy::unwrap_used)]

pub mod group;
pub mod parallel;
pub mod prg;
mod secret;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use group::Group;
pub use group::p256::P256;
pub use secret::Secret;
