#![doc = include_str!("../README.md")]
#![deny(unsafe_code, clippy::unwrap_used)]

pub mod backend;
pub mod count;
pub mod elgamal;
pub mod group;
pub mod noise;
pub mod parallel;
pub mod pohlig_hellman;
pub mod prg;
pub mod ring;
mod secret;
pub mod secret_sharing;
pub mod shuffle;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use backend::Backend;
pub use group::{Group, P256, Ristretto255};
pub use secret::Secret;
pub use shuffle::shuffle;
