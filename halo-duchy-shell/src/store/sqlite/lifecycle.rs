//! A computation from its creation to its end.

use rusqlite::{OptionalExtension, Transaction, params};

use super::{requisitions, rows};
use crate::clock::Timestamp;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::computation_stage_attempt_details::EndReason;
use crate::proto::internal::{ComputationDetails, ComputationStageDetails, RequisitionEntry};
use crate::store::{Advance, Computation, Guard, NewComputation, StoreError, rules};
use halo_protocols::llv2::StageKind;

pub(super) fn create(
    tx: &Transaction<'_>,
    now: Timestamp,
    new: NewComputation,
) -> Result<Computation, StoreError> {
    rules::check_details(new.protocol, &new.details)?;
    let exists = "SELECT 1 FROM Computations WHERE GlobalComputationId = ?1";
    if tx.query_row(exists, [&new.global_id], |_| Ok(())).optional()?.is_some() {
        return Err(StoreError::AlreadyExists(new.global_id));
    }
    let computation = Computation {
        local_id: unused_local_id(tx)?,
        global_id: new.global_id,
        stage: new.protocol.initial_stage(),
        attempt: 0,
        version: now.millis(),
        details: new.details,
        stage_details: ComputationStageDetails::default(),
        blobs: Vec::new(),
        requisitions: Vec::new(),
        lock_owner: None,
        lock_expiration: Some(now),
    };
    tx.execute(
        "INSERT INTO Computations (ComputationId, Protocol, ComputationStage, CreationTime, UpdateTime,
                                   GlobalComputationId, LockExpirationTime, ComputationDetails)
         VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?4, ?6)",
        params![
            computation.local_id,
            new.protocol.number(),
            computation.stage.number(),
            now.millis(),
            computation.global_id,
            &*rows::encode(&computation.details),
        ],
    )?;
    rows::insert_stage(tx, &computation, None, now)?;
    for (position, requisition) in (0..).zip(new.requisitions) {
        requisitions::insert(tx, now, computation.local_id, position, requisition)?;
    }
    rows::by_local_id(tx, computation.local_id)
}

/// A random positive id that no row has.
fn unused_local_id(tx: &Transaction<'_>) -> Result<i64, StoreError> {
    loop {
        let random = getrandom::u64().map_err(|error| StoreError::Unavailable(error.to_string().into()))?;
        let id = (random >> 1).cast_signed();
        let taken = tx.query_row("SELECT 1 FROM Computations WHERE ComputationId = ?1", [id], |_| Ok(()));
        if id != 0 && taken.optional()?.is_none() {
            return Ok(id);
        }
    }
}

/// The computation, if the caller has seen it as it is.
pub(super) fn guarded(tx: &Transaction<'_>, guard: &Guard) -> Result<Computation, StoreError> {
    let computation = rows::by_local_id(tx, guard.local_id)?;
    rules::check_guard(&computation, guard)?;
    Ok(computation)
}

pub(super) fn update_details(
    tx: &Transaction<'_>,
    now: Timestamp,
    guard: &Guard,
    details: ComputationDetails,
    requisitions: Vec<RequisitionEntry>,
) -> Result<Computation, StoreError> {
    let mut computation = guarded(tx, guard)?;
    rules::check_details(computation.stage.protocol(), &details)?;
    computation.details = details;
    computation.version = rules::next_version(now, computation.version);
    rows::update(tx, &computation)?;
    for requisition in requisitions {
        requisitions::update(tx, now, computation.local_id, requisition)?;
    }
    rows::by_local_id(tx, computation.local_id)
}

pub(super) fn record_output(
    tx: &Transaction<'_>,
    now: Timestamp,
    guard: &Guard,
    blob_id: i64,
    path: &str,
) -> Result<Computation, StoreError> {
    let mut computation = guarded(tx, guard)?;
    if !rules::check_output(&computation, blob_id, path)? {
        return Ok(computation);
    }
    tx.execute(
        "UPDATE ComputationBlobReferences SET PathToBlob = ?4
         WHERE ComputationId = ?1 AND ComputationStage = ?2 AND BlobId = ?3",
        params![computation.local_id, computation.stage.number(), blob_id, path],
    )?;
    computation.version = rules::next_version(now, computation.version);
    rows::update(tx, &computation)?;
    rows::by_local_id(tx, computation.local_id)
}

pub(super) fn advance(
    tx: &Transaction<'_>,
    now: Timestamp,
    guard: &Guard,
    advance: Advance,
) -> Result<Computation, StoreError> {
    let computation = guarded(tx, guard)?;
    let blobs = rules::check_advance(&computation, &advance)?;
    rows::end_attempt(tx, &computation, computation.attempt, EndReason::Succeeded, now)?;
    // Work waits for its first claim; in a stage that only waits, the one attempt is the waiting.
    let claimable = advance.next.kind() == StageKind::Compute;
    let entered = Computation {
        attempt: if claimable { 0 } else { 1 },
        stage_details: advance.stage_details.clone(),
        blobs,
        lock_expiration: claimable.then_some(now),
        ..computation.clone()
    };
    enter(tx, now, &computation, Computation { stage: advance.next, ..entered })
}

pub(super) fn finish(
    tx: &Transaction<'_>,
    now: Timestamp,
    guard: &Guard,
    reason: CompletedReason,
) -> Result<Computation, StoreError> {
    let computation = guarded(tx, guard)?;
    if !rules::check_finish(&computation, reason)? {
        return Ok(computation);
    }
    rows::end_attempt(tx, &computation, computation.attempt, rules::end_reason(reason), now)?;
    rows::end_all_attempts(tx, computation.local_id, EndReason::Cancelled, now)?;
    let mut ended = Computation {
        stage: computation.stage.protocol().terminal_stage(),
        attempt: 1,
        stage_details: ComputationStageDetails::default(),
        blobs: Vec::new(),
        lock_expiration: None,
        ..computation.clone()
    };
    ended.details.ending_state = reason as i32;
    enter(tx, now, &computation, ended)
}

/// Writes the step from one stage to another; nobody holds the new one.
fn enter(
    tx: &Transaction<'_>,
    now: Timestamp,
    left: &Computation,
    entered: Computation,
) -> Result<Computation, StoreError> {
    let entered =
        Computation { version: rules::next_version(now, left.version), lock_owner: None, ..entered };
    rows::end_stage(tx, left, entered.stage, now)?;
    rows::insert_stage(tx, &entered, Some(left.stage), now)?;
    if entered.attempt > 0 {
        rows::insert_attempt(tx, &entered, now)?;
    }
    rows::update(tx, &entered)?;
    rows::by_local_id(tx, entered.local_id)
}
