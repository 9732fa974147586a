//! What the Kingdom remembers, as duchies, data providers and measurement consumers see it.

use prost_types::Any;
use sha2::{Digest, Sha256};

use super::config::{LiquidLegionsSettings, Privacy, Protocol, ShareShuffleSettings};
use super::resource_name::{
    ComputationName, ComputationRequisitionName, ExternalId, MeasurementName, ParticipantName,
    RequisitionName,
};
use super::state::{Measurement, Participant, Requisition, RequisitionState, State};
use crate::proto::api::measurement::State as MeasurementState;
use crate::proto::api::measurement_spec::MeasurementType;
use crate::proto::api::protocol_config::{self, MeasurementType as ProtocolMeasurementType};
use crate::proto::api::requisition::duchy_entry;
use crate::proto::api::{self, EncryptedMessage, SignedMessage};
use crate::proto::system;
use crate::proto::system::computation::mpc_protocol_config::liquid_legions_v2::{
    LiquidLegionsSketchParams, MpcNoise,
};
use crate::proto::system::computation::mpc_protocol_config::{self, NoiseMechanism};
use crate::proto::system::computation::{MpcProtocolConfig, State as ComputationState};
use crate::proto::system::computation_participant::requisition_params;

const API_VERSION: &str = "v2alpha";
const TYPE_PREFIX: &str = "type.googleapis.com/wfa.measurement.api.v2alpha.";

/// A computation for the duchies.
pub fn computation(state: &State, id: ExternalId, measurement: &Measurement) -> system::Computation {
    let result = measurement.result.as_ref();
    let participants = measurement.participants.iter();
    let requisitions = measurement.requisitions.iter();
    system::Computation {
        name: ComputationName(id).to_string(),
        public_api_version: API_VERSION.to_owned(),
        measurement_spec: measurement.spec_bytes.clone(),
        state: measurement.state.into(),
        aggregator_certificate: result
            .map(|result| result.aggregator_certificate.clone())
            .unwrap_or_default(),
        encrypted_result: result.map(|result| result.encrypted_result.clone()).unwrap_or_default(),
        computation_participants: participants
            .map(|(duchy, participant)| computation_participant(state, id, duchy, participant))
            .collect(),
        requisitions: requisitions
            .map(|(requisition, value)| computation_requisition(id, *requisition, value))
            .collect(),
        mpc_protocol_config: Some(mpc_protocol(&measurement.protocol)),
    }
}

/// A participant for its duchy and the others.
pub fn computation_participant(
    state: &State,
    computation: ExternalId,
    duchy: &str,
    participant: &Participant,
) -> system::ComputationParticipant {
    let mut params = participant.params.clone();
    if let Some(params) = &mut params {
        let certificate = state.records.certificates.get(&params.duchy_certificate);
        params.duchy_certificate_der =
            certificate.map(|known| known.certificate.x509_der.clone()).unwrap_or_default();
    }
    system::ComputationParticipant {
        name: ParticipantName { computation, duchy: duchy.to_owned() }.to_string(),
        state: participant.state.into(),
        update_time: Some(participant.update_time.into()),
        requisition_params: params,
        failure: participant.failure.clone(),
        etag: participant.update_time.etag(),
    }
}

/// A requisition for the duchies.
pub fn computation_requisition(
    computation: ExternalId,
    id: ExternalId,
    requisition: &Requisition,
) -> system::Requisition {
    let fulfilling = requisition.fulfilling_duchy.clone();
    system::Requisition {
        name: ComputationRequisitionName { computation, requisition: id }.to_string(),
        requisition_spec_hash: Sha256::digest(&requisition.encrypted_spec.ciphertext).to_vec(),
        nonce_hash: requisition.nonce_hash.clone(),
        // The numbers of the public API are the same.
        state: public_requisition_state(requisition.state).into(),
        fulfilling_computation_participant: fulfilling
            .map(|duchy| ParticipantName { computation, duchy }.to_string())
            .unwrap_or_default(),
        nonce: requisition.nonce.unwrap_or_default(),
        fulfillment_context: requisition.fulfillment_context.clone(),
    }
}

/// The protocol for duchies.
pub fn mpc_protocol(protocol: &Protocol) -> MpcProtocolConfig {
    use mpc_protocol_config::Protocol as Case;
    let protocol = match protocol {
        Protocol::LiquidLegionsV2(settings) => Case::LiquidLegionsV2(mpc_settings(settings)),
        Protocol::ReachOnlyLiquidLegionsV2(settings) => {
            Case::ReachOnlyLiquidLegionsV2(mpc_settings(settings))
        }
        Protocol::HonestMajorityShareShuffle(settings) => {
            Case::HonestMajorityShareShuffle(mpc_protocol_config::HonestMajorityShareShuffle {
                reach_and_frequency_ring_modulus: settings.reach_and_frequency_ring_modulus,
                reach_ring_modulus: settings.reach_ring_modulus,
                noise_mechanism: settings.noise_mechanism.into(),
            })
        }
    };
    MpcProtocolConfig { protocol: Some(protocol) }
}

fn mpc_settings(settings: &LiquidLegionsSettings) -> mpc_protocol_config::LiquidLegionsV2 {
    let privacy = |Privacy { epsilon, delta }| Some(system::DifferentialPrivacyParams { epsilon, delta });
    mpc_protocol_config::LiquidLegionsV2 {
        sketch_params: Some(LiquidLegionsSketchParams {
            decay_rate: settings.decay_rate,
            max_size: settings.sketch_size.into(),
        }),
        mpc_noise: Some(MpcNoise {
            blinded_histogram_noise: privacy(settings.blinded_histogram_noise),
            publisher_noise: privacy(settings.publisher_noise),
        }),
        elliptic_curve_id: settings.elliptic_curve_id,
        noise_mechanism: settings.noise_mechanism.into(),
        ..Default::default()
    }
}

/// The protocol for data providers and measurement consumers.
pub fn protocol_config(measurement: &Measurement) -> api::ProtocolConfig {
    use protocol_config::protocol::Protocol as Case;
    let (measurement_type, maximum_frequency) = match &measurement.spec.measurement_type {
        Some(MeasurementType::ReachAndFrequency(spec)) => {
            (ProtocolMeasurementType::ReachAndFrequency, spec.maximum_frequency)
        }
        _ => (ProtocolMeasurementType::Reach, 1),
    };
    let case = match &measurement.protocol {
        Protocol::LiquidLegionsV2(settings) => Case::LiquidLegionsV2(protocol_config::LiquidLegionsV2 {
            sketch_params: Some(api::LiquidLegionsSketchParams {
                decay_rate: settings.decay_rate,
                max_size: settings.sketch_size.into(),
                sampling_indicator_size: settings.sampling_indicator_size.into(),
            }),
            elliptic_curve_id: settings.elliptic_curve_id,
            maximum_frequency,
            noise_mechanism: public_noise_mechanism(settings.noise_mechanism).into(),
            ..Default::default()
        }),
        Protocol::ReachOnlyLiquidLegionsV2(settings) => {
            Case::ReachOnlyLiquidLegionsV2(protocol_config::ReachOnlyLiquidLegionsV2 {
                sketch_params: Some(api::ReachOnlyLiquidLegionsSketchParams {
                    decay_rate: settings.decay_rate,
                    max_size: settings.sketch_size.into(),
                }),
                elliptic_curve_id: settings.elliptic_curve_id,
                noise_mechanism: public_noise_mechanism(settings.noise_mechanism).into(),
                ..Default::default()
            })
        }
        Protocol::HonestMajorityShareShuffle(settings) => {
            Case::HonestMajorityShareShuffle(protocol_config::HonestMajorityShareShuffle {
                ring_modulus: match measurement_type {
                    ProtocolMeasurementType::ReachAndFrequency => settings.reach_and_frequency_ring_modulus,
                    _ => settings.reach_ring_modulus,
                },
                noise_mechanism: public_noise_mechanism(settings.noise_mechanism).into(),
            })
        }
    };
    api::ProtocolConfig {
        measurement_type: measurement_type.into(),
        protocols: vec![protocol_config::Protocol { protocol: Some(case) }],
        ..Default::default()
    }
}

fn public_noise_mechanism(mechanism: NoiseMechanism) -> protocol_config::NoiseMechanism {
    use protocol_config::NoiseMechanism as Public;
    match mechanism {
        NoiseMechanism::Unspecified => Public::Unspecified,
        NoiseMechanism::Geometric => Public::Geometric,
        NoiseMechanism::DiscreteGaussian => Public::DiscreteGaussian,
        NoiseMechanism::ContinuousGaussian => Public::ContinuousGaussian,
        NoiseMechanism::None => Public::None,
        NoiseMechanism::DeterministicTruncatedLaplace => Public::DeterministicTruncatedLaplace,
    }
}

fn public_requisition_state(state: RequisitionState) -> api::requisition::State {
    use api::requisition::State as Public;
    match state {
        // Upstream's public API has no word for it either.
        RequisitionState::PendingParams | RequisitionState::Unfulfilled => Public::Unfulfilled,
        RequisitionState::Fulfilled => Public::Fulfilled,
        RequisitionState::Refused => Public::Refused,
        RequisitionState::Withdrawn => Public::Withdrawn,
    }
}

/// A measurement's state for data providers and measurement consumers.
pub fn measurement_state(state: ComputationState) -> MeasurementState {
    match state {
        ComputationState::Unspecified => MeasurementState::Unspecified,
        ComputationState::PendingRequisitionParams | ComputationState::PendingRequisitionFulfillment => {
            MeasurementState::AwaitingRequisitionFulfillment
        }
        ComputationState::PendingParticipantConfirmation | ComputationState::PendingComputation => {
            MeasurementState::Computing
        }
        ComputationState::Succeeded => MeasurementState::Succeeded,
        ComputationState::Failed => MeasurementState::Failed,
        ComputationState::Cancelled => MeasurementState::Cancelled,
    }
}

/// A measurement for its measurement consumer.
pub fn measurement(measurement: &Measurement) -> api::Measurement {
    let requisitions = measurement.requisitions.values();
    api::Measurement {
        name: MeasurementName { consumer: measurement.consumer.clone(), measurement: measurement.id }
            .to_string(),
        measurement_consumer_certificate: measurement.consumer_certificate.clone(),
        measurement_spec: Some(measurement.signed_spec.clone()),
        data_providers: requisitions.map(data_provider_entry).collect(),
        protocol_config: Some(protocol_config(measurement)),
        state: measurement_state(measurement.state).into(),
        results: measurement
            .result
            .iter()
            .map(|result| api::measurement::ResultOutput {
                certificate: result.aggregator_certificate.clone(),
                encrypted_result: Some(EncryptedMessage {
                    ciphertext: result.encrypted_result.clone(),
                    type_url: format!("{TYPE_PREFIX}SignedMessage"),
                }),
            })
            .collect(),
        measurement_reference_id: measurement.reference_id.clone(),
        failure: measurement.failure.clone(),
        create_time: Some(measurement.create_time.into()),
        update_time: Some(measurement.update_time.into()),
    }
}

fn data_provider_entry(requisition: &Requisition) -> api::measurement::DataProviderEntry {
    api::measurement::DataProviderEntry {
        key: format!("dataProviders/{}", requisition.data_provider),
        value: Some(api::measurement::data_provider_entry::Value {
            data_provider_certificate: requisition.data_provider_certificate.clone(),
            nonce_hash: requisition.nonce_hash.clone(),
            encrypted_requisition_spec: Some(requisition.encrypted_spec.clone()),
            data_provider_public_key: requisition.data_provider_public_key.clone(),
        }),
    }
}

/// A requisition for its data provider.
pub fn requisition(measurement: &Measurement, id: ExternalId, requisition: &Requisition) -> api::Requisition {
    let consumer = measurement.consumer.clone();
    let data_provider = requisition.data_provider.clone();
    let context = requisition.fulfillment_context.clone();
    let participants = measurement.participants.iter();
    api::Requisition {
        name: RequisitionName { data_provider, requisition: id }.to_string(),
        measurement: MeasurementName { consumer, measurement: measurement.id }.to_string(),
        measurement_consumer_certificate: measurement.consumer_certificate.clone(),
        measurement_spec: Some(measurement.signed_spec.clone()),
        protocol_config: Some(protocol_config(measurement)),
        data_provider_certificate: requisition.data_provider_certificate.clone(),
        encrypted_requisition_spec_ciphertext: requisition.encrypted_spec.ciphertext.clone(),
        duchies: participants
            .filter_map(|(duchy, participant)| {
                duchy_entry(&measurement.protocol, duchy, participant, requisition)
            })
            .collect(),
        state: public_requisition_state(requisition.state).into(),
        nonce: requisition.nonce.unwrap_or_default(),
        refusal: requisition.refusal.clone(),
        measurement_state: measurement_state(measurement.state).into(),
        encrypted_requisition_spec: Some(requisition.encrypted_spec.clone()),
        data_provider_public_key: requisition.data_provider_public_key.clone(),
        update_time: Some(requisition.update_time.into()),
        fulfillment_context: context.map(
            |system::requisition::FulfillmentContext { build_label, warnings }| {
                api::requisition::FulfillmentContext { build_label, warnings }
            },
        ),
        etag: requisition.update_time.etag(),
        ..Default::default()
    }
}

/// A duchy's key, if it has set one.
fn duchy_entry(
    protocol: &Protocol,
    duchy: &str,
    participant: &Participant,
    requisition: &Requisition,
) -> Option<api::requisition::DuchyEntry> {
    use duchy_entry::value::Protocol as Case;
    let params = participant.params.as_ref()?;
    let key = |params: &requisition_params::LiquidLegionsV2| duchy_entry::LiquidLegionsV2 {
        el_gamal_public_key: Some(signed(
            "ElGamalPublicKey",
            &params.el_gamal_public_key,
            &params.el_gamal_public_key_signature,
            &params.el_gamal_public_key_signature_algorithm_oid,
        )),
    };
    let protocol = match params.protocol.as_ref()? {
        requisition_params::Protocol::LiquidLegionsV2(params) => Case::LiquidLegionsV2(key(params)),
        requisition_params::Protocol::ReachOnlyLiquidLegionsV2(params) => {
            Case::ReachOnlyLiquidLegionsV2(key(params))
        }
        requisition_params::Protocol::HonestMajorityShareShuffle(params) => {
            if is_aggregator(protocol, duchy) {
                return None;
            }
            // The duchy without a key gets the vector, the other one the seed.
            let is_other = requisition.fulfilling_duchy.as_deref() != Some(duchy);
            let public_key = is_other.then(|| {
                signed(
                    "EncryptionPublicKey",
                    &params.tink_public_key,
                    &params.tink_public_key_signature,
                    &params.tink_public_key_signature_algorithm_oid,
                )
            });
            Case::HonestMajorityShareShuffle(duchy_entry::HonestMajorityShareShuffle { public_key })
        }
        // Refused when the duchy set them: the Kingdom cannot be configured for it.
        requisition_params::Protocol::TrusTee(_) => return None,
    };
    Some(api::requisition::DuchyEntry {
        key: format!("duchies/{duchy}"),
        value: Some(duchy_entry::Value {
            duchy_certificate: params.duchy_certificate.clone(),
            protocol: Some(protocol),
        }),
    })
}

fn is_aggregator(protocol: &Protocol, duchy: &str) -> bool {
    let aggregator = |settings: &ShareShuffleSettings| settings.aggregator == duchy;
    matches!(protocol, Protocol::HonestMajorityShareShuffle(settings) if aggregator(settings))
}

fn signed(message: &str, value: &[u8], signature: &[u8], signature_algorithm_oid: &str) -> SignedMessage {
    SignedMessage {
        message: Some(Any { type_url: format!("{TYPE_PREFIX}{message}"), value: value.to_owned() }),
        data: value.to_owned(),
        signature: signature.to_owned(),
        signature_algorithm_oid: signature_algorithm_oid.to_owned(),
    }
}
