//! Claims on work.

use std::time::Duration;

use super::backend::Backend;
use super::lifecycle::{computation, end_current_attempt};
use super::rows::{Candidate, Ending, Key, Rows};
use super::{Claim, Computation, Guard, Lease, StoreError, rules};
use crate::clock::Timestamp;
use crate::proto::internal::computation_stage_attempt_details::EndReason;

/// How many candidates are read at once, so that those who lose one to another claimer have more to try.
const CANDIDATES: u32 = 10;
/// How often the queue is read again when others were quicker each time.
const ROUNDS: usize = 5;

/// Claims in one transaction: for databases in which reading the queue does not keep others from it.
pub(super) async fn claim(
    rows: &mut dyn Rows,
    now: Timestamp,
    claim: Claim,
) -> Result<Option<Computation>, StoreError> {
    let candidates = rows.candidates(&claim, now, 1).await?;
    let Some(&candidate) = candidates.first() else { return Ok(None) };
    take(rows, now, claim, candidate).await
}

/// Reads the queue in one transaction and claims in another, which looks at the one computation only: a transaction
/// that does both would lock all that can be claimed.
pub(super) async fn claim_by_candidates(
    backend: &(impl Backend + ?Sized),
    claim: Claim,
) -> Result<Option<Computation>, StoreError> {
    for _ in 0..ROUNDS {
        let wish = claim.clone();
        let read = backend.read(move |rows, now| {
            let wish = wish.clone();
            Box::pin(async move { rows.candidates(&wish, now, CANDIDATES).await })
        });
        let candidates = read.await?;
        if candidates.is_empty() {
            break;
        }
        for candidate in candidates {
            let wish = claim.clone();
            let write = backend.write(move |rows, now| Box::pin(take(rows, now, wish.clone(), candidate)));
            if let Some(claimed) = write.await? {
                return Ok(Some(claimed));
            }
        }
    }
    Ok(None)
}

/// Takes the lease on a candidate; `None` if it is no longer as it was.
async fn take(
    rows: &mut dyn Rows,
    now: Timestamp,
    claim: Claim,
    candidate: Candidate,
) -> Result<Option<Computation>, StoreError> {
    let Some(mut computation) = rows.computation(Key::Local(candidate.local_id)).await? else {
        return Ok(None);
    };
    if computation.version != candidate.version || !rules::is_claimable(&computation, &claim, now) {
        return Ok(None);
    }
    if computation.lock_owner.is_some() {
        let ending = Ending { reason: EndReason::LockOverwritten, error: String::new() };
        end_current_attempt(rows, &computation, &ending, now).await?;
    }
    computation.attempt += 1;
    computation.version = rules::next_version(now, computation.version);
    computation.lock_owner = Some(claim.owner);
    computation.lock_expiration = Some(now + claim.duration);
    rows.insert_attempt(&computation, now).await?;
    rows.update_next_attempt(&computation).await?;
    rows.update_computation(&computation).await?;
    Ok(Some(computation))
}

pub(super) async fn extend(
    rows: &mut dyn Rows,
    lease: Lease,
    expiration: Timestamp,
) -> Result<Computation, StoreError> {
    let mut computation = computation(rows, Key::Local(lease.local_id)).await?;
    rules::check_lease(&computation, &lease)?;
    computation.lock_expiration = Some(expiration);
    rows.update_computation(&computation).await?;
    Ok(computation)
}

pub(super) async fn enqueue(
    rows: &mut dyn Rows,
    now: Timestamp,
    guard: Guard,
    expected_owner: String,
    delay: Duration,
    ending: Ending,
) -> Result<(), StoreError> {
    let mut computation = computation(rows, Key::Local(guard.local_id)).await?;
    rules::check_enqueue(&computation, &guard, &expected_owner)?;
    let ended = end_current_attempt(rows, &computation, &ending, now).await?;
    if ended && ending.reason == EndReason::Cancelled {
        let interrupted = &mut computation.stage_details.interrupted_attempts;
        *interrupted = interrupted.saturating_add(1);
        rows.update_stage_details(&computation).await?;
    }
    computation.version = rules::next_version(now, computation.version);
    computation.lock_owner = None;
    computation.lock_expiration = Some(now + delay);
    rows.update_computation(&computation).await
}
