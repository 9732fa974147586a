//! Reading rows from SQLite.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use zeroize::Zeroizing;

use super::rows::SqliteRows;
use super::tables;
use crate::clock::Timestamp;
use crate::proto::internal::{ExternalRequisitionKey, RequisitionMetadata};
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::store::columns::{dependency, ended_for, stage};
use crate::store::rows::{Candidate, Key, OpenAttempt, ReadRows, RequisitionRow};
use crate::store::tables::Table;
use crate::store::unknown::Unknown;
use crate::store::{Claim, Computation, Ended, Expired, Listing, Queue, StageBlob, Stat, StoreError, rules};

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..) => Self::corrupt("row")(error.into()),
            _ => Self::Unavailable(error.into()),
        }
    }
}

#[async_trait]
impl ReadRows for SqliteRows<'_> {
    async fn computation(&mut self, key: Key<'_>) -> Result<Option<Computation>, StoreError> {
        computation(self.0, key)
    }

    async fn exists(&mut self, key: Key<'_>) -> Result<bool, StoreError> {
        let found = match key {
            Key::Local(id) => {
                let sql = "SELECT 1 FROM Computations WHERE ComputationId = ?1";
                self.0.prepare_cached(sql)?.exists([id])?
            }
            Key::Global(id) => {
                let sql = "SELECT 1 FROM Computations WHERE GlobalComputationId = ?1";
                self.0.prepare_cached(sql)?.exists([id])?
            }
        };
        Ok(found)
    }

    async fn find_requisitions(
        &mut self,
        keys: &[ExternalRequisitionKey],
    ) -> Result<Vec<RequisitionRow>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT ComputationId, RequisitionId FROM Requisitions
             WHERE ExternalRequisitionId = ?1 AND RequisitionFingerprint = ?2",
        )?;
        let mut found = Vec::new();
        for key in keys {
            let row = statement
                .query_row(params![key.external_requisition_id, key.requisition_fingerprint], |row| {
                    Ok(RequisitionRow { key: key.clone(), local_id: row.get(0)?, position: row.get(1)? })
                })
                .optional()?;
            found.extend(row);
        }
        Ok(found)
    }

    async fn open_attempts(&mut self, local_id: i64) -> Result<Vec<OpenAttempt>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT ComputationStage, Attempt FROM ComputationStageAttempts
             WHERE ComputationId = ?1 AND EndTime IS NULL",
        )?;
        let attempts = statement
            .query_map([local_id], |row| Ok(OpenAttempt { stage: row.get(0)?, attempt: row.get(1)? }))?;
        Ok(attempts.collect::<Result<_, _>>()?)
    }

    async fn candidates(
        &mut self,
        claim: &Claim,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Candidate>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT ComputationId, UpdateTime FROM Computations INDEXED BY ComputationsByCreationTime
             WHERE Protocol = ?1 AND LockExpirationTime <= ?2
               AND ComputationStage IN (SELECT value FROM json_each(?3))
             ORDER BY CreationTime, LockExpirationTime, UpdateTime, ComputationId
             LIMIT ?4",
        )?;
        let mut found = Vec::new();
        // The index gives each of the two in its order.
        for stages in rules::by_urgency(claim) {
            let left = limit.saturating_sub(found.len() as u32);
            if stages.is_empty() || left == 0 {
                continue;
            }
            let key = params![claim.protocol.number(), now.millis(), numbers(stages.into_iter()), left];
            let rows = statement
                .query_map(key, |row| Ok(Candidate { local_id: row.get(0)?, version: row.get(1)? }))?;
            for candidate in rows {
                found.push(candidate?);
            }
        }
        Ok(found)
    }

    async fn blob_paths(&mut self, local_id: i64) -> Result<Vec<String>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT PathToBlob FROM ComputationBlobReferences WHERE ComputationId = ?1 AND PathToBlob IS NOT NULL
             UNION
             SELECT PathToBlob FROM Requisitions WHERE ComputationId = ?1 AND PathToBlob IS NOT NULL",
        )?;
        let paths = statement.query_map([local_id], |row| row.get(0))?;
        Ok(paths.collect::<Result<_, _>>()?)
    }

    async fn expired(&mut self, expired: &Expired) -> Result<Vec<Ended>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT ComputationId, GlobalComputationId, ComputationDetails FROM Computations INDEXED BY ComputationsByStage
             WHERE (Protocol, ComputationStage) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3))
               AND UpdateTime <= ?2 AND ComputationId > ?1
             ORDER BY ComputationId LIMIT ?4",
        )?;
        let key =
            params![expired.after, expired.updated_before.millis(), pairs(&expired.stages), expired.limit];
        let ended = statement.query_map(key, |row| {
            let details = row.get_ref(2)?.as_bytes()?;
            Ok(Ended { local_id: row.get(0)?, global_id: row.get(1)?, reason: ended_for(details) })
        })?;
        Ok(ended.collect::<Result<_, _>>()?)
    }

    async fn is_empty(&mut self) -> Result<bool, StoreError> {
        Ok(!self.0.prepare_cached("SELECT 1 FROM Computations LIMIT 1")?.exists([])?)
    }

    async fn queue(&mut self, protocol: Protocol) -> Result<Queue, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT COUNT(*), MIN(UpdateTime) FROM Computations INDEXED BY ComputationsByCreationTime
             WHERE Protocol = ?1 AND LockExpirationTime IS NOT NULL
               AND ComputationStage IN (SELECT value FROM json_each(?2))",
        )?;
        let key = params![protocol.number(), numbers(rules::claimable(protocol))];
        Ok(statement.query_row(key, |row| {
            let oldest = row.get::<_, Option<i64>>(1)?.map(Timestamp::from_millis);
            Ok(Queue { depth: row.get(0)?, oldest })
        })?)
    }

    async fn ids_in_stages(&mut self, stages: &[ProtocolStage]) -> Result<Vec<String>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT GlobalComputationId FROM Computations INDEXED BY ComputationsByStage
             WHERE (Protocol, ComputationStage) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1))
             ORDER BY CreationTime, ComputationId",
        )?;
        let ids = statement.query_map([pairs(stages)], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    async fn page(&mut self, listing: &Listing) -> Result<Vec<i64>, StoreError> {
        let order = listing.order.columns();
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT ComputationId FROM Computations
             WHERE (Protocol, ComputationStage) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1))
               AND CreationTime <= ?2 AND UpdateTime BETWEEN ?3 AND ?4
             ORDER BY {order} LIMIT ?5 OFFSET ?6",
        ))?;
        let key = params![
            pairs(&listing.stages),
            listing.created_before.millis(),
            listing.updated_since.millis(),
            listing.updated_before.millis(),
            listing.limit,
            listing.offset,
        ];
        let ids = statement.query_map(key, |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    async fn rows_of(
        &mut self,
        table: &'static Table,
        local_ids: &[i64],
    ) -> Result<Vec<crate::store::tables::Row>, StoreError> {
        tables::of_computations(self.0, table, local_ids)
    }

    async fn attempt_exists(&mut self, stat: &Stat) -> Result<bool, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT 1 FROM ComputationStageAttempts
             WHERE ComputationId = ?1 AND ComputationStage = ?2 AND Attempt = ?3",
        )?;
        Ok(statement.exists((stat.local_id, stat.stage.number(), stat.attempt))?)
    }

    async fn continuation_token(&mut self) -> Result<Option<String>, StoreError> {
        let sql = "SELECT ContinuationToken FROM HeraldContinuationTokens";
        Ok(self.0.query_row(sql, [], |row| row.get(0)).optional()?)
    }
}

const COMPUTATION: &str = "
    SELECT ComputationId, GlobalComputationId, Protocol, ComputationStage, NextAttempt, UpdateTime,
           ComputationDetails, Details, LockOwner, LockExpirationTime
    FROM Computations JOIN ComputationStages USING (ComputationId, ComputationStage)";

fn computation(connection: &Connection, key: Key<'_>) -> Result<Option<Computation>, StoreError> {
    match key {
        Key::Local(id) => read(connection, &format!("{COMPUTATION} WHERE ComputationId = ?1"), [id]),
        Key::Global(id) => read(connection, &format!("{COMPUTATION} WHERE GlobalComputationId = ?1"), [id]),
    }
}

fn read(connection: &Connection, sql: &str, key: impl Params) -> Result<Option<Computation>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(key)?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut computation = from_row(row)?;
    computation.blobs = blobs(connection, computation.local_id, computation.stage)?;
    computation.requisitions = requisitions(connection, computation.local_id, &mut computation.unknown)?;
    Ok(Some(computation))
}

fn from_row(row: &Row<'_>) -> Result<Computation, StoreError> {
    let details = Zeroizing::new(row.get::<_, Vec<u8>>("ComputationDetails")?);
    let stage_details: Vec<u8> = row.get("Details")?;
    let mut unknown = Unknown::default();
    Ok(Computation {
        local_id: row.get("ComputationId")?,
        global_id: row.get("GlobalComputationId")?,
        stage: stage(row.get("Protocol")?, row.get("ComputationStage")?)?,
        attempt: row.get::<_, i32>("NextAttempt")? - 1,
        version: row.get("UpdateTime")?,
        details: unknown.details(&details)?,
        stage_details: unknown.stage_details(&stage_details)?,
        blobs: Vec::new(),
        requisitions: Vec::new(),
        lock_owner: row.get("LockOwner")?,
        lock_expiration: row.get::<_, Option<i64>>("LockExpirationTime")?.map(Timestamp::from_millis),
        unknown,
    })
}

fn blobs(connection: &Connection, local_id: i64, stage: ProtocolStage) -> Result<Vec<StageBlob>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT BlobId, DependencyType, PathToBlob FROM ComputationBlobReferences
         WHERE ComputationId = ?1 AND ComputationStage = ?2 ORDER BY BlobId",
    )?;
    let mut rows = statement.query((local_id, stage.number()))?;
    let mut blobs = Vec::new();
    while let Some(row) = rows.next()? {
        let dependency = dependency(row.get(1)?)?;
        blobs.push(StageBlob { id: row.get(0)?, dependency, path: row.get(2)? });
    }
    Ok(blobs)
}

fn requisitions(
    connection: &Connection,
    local_id: i64,
    unknown: &mut Unknown,
) -> Result<Vec<RequisitionMetadata>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT ExternalRequisitionId, RequisitionFingerprint, PathToBlob, RequisitionDetails
         FROM Requisitions WHERE ComputationId = ?1 ORDER BY ExternalRequisitionId, RequisitionFingerprint",
    )?;
    let mut rows = statement.query([local_id])?;
    let mut requisitions = Vec::new();
    while let Some(row) = rows.next()? {
        let details: Vec<u8> = row.get(3)?;
        let key = ExternalRequisitionKey {
            external_requisition_id: row.get(0)?,
            requisition_fingerprint: row.get(1)?,
        };
        requisitions.push(RequisitionMetadata {
            path: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
            details: Some(unknown.requisition(&key, &details)?),
            external_key: Some(key),
        });
    }
    Ok(requisitions)
}

/// A list of stages as an SQL parameter.
fn numbers(stages: impl Iterator<Item = ProtocolStage>) -> String {
    let numbers: Vec<_> = stages.map(|stage| stage.number().to_string()).collect();
    format!("[{}]", numbers.join(","))
}

/// Stages of several protocols as an SQL parameter.
fn pairs(stages: &[ProtocolStage]) -> String {
    let pair = |stage: &ProtocolStage| format!("[{},{}]", Protocol::number(stage.protocol()), stage.number());
    format!("[{}]", stages.iter().map(pair).collect::<Vec<_>>().join(","))
}
