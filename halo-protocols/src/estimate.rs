//! From counted registers to people: the estimators.

pub mod accuracy;
mod exponential_integral;
mod frequency_vector;
mod liquid_legions;

pub use frequency_vector::{FrequencyVectorEstimator, Histogram, ReachAndFrequency};
pub use liquid_legions::{EstimateError, LiquidLegions};
