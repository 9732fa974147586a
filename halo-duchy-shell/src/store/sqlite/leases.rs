//! Claims on work.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};

use super::rows;
use crate::clock::Timestamp;
use crate::proto::internal::computation_stage_attempt_details::EndReason;
use crate::store::{Claim, Computation, Guard, Lease, StoreError, rules};

pub(super) fn claim(
    tx: &Transaction<'_>,
    now: Timestamp,
    claim: &Claim,
) -> Result<Option<Computation>, StoreError> {
    let candidate = tx
        .prepare_cached(
            "SELECT ComputationId FROM Computations
             WHERE Protocol = ?1 AND LockExpirationTime <= ?2
               AND ComputationStage IN (SELECT value FROM json_each(?3))
             ORDER BY ComputationStage NOT IN (SELECT value FROM json_each(?4)),
                      CreationTime, LockExpirationTime, UpdateTime, ComputationId
             LIMIT 1",
        )?
        .query_row(
            params![
                claim.protocol.number(),
                now.millis(),
                rows::numbers(rules::claimable(claim.protocol)),
                rows::numbers(rules::prioritized(claim)),
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(local_id) = candidate else { return Ok(None) };
    let mut computation = rows::by_local_id(tx, local_id)?;
    if computation.lock_owner.is_some() {
        rows::end_attempt(tx, &computation, computation.attempt, EndReason::LockOverwritten, now)?;
    }
    computation.attempt += 1;
    computation.version = rules::next_version(now, computation.version);
    computation.lock_owner = Some(claim.owner.clone());
    computation.lock_expiration = Some(now + claim.duration);
    rows::insert_attempt(tx, &computation, now)?;
    tx.execute(
        "UPDATE ComputationStages SET NextAttempt = ?3 WHERE ComputationId = ?1 AND ComputationStage = ?2",
        (local_id, computation.stage.number(), computation.attempt + 1),
    )?;
    rows::update(tx, &computation)?;
    Ok(Some(computation))
}

pub(super) fn extend(
    tx: &Transaction<'_>,
    lease: &Lease,
    expiration: Timestamp,
) -> Result<Computation, StoreError> {
    let mut computation = rows::by_local_id(tx, lease.local_id)?;
    rules::check_lease(&computation, lease)?;
    computation.lock_expiration = Some(expiration);
    rows::update(tx, &computation)?;
    Ok(computation)
}

pub(super) fn enqueue(
    tx: &Transaction<'_>,
    now: Timestamp,
    guard: &Guard,
    expected_owner: &str,
    delay: Duration,
) -> Result<(), StoreError> {
    let mut computation = rows::by_local_id(tx, guard.local_id)?;
    rules::check_enqueue(&computation, guard, expected_owner)?;
    rows::end_attempt(tx, &computation, computation.attempt, EndReason::Error, now)?;
    computation.version = rules::next_version(now, computation.version);
    computation.lock_owner = None;
    computation.lock_expiration = Some(now + delay);
    rows::update(tx, &computation)
}
