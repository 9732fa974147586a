//! A computation that the Kingdom announces, as a new one of ours.

use halo_protocols::DuchyId;
use halo_protocols::kernel::MAXIMUM_MESSAGE_BYTES;
use halo_protocols::liquid_legions::{self, NoisePolicy, RingComputation};
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, EncryptionPublicKey, encryption_public_key};
use halo_protocols::proto::protocol::liquid_legions_v2_noise_config::ReachNoiseConfig;
use halo_protocols::proto::protocol::{LiquidLegionsSketchParameters, LiquidLegionsV2NoiseConfig};
use halo_protocols::{hmss, llv2, reach_only_llv2};
use prost::Message as _;

use super::kingdom::{computation_id, duchy_of, requisition_entries};
use super::ring::RingProtocol;
use super::{ConvertError, parse_spec};
use crate::config::{ProtocolsSetup, ShareShuffleSetup, SketchSetup};
use crate::proto::api::measurement_spec::{MeasurementType, VidSamplingInterval};
use crate::proto::api::{self, MeasurementSpec};
use crate::proto::internal::computation_details::{KingdomComputationDetails, Protocol as StoredProtocol};
use crate::proto::internal::{ComputationDetails, CreateComputationRequest};
use crate::proto::system::computation::mpc_protocol_config::{
    HonestMajorityShareShuffle, LiquidLegionsV2, NoiseMechanism, Protocol as KingdomProtocol,
};
use crate::proto::system::{self, Computation};
use crate::protocol_stages::Protocol;

/// A computation that the Kingdom announces, with its parameters checked.
#[derive(Clone, Debug)]
pub struct Announced<'k> {
    computation: &'k Computation,
    id: &'k str,
    duchy: &'k str,
    spec: MeasurementSpec,
    setting: Setting,
}

/// What is fixed for it.
#[derive(Clone, Debug)]
enum Setting {
    LiquidLegionsV2(liquid_legions::Setting),
    ReachOnlyLiquidLegionsV2(liquid_legions::Setting),
    HonestMajorityShareShuffle(hmss::Setting),
}

impl<'k> Announced<'k> {
    /// Reads what the Kingdom announces to `duchy`, which plays the parts of `setup`.
    ///
    /// # Errors
    /// If the computation is of a protocol that the duchy takes no part in, or is malformed, or its parameters are
    /// refused.
    pub fn read(
        computation: &'k Computation,
        duchy: &'k str,
        setup: &ProtocolsSetup,
        policy: NoisePolicy,
    ) -> Result<Self, ConvertError> {
        let id = computation_id(&computation.name)?;
        let config = computation.mpc_protocol_config.as_ref().and_then(|config| config.protocol.as_ref());
        let config = config.ok_or(ConvertError::Missing("protocol configuration"))?;
        let spec = parse_spec(&computation.measurement_spec)?;
        let interval = spec.vid_sampling_interval.ok_or(ConvertError::Missing("VID sampling interval"))?;
        let reader = Reader { computation, id, duchy, spec: &spec, interval, policy };
        let setting = match config {
            KingdomProtocol::LiquidLegionsV2(config) => {
                let setup = part(setup.liquid_legions_v2.as_ref(), Protocol::LiquidLegionsV2)?;
                let setting = reader.ring(config, setup, asked_for(config.maximum_frequency, &spec)?)?;
                setting.validate(policy, MAXIMUM_MESSAGE_BYTES)?;
                Setting::LiquidLegionsV2(setting)
            }
            KingdomProtocol::ReachOnlyLiquidLegionsV2(config) => {
                let setup = setup.reach_only_liquid_legions_v2.as_ref();
                let setup = part(setup, Protocol::ReachOnlyLiquidLegionsV2)?;
                let setting = reader.ring(config, setup, asked_for_reach(&spec)?)?;
                setting.validate_reach_only(policy, MAXIMUM_MESSAGE_BYTES)?;
                Setting::ReachOnlyLiquidLegionsV2(setting)
            }
            KingdomProtocol::HonestMajorityShareShuffle(config) => {
                let setup = setup.honest_majority_share_shuffle.as_ref();
                let setup = part(setup, Protocol::HonestMajorityShareShuffle)?;
                Setting::HonestMajorityShareShuffle(reader.share_shuffle(config, setup)?)
            }
            KingdomProtocol::TrusTee(_) => return Err(ConvertError::Protocol("TrusTEE")),
        };
        Ok(Self { computation, id, duchy, spec, setting })
    }

    /// Whether the duchy needs keys of its own from the start: it is a worker of a share shuffle.
    pub fn needs_worker_keys(&self) -> bool {
        match &self.setting {
            Setting::LiquidLegionsV2(_) | Setting::ReachOnlyLiquidLegionsV2(_) => false,
            Setting::HonestMajorityShareShuffle(setting) => setting.role != hmss::Role::Aggregator,
        }
    }

    /// The request that creates the local computation, with the keys if it needs some.
    ///
    /// # Errors
    /// If the measurement consumer's public key is not of a known kind.
    pub fn request(self, keys: Option<hmss::WorkerKeys>) -> Result<CreateComputationRequest, ConvertError> {
        let Self { computation, id, duchy, spec, setting } = self;
        let participants = computation.computation_participants.len();
        let kingdom_computation = KingdomComputationDetails {
            public_api_version: computation.public_api_version.clone(),
            measurement_spec: computation.measurement_spec.clone(),
            measurement_public_key: Some(measurement_public_key(&spec)?),
            participant_count: i32::try_from(participants).unwrap_or(i32::MAX),
        };
        let (protocol, details) = match setting {
            Setting::LiquidLegionsV2(setting) => {
                let details = ring_details::<llv2::State>(setting)?;
                (Protocol::LiquidLegionsV2, StoredProtocol::LiquidLegionsV2(details))
            }
            Setting::ReachOnlyLiquidLegionsV2(setting) => {
                let details = ring_details::<reach_only_llv2::State>(setting)?;
                (Protocol::ReachOnlyLiquidLegionsV2, StoredProtocol::ReachOnlyLiquidLegionsV2(details))
            }
            Setting::HonestMajorityShareShuffle(setting) => {
                let mut details = Default::default();
                hmss::State::new(setting, keys).write_details(&mut details);
                (Protocol::HonestMajorityShareShuffle, StoredProtocol::HonestMajorityShareShuffle(details))
            }
        };
        Ok(CreateComputationRequest {
            computation_type: protocol.number(),
            global_computation_id: id.to_owned(),
            stage_details: None,
            computation_details: Some(ComputationDetails {
                blobs_storage_prefix: format!("computation-blob-storage/{duchy}/{id}"),
                kingdom_computation: Some(kingdom_computation),
                protocol: Some(details),
                ..ComputationDetails::default()
            }),
            requisitions: requisition_entries(computation)?,
            computation_stage: Some(protocol.initial_stage().into()),
        })
    }
}

fn ring_details<C: RingProtocol>(setting: liquid_legions::Setting) -> Result<C::Details, ConvertError> {
    let mut details = C::Details::default();
    <C as RingComputation>::new(setting).write_details(&mut details)?;
    Ok(details)
}

/// The duchy's part in a protocol.
fn part<S>(setup: Option<&S>, protocol: Protocol) -> Result<&S, ConvertError> {
    setup.ok_or(ConvertError::Protocol(protocol.name()))
}

/// What every protocol's setting is read from.
struct Reader<'k> {
    computation: &'k Computation,
    id: &'k str,
    duchy: &'k str,
    spec: &'k MeasurementSpec,
    interval: VidSamplingInterval,
    policy: NoisePolicy,
}

impl Reader<'_> {
    fn ring(
        &self,
        config: &LiquidLegionsV2,
        setup: &SketchSetup,
        asked: Asked,
    ) -> Result<liquid_legions::Setting, ConvertError> {
        let sketch = config.sketch_params.ok_or(ConvertError::Missing("sketch parameters"))?;
        let noise = config.mpc_noise;
        let reach_noise_config = ReachNoiseConfig {
            blind_histogram_noise: noise.and_then(|noise| noise.blinded_histogram_noise).map(from_system),
            noise_for_publisher_noise: noise.and_then(|noise| noise.publisher_noise).map(from_system),
            global_reach_dp_noise: asked.reach_privacy.map(from_api),
        };
        Ok(liquid_legions::Setting {
            computation: self.id.to_owned(),
            duchy: DuchyId::from(self.duchy),
            role: setup.role,
            duchy_count: self.computation.computation_participants.len(),
            requisition_count: self.computation.requisitions.len(),
            parameters: liquid_legions::Parameters {
                curve_id: config.elliptic_curve_id.into(),
                maximum_frequency: asked.maximum_frequency,
                sketch: LiquidLegionsSketchParameters {
                    decay_rate: sketch.decay_rate,
                    size: sketch.max_size,
                },
                vid_sampling_width: self.interval.width,
                noise: (config.noise_mechanism() != NoiseMechanism::None).then(|| {
                    LiquidLegionsV2NoiseConfig {
                        reach_noise_config: Some(reach_noise_config),
                        frequency_noise_config: asked.frequency_privacy.map(from_api),
                        // The numbers are the same in both packages.
                        noise_mechanism: config.noise_mechanism,
                    }
                }),
            },
        })
    }

    fn share_shuffle(
        &self,
        config: &HonestMajorityShareShuffle,
        setup: &ShareShuffleSetup,
    ) -> Result<hmss::Setting, ConvertError> {
        let ShareShuffleSetup { role, first_non_aggregator, second_non_aggregator, aggregator } = setup;
        for participant in &self.computation.computation_participants {
            let duchy = duchy_of(&participant.name)?;
            if ![first_non_aggregator, second_non_aggregator, aggregator].iter().any(|known| *known == duchy)
            {
                return Err(ConvertError::Participant(duchy.to_owned()));
            }
        }
        let asked = asked_for(0, self.spec)?;
        let ring_modulus = match asked.maximum_frequency {
            1 => config.reach_ring_modulus,
            _ => config.reach_and_frequency_ring_modulus,
        };
        let noise = match config.noise_mechanism() {
            NoiseMechanism::None => None,
            _ => Some(hmss::Noise {
                mechanism: config.noise_mechanism,
                reach: asked
                    .reach_privacy
                    .map(from_api)
                    .ok_or(ConvertError::Missing("privacy parameters of the reach"))?,
                frequency: asked.frequency_privacy.map(from_api),
            }),
        };
        let setting = hmss::Setting {
            computation: self.id.to_owned(),
            duchy: DuchyId::from(self.duchy),
            role: *role,
            non_aggregators: [first_non_aggregator, second_non_aggregator]
                .map(|duchy| DuchyId::from(duchy.as_str())),
            aggregator: DuchyId::from(aggregator.as_str()),
            requisition_count: self.computation.requisitions.len(),
            parameters: hmss::Parameters {
                maximum_frequency: asked.maximum_frequency,
                ring_modulus,
                vid_sampling_width: self.interval.width,
                noise,
            },
        };
        setting.validate(self.policy, MAXIMUM_MESSAGE_BYTES)?;
        Ok(setting)
    }
}

/// What the measurement consumer wants to know, and how noised.
struct Asked {
    maximum_frequency: i32,
    reach_privacy: Option<api::DifferentialPrivacyParams>,
    frequency_privacy: Option<api::DifferentialPrivacyParams>,
}

/// `configured` is the maximum frequency of measurements of old, which stated it in the protocol's configuration.
fn asked_for(configured: i32, spec: &MeasurementSpec) -> Result<Asked, ConvertError> {
    match spec.measurement_type.as_ref().ok_or(ConvertError::Missing("measurement type"))? {
        MeasurementType::ReachAndFrequency(asked) => {
            let maximum_frequency = match asked.maximum_frequency {
                0 => configured,
                frequency => frequency,
            };
            if maximum_frequency <= 1 {
                return Err(ConvertError::MaximumFrequency(maximum_frequency));
            }
            Ok(Asked {
                maximum_frequency,
                reach_privacy: asked.reach_privacy_params,
                frequency_privacy: asked.frequency_privacy_params,
            })
        }
        MeasurementType::Reach(asked) => {
            Ok(Asked { maximum_frequency: 1, reach_privacy: asked.privacy_params, frequency_privacy: None })
        }
        MeasurementType::Impression(_) => Err(ConvertError::MeasurementType("impressions")),
        MeasurementType::Duration(_) => Err(ConvertError::MeasurementType("watch duration")),
        MeasurementType::Population(_) => Err(ConvertError::MeasurementType("population")),
    }
}

/// As [`asked_for`], by a protocol that measures nothing but reach.
fn asked_for_reach(spec: &MeasurementSpec) -> Result<Asked, ConvertError> {
    match spec.measurement_type {
        Some(MeasurementType::ReachAndFrequency(_)) => {
            Err(ConvertError::MeasurementType("reach and frequency"))
        }
        _ => asked_for(0, spec),
    }
}

fn measurement_public_key(spec: &MeasurementSpec) -> Result<EncryptionPublicKey, ConvertError> {
    let bytes = match &spec.measurement_public_key {
        Some(any) if any.type_url.ends_with("/wfa.measurement.api.v2alpha.EncryptionPublicKey") => &any.value,
        Some(any) => return Err(ConvertError::PublicKeyType(any.type_url.clone())),
        None => &spec.serialized_measurement_public_key,
    };
    let key = api::EncryptionPublicKey::decode(bytes.as_slice()).map_err(ConvertError::PublicKey)?;
    match key.format() {
        api::encryption_public_key::Format::TinkKeyset => Ok(EncryptionPublicKey {
            format: encryption_public_key::Format::TinkKeyset as i32,
            data: key.data,
        }),
        api::encryption_public_key::Format::Unspecified => {
            Err(ConvertError::PublicKeyType("key of no known format".to_owned()))
        }
    }
}

const fn from_system(params: system::DifferentialPrivacyParams) -> DifferentialPrivacyParams {
    DifferentialPrivacyParams { epsilon: params.epsilon, delta: params.delta }
}

const fn from_api(params: api::DifferentialPrivacyParams) -> DifferentialPrivacyParams {
    DifferentialPrivacyParams { epsilon: params.epsilon, delta: params.delta }
}
