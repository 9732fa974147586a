//! Rows in SQLite.

use async_trait::async_trait;
use prost::Message;
use rusqlite::{Connection, OptionalExtension, params};

use super::read;
use crate::clock::Timestamp;
use crate::proto::internal::computation_stage_attempt_details::EndReason;
use crate::proto::internal::{ExternalRequisitionKey, RequisitionMetadata};
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::store::columns::{attempt_details, dependency_number, encode};
use crate::store::rows::{Candidate, Key, OpenAttempt, RequisitionRow, Rows};
use crate::store::{Claim, Computation, Expired, Stat, StoreError, rules};

/// A connection within a transaction. SQLite blocks: the futures below are ready when they are first asked.
pub(super) struct SqliteRows<'c>(&'c mut Connection);

impl<'c> SqliteRows<'c> {
    pub(super) const fn new(connection: &'c mut Connection) -> Self {
        Self(connection)
    }
}

#[async_trait]
impl Rows for SqliteRows<'_> {
    async fn computation(&mut self, key: Key<'_>) -> Result<Option<Computation>, StoreError> {
        read::computation(self.0, key)
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
            "SELECT ComputationId, UpdateTime FROM Computations
             WHERE Protocol = ?1 AND LockExpirationTime <= ?2
               AND ComputationStage IN (SELECT value FROM json_each(?3))
             ORDER BY ComputationStage NOT IN (SELECT value FROM json_each(?4)),
                      CreationTime, LockExpirationTime, UpdateTime, ComputationId
             LIMIT ?5",
        )?;
        let key = params![
            claim.protocol.number(),
            now.millis(),
            numbers(rules::claimable(claim.protocol)),
            numbers(rules::prioritized(claim)),
            limit,
        ];
        let candidates =
            statement.query_map(key, |row| Ok(Candidate { local_id: row.get(0)?, version: row.get(1)? }))?;
        Ok(candidates.collect::<Result<_, _>>()?)
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

    async fn expired(&mut self, expired: &Expired) -> Result<Vec<(i64, String)>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT ComputationId, GlobalComputationId FROM Computations
             WHERE ComputationId > ?1 AND UpdateTime <= ?2
               AND EXISTS (SELECT 1 FROM json_each(?3) WHERE value ->> 0 = Protocol AND value ->> 1 = ComputationStage)
             ORDER BY ComputationId LIMIT ?4",
        )?;
        let key =
            params![expired.after, expired.updated_before.millis(), pairs(&expired.stages), expired.limit];
        let ids = statement.query_map(key, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    async fn ids_in_stages(&mut self, stages: &[ProtocolStage]) -> Result<Vec<String>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT GlobalComputationId FROM Computations
             WHERE EXISTS (SELECT 1 FROM json_each(?1) WHERE value ->> 0 = Protocol AND value ->> 1 = ComputationStage)
             ORDER BY CreationTime, ComputationId",
        )?;
        let ids = statement.query_map([pairs(stages)], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
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

    async fn insert_computation(
        &mut self,
        computation: &Computation,
        created: Timestamp,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(
            "INSERT INTO Computations (ComputationId, Protocol, ComputationStage, CreationTime, UpdateTime,
                                       GlobalComputationId, LockOwner, LockExpirationTime, ComputationDetails)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        statement.execute(params![
            computation.local_id,
            computation.stage.protocol().number(),
            computation.stage.number(),
            created.millis(),
            computation.version,
            computation.global_id,
            computation.lock_owner,
            computation.lock_expiration.map(Timestamp::millis),
            &*encode(&computation.details),
        ])?;
        Ok(())
    }

    async fn update_computation(&mut self, computation: &Computation) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(
            "UPDATE Computations SET ComputationStage = ?2, UpdateTime = ?3, LockOwner = ?4,
                    LockExpirationTime = ?5, ComputationDetails = ?6
             WHERE ComputationId = ?1",
        )?;
        statement.execute(params![
            computation.local_id,
            computation.stage.number(),
            computation.version,
            computation.lock_owner,
            computation.lock_expiration.map(Timestamp::millis),
            &*encode(&computation.details),
        ])?;
        Ok(())
    }

    async fn delete_computation(&mut self, local_id: i64) -> Result<bool, StoreError> {
        let deleted = self.0.execute("DELETE FROM Computations WHERE ComputationId = ?1", [local_id])?;
        Ok(deleted > 0)
    }

    async fn insert_requisitions(
        &mut self,
        local_id: i64,
        requisitions: &[RequisitionMetadata],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(
            "INSERT INTO Requisitions (ComputationId, RequisitionId, ExternalRequisitionId,
                                       RequisitionFingerprint, CreationTime, UpdateTime, RequisitionDetails)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
        )?;
        for (position, requisition) in (0_i64..).zip(requisitions) {
            let key = requisition.external_key.clone().unwrap_or_default();
            let details = requisition.details.clone().unwrap_or_default().encode_to_vec();
            let (id, fingerprint) = (key.external_requisition_id, key.requisition_fingerprint);
            statement.execute(params![local_id, position, id, fingerprint, now.millis(), details])?;
        }
        Ok(())
    }

    async fn update_requisition(
        &mut self,
        row: &RequisitionRow,
        requisition: &RequisitionMetadata,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(
            "UPDATE Requisitions SET PathToBlob = ?3, RequisitionDetails = ?4, UpdateTime = ?5
             WHERE ComputationId = ?1 AND RequisitionId = ?2",
        )?;
        let path = Some(&requisition.path).filter(|path| !path.is_empty());
        let details = requisition.details.clone().unwrap_or_default().encode_to_vec();
        statement.execute(params![row.local_id, row.position, path, details, now.millis()])?;
        Ok(())
    }

    async fn insert_stage(
        &mut self,
        computation: &Computation,
        previous: Option<ProtocolStage>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Computation { local_id, stage, attempt, stage_details, blobs, .. } = computation;
        let mut statement = self.0.prepare_cached(
            "INSERT INTO ComputationStages
                (ComputationId, ComputationStage, CreationTime, NextAttempt, PreviousStage, Details)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let previous = previous.map(ProtocolStage::number);
        let details = stage_details.encode_to_vec();
        statement.execute(params![local_id, stage.number(), now.millis(), attempt + 1, previous, details])?;
        let mut insert = self.0.prepare_cached(
            "INSERT INTO ComputationBlobReferences
                (ComputationId, ComputationStage, BlobId, DependencyType, PathToBlob)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for blob in blobs {
            let dependency = dependency_number(blob.dependency);
            insert.execute(params![local_id, stage.number(), blob.id, dependency, blob.path])?;
        }
        Ok(())
    }

    async fn update_next_attempt(&mut self, computation: &Computation) -> Result<(), StoreError> {
        let Computation { local_id, stage, attempt, .. } = computation;
        let mut statement = self.0.prepare_cached(
            "UPDATE ComputationStages SET NextAttempt = ?3 WHERE ComputationId = ?1 AND ComputationStage = ?2",
        )?;
        statement.execute((local_id, stage.number(), attempt + 1))?;
        Ok(())
    }

    async fn end_stage(
        &mut self,
        computation: &Computation,
        following: ProtocolStage,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Computation { local_id, stage, .. } = computation;
        let mut statement = self.0.prepare_cached(
            "UPDATE ComputationStages SET EndTime = ?3, FollowingStage = ?4
             WHERE ComputationId = ?1 AND ComputationStage = ?2",
        )?;
        statement.execute((local_id, stage.number(), now.millis(), following.number()))?;
        Ok(())
    }

    async fn update_blob(
        &mut self,
        computation: &Computation,
        blob_id: i64,
        path: &str,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(
            "UPDATE ComputationBlobReferences SET PathToBlob = ?4
             WHERE ComputationId = ?1 AND ComputationStage = ?2 AND BlobId = ?3",
        )?;
        statement.execute(params![computation.local_id, computation.stage.number(), blob_id, path])?;
        Ok(())
    }

    async fn insert_attempt(&mut self, computation: &Computation, now: Timestamp) -> Result<(), StoreError> {
        let Computation { local_id, stage, attempt, .. } = computation;
        let mut statement = self.0.prepare_cached(
            "INSERT INTO ComputationStageAttempts (ComputationId, ComputationStage, Attempt, BeginTime, Details)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let details = attempt_details(EndReason::Unspecified);
        statement.execute(params![local_id, stage.number(), attempt, now.millis(), details])?;
        Ok(())
    }

    async fn end_attempt(
        &mut self,
        local_id: i64,
        attempt: OpenAttempt,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let OpenAttempt { stage, attempt } = attempt;
        let mut statement = self.0.prepare_cached(
            "UPDATE ComputationStageAttempts SET EndTime = ?4, Details = ?5
             WHERE ComputationId = ?1 AND ComputationStage = ?2 AND Attempt = ?3",
        )?;
        statement.execute(params![local_id, stage, attempt, now.millis(), attempt_details(reason)])?;
        Ok(())
    }

    async fn write_stat(&mut self, stat: &Stat, now: Timestamp) -> Result<(), StoreError> {
        let Stat { local_id, stage, attempt, name, value } = stat;
        let mut statement = self.0.prepare_cached(
            "INSERT INTO ComputationStats
                (ComputationId, ComputationStage, Attempt, MetricName, CreateTime, MetricValue)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET CreateTime = excluded.CreateTime, MetricValue = excluded.MetricValue",
        )?;
        statement.execute(params![local_id, stage.number(), attempt, name, now.millis(), value])?;
        Ok(())
    }

    async fn write_continuation_token(&mut self, token: &str, now: Timestamp) -> Result<(), StoreError> {
        self.0.execute(
            "INSERT INTO HeraldContinuationTokens (Presence, ContinuationToken, UpdateTime) VALUES (1, ?1, ?2)
             ON CONFLICT DO UPDATE SET ContinuationToken = excluded.ContinuationToken, UpdateTime = excluded.UpdateTime",
            (token, now.millis()),
        )?;
        Ok(())
    }
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
