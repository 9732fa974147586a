//! From counted registers to people: the estimators.

pub mod accuracy;
mod exponential_integral;
mod liquid_legions;

pub use liquid_legions::{EstimateError, LiquidLegions};
