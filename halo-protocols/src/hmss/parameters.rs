//! [`FrequencyVectorParameters`]: what the kernels are told of the vectors and their noise, checked once.

use halo_crypto::noise::DistributedNoise;
use halo_crypto::ring::RingModulus;
use halo_crypto::shuffle::{MAX_ELEMENTS, TooManyElements};

use super::ShareShuffleError;
use crate::kernel::KernelError;
use crate::kernel::noise::{HISTOGRAM_SENSITIVITY, distributed_noise};
use crate::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use crate::proto::protocol::ShareShuffleFrequencyVectorParams;

/// Both workers contribute noise, the aggregator does not.
const CONTRIBUTORS: i32 = 2;

/// What is to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasurementKind {
    /// How many people were reached, and how often.
    ReachAndFrequency,
    /// How many people were reached. Registers are multiplied by random values, so that no more can be seen.
    ReachOnly,
}

/// The frequency vectors of a computation and the noise added to them.
#[derive(Clone, Debug)]
pub struct FrequencyVectorParameters {
    kind: MeasurementKind,
    register_count: usize,
    maximum_combined_frequency: u32,
    modulus: RingModulus,
    noise: Option<VectorNoise>,
}

/// One worker's noise.
#[derive(Clone, Debug)]
pub(super) struct VectorNoise {
    pub(super) reach: DistributedNoise,
    /// Only where frequencies are measured.
    pub(super) frequency: Option<DistributedNoise>,
}

impl FrequencyVectorParameters {
    /// Checks the parameters of a request; `noise_mechanism` is upstream's number.
    ///
    /// # Errors
    /// [`KernelError`]: less than one register, a modulus below the maximum combined frequency plus two or, for reach
    /// alone, no prime, noise parameters that are missing, not wanted or define no noise, or more registers than can
    /// be shuffled.
    pub fn new(
        kind: MeasurementKind,
        params: &ShareShuffleFrequencyVectorParams,
        noise_mechanism: i32,
        reach: Option<&DifferentialPrivacyParams>,
        frequency: Option<&DifferentialPrivacyParams>,
    ) -> Result<Self, KernelError> {
        let ShareShuffleFrequencyVectorParams { register_count, maximum_combined_frequency, ring_modulus } =
            *params;
        let out_of_range = |field, found, expected| KernelError::OutOfRange { field, found, expected };
        let registers = usize::try_from(register_count).ok().filter(|count| *count >= 1);
        let registers = registers.ok_or(out_of_range("register_count", register_count, "at least 1"))?;
        let modulus = u32::try_from(ring_modulus)
            .map_err(|_| out_of_range("ring_modulus", ring_modulus.into(), "at least 2"))?;
        let modulus = RingModulus::new(modulus).map_err(ShareShuffleError::Modulus)?;
        let maximum = u32::try_from(maximum_combined_frequency).map_err(|_| {
            out_of_range("maximum_combined_frequency", maximum_combined_frequency.into(), "at least 0")
        })?;
        if modulus.get() <= maximum.saturating_add(1) {
            return Err(ShareShuffleError::SmallModulus { modulus: modulus.get(), maximum }.into());
        }
        let noise = VectorNoise::new(kind, noise_mechanism, reach, frequency)?;
        let parameters =
            Self { kind, register_count: registers, maximum_combined_frequency: maximum, modulus, noise };
        let total = parameters.noise_length().saturating_mul(2).saturating_add(registers as u64);
        if total > MAX_ELEMENTS as u64 {
            let elements = usize::try_from(total).unwrap_or(usize::MAX);
            return Err(ShareShuffleError::TooManyRegisters(TooManyElements { elements }).into());
        }
        Ok(parameters)
    }

    /// Checks that no product of values other than 0 is 0 where registers are multiplied.
    pub(super) fn require_field(&self) -> Result<(), ShareShuffleError> {
        match self.kind {
            MeasurementKind::ReachOnly if !self.modulus.is_prime() => {
                Err(ShareShuffleError::CompositeModulus(self.modulus.get()))
            }
            _ => Ok(()),
        }
    }

    /// What is to be found out.
    pub const fn kind(&self) -> MeasurementKind {
        self.kind
    }

    /// Registers of a data provider's vector, at least 1.
    pub const fn register_count(&self) -> usize {
        self.register_count
    }

    /// The largest sum that a register can honestly have.
    pub const fn maximum_combined_frequency(&self) -> u32 {
        self.maximum_combined_frequency
    }

    /// The ring that registers live in, with room for the sentinel above the largest sum.
    pub const fn modulus(&self) -> RingModulus {
        self.modulus
    }

    /// Noise registers of one worker; the shuffled vector has twice as many besides the data providers' registers.
    pub fn noise_length(&self) -> u64 {
        let frequencies = 2 * self.frequency_offset() * u64::from(self.maximum_combined_frequency);
        2 * self.reach_offset() + frequencies
    }

    /// Registers of the shuffled vector.
    pub(super) fn shuffled_length(&self) -> usize {
        // Checked to be possible to shuffle.
        self.register_count + 2 * self.noise_length() as usize
    }

    /// What filler registers of reach and frequency hold.
    pub(super) const fn sentinel(&self) -> u32 {
        self.modulus.get() - 1
    }

    pub(super) const fn noise(&self) -> Option<&VectorNoise> {
        self.noise.as_ref()
    }

    /// Mean of one worker's noise on the number of empty registers; 0 without noise.
    pub(super) fn reach_offset(&self) -> u64 {
        self.noise.as_ref().map_or(0, |noise| noise.reach.offset().into())
    }

    /// Mean of one worker's noise on the number of registers of each frequency; 0 without noise.
    pub(super) fn frequency_offset(&self) -> u64 {
        self.noise
            .as_ref()
            .and_then(|noise| noise.frequency.as_ref())
            .map_or(0, |frequency| frequency.offset().into())
    }

    /// How many contribute noise.
    pub(super) const CONTRIBUTORS: u64 = CONTRIBUTORS as u64;
}

impl VectorNoise {
    fn new(
        kind: MeasurementKind,
        mechanism: i32,
        reach: Option<&DifferentialPrivacyParams>,
        frequency: Option<&DifferentialPrivacyParams>,
    ) -> Result<Option<Self>, KernelError> {
        // Reach alone has no use for the parameters of frequencies, and upstream does not look at them.
        let frequency = frequency.filter(|_| kind == MeasurementKind::ReachAndFrequency);
        if mechanism == NoiseMechanism::None as i32 {
            return match (reach, frequency) {
                (None, None) => Ok(None),
                (Some(_), _) => Err(ShareShuffleError::UnexpectedNoise("reach_dp_params").into()),
                (None, Some(_)) => Err(ShareShuffleError::UnexpectedNoise("frequency_dp_params").into()),
            };
        }
        // Upstream uses the noise of blinded histograms for both.
        let distribution = |field, privacy| {
            distributed_noise(field, mechanism, CONTRIBUTORS, privacy, HISTOGRAM_SENSITIVITY)
        };
        let frequency = match kind {
            MeasurementKind::ReachAndFrequency => Some(distribution("frequency_dp_params", frequency)?),
            MeasurementKind::ReachOnly => None,
        };
        Ok(Some(Self { reach: distribution("reach_dp_params", reach)?, frequency }))
    }
}
