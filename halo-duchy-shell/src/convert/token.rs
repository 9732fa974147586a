//! What every protocol reads from a computation as the internal API hands it out.

use halo_protocols::DuchyId;
use halo_protocols::liquid_legions::{Evidence, Outcome, RequisitionEvidence};

use super::{ConvertError, parse_spec};
use crate::proto::api::MeasurementSpec;
use crate::proto::internal::computation_details::{CompletedReason, KingdomComputationDetails};
use crate::proto::internal::{ComputationDetails, ComputationToken, RequisitionMetadata};
use crate::protocol_stages::slots;

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
    let requisitions = token.requisitions.iter().map(|requisition| RequisitionEvidence {
        requisition: requisition_id(requisition).to_owned(),
        // Zero is no nonce: the fulfillment server and the Kingdom refuse it.
        nonce: requisition.details.as_ref().map(|details| details.nonce).filter(|nonce| *nonce != 0),
        fulfilled_here: is_own(requisition, duchy),
        data_present: !requisition.path.is_empty(),
    });
    Ok(Evidence {
        nonce_hashes: measurement_spec(token)?.nonce_hashes,
        requisitions: requisitions.collect(),
        refused_signatures,
    })
}

/// The requisitions fulfilled at `duchy`.
pub fn own_requisitions<'t>(
    token: &'t ComputationToken,
    duchy: &str,
) -> impl Iterator<Item = &'t RequisitionMetadata> {
    token.requisitions.iter().filter(move |requisition| is_own(requisition, duchy))
}

/// Where the data of the requisitions fulfilled at `duchy` is, by requisition id in ascending order.
pub fn own_requisition_paths(token: &ComputationToken, duchy: &str) -> Vec<String> {
    let mut own: Vec<_> = own_requisitions(token, duchy)
        .map(|requisition| (requisition_id(requisition), &requisition.path))
        .collect();
    own.sort_unstable();
    own.into_iter().map(|(_, path)| path.clone()).filter(|path| !path.is_empty()).collect()
}

/// The external id of a requisition.
pub fn requisition_id(requisition: &RequisitionMetadata) -> &str {
    requisition.external_key.as_ref().map_or("", |key| &key.external_requisition_id)
}

fn is_own(requisition: &RequisitionMetadata, duchy: &str) -> bool {
    let details = requisition.details.as_ref();
    details.is_some_and(|details| details.external_fulfilling_duchy_id == duchy)
}

pub(super) fn details(token: &ComputationToken) -> Result<&ComputationDetails, ConvertError> {
    token.computation_details.as_ref().ok_or(ConvertError::Missing("details"))
}

fn kingdom(token: &ComputationToken) -> Result<&KingdomComputationDetails, ConvertError> {
    details(token)?.kingdom_computation.as_ref().ok_or(ConvertError::Missing("details of the Kingdom"))
}

/// How many duchies take part; 0 if the row does not say.
pub(super) fn participant_count(token: &ComputationToken) -> Result<usize, ConvertError> {
    Ok(usize::try_from(kingdom(token)?.participant_count).unwrap_or_default())
}

/// Who has filled its slot, in a stage that collects messages from several.
pub(super) fn received(token: &ComputationToken) -> Vec<DuchyId> {
    let filled = |id: i64| token.blobs.iter().any(|blob| blob.blob_id == id && !blob.path.is_empty());
    slots(token)
        .into_iter()
        .flatten()
        .filter(|(_, id)| filled(**id))
        .map(|(duchy, _)| DuchyId::from(duchy.as_str()))
        .collect()
}

pub(super) fn outcome(token: &ComputationToken) -> Option<Outcome> {
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
