//! Rows in SQLite, and writing them.

use async_trait::async_trait;
use prost::Message;
use rusqlite::{Connection, params};

use crate::clock::Timestamp;
use crate::proto::internal::RequisitionMetadata;
use crate::protocol_stages::ProtocolStage;
use crate::store::columns::{attempt_details, dependency_number, encode, encode_requisition, encode_stage};
use crate::store::rows::{Ending, OpenAttempt, RequisitionRow, Rows};
use crate::store::unknown::Unknown;
use crate::store::{Computation, Stat, StoreError};

/// A connection within a transaction. SQLite blocks: the futures below are ready when they are first asked.
pub(super) struct SqliteRows<'c>(pub(super) &'c mut Connection);

impl<'c> SqliteRows<'c> {
    pub(super) const fn new(connection: &'c mut Connection) -> Self {
        Self(connection)
    }
}

#[async_trait]
impl Rows for SqliteRows<'_> {
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
            &*encode(computation),
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
            &*encode(computation),
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
            let details = encode_requisition(requisition, &Unknown::default());
            let (id, fingerprint) = (key.external_requisition_id, key.requisition_fingerprint);
            statement.execute(params![local_id, position, id, fingerprint, now.millis(), details])?;
        }
        Ok(())
    }

    async fn update_requisition(
        &mut self,
        row: &RequisitionRow,
        requisition: &RequisitionMetadata,
        unknown: &Unknown,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(
            "UPDATE Requisitions SET PathToBlob = ?3, RequisitionDetails = ?4, UpdateTime = ?5
             WHERE ComputationId = ?1 AND RequisitionId = ?2",
        )?;
        let path = Some(&requisition.path).filter(|path| !path.is_empty());
        let details = encode_requisition(requisition, unknown);
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

    async fn update_stage_details(&mut self, computation: &Computation) -> Result<(), StoreError> {
        let Computation { local_id, stage, .. } = computation;
        let mut statement = self.0.prepare_cached(
            "UPDATE ComputationStages SET Details = ?3 WHERE ComputationId = ?1 AND ComputationStage = ?2",
        )?;
        statement.execute((local_id, stage.number(), encode_stage(computation)))?;
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
        let details = attempt_details(&Ending::default());
        statement.execute(params![local_id, stage.number(), attempt, now.millis(), details])?;
        Ok(())
    }

    async fn end_attempt(
        &mut self,
        local_id: i64,
        attempt: OpenAttempt,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let OpenAttempt { stage, attempt } = attempt;
        let mut statement = self.0.prepare_cached(
            "UPDATE ComputationStageAttempts SET EndTime = ?4, Details = ?5
             WHERE ComputationId = ?1 AND ComputationStage = ?2 AND Attempt = ?3",
        )?;
        statement.execute(params![local_id, stage, attempt, now.millis(), attempt_details(ending)])?;
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
