//! What is listed, measured, remembered beside the computations, and forgotten.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::clock::Timestamp;
use crate::continuation_token::ContinuationToken;
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::store::{Expired, Stat, StoreError};

pub(super) fn blob_paths(tx: &Transaction<'_>, local_id: i64) -> Result<Vec<String>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT PathToBlob FROM ComputationBlobReferences WHERE ComputationId = ?1 AND PathToBlob IS NOT NULL
         UNION
         SELECT PathToBlob FROM Requisitions WHERE ComputationId = ?1 AND PathToBlob IS NOT NULL",
    )?;
    let paths = statement.query_map([local_id], |row| row.get(0))?;
    Ok(paths.collect::<Result<_, _>>()?)
}

pub(super) fn delete(tx: &Transaction<'_>, local_id: i64) -> Result<bool, StoreError> {
    Ok(tx.execute("DELETE FROM Computations WHERE ComputationId = ?1", [local_id])? > 0)
}

pub(super) fn expired(tx: &Transaction<'_>, expired: &Expired) -> Result<Vec<(i64, String)>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT ComputationId, GlobalComputationId FROM Computations
         WHERE ComputationId > ?1 AND UpdateTime <= ?2
           AND EXISTS (SELECT 1 FROM json_each(?3) WHERE value ->> 0 = Protocol AND value ->> 1 = ComputationStage)
         ORDER BY ComputationId LIMIT ?4",
    )?;
    let stages = pairs(&expired.stages);
    let ids = statement
        .query_map(params![expired.after, expired.updated_before.millis(), stages, expired.limit], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok(ids.collect::<Result<_, _>>()?)
}

pub(super) fn ids_in_stages(
    tx: &Transaction<'_>,
    stages: &[ProtocolStage],
) -> Result<Vec<String>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT GlobalComputationId FROM Computations
         WHERE EXISTS (SELECT 1 FROM json_each(?1) WHERE value ->> 0 = Protocol AND value ->> 1 = ComputationStage)
         ORDER BY CreationTime, ComputationId",
    )?;
    let ids = statement.query_map([pairs(stages)], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Stages of several protocols as an SQL parameter.
fn pairs(stages: &[ProtocolStage]) -> String {
    let pair = |stage: &ProtocolStage| format!("[{},{}]", Protocol::number(stage.protocol()), stage.number());
    format!("[{}]", stages.iter().map(pair).collect::<Vec<_>>().join(","))
}

pub(super) fn record_stat(tx: &Transaction<'_>, now: Timestamp, stat: &Stat) -> Result<(), StoreError> {
    let attempt = (stat.local_id, stat.stage.number(), stat.attempt);
    let exists = tx
        .prepare_cached(
            "SELECT 1 FROM ComputationStageAttempts
             WHERE ComputationId = ?1 AND ComputationStage = ?2 AND Attempt = ?3",
        )?
        .query_row(attempt, |_| Ok(()))
        .optional()?;
    if exists.is_none() {
        let &Stat { local_id, stage, attempt, .. } = stat;
        return Err(StoreError::NoSuchAttempt { local_id, stage, attempt });
    }
    tx.prepare_cached(
        "INSERT INTO ComputationStats
            (ComputationId, ComputationStage, Attempt, MetricName, CreateTime, MetricValue)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET CreateTime = excluded.CreateTime, MetricValue = excluded.MetricValue",
    )?
    .execute(params![attempt.0, attempt.1, attempt.2, stat.name, now.millis(), stat.value])?;
    Ok(())
}

pub(super) fn continuation_token(tx: &Transaction<'_>) -> Result<Option<ContinuationToken>, StoreError> {
    let text: Option<String> = tx
        .query_row("SELECT ContinuationToken FROM HeraldContinuationTokens", [], |row| row.get(0))
        .optional()?;
    Ok(text.as_deref().map(ContinuationToken::parse).transpose()?)
}

pub(super) fn set_continuation_token(
    tx: &Transaction<'_>,
    now: Timestamp,
    token: &ContinuationToken,
) -> Result<(), StoreError> {
    if continuation_token(tx)?.is_some_and(|stored| token.is_older_than(&stored)) {
        return Err(StoreError::ContinuationTokenOutdated);
    }
    tx.execute(
        "INSERT INTO HeraldContinuationTokens (Presence, ContinuationToken, UpdateTime) VALUES (1, ?1, ?2)
         ON CONFLICT DO UPDATE SET ContinuationToken = excluded.ContinuationToken, UpdateTime = excluded.UpdateTime",
        (token.as_str(), now.millis()),
    )?;
    Ok(())
}
