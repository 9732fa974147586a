#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used)]

pub mod computation;
pub mod consent;
pub mod data_provider;
mod duchy_id;
mod effect;
pub mod estimate;
pub mod hmss;
pub mod kernel;
pub mod liquid_legions;
pub mod llv2;
mod noise_account;
pub mod proto;
pub mod reach_only_llv2;
pub mod ring;
pub mod role;
pub mod sketch;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod vectors;

pub use computation::{Computation, Refusal, Step};
pub use duchy_id::DuchyId;
pub use effect::{Effect, MeasurementResult, Payload};
pub use noise_account::{NoiseAccount, NoiseComponent, NoiseMissing, StageNoise};
pub use role::Role;
