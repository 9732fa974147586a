//! The rules that every backend enforces, as functions of what its transaction has read.

use super::rows::Ending;
use super::{Advance, BlobDependency, Claim, Computation, GivenBack, Guard, Lease, StageBlob, StoreError};
use crate::clock::Timestamp;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::computation_stage_attempt_details::EndReason;
use crate::proto::internal::{ComputationDetails, RequisitionDetails};
use crate::protocol_stages::{Protocol, ProtocolError, ProtocolStage};
use halo_protocols::llv2::StageKind;

/// The version that follows `old`: the time, but always later, also if two writes fall into one millisecond or another
/// replica's clock is ahead.
pub(super) fn next_version(now: Timestamp, old: i64) -> i64 {
    now.millis().max(old + 1)
}

/// Checks that the caller has seen the computation as it is.
pub(super) fn check_guard(computation: &Computation, guard: &Guard) -> Result<(), StoreError> {
    let local_id = computation.local_id;
    if computation.version != guard.version {
        return Err(StoreError::VersionMismatch {
            local_id,
            token: guard.version,
            actual: computation.version,
        });
    }
    if computation.lock_owner != guard.owner {
        return Err(StoreError::LockOwnerMismatch {
            local_id,
            expected: guard.owner.clone(),
            actual: computation.lock_owner.clone(),
        });
    }
    Ok(())
}

/// Checks that a lease is still the one in force. One that ran out unnoticed by others still is.
pub(super) fn check_lease(computation: &Computation, lease: &Lease) -> Result<(), StoreError> {
    let held = computation.stage == lease.stage
        && computation.attempt == lease.attempt
        && computation.lock_owner.as_ref() == Some(&lease.owner);
    if held {
        return Ok(());
    }
    Err(StoreError::LeaseLost {
        local_id: lease.local_id,
        stage: lease.stage,
        attempt: lease.attempt,
        owner: lease.owner.clone(),
    })
}

/// Checks that details are of the computation's protocol.
pub(super) fn check_details(protocol: Protocol, details: &ComputationDetails) -> Result<(), StoreError> {
    if Protocol::of(details) == Some(protocol) {
        return Ok(());
    }
    Err(ProtocolError::DetailsMismatch { expected: protocol }.into())
}

/// Checks a recorded output against the slot. `true` if there is something to write.
pub(super) fn check_output(computation: &Computation, blob_id: i64, path: &str) -> Result<bool, StoreError> {
    let stage = computation.stage;
    let blob = computation.blobs.iter().find(|blob| blob.id == blob_id);
    let blob = blob.ok_or(StoreError::NoSuchSlot { stage, blob_id })?;
    if blob.dependency != BlobDependency::Output {
        return Err(StoreError::NotAnOutput { stage, blob_id });
    }
    match &blob.path {
        None => Ok(true),
        Some(recorded) if recorded == path => Ok(false),
        Some(recorded) => Err(StoreError::SlotTaken { stage, blob_id, path: recorded.clone() }),
    }
}

/// Checks that the step is the protocol's and that the stage is done; returns the blobs of the stage entered: inputs
/// first, then those passed through, then empty outputs.
pub(super) fn check_advance(
    computation: &Computation,
    advance: &Advance,
) -> Result<Vec<StageBlob>, StoreError> {
    let from = computation.stage;
    if from.protocol() != advance.next.protocol() || from.next(&computation.details)? != Some(advance.next) {
        return Err(StoreError::IllegalTransition { from, to: advance.next });
    }
    let missing = computation
        .blobs
        .iter()
        .find(|blob| blob.dependency == BlobDependency::Output && blob.path.is_none());
    if let Some(blob) = missing {
        return Err(StoreError::OutputsMissing { stage: from, blob_id: blob.id });
    }
    let inputs = advance.inputs.iter().map(|path| (BlobDependency::Input, Some(path.clone())));
    let passed = advance.pass_through.iter().map(|path| (BlobDependency::PassThrough, Some(path.clone())));
    let slots = advance.next.output_slots(&computation.details)?;
    if advance.outputs != slots {
        return Err(StoreError::WrongOutputs {
            stage: advance.next,
            expected: slots,
            found: advance.outputs,
        });
    }
    if advance.next.details(&computation.details)?.unwrap_or_default() != advance.stage_details {
        return Err(StoreError::WrongStageDetails { stage: advance.next });
    }
    let outputs = std::iter::repeat_n((BlobDependency::Output, None), slots);
    let blobs = inputs.chain(passed).chain(outputs).zip(0..);
    Ok(blobs.map(|((dependency, path), id)| StageBlob { id, dependency, path }).collect())
}

/// Checks that a computation may end for `reason`. `false` if it already has.
pub(super) fn check_finish(computation: &Computation, reason: CompletedReason) -> Result<bool, StoreError> {
    let stage = computation.stage;
    if stage.kind() != StageKind::Terminal {
        return Ok(true);
    }
    if computation.details.ending_state == reason as i32 {
        return Ok(false);
    }
    Err(StoreError::IllegalTransition { from: stage, to: stage })
}

/// How the attempt that a finish interrupts has ended.
pub(super) fn end_reason(reason: CompletedReason) -> EndReason {
    match reason {
        CompletedReason::Succeeded => EndReason::Succeeded,
        CompletedReason::Failed => EndReason::Error,
        CompletedReason::Canceled | CompletedReason::Unspecified => EndReason::Cancelled,
    }
}

/// The most bytes of an error that are kept.
const MOST_ERROR_BYTES: usize = 2_000;

/// How an attempt ended, with its error as it is kept: on one line, cut where it is too long.
pub(super) fn ending(reason: EndReason, error: &str) -> Ending {
    let error = match reason {
        EndReason::Succeeded => String::new(),
        _ => error.replace(char::is_control, " "),
    };
    let error = match error.len() > MOST_ERROR_BYTES {
        true => format!("{}…", &error[..error.floor_char_boundary(MOST_ERROR_BYTES - '…'.len_utf8())]),
        false => error,
    };
    Ending { reason, error }
}

/// How the attempt has ended whose work is given back.
pub(super) fn given_back(given_back: GivenBack<'_>) -> Ending {
    match given_back {
        GivenBack::Failed(error) => ending(EndReason::Error, error),
        GivenBack::Interrupted(why) => ending(EndReason::Cancelled, why),
    }
}

/// Checks that a stage may go back to the queue.
pub(super) fn check_enqueue(
    computation: &Computation,
    guard: &Guard,
    expected_owner: &str,
) -> Result<(), StoreError> {
    let stage = computation.stage;
    if computation.lock_owner.as_ref().is_some_and(|owner| owner != expected_owner) {
        return Err(StoreError::LockOwnerMismatch {
            local_id: computation.local_id,
            expected: Some(expected_owner.to_owned()),
            actual: computation.lock_owner.clone(),
        });
    }
    check_guard(computation, guard)?;
    if stage.kind() != StageKind::Compute {
        return Err(StoreError::NotWork { stage });
    }
    Ok(())
}

/// Whether a claim may take the computation now.
pub(super) fn is_claimable(computation: &Computation, claim: &Claim, now: Timestamp) -> bool {
    computation.stage.protocol() == claim.protocol
        && computation.stage.kind() == StageKind::Compute
        && computation.lock_expiration.is_some_and(|expiration| expiration <= now)
}

/// The stages of the protocol that mills work on.
pub(super) fn claimable(protocol: Protocol) -> impl Iterator<Item = ProtocolStage> {
    protocol.stages().filter(|stage| stage.kind() == StageKind::Compute)
}

/// The stages that mills work on, in two parts: those to be claimed before all others, and the others.
pub(super) fn by_urgency(claim: &Claim) -> [Vec<ProtocolStage>; 2] {
    let (urgent, others) = claimable(claim.protocol).partition(|stage| claim.prioritized.contains(stage));
    [urgent, others]
}

/// The details that replace a requisition's: what its fulfillment recorded stays unless told anew.
pub(super) fn merge_requisition(stored: RequisitionDetails, new: RequisitionDetails) -> RequisitionDetails {
    RequisitionDetails {
        public_api_version: if new.public_api_version.is_empty() {
            stored.public_api_version
        } else {
            new.public_api_version
        },
        protocol: new.protocol.or(stored.protocol),
        ..new
    }
}
