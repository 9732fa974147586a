//! Requisitions: what providers contribute to a computation.

use std::collections::BTreeSet;

use super::lifecycle;
use super::rows::{Key, RequisitionRow, Rows};
use super::{Computation, Fulfillment, StoreError, rules};
use crate::clock::Timestamp;
use crate::proto::internal::{ExternalRequisitionKey, RequisitionEntry, RequisitionMetadata};

pub(super) async fn computation(
    rows: &mut dyn Rows,
    key: ExternalRequisitionKey,
) -> Result<Computation, StoreError> {
    let row = find(rows, &key).await?;
    lifecycle::computation(rows, Key::Local(row.local_id)).await
}

/// The requisitions of a new computation, which nobody may have yet.
pub(super) async fn check_new(
    rows: &mut dyn Rows,
    requisitions: Vec<RequisitionEntry>,
) -> Result<Vec<RequisitionMetadata>, StoreError> {
    let metadata = |entry: RequisitionEntry| RequisitionMetadata {
        external_key: Some(entry.key.unwrap_or_default()),
        path: String::new(),
        details: Some(entry.value.unwrap_or_default()),
    };
    let requisitions: Vec<_> = requisitions.into_iter().map(metadata).collect();
    let keys: Vec<_> = requisitions.iter().filter_map(|entry| entry.external_key.clone()).collect();
    let mut seen = BTreeSet::new();
    let taken = rows.find_requisitions(&keys).await?.into_iter().map(|row| row.key).next();
    let repeated = || keys.iter().find(|key| !seen.insert(order(key))).cloned();
    match taken.or_else(repeated) {
        None => Ok(requisitions),
        Some(key) => Err(StoreError::DuplicateRequisition(key.external_requisition_id)),
    }
}

/// Gives requisitions of the computation new details, in memory; returns what has to be written.
pub(super) async fn merge(
    rows: &mut dyn Rows,
    computation: &mut Computation,
    updates: Vec<RequisitionEntry>,
) -> Result<Vec<(RequisitionRow, RequisitionMetadata)>, StoreError> {
    let keys: Vec<_> = updates.iter().map(|entry| entry.key.clone().unwrap_or_default()).collect();
    let found = rows.find_requisitions(&keys).await?;
    let mut written = Vec::new();
    for (key, update) in keys.iter().zip(updates) {
        let row = found.iter().find(|row| row.key == *key).ok_or_else(|| not_found(key))?;
        let requisition = own(computation, row)?;
        let stored = requisition.details.take().unwrap_or_default();
        requisition.details = Some(rules::merge_requisition(stored, update.value.unwrap_or_default()));
        written.push((row.clone(), requisition.clone()));
    }
    Ok(written)
}

pub(super) async fn fulfill(
    rows: &mut dyn Rows,
    now: Timestamp,
    local_id: i64,
    key: ExternalRequisitionKey,
    fulfillment: Fulfillment,
) -> Result<Computation, StoreError> {
    let mut computation = lifecycle::computation(rows, Key::Local(local_id)).await?;
    let row = find(rows, &key).await?;
    let requisition = own(&mut computation, &row)?;
    if !requisition.path.is_empty() {
        if requisition.path == fulfillment.path {
            return Ok(computation);
        }
        let (requisition, path) = (key.external_requisition_id, requisition.path.clone());
        return Err(StoreError::AlreadyFulfilled { requisition, path });
    }
    requisition.path = fulfillment.path;
    let details = requisition.details.get_or_insert_default();
    details.public_api_version = fulfillment.public_api_version;
    details.protocol = fulfillment.protocol;
    let fulfilled = requisition.clone();
    rows.update_requisition(&row, &fulfilled, &computation.unknown, now).await?;
    Ok(computation)
}

/// Brings requisitions into the order in which a computation has them.
pub(super) fn sort(requisitions: &mut [RequisitionMetadata]) {
    requisitions.sort_by(|a, b| a.external_key.as_ref().map(order).cmp(&b.external_key.as_ref().map(order)));
}

fn order(key: &ExternalRequisitionKey) -> (&str, &[u8]) {
    (&key.external_requisition_id, &key.requisition_fingerprint)
}

async fn find(rows: &mut dyn Rows, key: &ExternalRequisitionKey) -> Result<RequisitionRow, StoreError> {
    let found = rows.find_requisitions(std::slice::from_ref(key)).await?;
    found.into_iter().next().ok_or_else(|| not_found(key))
}

/// The requisition at `row`, if it is the computation's.
fn own<'a>(
    computation: &'a mut Computation,
    row: &RequisitionRow,
) -> Result<&'a mut RequisitionMetadata, StoreError> {
    let local_id = computation.local_id;
    let own = computation.requisitions.iter_mut().find(|own| own.external_key.as_ref() == Some(&row.key));
    own.filter(|_| row.local_id == local_id).ok_or_else(|| {
        let requisition = row.key.external_requisition_id.clone();
        StoreError::ForeignRequisition { requisition, local_id }
    })
}

fn not_found(key: &ExternalRequisitionKey) -> StoreError {
    StoreError::RequisitionNotFound(key.external_requisition_id.clone())
}
