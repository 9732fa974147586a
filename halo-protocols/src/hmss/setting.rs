//! [`Setting`]: what is fixed for a share shuffle from its creation, checked once.

use prost::encoding::encoded_len_varint;

use super::{FrequencyVectorParameters, MeasurementKind, Role};
use crate::duchy_id::DuchyId;
use crate::kernel::KernelError;
use crate::kernel::noise::HISTOGRAM_SENSITIVITY;
pub use crate::llv2::NoisePolicy;
use crate::noise_account::{NoiseAccount, NoiseComponent, StageNoise};
use crate::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use crate::proto::protocol::ShareShuffleFrequencyVectorParams;

/// The smallest ε that upstream accepts.
const MINIMUM_EPSILON: f64 = 1e-6;

/// What is fixed for one computation at one duchy.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The computation's global id.
    pub computation: String,
    /// The duchy this is.
    pub duchy: DuchyId,
    /// The part it plays.
    pub role: Role,
    /// The workers, the first one first.
    pub non_aggregators: [DuchyId; 2],
    /// The aggregator.
    pub aggregator: DuchyId,
    /// How many requisitions (one for each data provider) the computation has.
    pub requisition_count: usize,
    /// The rest.
    pub parameters: Parameters,
}

/// The parameters of a measurement by share shuffle.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Frequencies are counted up to this; 1 asks for reach only.
    pub maximum_frequency: i32,
    /// The modulus of the ring that shares live in: at least the maximum frequency times the number of requisitions
    /// plus 2; for reach only, a prime.
    pub ring_modulus: i32,
    /// Width of the interval of virtual people that is sampled, in (0, 1].
    pub vid_sampling_width: f32,
    /// The noise of each worker; `None` only where [`NoisePolicy::AllowNone`] is in force.
    pub noise: Option<Noise>,
}

/// What determines the noise of each worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// The mechanism's number upstream.
    pub mechanism: i32,
    /// The guarantee for the reach.
    pub reach: DifferentialPrivacyParams,
    /// The guarantee for the frequencies, where they are asked for.
    pub frequency: Option<DifferentialPrivacyParams>,
}

/// Parameters that no computation may have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// Each of the three parts is played by a duchy of its own.
    #[error(
        "the duchies {first}, {second} and {aggregator} must be three, and this one, {duchy}, must be {role:?}"
    )]
    Roles {
        /// The first worker.
        first: DuchyId,
        /// The second worker.
        second: DuchyId,
        /// The aggregator.
        aggregator: DuchyId,
        /// The duchy this is.
        duchy: DuchyId,
        /// The part it is to play.
        role: Role,
    },
    /// No data provider takes part.
    #[error("there are no requisitions")]
    NoRequisitions,
    /// Frequencies start at one.
    #[error("maximum frequency {0} is below 1")]
    MaximumFrequency(i32),
    /// All frequencies of a person together are more than can be counted.
    #[error("{requisitions} requisitions of frequency {maximum_frequency} at most add up to too much")]
    CombinedFrequency {
        /// Largest frequency in one requisition.
        maximum_frequency: i32,
        /// How many requisitions.
        requisitions: usize,
    },
    /// The interval of sampled ids is empty or too wide.
    #[error("VID sampling width {0} is not in (0, 1]")]
    VidSamplingWidth(f32),
    /// No noise at all, where [`NoisePolicy::Required`] is in force.
    #[error("the computation asks for no noise, and NoisePolicy::Required is in force")]
    NoiseMissing,
    /// ε or δ are outside what may be asked for.
    #[error("{purpose}: ε = {epsilon}, δ = {delta}; ε must be at least {minimum} and δ above 0, both finite", minimum = MINIMUM_EPSILON)]
    Privacy {
        /// Which noise.
        purpose: &'static str,
        /// ε given.
        epsilon: f64,
        /// δ given.
        delta: f64,
    },
    /// The ring or the noise is not possible.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// More noise than a message may hold.
    #[error("the parameters demand {demanded} noise registers, at most {limit} fit a message")]
    TooMuchNoise {
        /// How many.
        demanded: u64,
        /// How many are allowed.
        limit: u64,
    },
}

impl Setting {
    /// Checks everything that can be known before any data arrives. No vector of the computation may be longer than
    /// `maximum_message_bytes` through noise alone; see [`MAXIMUM_MESSAGE_BYTES`](crate::kernel::MAXIMUM_MESSAGE_BYTES).
    ///
    /// # Errors
    /// The first [`SettingError`]; what upstream refuses when a computation is created, and what it lets
    /// through to a later failure.
    pub fn validate(&self, policy: NoisePolicy, maximum_message_bytes: u64) -> Result<(), SettingError> {
        let [first, second] = &self.non_aggregators;
        let distinct = first != second && *first != self.aggregator && *second != self.aggregator;
        if !distinct || *self.duchy_as(self.role) != self.duchy {
            return Err(SettingError::Roles {
                first: first.clone(),
                second: second.clone(),
                aggregator: self.aggregator.clone(),
                duchy: self.duchy.clone(),
                role: self.role,
            });
        }
        if self.requisition_count == 0 {
            return Err(SettingError::NoRequisitions);
        }
        let Parameters { maximum_frequency, vid_sampling_width: width, noise, .. } = &self.parameters;
        if *maximum_frequency < 1 {
            return Err(SettingError::MaximumFrequency(*maximum_frequency));
        }
        self.maximum_combined_frequency()?;
        if !(*width > 0.0 && *width <= 1.0) {
            return Err(SettingError::VidSamplingWidth(*width));
        }
        match (noise, policy) {
            (None, NoisePolicy::Required) => return Err(SettingError::NoiseMissing),
            (None, NoisePolicy::AllowNone) => {}
            (Some(noise), _) => {
                privacy("reach noise", Some(&noise.reach))?;
                privacy("frequency noise", noise.frequency.as_ref())?;
            }
        }
        // Every vector has at least one register.
        let parameters = self.frequency_vector_parameters(1)?;
        parameters.require_field().map_err(KernelError::from)?;
        let demanded = 2 * parameters.noise_length();
        let limit = maximum_message_bytes / encoded_len_varint(parameters.sentinel().into()) as u64;
        if demanded > limit { Err(SettingError::TooMuchNoise { demanded, limit }) } else { Ok(()) }
    }

    /// The duchy that plays a part.
    pub const fn duchy_as(&self, role: Role) -> &DuchyId {
        let [first, second] = &self.non_aggregators;
        match role {
            Role::FirstNonAggregator => first,
            Role::SecondNonAggregator => second,
            Role::Aggregator => &self.aggregator,
        }
    }

    /// Whether this computation is for reach only.
    pub const fn reach_only(&self) -> bool {
        self.parameters.maximum_frequency == 1
    }

    /// The largest sum that a register can honestly have.
    fn maximum_combined_frequency(&self) -> Result<i32, SettingError> {
        let maximum_frequency = self.parameters.maximum_frequency;
        let requisitions = self.requisition_count;
        i32::try_from(requisitions)
            .ok()
            .and_then(|count| maximum_frequency.checked_mul(count))
            .ok_or(SettingError::CombinedFrequency { maximum_frequency, requisitions })
    }

    /// The noise of a worker's shuffle phase.
    pub(super) fn shuffle_noise(&self) -> Result<StageNoise, SettingError> {
        let Some(noise) = &self.parameters.noise else { return Ok(StageNoise::Disabled) };
        // The noise does not depend on how many registers there are.
        let vectors = self.frequency_vector_parameters(1)?;
        let component = |purpose, privacy, draws| {
            let contributors = FrequencyVectorParameters::CONTRIBUTORS as i32;
            let sensitivity = HISTOGRAM_SENSITIVITY;
            NoiseComponent::new(purpose, noise.mechanism, contributors, privacy, sensitivity, draws)
        };
        let mut components = vec![component("reach noise", Some(&noise.reach), 1)?];
        if !self.reach_only() {
            let draws = vectors.maximum_combined_frequency().into();
            components.push(component("frequency noise", noise.frequency.as_ref(), draws)?);
        }
        Ok(StageNoise::Added(NoiseAccount {
            components,
            records: vectors.noise_length(),
            // Of each worker's noise both hand on a share, of a byte at least.
            record_bytes: 2,
            carries_input: true,
            trailer_bytes: 0,
        }))
    }

    /// What the kernels are told of vectors of `register_count` registers.
    ///
    /// # Errors
    /// [`SettingError::Kernel`] as [`FrequencyVectorParameters::new`], [`SettingError::CombinedFrequency`].
    pub fn frequency_vector_parameters(
        &self,
        register_count: i64,
    ) -> Result<FrequencyVectorParameters, SettingError> {
        let kind =
            if self.reach_only() { MeasurementKind::ReachOnly } else { MeasurementKind::ReachAndFrequency };
        let params = ShareShuffleFrequencyVectorParams {
            register_count,
            maximum_combined_frequency: self.maximum_combined_frequency()?,
            ring_modulus: self.parameters.ring_modulus,
        };
        let noise = self.parameters.noise.as_ref();
        Ok(FrequencyVectorParameters::new(
            kind,
            &params,
            noise.map_or(NoiseMechanism::None as i32, |noise| noise.mechanism),
            noise.map(|noise| &noise.reach),
            noise.and_then(|noise| noise.frequency.as_ref()),
        )?)
    }
}

fn privacy(purpose: &'static str, params: Option<&DifferentialPrivacyParams>) -> Result<(), SettingError> {
    match params {
        Some(DifferentialPrivacyParams { epsilon, delta })
            if !(*epsilon >= MINIMUM_EPSILON && epsilon.is_finite() && *delta > 0.0 && delta.is_finite()) =>
        {
            Err(SettingError::Privacy { purpose, epsilon: *epsilon, delta: *delta })
        }
        _ => Ok(()),
    }
}
