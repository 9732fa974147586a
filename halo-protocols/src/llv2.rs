//! Liquid Legions v2: reach and frequency of a union of encrypted sketches.

pub mod stage;

pub use stage::{AfterTransition, Stage, StageKind};
