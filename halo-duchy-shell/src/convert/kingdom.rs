//! A computation as the Kingdom describes it, as a new computation, an event, or requisitions of ours.

use halo_protocols::DuchyId;
use halo_protocols::kernel::MAXIMUM_MESSAGE_BYTES;
use halo_protocols::llv2::key_set::Participant;
use halo_protocols::llv2::{Event, NoisePolicy, Parameters, Setting, State};
use halo_protocols::proto::duchy::{self, EncryptionPublicKey, encryption_public_key};
use halo_protocols::proto::protocol::liquid_legions_v2_noise_config::ReachNoiseConfig;
use halo_protocols::proto::protocol::{
    LiquidLegionsSketchParameters, LiquidLegionsV2NoiseConfig, liquid_legions_sketch_aggregation_v2 as llv2,
};
use prost::Message as _;
use sha2::{Digest, Sha256};

use super::{ConvertError, MAXIMUM_SPEC_BYTES};
use crate::config::{SketchSetup, is_valid_id};
use crate::proto::api::measurement_spec::MeasurementType;
use crate::proto::api::{self, MeasurementSpec};
use crate::proto::internal::computation_details::{KingdomComputationDetails, Protocol as StoredProtocol};
use crate::proto::internal::{
    ComputationDetails, CreateComputationRequest, ExternalRequisitionKey, RequisitionDetails,
    RequisitionEntry,
};
use crate::proto::system::computation::mpc_protocol_config::{
    LiquidLegionsV2, NoiseMechanism, Protocol as KingdomProtocol,
};
use crate::proto::system::computation_participant::requisition_params::Protocol as ParamsProtocol;
use crate::proto::system::{Computation, ComputationParticipant, DifferentialPrivacyParams, Requisition};
use crate::protocol_stages::Protocol;

/// The global id of the computation with this resource name.
///
/// # Errors
/// [`ConvertError::Name`].
pub fn computation_id(name: &str) -> Result<&str, ConvertError> {
    name.strip_prefix("computations/")
        .filter(|id| is_valid_id(id))
        .ok_or_else(|| ConvertError::Name { name: name.to_owned(), form: "computations/{computation}" })
}

/// The duchy whose participation has this resource name.
///
/// # Errors
/// [`ConvertError::Name`].
pub fn duchy_of(participant: &str) -> Result<&str, ConvertError> {
    let form = "computations/{computation}/participants/{duchy}";
    match participant.split('/').collect::<Vec<_>>()[..] {
        ["computations", computation, "participants", duchy]
            if is_valid_id(computation) && is_valid_id(duchy) =>
        {
            Ok(duchy)
        }
        _ => Err(ConvertError::Name { name: participant.to_owned(), form }),
    }
}

/// The request that creates the local computation for one that the Kingdom announces; its parameters are checked.
///
/// # Errors
/// If the computation is of another protocol than Liquid Legions v2, or is malformed, or its parameters are refused.
pub fn new_computation(
    computation: &Computation,
    duchy: &str,
    setup: Option<&SketchSetup>,
    policy: NoisePolicy,
) -> Result<CreateComputationRequest, ConvertError> {
    let id = computation_id(&computation.name)?;
    let config = protocol_config(computation)?;
    let setup = setup.ok_or(ConvertError::Protocol("Liquid Legions v2"))?;
    let spec = parse_spec(&computation.measurement_spec)?;
    let setting = Setting {
        computation: id.to_owned(),
        duchy: DuchyId::from(duchy),
        role: setup.role,
        duchy_count: computation.computation_participants.len(),
        requisition_count: computation.requisitions.len(),
        parameters: parameters(config, &spec)?,
    };
    setting.validate(policy, MAXIMUM_MESSAGE_BYTES)?;
    let role = setting.role;
    let mut protocol = llv2::ComputationDetails::default();
    State::new(setting).write_details(&mut protocol)?;
    tracing::info!(computation = id, ?role, parameters = ?protocol.parameters, "a new computation");
    let kingdom_computation = KingdomComputationDetails {
        public_api_version: computation.public_api_version.clone(),
        measurement_spec: computation.measurement_spec.clone(),
        measurement_public_key: Some(measurement_public_key(&spec)?),
        participant_count: i32::try_from(computation.computation_participants.len()).unwrap_or(i32::MAX),
    };
    Ok(CreateComputationRequest {
        computation_type: Protocol::LiquidLegionsV2.number(),
        global_computation_id: id.to_owned(),
        stage_details: None,
        computation_details: Some(ComputationDetails {
            blobs_storage_prefix: format!("computation-blob-storage/{duchy}/{id}"),
            kingdom_computation: Some(kingdom_computation),
            protocol: Some(StoredProtocol::LiquidLegionsV2(protocol)),
            ..ComputationDetails::default()
        }),
        requisitions: requisition_entries(computation)?,
        computation_stage: Some(Protocol::LiquidLegionsV2.initial_stage().into()),
    })
}

/// The key set of a computation whose duchies have all published their keys.
///
/// # Errors
/// [`ConvertError::KeyMissing`] if one has not; [`ConvertError::Name`].
pub fn key_set_published(computation: &Computation, aggregator: &str) -> Result<Event, ConvertError> {
    let participants =
        computation.computation_participants.iter().map(participant).collect::<Result<_, _>>()?;
    Ok(Event::KeySetPublished { aggregator: DuchyId::from(aggregator), participants })
}

fn participant(participant: &ComputationParticipant) -> Result<Participant, ConvertError> {
    let duchy = duchy_of(&participant.name)?;
    let missing = || ConvertError::KeyMissing(duchy.to_owned());
    let params = participant.requisition_params.as_ref().ok_or_else(missing)?;
    let Some(ParamsProtocol::LiquidLegionsV2(key)) = &params.protocol else { return Err(missing()) };
    Ok(Participant {
        duchy: DuchyId::from(duchy),
        el_gamal_public_key: key.el_gamal_public_key.clone(),
        signature: key.el_gamal_public_key_signature.clone(),
        signature_algorithm_oid: key.el_gamal_public_key_signature_algorithm_oid.clone(),
        certificate_der: params.duchy_certificate_der.clone(),
    })
}

/// The requisitions of a computation as the database keeps them.
///
/// # Errors
/// [`ConvertError::Name`].
pub fn requisition_entries(computation: &Computation) -> Result<Vec<RequisitionEntry>, ConvertError> {
    let id = computation_id(&computation.name)?;
    computation
        .requisitions
        .iter()
        .map(|requisition| requisition_entry(id, &computation.measurement_spec, requisition))
        .collect()
}

fn requisition_entry(
    computation: &str,
    measurement_spec: &[u8],
    requisition: &Requisition,
) -> Result<RequisitionEntry, ConvertError> {
    let id = match requisition.name.split('/').collect::<Vec<_>>()[..] {
        ["computations", parent, "requisitions", id] if parent == computation && is_valid_id(id) => id,
        _ => {
            let form = "computations/{computation}/requisitions/{requisition}";
            return Err(ConvertError::Name { name: requisition.name.clone(), form });
        }
    };
    let fulfilling = &requisition.fulfilling_computation_participant;
    let fulfilling = if fulfilling.is_empty() { "" } else { duchy_of(fulfilling)? };
    let fingerprint = Sha256::new()
        .chain_update(measurement_spec)
        .chain_update(&requisition.requisition_spec_hash)
        .finalize();
    Ok(RequisitionEntry {
        key: Some(ExternalRequisitionKey {
            external_requisition_id: id.to_owned(),
            requisition_fingerprint: fingerprint.to_vec(),
        }),
        value: Some(RequisitionDetails {
            nonce_hash: requisition.nonce_hash.clone(),
            external_fulfilling_duchy_id: fulfilling.to_owned(),
            nonce: requisition.nonce,
            ..RequisitionDetails::default()
        }),
    })
}

fn protocol_config(computation: &Computation) -> Result<&LiquidLegionsV2, ConvertError> {
    let config = computation.mpc_protocol_config.as_ref().and_then(|config| config.protocol.as_ref());
    match config.ok_or(ConvertError::Missing("protocol configuration"))? {
        KingdomProtocol::LiquidLegionsV2(config) => Ok(config),
        KingdomProtocol::ReachOnlyLiquidLegionsV2(_) => {
            Err(ConvertError::Protocol("reach-only Liquid Legions v2"))
        }
        KingdomProtocol::HonestMajorityShareShuffle(_) => {
            Err(ConvertError::Protocol("Honest Majority Share Shuffle"))
        }
        KingdomProtocol::TrusTee(_) => Err(ConvertError::Protocol("TrusTEE")),
    }
}

/// Reads a measurement spec.
pub(super) fn parse_spec(bytes: &[u8]) -> Result<MeasurementSpec, ConvertError> {
    if bytes.len() > MAXIMUM_SPEC_BYTES {
        return Err(ConvertError::SpecTooLarge(bytes.len()));
    }
    MeasurementSpec::decode(bytes).map_err(ConvertError::Spec)
}

fn parameters(config: &LiquidLegionsV2, spec: &MeasurementSpec) -> Result<Parameters, ConvertError> {
    let sketch = config.sketch_params.ok_or(ConvertError::Missing("sketch parameters"))?;
    let interval = spec.vid_sampling_interval.ok_or(ConvertError::Missing("VID sampling interval"))?;
    let asked = asked_for(config, spec)?;
    Ok(Parameters {
        curve_id: config.elliptic_curve_id.into(),
        maximum_frequency: asked.maximum_frequency,
        sketch: LiquidLegionsSketchParameters { decay_rate: sketch.decay_rate, size: sketch.max_size },
        vid_sampling_width: interval.width,
        noise: (config.noise_mechanism() != NoiseMechanism::None).then(|| LiquidLegionsV2NoiseConfig {
            reach_noise_config: Some(ReachNoiseConfig {
                blind_histogram_noise: config
                    .mpc_noise
                    .and_then(|noise| noise.blinded_histogram_noise)
                    .map(from_system),
                noise_for_publisher_noise: config
                    .mpc_noise
                    .and_then(|noise| noise.publisher_noise)
                    .map(from_system),
                global_reach_dp_noise: asked.reach_privacy.map(from_api),
            }),
            frequency_noise_config: asked.frequency_privacy.map(from_api),
            // The numbers are the same in both packages.
            noise_mechanism: config.noise_mechanism,
        }),
    })
}

/// What the measurement consumer wants to know, and how noised.
struct Asked {
    maximum_frequency: i32,
    reach_privacy: Option<api::DifferentialPrivacyParams>,
    frequency_privacy: Option<api::DifferentialPrivacyParams>,
}

fn asked_for(config: &LiquidLegionsV2, spec: &MeasurementSpec) -> Result<Asked, ConvertError> {
    match spec.measurement_type.as_ref().ok_or(ConvertError::Missing("measurement type"))? {
        MeasurementType::ReachAndFrequency(asked) => {
            // Measurements of old state the frequency in the protocol's configuration.
            let maximum_frequency = match asked.maximum_frequency {
                0 => config.maximum_frequency,
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

fn from_system(params: DifferentialPrivacyParams) -> duchy::DifferentialPrivacyParams {
    duchy::DifferentialPrivacyParams { epsilon: params.epsilon, delta: params.delta }
}

fn from_api(params: api::DifferentialPrivacyParams) -> duchy::DifferentialPrivacyParams {
    duchy::DifferentialPrivacyParams { epsilon: params.epsilon, delta: params.delta }
}
