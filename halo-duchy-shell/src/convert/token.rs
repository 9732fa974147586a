//! A computation as the internal API hands it out, as a state of the protocol.

use halo_protocols::llv2::{Evidence, Outcome, RequisitionEvidence, State, Surroundings};
use halo_protocols::proto::protocol::liquid_legions_sketch_aggregation_v2 as proto;
use halo_protocols::proto::protocol::liquid_legions_sketch_aggregation_v2::stage_details::Detail as Llv2Detail;
use halo_protocols::{DuchyId, Role};

use super::ConvertError;
use super::kingdom::parse_spec;
use crate::proto::api::MeasurementSpec;
use crate::proto::internal::computation_details::{
    CompletedReason, KingdomComputationDetails, Protocol as StoredProtocol,
};
use crate::proto::internal::computation_stage_details::Detail;
use crate::proto::internal::{ComputationDetails, ComputationToken};
use crate::protocol_stages::{Protocol, ProtocolError, ProtocolStage};

/// The state of the computation at `duchy`.
///
/// # Errors
/// If the stage is of a protocol that this duchy does not run, or the details lack what the stage needs.
pub fn state(token: &ComputationToken, duchy: &str) -> Result<State, ConvertError> {
    let ProtocolStage::LiquidLegionsV2(stage) = stage(token)?;
    let details = llv2_details(token)?;
    let spec = measurement_spec(token)?;
    let participants = usize::try_from(kingdom(token)?.participant_count).unwrap_or_default();
    let surroundings = Surroundings {
        computation: token.global_computation_id.clone(),
        duchy: DuchyId::from(duchy),
        // Rows of old do not count the participants.
        duchy_count: if participants == 0 { details.participant.len() } else { participants },
        requisition_count: token.requisitions.len(),
        vid_sampling_width: spec.vid_sampling_interval.unwrap_or_default().width,
        received: received(token),
        outcome: outcome(token),
    };
    Ok(State::from_details(stage, details, surroundings)?)
}

/// The part that the duchy plays.
///
/// # Errors
/// If the details are of a protocol that this duchy does not run, or name no role.
pub fn role(token: &ComputationToken) -> Result<Role, ConvertError> {
    Ok(Role::try_from(llv2_details(token)?.role)?)
}

/// The measurement spec.
///
/// # Errors
/// If it is missing or does not parse.
pub fn measurement_spec(token: &ComputationToken) -> Result<MeasurementSpec, ConvertError> {
    parse_spec(&kingdom(token)?.measurement_spec)
}

/// What is known about the consent of the data providers; `refused_signatures` has been found out elsewhere.
///
/// # Errors
/// If the measurement spec cannot be read.
pub fn evidence(
    token: &ComputationToken,
    duchy: &str,
    refused_signatures: Vec<String>,
) -> Result<Evidence, ConvertError> {
    let requisitions = token.requisitions.iter().map(|requisition| {
        let details = requisition.details.clone().unwrap_or_default();
        let key = requisition.external_key.clone().unwrap_or_default();
        RequisitionEvidence {
            requisition: key.external_requisition_id,
            // Zero is no nonce: the fulfillment server and the Kingdom refuse it.
            nonce: Some(details.nonce).filter(|nonce| *nonce != 0),
            fulfilled_here: details.external_fulfilling_duchy_id == duchy,
            data_present: !requisition.path.is_empty(),
        }
    });
    Ok(Evidence {
        nonce_hashes: measurement_spec(token)?.nonce_hashes,
        requisitions: requisitions.collect(),
        refused_signatures,
    })
}

/// Where the data of the requisitions fulfilled at `duchy` is, by requisition id in ascending order.
pub fn own_requisition_paths(token: &ComputationToken, duchy: &str) -> Vec<String> {
    let mut own: Vec<_> = token
        .requisitions
        .iter()
        .filter(|requisition| {
            let details = requisition.details.as_ref();
            details.is_some_and(|details| details.external_fulfilling_duchy_id == duchy)
        })
        .map(|requisition| {
            let key = requisition.external_key.as_ref();
            (key.map(|key| &key.external_requisition_id), &requisition.path)
        })
        .collect();
    own.sort();
    own.into_iter().map(|(_, path)| path.clone()).filter(|path| !path.is_empty()).collect()
}

fn stage(token: &ComputationToken) -> Result<ProtocolStage, ConvertError> {
    let stage = token.computation_stage.as_ref().ok_or(ProtocolError::UnsupportedStage)?;
    Ok(ProtocolStage::try_from(stage)?)
}

fn details(token: &ComputationToken) -> Result<&ComputationDetails, ConvertError> {
    token.computation_details.as_ref().ok_or(ConvertError::Missing("details"))
}

fn kingdom(token: &ComputationToken) -> Result<&KingdomComputationDetails, ConvertError> {
    details(token)?.kingdom_computation.as_ref().ok_or(ConvertError::Missing("details of the Kingdom"))
}

fn llv2_details(token: &ComputationToken) -> Result<&proto::ComputationDetails, ConvertError> {
    match &details(token)?.protocol {
        Some(StoredProtocol::LiquidLegionsV2(details)) => Ok(details),
        _ => Err(ProtocolError::DetailsMismatch { expected: Protocol::LiquidLegionsV2 }.into()),
    }
}

fn received(token: &ComputationToken) -> Vec<DuchyId> {
    let Some(Detail::LiquidLegionsV2(proto::StageDetails {
        detail: Some(Llv2Detail::WaitSetupPhaseInputsDetails(waiting)),
    })) = token.stage_specific_details.as_ref().and_then(|details| details.detail.as_ref())
    else {
        return Vec::new();
    };
    let filled = |id: i64| token.blobs.iter().any(|blob| blob.blob_id == id && !blob.path.is_empty());
    waiting
        .external_duchy_local_blob_id
        .iter()
        .filter(|(_, id)| filled(**id))
        .map(|(duchy, _)| DuchyId::from(duchy.as_str()))
        .collect()
}

fn outcome(token: &ComputationToken) -> Option<Outcome> {
    match token.computation_details.as_ref()?.ending_state() {
        CompletedReason::Unspecified => None,
        CompletedReason::Succeeded => Some(Outcome::Succeeded),
        CompletedReason::Failed => Some(Outcome::Failed),
        CompletedReason::Canceled => Some(Outcome::Cancelled),
    }
}

/// The same outcome as the internal API spells it.
impl From<Outcome> for CompletedReason {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Cancelled => Self::Canceled,
        }
    }
}
