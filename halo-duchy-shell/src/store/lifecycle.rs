//! A computation from its creation to its end.

use super::requisitions::{self, sort};
use super::rows::{Ending, Key, OpenAttempt, Rows};
use super::unknown::Unknown;
use super::{Advance, Computation, Guard, NewComputation, StoreError, rules};
use crate::clock::Timestamp;
use crate::computation_secrets;
use crate::platform;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::computation_stage_attempt_details::EndReason;
use crate::proto::internal::{ComputationDetails, ComputationStageDetails, RequisitionEntry};
use halo_protocols::llv2::StageKind;

/// The computation, which must exist.
pub(super) async fn computation(rows: &mut dyn Rows, key: Key<'_>) -> Result<Computation, StoreError> {
    rows.computation(key).await?.ok_or_else(|| match key {
        Key::Local(id) => StoreError::NotFound { kind: "local", id: id.to_string() },
        Key::Global(id) => StoreError::NotFound { kind: "global", id: id.to_owned() },
    })
}

/// The computation, if the caller has seen it as it is.
async fn guarded(rows: &mut dyn Rows, guard: &Guard) -> Result<Computation, StoreError> {
    let computation = computation(rows, Key::Local(guard.local_id)).await?;
    rules::check_guard(&computation, guard)?;
    Ok(computation)
}

pub(super) async fn create(
    rows: &mut dyn Rows,
    now: Timestamp,
    new: NewComputation,
) -> Result<Computation, StoreError> {
    rules::check_details(new.protocol, &new.details)?;
    if rows.exists(Key::Global(&new.global_id)).await? {
        return Err(StoreError::AlreadyExists(new.global_id));
    }
    let requisitions = requisitions::check_new(rows, new.requisitions).await?;
    let mut computation = Computation {
        local_id: unused_local_id(rows).await?,
        global_id: new.global_id,
        stage: new.protocol.initial_stage(),
        attempt: 0,
        version: now.millis(),
        details: new.details,
        stage_details: ComputationStageDetails::default(),
        blobs: Vec::new(),
        requisitions,
        lock_owner: None,
        lock_expiration: Some(now),
        unknown: Unknown::default(),
    };
    rows.insert_computation(&computation, now).await?;
    rows.insert_stage(&computation, None, now).await?;
    rows.insert_requisitions(computation.local_id, &computation.requisitions, now).await?;
    sort(&mut computation.requisitions);
    Ok(computation)
}

/// A random positive id that no row has.
async fn unused_local_id(rows: &mut dyn Rows) -> Result<i64, StoreError> {
    loop {
        let random =
            platform::random_u64().map_err(|error| StoreError::Unavailable(error.to_string().into()))?;
        let id = (random >> 1).cast_signed();
        if id != 0 && !rows.exists(Key::Local(id)).await? {
            return Ok(id);
        }
    }
}

pub(super) async fn update_details(
    rows: &mut dyn Rows,
    now: Timestamp,
    guard: Guard,
    details: ComputationDetails,
    requisitions: Vec<RequisitionEntry>,
) -> Result<Computation, StoreError> {
    let mut computation = guarded(rows, &guard).await?;
    rules::check_details(computation.stage.protocol(), &details)?;
    let updates = requisitions::merge(rows, &mut computation, requisitions).await?;
    computation.details = details;
    computation.version = rules::next_version(now, computation.version);
    rows.update_computation(&computation).await?;
    for (row, requisition) in &updates {
        rows.update_requisition(row, requisition, &computation.unknown, now).await?;
    }
    Ok(computation)
}

pub(super) async fn record_output(
    rows: &mut dyn Rows,
    now: Timestamp,
    guard: Guard,
    blob_id: i64,
    path: String,
) -> Result<Computation, StoreError> {
    let mut computation = guarded(rows, &guard).await?;
    if !rules::check_output(&computation, blob_id, &path)? {
        return Ok(computation);
    }
    rows.update_blob(&computation, blob_id, &path).await?;
    for blob in computation.blobs.iter_mut().filter(|blob| blob.id == blob_id) {
        blob.path = Some(path.clone());
    }
    computation.version = rules::next_version(now, computation.version);
    rows.update_computation(&computation).await?;
    Ok(computation)
}

pub(super) async fn advance(
    rows: &mut dyn Rows,
    now: Timestamp,
    guard: Guard,
    advance: Advance,
) -> Result<Computation, StoreError> {
    let computation = guarded(rows, &guard).await?;
    let blobs = rules::check_advance(&computation, &advance)?;
    let ending = Ending { reason: EndReason::Succeeded, error: String::new() };
    end_current_attempt(rows, &computation, &ending, now).await?;
    // Work waits for its first claim; in a stage that only waits, the one attempt is the waiting.
    let claimable = advance.next.kind() == StageKind::Compute;
    let entered = Computation {
        stage: advance.next,
        attempt: if claimable { 0 } else { 1 },
        stage_details: advance.stage_details,
        blobs,
        lock_expiration: claimable.then_some(now),
        ..computation.clone()
    };
    enter(rows, now, &computation, entered).await
}

pub(super) async fn finish(
    rows: &mut dyn Rows,
    now: Timestamp,
    guard: Guard,
    reason: CompletedReason,
    error: String,
) -> Result<Computation, StoreError> {
    let computation = guarded(rows, &guard).await?;
    if !rules::check_finish(&computation, reason)? {
        return Ok(computation);
    }
    let current = current_attempt(&computation);
    for open in rows.open_attempts(computation.local_id).await? {
        let ended = if open == current { rules::end_reason(reason) } else { EndReason::Cancelled };
        rows.end_attempt(computation.local_id, open, &rules::ending(ended, &error), now).await?;
    }
    let mut ended = Computation {
        stage: computation.stage.protocol().terminal_stage(),
        attempt: 1,
        stage_details: ComputationStageDetails::default(),
        blobs: Vec::new(),
        lock_expiration: None,
        ..computation.clone()
    };
    ended.details.ending_state = reason as i32;
    computation_secrets::forget(&mut ended.details);
    enter(rows, now, &computation, ended).await
}

/// Writes the step from one stage to another; nobody holds the new one.
async fn enter(
    rows: &mut dyn Rows,
    now: Timestamp,
    left: &Computation,
    entered: Computation,
) -> Result<Computation, StoreError> {
    let entered =
        Computation { version: rules::next_version(now, left.version), lock_owner: None, ..entered };
    rows.end_stage(left, entered.stage, now).await?;
    rows.insert_stage(&entered, Some(left.stage), now).await?;
    if entered.attempt > 0 {
        rows.insert_attempt(&entered, now).await?;
    }
    rows.update_computation(&entered).await?;
    Ok(entered)
}

/// Ends the current attempt of the current stage, if there is one and it has not ended; whether there was.
pub(super) async fn end_current_attempt(
    rows: &mut dyn Rows,
    computation: &Computation,
    ending: &Ending,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let current = current_attempt(computation);
    let open = rows.open_attempts(computation.local_id).await?.contains(&current);
    if open {
        rows.end_attempt(computation.local_id, current, ending, now).await?;
    }
    Ok(open)
}

fn current_attempt(computation: &Computation) -> OpenAttempt {
    OpenAttempt { stage: computation.stage.number(), attempt: computation.attempt }
}
