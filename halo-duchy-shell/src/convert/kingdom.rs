//! A computation as the Kingdom describes it, as an event, or requisitions of ours.

use halo_protocols::DuchyId;
use halo_protocols::liquid_legions::Event;
use halo_protocols::liquid_legions::key_set::Participant;
use sha2::{Digest, Sha256};

use super::ConvertError;
use super::ring::{MessageOf, RingProtocol};
use crate::config::is_valid_id;
use crate::proto::internal::{ExternalRequisitionKey, RequisitionDetails, RequisitionEntry};
use crate::proto::system::{Computation, ComputationParticipant, Requisition};

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

/// The key set of a computation whose duchies have all published their keys.
///
/// # Errors
/// [`ConvertError::KeyMissing`] if one has not; [`ConvertError::Name`].
pub fn key_set_published<C: RingProtocol>(
    computation: &Computation,
    aggregator: &str,
) -> Result<Event<MessageOf<C>>, ConvertError> {
    let participants =
        computation.computation_participants.iter().map(participant::<C>).collect::<Result<_, _>>()?;
    Ok(Event::KeySetPublished { aggregator: DuchyId::from(aggregator), participants })
}

fn participant<C: RingProtocol>(participant: &ComputationParticipant) -> Result<Participant, ConvertError> {
    let duchy = duchy_of(&participant.name)?;
    let missing = || ConvertError::KeyMissing(duchy.to_owned());
    let params = participant.requisition_params.as_ref().ok_or_else(missing)?;
    let key = params.protocol.as_ref().and_then(C::key_in).ok_or_else(missing)?;
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
