//! Requisitions: what providers contribute to a computation.

use prost::Message;
use rusqlite::{Transaction, params};

use super::rows;
use crate::clock::Timestamp;
use crate::proto::internal::{ExternalRequisitionKey, RequisitionDetails, RequisitionEntry};
use crate::store::{Computation, Fulfillment, StoreError, rules};

pub(super) fn computation(
    tx: &Transaction<'_>,
    key: &ExternalRequisitionKey,
) -> Result<Computation, StoreError> {
    let found = rows::find_requisition(tx, key)?;
    let (local_id, _) = found.ok_or_else(|| not_found(key))?;
    rows::by_local_id(tx, local_id)
}

pub(super) fn insert(
    tx: &Transaction<'_>,
    now: Timestamp,
    local_id: i64,
    position: i64,
    requisition: RequisitionEntry,
) -> Result<(), StoreError> {
    let key = requisition.key.unwrap_or_default();
    if rows::find_requisition(tx, &key)?.is_some() {
        return Err(StoreError::DuplicateRequisition(key.external_requisition_id));
    }
    tx.prepare_cached(
        "INSERT INTO Requisitions (ComputationId, RequisitionId, ExternalRequisitionId,
                                   RequisitionFingerprint, CreationTime, UpdateTime, RequisitionDetails)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
    )?
    .execute(params![
        local_id,
        position,
        key.external_requisition_id,
        key.requisition_fingerprint,
        now.millis(),
        requisition.value.unwrap_or_default().encode_to_vec(),
    ])?;
    Ok(())
}

/// Replaces a requisition's details.
pub(super) fn update(
    tx: &Transaction<'_>,
    now: Timestamp,
    local_id: i64,
    requisition: RequisitionEntry,
) -> Result<(), StoreError> {
    let key = requisition.key.unwrap_or_default();
    let (position, _, stored) = read(tx, local_id, &key)?;
    let details = rules::merge_requisition(stored, requisition.value.unwrap_or_default());
    tx.prepare_cached(
        "UPDATE Requisitions SET RequisitionDetails = ?3, UpdateTime = ?4
         WHERE ComputationId = ?1 AND RequisitionId = ?2",
    )?
    .execute(params![local_id, position, details.encode_to_vec(), now.millis()])?;
    Ok(())
}

pub(super) fn fulfill(
    tx: &Transaction<'_>,
    now: Timestamp,
    local_id: i64,
    key: &ExternalRequisitionKey,
    fulfillment: Fulfillment,
) -> Result<Computation, StoreError> {
    let computation = rows::by_local_id(tx, local_id)?;
    let (position, path, mut details) = read(tx, local_id, key)?;
    if let Some(path) = path {
        if path == fulfillment.path {
            return Ok(computation);
        }
        return Err(StoreError::AlreadyFulfilled { requisition: key.external_requisition_id.clone(), path });
    }
    details.public_api_version = fulfillment.public_api_version;
    details.protocol = fulfillment.protocol;
    tx.prepare_cached(
        "UPDATE Requisitions SET PathToBlob = ?3, RequisitionDetails = ?4, UpdateTime = ?5
         WHERE ComputationId = ?1 AND RequisitionId = ?2",
    )?
    .execute(params![local_id, position, fulfillment.path, details.encode_to_vec(), now.millis()])?;
    rows::by_local_id(tx, local_id)
}

/// Position, path and details of a requisition of this computation.
fn read(
    tx: &Transaction<'_>,
    local_id: i64,
    key: &ExternalRequisitionKey,
) -> Result<(i64, Option<String>, RequisitionDetails), StoreError> {
    let (owner, position) = rows::find_requisition(tx, key)?.ok_or_else(|| not_found(key))?;
    if owner != local_id {
        let requisition = key.external_requisition_id.clone();
        return Err(StoreError::ForeignRequisition { requisition, local_id });
    }
    let (path, details): (_, Vec<u8>) = tx
        .prepare_cached(
            "SELECT PathToBlob, RequisitionDetails FROM Requisitions
             WHERE ComputationId = ?1 AND RequisitionId = ?2",
        )?
        .query_row((local_id, position), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((position, path, rows::decode("requisition details", &details)?))
}

fn not_found(key: &ExternalRequisitionKey) -> StoreError {
    StoreError::RequisitionNotFound(key.external_requisition_id.clone())
}
