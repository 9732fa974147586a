//! What `fuzz/` feeds the checks of fulfillments with, and nobody else: no part of the interface.

use halo_protocols::proto::protocol::honest_majority_share_shuffle as hmss;
use tonic::Status;

use super::body::{Body, BodyError, Expected};
use super::header::Header;
use super::registers::Registers;
use super::shares::Shares;
use crate::proto::api::FulfillRequisitionRequest;
use crate::proto::internal::computation_details::Protocol;
use crate::proto::internal::requisition_details::RequisitionProtocol;
use crate::proto::internal::{ComputationDetails, ComputationToken, RequisitionDetails, RequisitionMetadata};

/// Checks an encrypted sketch of `size` registers in the group with the id `curve_id` that arrives in chunks of `chunk`
/// bytes; `None` if there is no such group.
///
/// # Errors
/// What is found wrong, and with what register.
pub fn check_registers(
    curve_id: i64,
    size: u64,
    reach_only: bool,
    body: &[u8],
    chunk: usize,
) -> Option<Result<(), String>> {
    let of_curve = if reach_only { Registers::reach_only_of_curve } else { Registers::of_curve };
    let registers = of_curve(curve_id, size);
    registers.map(|registers| check(Body::Sketch(registers), body, chunk))
}

/// Checks a share of `register_count` registers below `modulus` that arrives in chunks of `chunk` bytes.
///
/// # Errors
/// What is found wrong, and where.
pub fn check_shares(modulus: u32, register_count: u64, body: &[u8], chunk: usize) -> Result<(), String> {
    check(Body::Shares(Shares::new(modulus, register_count)), body, chunk)
}

fn check(mut body: Body, bytes: &[u8], chunk: usize) -> Result<(), String> {
    let text = |error: BodyError| error.to_string();
    for chunk in bytes.chunks(chunk.max(1)) {
        if let Some(batch) = body.push(chunk).map_err(text)? {
            batch.check().map_err(|error| error.to_string())?;
        }
    }
    match body.finish().map_err(text)? {
        Some(batch) => batch.check().map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

/// Checks the first message of a fulfillment at the duchy `duchy` for a share shuffle in the ring of `ring_modulus`, and
/// returns the data provider's name and what is to be recorded.
///
/// # Errors
/// As the data provider is told.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub fn check_share_header(
    first: FulfillRequisitionRequest,
    ring_modulus: i32,
    duchy: &str,
) -> Result<(String, Option<RequisitionProtocol>), Status> {
    let header = Header::parse(first)?;
    let mut details = hmss::ComputationDetails::default();
    details.parameters = Some(hmss::computation_details::Parameters { ring_modulus, ..Default::default() });
    let details = ComputationDetails {
        protocol: Some(Protocol::HonestMajorityShareShuffle(details)),
        ..ComputationDetails::default()
    };
    let token = ComputationToken { computation_details: Some(details), ..ComputationToken::default() };
    let details = RequisitionDetails {
        external_fulfilling_duchy_id: duchy.to_owned(),
        ..RequisitionDetails::default()
    };
    let requisition = RequisitionMetadata { details: Some(details), ..RequisitionMetadata::default() };
    let expected = Expected::new(&token, &requisition, &header, duchy)?;
    Ok((header.data_provider, expected.details))
}
