//! The rows of a transaction. Reads are queries; writes are kept until the commit, when they go out together.

use async_trait::async_trait;
use prost::Message;
use tokio_postgres::Row;

use super::error::PostgresError;
use super::transaction::{Access, Query, Transaction, query};
use super::value::{Secret, Time};
use crate::clock::Timestamp;
use crate::proto::internal::RequisitionMetadata;
use crate::protocol_stages::ProtocolStage;
use crate::store::columns::{attempt_details, dependency_number, encode, encode_requisition, encode_stage};
use crate::store::rows::{Ending, OpenAttempt, RequisitionRow, Rows};
use crate::store::unknown::Unknown;
use crate::store::{Computation, Stat, StoreError};

/// The rows that a transaction reads and will write. Upstream's copies of the details for debugging (`…JSON`) are
/// written as `{}`: the details hold key material.
pub(super) struct PostgresRows {
    pub(super) transaction: Transaction,
    pub(super) access: Access,
    /// Whether PostgreSQL has given the transaction up.
    pub(super) aborted: bool,
    pub(super) changes: Vec<Query>,
}

impl PostgresRows {
    pub(super) const fn new(transaction: Transaction, access: Access) -> Self {
        Self { transaction, access, aborted: false, changes: Vec::new() }
    }

    pub(super) async fn query(&mut self, query: Query) -> Result<Vec<Row>, StoreError> {
        let answer = self.transaction.query(query).await;
        self.check(answer)
    }

    pub(super) async fn query_all(&mut self, queries: Vec<Query>) -> Result<Vec<Vec<Row>>, StoreError> {
        let answers = self.transaction.query_all(queries).await;
        self.check(answers)
    }

    fn check<T>(&mut self, answer: Result<T, PostgresError>) -> Result<T, StoreError> {
        self.aborted |= answer.as_ref().is_err_and(PostgresError::is_aborted);
        Ok(answer?)
    }

    fn change(&mut self, change: Query) -> Result<(), StoreError> {
        self.changes.push(change);
        Ok(())
    }
}

#[async_trait]
impl Rows for PostgresRows {
    async fn insert_computation(
        &mut self,
        computation: &Computation,
        created: Timestamp,
    ) -> Result<(), StoreError> {
        self.change(query!(
            "INSERT INTO Computations (ComputationId, Protocol, ComputationStage, CreationTime, UpdateTime,
                                       GlobalComputationId, LockOwner, LockExpirationTime, ComputationDetails,
                                       ComputationDetailsJSON)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '{}')",
            computation.local_id,
            computation.stage.protocol().number(),
            computation.stage.number(),
            Time(created),
            version(computation),
            computation.global_id.clone(),
            computation.lock_owner.clone(),
            computation.lock_expiration.map(Time),
            Secret(encode(computation)),
        ))
    }

    async fn update_computation(&mut self, computation: &Computation) -> Result<(), StoreError> {
        self.change(query!(
            "UPDATE Computations SET ComputationStage = $2, UpdateTime = $3, LockOwner = $4, LockExpirationTime = $5,
                    ComputationDetails = $6, ComputationDetailsJSON = '{}'
             WHERE ComputationId = $1",
            computation.local_id,
            computation.stage.number(),
            version(computation),
            computation.lock_owner.clone(),
            computation.lock_expiration.map(Time),
            Secret(encode(computation)),
        ))
    }

    /// Deletes at once: only so is it known whether there was one when others let go of it.
    async fn delete_computation(&mut self, local_id: i64) -> Result<bool, StoreError> {
        let deleted =
            self.query(query!("DELETE FROM Computations WHERE ComputationId = $1 RETURNING TRUE", local_id));
        Ok(!deleted.await?.is_empty())
    }

    async fn insert_requisitions(
        &mut self,
        local_id: i64,
        requisitions: &[RequisitionMetadata],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let keys = || requisitions.iter().map(|one| one.external_key.clone().unwrap_or_default());
        self.change(query!(
            "INSERT INTO Requisitions (ComputationId, RequisitionId, ExternalRequisitionId, RequisitionFingerprint,
                                       CreationTime, UpdateTime, PathToBlob, RequisitionDetails, RequisitionDetailsJSON)
             SELECT $1, Number - 1, Id, Fingerprint, $2, $2, Path, Details, '{}'
             FROM unnest($3::text[], $4::bytea[], $5::text[], $6::bytea[])
                  WITH ORDINALITY AS New (Id, Fingerprint, Path, Details, Number)",
            local_id,
            Time(now),
            keys().map(|key| key.external_requisition_id).collect::<Vec<_>>(),
            keys().map(|key| key.requisition_fingerprint).collect::<Vec<_>>(),
            requisitions.iter().map(path).collect::<Vec<_>>(),
            requisitions.iter().map(|new| encode_requisition(new, &Unknown::default())).collect::<Vec<_>>(),
        ))
    }

    async fn update_requisition(
        &mut self,
        row: &RequisitionRow,
        requisition: &RequisitionMetadata,
        unknown: &Unknown,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.change(query!(
            "UPDATE Requisitions SET PathToBlob = $3, RequisitionDetails = $4, RequisitionDetailsJSON = '{}',
                    UpdateTime = $5
             WHERE ComputationId = $1 AND RequisitionId = $2",
            row.local_id,
            row.position,
            path(requisition),
            encode_requisition(requisition, unknown),
            Time(now),
        ))
    }

    async fn insert_stage(
        &mut self,
        computation: &Computation,
        previous: Option<ProtocolStage>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Computation { local_id, stage, blobs, .. } = computation;
        self.change(query!(
            "INSERT INTO ComputationStages (ComputationId, ComputationStage, CreationTime, NextAttempt, PreviousStage,
                                            Details, DetailsJSON)
             VALUES ($1, $2, $3, $4, $5, $6, '{}')",
            *local_id,
            stage.number(),
            Time(now),
            next_attempt(computation),
            previous.map(ProtocolStage::number),
            computation.stage_details.encode_to_vec(),
        ))?;
        if blobs.is_empty() {
            return Ok(());
        }
        self.change(query!(
            "INSERT INTO ComputationBlobReferences (ComputationId, ComputationStage, BlobId, DependencyType, PathToBlob)
             SELECT $1, $2, Id, Dependency, Path
             FROM unnest($3::bigint[], $4::integer[], $5::text[]) AS New (Id, Dependency, Path)",
            *local_id,
            stage.number(),
            blobs.iter().map(|blob| blob.id).collect::<Vec<_>>(),
            blobs.iter().map(|blob| dependency_number(blob.dependency)).collect::<Vec<_>>(),
            blobs.iter().map(|blob| blob.path.clone()).collect::<Vec<_>>(),
        ))
    }

    async fn update_next_attempt(&mut self, computation: &Computation) -> Result<(), StoreError> {
        self.change(query!(
            "UPDATE ComputationStages SET NextAttempt = $3 WHERE ComputationId = $1 AND ComputationStage = $2",
            computation.local_id,
            computation.stage.number(),
            next_attempt(computation),
        ))
    }

    async fn update_stage_details(&mut self, computation: &Computation) -> Result<(), StoreError> {
        self.change(query!(
            "UPDATE ComputationStages SET Details = $3 WHERE ComputationId = $1 AND ComputationStage = $2",
            computation.local_id,
            computation.stage.number(),
            encode_stage(computation),
        ))
    }

    async fn end_stage(
        &mut self,
        computation: &Computation,
        following: ProtocolStage,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.change(query!(
            "UPDATE ComputationStages SET EndTime = $3, FollowingStage = $4
             WHERE ComputationId = $1 AND ComputationStage = $2",
            computation.local_id,
            computation.stage.number(),
            Time(now),
            following.number(),
        ))
    }

    async fn update_blob(
        &mut self,
        computation: &Computation,
        blob_id: i64,
        path: &str,
    ) -> Result<(), StoreError> {
        self.change(query!(
            "UPDATE ComputationBlobReferences SET PathToBlob = $4
             WHERE ComputationId = $1 AND ComputationStage = $2 AND BlobId = $3",
            computation.local_id,
            computation.stage.number(),
            blob_id,
            path.to_owned(),
        ))
    }

    async fn insert_attempt(&mut self, computation: &Computation, now: Timestamp) -> Result<(), StoreError> {
        self.change(query!(
            "INSERT INTO ComputationStageAttempts (ComputationId, ComputationStage, Attempt, BeginTime, Details,
                                                   DetailsJSON)
             VALUES ($1, $2, $3, $4, $5, '{}')",
            computation.local_id,
            computation.stage.number(),
            computation.attempt,
            Time(now),
            attempt_details(&Ending::default()),
        ))
    }

    async fn end_attempt(
        &mut self,
        local_id: i64,
        attempt: OpenAttempt,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.change(query!(
            "UPDATE ComputationStageAttempts SET EndTime = $4, Details = $5, DetailsJSON = '{}'
             WHERE ComputationId = $1 AND ComputationStage = $2 AND Attempt = $3",
            local_id,
            attempt.stage,
            attempt.attempt,
            Time(now),
            attempt_details(ending),
        ))
    }

    async fn write_stat(&mut self, stat: &Stat, now: Timestamp) -> Result<(), StoreError> {
        self.change(query!(
            "INSERT INTO ComputationStats (ComputationId, ComputationStage, Attempt, MetricName, CreationTime,
                                           MetricValue)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (ComputationId, ComputationStage, Attempt, MetricName)
             DO UPDATE SET CreationTime = excluded.CreationTime, MetricValue = excluded.MetricValue",
            stat.local_id,
            stat.stage.number(),
            stat.attempt,
            stat.name.clone(),
            Time(now),
            stat.value,
        ))
    }

    async fn write_continuation_token(&mut self, token: &str, now: Timestamp) -> Result<(), StoreError> {
        self.change(query!(
            "INSERT INTO HeraldContinuationTokens (Presence, ContinuationToken, UpdateTime) VALUES (TRUE, $1, $2)
             ON CONFLICT (Presence)
             DO UPDATE SET ContinuationToken = excluded.ContinuationToken, UpdateTime = excluded.UpdateTime",
            token.to_owned(),
            Time(now),
        ))
    }
}

fn version(computation: &Computation) -> Time {
    Time(Timestamp::from_millis(computation.version))
}

fn next_attempt(computation: &Computation) -> i64 {
    i64::from(computation.attempt) + 1
}

fn path(requisition: &RequisitionMetadata) -> Option<String> {
    Some(requisition.path.clone()).filter(|path| !path.is_empty())
}
