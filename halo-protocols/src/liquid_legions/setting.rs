//! [`Setting`]: what is fixed for a Liquid Legions computation from its creation, checked once.

use crate::duchy_id::DuchyId;
use crate::kernel::KernelError;
use crate::kernel::noise::{HISTOGRAM_SENSITIVITY, REACH_SENSITIVITY};
use crate::noise_account::{NoiseAccount, NoiseComponent, StageNoise};
use crate::proto::duchy::{DifferentialPrivacyParams, ElGamalPublicKey, NoiseMechanism};
use crate::proto::protocol::liquid_legions_v2_noise_config::ReachNoiseConfig;
use crate::proto::protocol::{
    FlagCountTupleNoiseGenerationParameters, LiquidLegionsSketchParameters, LiquidLegionsV2NoiseConfig,
    ReachNoiseDifferentialPrivacyParams, RegisterNoiseGenerationParameters,
};
use crate::role::Role;
use crate::sketch::{Layout, RegisterNoise, TupleNoise};

use halo_crypto::{Group, P256, Ristretto255};

/// The smallest ε that upstream accepts for reach and frequency.
const MINIMUM_EPSILON: f64 = 1e-5;

/// What is fixed for one computation at one duchy.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The computation's global id.
    pub computation: String,
    /// The duchy this is.
    pub duchy: DuchyId,
    /// The part it plays.
    pub role: Role,
    /// How many duchies take part.
    pub duchy_count: usize,
    /// How many requisitions (one for each data provider) the computation has: `total_sketches_count` upstream.
    pub requisition_count: usize,
    /// The rest.
    pub parameters: Parameters,
}

/// The parameters of a measurement by either protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Names the group; see [`Group::CURVE_ID`].
    pub curve_id: i64,
    /// Frequencies are counted up to this; 1 asks for reach only.
    pub maximum_frequency: i32,
    /// Decay rate and size of the sketches.
    pub sketch: LiquidLegionsSketchParameters,
    /// Width of the interval of virtual person ids that is sampled, in (0, 1].
    pub vid_sampling_width: f32,
    /// The noise of every duchy; `None` only where [`NoisePolicy::AllowNone`] is in force.
    pub noise: Option<LiquidLegionsV2NoiseConfig>,
}

/// Whether a computation may go without noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoisePolicy {
    /// Production: every computation is noised.
    Required,
    /// Development and tests only: exact results are allowed.
    AllowNone,
}

/// Parameters that no computation may have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// The group is not one of ours.
    #[error("curve id {0} names no supported group")]
    Curve(i64),
    /// A duchy cannot compute alone.
    #[error("{0} duchies take part, at least 2 must")]
    DuchyCount(usize),
    /// No data provider takes part, or more than counts can express.
    #[error("{0} requisitions; between 1 and {max} are possible", max = i32::MAX)]
    RequisitionCount(usize),
    /// Frequencies start at one.
    #[error("maximum frequency {0} is below 1")]
    MaximumFrequency(i32),
    /// A protocol without frequencies is to count them.
    #[error("maximum frequency {0}: reach-only Liquid Legions v2 counts no frequencies")]
    NotReachOnly(i32),
    /// The sketch cannot be estimated from.
    #[error(
        "sketch with decay rate {decay_rate} and {size} registers: the rate must be above 1, the size at least 1"
    )]
    Sketch {
        /// Decay rate given.
        decay_rate: f64,
        /// Size given.
        size: i64,
    },
    /// The interval of sampled ids is empty or too wide.
    #[error("VID sampling width {0} is not in (0, 1]")]
    VidSamplingWidth(f32),
    /// A part of the noise configuration is absent.
    #[error("the noise configuration lacks {0}")]
    NoiseIncomplete(&'static str),
    /// No noise at all, where [`NoisePolicy::Required`] is in force.
    #[error("the computation asks for no noise, and NoisePolicy::Required is in force")]
    NoiseMissing,
    /// The mechanism is not one for this protocol.
    #[error("noise mechanism {0} is not possible for Liquid Legions v2")]
    NoiseMechanism(i32),
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
    /// ε and δ define no distribution.
    #[error("noise: {0}")]
    Noise(#[source] KernelError),
    /// More noise than a computation may hold, from all duchies together.
    #[error("the parameters demand {demanded} noise {what}, at most {limit} fit a message")]
    TooMuchNoise {
        /// Registers, tuples, or cells of the matrix that tuples become.
        what: &'static str,
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
    /// through to a later crash.
    pub fn validate(&self, policy: NoisePolicy, maximum_message_bytes: u64) -> Result<(), SettingError> {
        self.validate_parameters(policy)?;
        if let Some(noise) = self.validated_register_noise()? {
            let demanded = noise.register_count();
            self.require_room("registers", demanded, Layout::REGISTER, maximum_message_bytes)?;
        }
        if let Some(parameters) = self.tuple_noise() {
            let noise = TupleNoise::new(&parameters, self.noise_mechanism()).map_err(SettingError::Noise)?;
            let demanded = noise.tuple_count();
            self.require_room(
                "flag-count tuples",
                demanded,
                Layout::FLAG_COUNT_TUPLE,
                maximum_message_bytes,
            )?;
            let tests = u64::from(parameters.maximum_frequency.unsigned_abs()) - 1;
            let cells = noise.mean_frequency_count().saturating_mul(tests);
            self.require_room("matrix cells", cells, Layout::CELL, maximum_message_bytes)?;
        }
        Ok(())
    }

    /// The same for the reach-only protocol, whose maximum frequency is 1.
    ///
    /// # Errors
    /// As [`Setting::validate`], and [`SettingError::NotReachOnly`].
    pub fn validate_reach_only(
        &self,
        policy: NoisePolicy,
        maximum_message_bytes: u64,
    ) -> Result<(), SettingError> {
        self.validate_parameters(policy)?;
        if !self.reach_only() {
            return Err(SettingError::NotReachOnly(self.parameters.maximum_frequency));
        }
        match self.validated_register_noise()? {
            None => Ok(()),
            Some(noise) => {
                let demanded = noise.reach_only_register_count();
                self.require_room("registers", demanded, Layout::REACH_ONLY_REGISTER, maximum_message_bytes)
            }
        }
    }

    fn validate_parameters(&self, policy: NoisePolicy) -> Result<(), SettingError> {
        let parameters = &self.parameters;
        if ![P256::CURVE_ID, Ristretto255::CURVE_ID].contains(&parameters.curve_id) {
            return Err(SettingError::Curve(parameters.curve_id));
        }
        if self.duchy_count < 2 {
            return Err(SettingError::DuchyCount(self.duchy_count));
        }
        if self.requisition_count == 0 || i32::try_from(self.requisition_count).is_err() {
            return Err(SettingError::RequisitionCount(self.requisition_count));
        }
        if parameters.maximum_frequency < 1 {
            return Err(SettingError::MaximumFrequency(parameters.maximum_frequency));
        }
        let LiquidLegionsSketchParameters { decay_rate, size } = parameters.sketch;
        if !(decay_rate > 1.0 && decay_rate.is_finite() && size >= 1) {
            return Err(SettingError::Sketch { decay_rate, size });
        }
        let width = parameters.vid_sampling_width;
        if !(width > 0.0 && width <= 1.0) {
            return Err(SettingError::VidSamplingWidth(width));
        }
        match (&parameters.noise, policy) {
            (None, NoisePolicy::Required) => Err(SettingError::NoiseMissing),
            (None, NoisePolicy::AllowNone) => Ok(()),
            (Some(noise), _) => self.validate_noise(noise),
        }
    }

    fn validate_noise(&self, noise: &LiquidLegionsV2NoiseConfig) -> Result<(), SettingError> {
        if ![NoiseMechanism::Geometric, NoiseMechanism::DiscreteGaussian].contains(&noise.noise_mechanism()) {
            return Err(SettingError::NoiseMechanism(noise.noise_mechanism));
        }
        let reach = noise.reach_noise_config.as_ref().ok_or(SettingError::NoiseIncomplete("reach noise"))?;
        let ReachNoiseConfig { blind_histogram_noise, noise_for_publisher_noise, global_reach_dp_noise } =
            reach;
        privacy("blinded histogram noise", blind_histogram_noise.as_ref(), f64::MIN_POSITIVE)?;
        privacy("publisher noise", noise_for_publisher_noise.as_ref(), f64::MIN_POSITIVE)?;
        privacy("reach noise", global_reach_dp_noise.as_ref(), MINIMUM_EPSILON)?;
        if self.parameters.maximum_frequency > 1 {
            privacy("frequency noise", noise.frequency_noise_config.as_ref(), MINIMUM_EPSILON)?;
        }
        Ok(())
    }

    fn validated_register_noise(&self) -> Result<Option<RegisterNoise>, SettingError> {
        let parameters = self.register_noise(None);
        parameters
            .map(|parameters| {
                RegisterNoise::new(&parameters, self.noise_mechanism()).map_err(SettingError::Noise)
            })
            .transpose()
    }

    /// Checks that the noise records of all duchies together fit a message.
    fn require_room(
        &self,
        what: &'static str,
        per_duchy: u64,
        layout: Layout,
        maximum_message_bytes: u64,
    ) -> Result<(), SettingError> {
        let length = layout.length_in(self.parameters.curve_id);
        let demanded = per_duchy.saturating_mul(self.duchy_count as u64);
        let limit = maximum_message_bytes / length as u64;
        if demanded > limit { Err(SettingError::TooMuchNoise { what, demanded, limit }) } else { Ok(()) }
    }

    /// The noise mechanism's number; unspecified if there is no noise.
    pub(crate) fn noise_mechanism(&self) -> i32 {
        let unspecified = NoiseMechanism::Unspecified as i32;
        self.parameters.noise.as_ref().map_or(unspecified, |noise| noise.noise_mechanism)
    }

    pub(crate) fn reach_noise(&self) -> Option<&ReachNoiseConfig> {
        self.parameters.noise.as_ref()?.reach_noise_config.as_ref()
    }

    /// The noise per frequency, where frequencies are asked for.
    pub(crate) fn frequency_noise(&self) -> Option<DifferentialPrivacyParams> {
        self.parameters.noise.as_ref()?.frequency_noise_config.filter(|_| !self.reach_only())
    }

    /// The noise registers of one duchy, as the setup kernel is told of them.
    pub(crate) fn register_noise(
        &self,
        composite_key: Option<&ElGamalPublicKey>,
    ) -> Option<RegisterNoiseGenerationParameters> {
        let noise = self.reach_noise()?;
        Some(RegisterNoiseGenerationParameters {
            composite_el_gamal_public_key: composite_key.cloned(),
            curve_id: self.parameters.curve_id,
            contributors_count: self.contributors_count(),
            // Validated to fit.
            total_sketches_count: self.requisition_count as i32,
            dp_params: Some(ReachNoiseDifferentialPrivacyParams {
                blind_histogram: noise.blind_histogram_noise,
                noise_for_publisher_noise: noise.noise_for_publisher_noise,
                global_reach_dp_noise: noise.global_reach_dp_noise,
            }),
        })
    }

    /// The noise tuples of one duchy, as the execution kernels are told of them.
    pub(crate) fn tuple_noise(&self) -> Option<FlagCountTupleNoiseGenerationParameters> {
        Some(FlagCountTupleNoiseGenerationParameters {
            maximum_frequency: self.parameters.maximum_frequency,
            contributors_count: self.contributors_count(),
            dp_params: Some(self.frequency_noise()?),
        })
    }

    /// The noise of a duchy's setup phase.
    pub(crate) fn setup_noise(&self) -> Result<StageNoise, KernelError> {
        let (Some(noise), Some(parameters)) = (self.reach_noise(), self.register_noise(None)) else {
            return Ok(StageNoise::Disabled);
        };
        let registers = RegisterNoise::new(&parameters, self.noise_mechanism())?;
        let sketches = u32::try_from(self.requisition_count).unwrap_or(u32::MAX);
        let component = |purpose, privacy: &Option<_>, sensitivity, draws| {
            let (mechanism, contributors) = (self.noise_mechanism(), self.contributors_count());
            NoiseComponent::new(purpose, mechanism, contributors, privacy.as_ref(), sensitivity, draws)
        };
        let sums = HISTOGRAM_SENSITIVITY;
        let components = vec![
            component("blinded histogram noise", &noise.blind_histogram_noise, sums, sketches.into())?,
            component("publisher noise", &noise.noise_for_publisher_noise, sketches, 1)?,
            component("reach noise", &noise.global_reach_dp_noise, REACH_SENSITIVITY, 1)?,
        ];
        Ok(StageNoise::Added(NoiseAccount {
            components,
            records: registers.register_count(),
            record_bytes: Layout::REGISTER.length_in(self.parameters.curve_id) as u64,
            carries_input: true,
            trailer_bytes: 0,
        }))
    }

    /// The same in the reach-only protocol, where each message ends with the number of ids that are too many.
    pub(crate) fn reach_only_setup_noise(&self) -> Result<StageNoise, KernelError> {
        Ok(match self.setup_noise()? {
            StageNoise::Added(account) => {
                let record_bytes = Layout::REACH_ONLY_REGISTER.length_in(self.parameters.curve_id) as u64;
                StageNoise::Added(NoiseAccount {
                    records: account.records.saturating_add(2),
                    record_bytes,
                    trailer_bytes: record_bytes,
                    ..account
                })
            }
            other => other,
        })
    }

    /// The noise on frequencies, in a stage that adds it to what it is given or, at the aggregator, to what it makes
    /// of that.
    pub(crate) fn frequency_stage_noise(&self, carries_input: bool) -> Result<StageNoise, KernelError> {
        if self.parameters.noise.is_none() {
            return Ok(StageNoise::Disabled);
        }
        let Some(parameters) = self.tuple_noise() else { return Ok(StageNoise::NotHere) };
        let tuples = TupleNoise::new(&parameters, self.noise_mechanism())?;
        let component = NoiseComponent::new(
            "frequency noise",
            self.noise_mechanism(),
            self.contributors_count(),
            parameters.dp_params.as_ref(),
            HISTOGRAM_SENSITIVITY,
            // One for each frequency, and one for registers of several people.
            u64::from(self.parameters.maximum_frequency.unsigned_abs()) + 1,
        )?;
        Ok(StageNoise::Added(NoiseAccount {
            components: vec![component],
            records: tuples.tuple_count(),
            record_bytes: Layout::FLAG_COUNT_TUPLE.length_in(self.parameters.curve_id) as u64,
            carries_input,
            trailer_bytes: 0,
        }))
    }

    /// The noise of a stage that adds none: none at all, if the computation has none.
    pub(crate) fn no_stage_noise(&self) -> StageNoise {
        match self.parameters.noise {
            Some(_) => StageNoise::NotHere,
            None => StageNoise::Disabled,
        }
    }

    /// Every duchy adds noise.
    pub(crate) fn contributors_count(&self) -> i32 {
        i32::try_from(self.duchy_count).unwrap_or(i32::MAX)
    }

    /// Whether this computation ends with its reach.
    pub fn reach_only(&self) -> bool {
        self.parameters.maximum_frequency == 1
    }
}

fn privacy(
    purpose: &'static str,
    params: Option<&DifferentialPrivacyParams>,
    minimum_epsilon: f64,
) -> Result<(), SettingError> {
    let DifferentialPrivacyParams { epsilon, delta } =
        *params.ok_or(SettingError::NoiseIncomplete(purpose))?;
    if epsilon >= minimum_epsilon && epsilon.is_finite() && delta > 0.0 && delta.is_finite() {
        Ok(())
    } else {
        Err(SettingError::Privacy { purpose, epsilon, delta })
    }
}
