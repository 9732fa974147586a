//! [`StageNoise`]: what noise a duchy adds in a stage, so that a host can keep account of it and see that it is there.
//!
//! Only what follows from the parameters is told, never what was drawn.

use halo_crypto::noise::DistributedNoise;

use crate::kernel::KernelError;
use crate::kernel::noise::distributed_noise;
use crate::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};

/// The noise of a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum StageNoise {
    /// The duchy adds none in this stage, as the protocol has it.
    NotHere,
    /// The computation is without noise altogether.
    Disabled,
    /// The duchy adds its components of these noises.
    Added(NoiseAccount),
}

/// What a duchy adds in a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseAccount {
    /// The noises.
    pub components: Vec<NoiseComponent>,
    /// Registers or tuples of noise, padding included, whatever is drawn.
    pub records: u64,
    /// The least bytes that one of them takes in the stage's output.
    pub record_bytes: u64,
    /// Whether everything that the stage is given is in its output, too.
    pub carries_input: bool,
    /// The bytes at the end of each message given that are not records.
    pub trailer_bytes: u64,
}

/// A duchy's component of one noise.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseComponent {
    /// What it hides.
    pub purpose: &'static str,
    /// Upstream's name of the mechanism.
    pub mechanism: &'static str,
    /// ε of the sum of all components.
    pub epsilon: f64,
    /// δ of the sum of all components.
    pub delta: f64,
    /// By how much one person changes the count.
    pub sensitivity: u32,
    /// How many duchies add a component.
    pub contributors: u32,
    /// The shift of each draw, which is its mean.
    pub offset: u32,
    /// How many draws there are.
    pub draws: u64,
}

impl NoiseComponent {
    /// A component as the kernels draw it; `mechanism` is upstream's number.
    pub(crate) fn new(
        purpose: &'static str,
        mechanism: i32,
        contributors_count: i32,
        privacy: Option<&DifferentialPrivacyParams>,
        sensitivity: u32,
        draws: u64,
    ) -> Result<Self, KernelError> {
        let noise: DistributedNoise =
            distributed_noise(purpose, mechanism, contributors_count, privacy, sensitivity)?;
        // Both are there and in range, or there would be no distribution.
        let DifferentialPrivacyParams { epsilon, delta } = privacy.copied().unwrap_or_default();
        Ok(Self {
            purpose,
            mechanism: NoiseMechanism::try_from(mechanism).unwrap_or_default().as_str_name(),
            epsilon,
            delta,
            sensitivity,
            contributors: u32::try_from(contributors_count).unwrap_or_default(),
            offset: noise.offset(),
            draws,
        })
    }
}

impl NoiseAccount {
    /// Why the output of a stage cannot hold the noise: that it is empty by the parameters, or that the output has fewer
    /// bytes than it must. `given` are the bytes and the number of messages and requisitions that the stage worked on.
    ///
    /// # Errors
    /// [`NoiseMissing`].
    pub fn check(&self, given: (u64, u64), output_bytes: u64) -> Result<(), NoiseMissing> {
        if let Some(empty) = self.components.iter().find(|one| one.offset == 0 || one.draws == 0) {
            return Err(NoiseMissing::Empty(empty.purpose));
        }
        if self.components.is_empty() || self.records == 0 {
            return Err(NoiseMissing::Empty("noise"));
        }
        let (bytes, messages) = given;
        let carried = match self.carries_input {
            true => bytes.saturating_sub(messages.saturating_mul(self.trailer_bytes)),
            false => 0,
        };
        let least = self.records.saturating_mul(self.record_bytes).saturating_add(carried);
        if output_bytes < least {
            return Err(NoiseMissing::Short { found: output_bytes, least });
        }
        Ok(())
    }
}

/// A stage would hand on less noise than its parameters demand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseMissing {
    /// By its parameters a noise has no draws, or draws of size 0.
    #[error("{0} is empty by its parameters")]
    Empty(&'static str),
    /// The output has no room for the noise.
    #[error(
        "the stage's output has {found} bytes; with the noise that the parameters demand it has {least} at least"
    )]
    Short {
        /// Bytes found.
        found: u64,
        /// The fewest that there must be.
        least: u64,
    },
}

#[cfg(test)]
mod tests;
