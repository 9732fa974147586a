//! The rows of a transaction. Reads are queries; writes are kept until the commit.

use async_trait::async_trait;
use prost::Message;

use super::client::{Change, Query, Read, SpannerError};
use super::value::{Cells, Value};
use crate::clock::Timestamp;
use crate::proto::internal::RequisitionMetadata;
use crate::protocol_stages::ProtocolStage;
use crate::store::columns::{attempt_details, dependency_number, encode, encode_requisition, encode_stage};
use crate::store::rows::{Ending, Key, OpenAttempt, ReadRows, RequisitionRow, Rows};
use crate::store::unknown::Unknown;
use crate::store::{Computation, Stat, StoreError};

/// What upstream's copies of the details for debugging hold here: the details hold key material.
pub(super) const NO_COPY: &str = "{}";

/// The rows that a transaction reads and will write.
pub(super) struct SpannerRows<R> {
    pub(super) transaction: R,
    /// Whether Spanner has given the transaction up.
    pub(super) aborted: bool,
    pub(super) changes: Vec<Change>,
}

impl<R: Read> SpannerRows<R> {
    pub(super) fn new(transaction: R) -> Self {
        Self { transaction, aborted: false, changes: Vec::new() }
    }

    pub(super) async fn query(&mut self, query: Query) -> Result<Vec<Cells>, StoreError> {
        let answer = self.transaction.query(query).await;
        self.aborted |= answer.as_ref().is_err_and(SpannerError::is_aborted);
        Ok(answer?)
    }

    fn change(&mut self, change: Change) -> Result<(), StoreError> {
        self.changes.push(change);
        Ok(())
    }
}

#[async_trait]
impl<R: Read> Rows for SpannerRows<R> {
    async fn insert_computation(
        &mut self,
        computation: &Computation,
        created: Timestamp,
    ) -> Result<(), StoreError> {
        let mut columns = own_columns(computation);
        columns.extend([
            ("Protocol", computation.stage.protocol().number().into()),
            ("GlobalComputationId", computation.global_id.as_str().into()),
            ("CreationTime", created.into()),
        ]);
        self.change(Change::insert("Computations", columns))
    }

    async fn update_computation(&mut self, computation: &Computation) -> Result<(), StoreError> {
        self.change(Change::update("Computations", own_columns(computation)))
    }

    async fn delete_computation(&mut self, local_id: i64) -> Result<bool, StoreError> {
        if !self.exists(Key::Local(local_id)).await? {
            return Ok(false);
        }
        self.change(Change::delete("Computations", vec![local_id.into()]))?;
        Ok(true)
    }

    async fn insert_requisitions(
        &mut self,
        local_id: i64,
        requisitions: &[RequisitionMetadata],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for (position, requisition) in (0_i64..).zip(requisitions) {
            let key = requisition.external_key.clone().unwrap_or_default();
            let mut columns = vec![
                ("ComputationId", local_id.into()),
                ("RequisitionId", position.into()),
                ("ExternalRequisitionId", key.external_requisition_id.as_str().into()),
                ("RequisitionFingerprint", key.requisition_fingerprint[..].into()),
                ("CreationTime", now.into()),
            ];
            columns.extend(requisition_columns(requisition, &Unknown::default(), now));
            self.change(Change::insert("Requisitions", columns))?;
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
        let mut columns =
            vec![("ComputationId", row.local_id.into()), ("RequisitionId", row.position.into())];
        columns.extend(requisition_columns(requisition, unknown, now));
        self.change(Change::update("Requisitions", columns))
    }

    async fn insert_stage(
        &mut self,
        computation: &Computation,
        previous: Option<ProtocolStage>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut columns = stage_key(computation);
        columns.extend([
            ("CreationTime", now.into()),
            ("NextAttempt", (computation.attempt + 1).into()),
            ("PreviousStage", previous.map(ProtocolStage::number).into()),
            ("Details", computation.stage_details.encode_to_vec()[..].into()),
            ("DetailsJSON", NO_COPY.into()),
        ]);
        self.change(Change::insert("ComputationStages", columns))?;
        for blob in &computation.blobs {
            let mut columns = stage_key(computation);
            columns.extend([
                ("BlobId", blob.id.into()),
                ("DependencyType", dependency_number(blob.dependency).into()),
                ("PathToBlob", blob.path.as_deref().into()),
            ]);
            self.change(Change::insert("ComputationBlobReferences", columns))?;
        }
        Ok(())
    }

    async fn update_next_attempt(&mut self, computation: &Computation) -> Result<(), StoreError> {
        let mut columns = stage_key(computation);
        columns.push(("NextAttempt", (computation.attempt + 1).into()));
        self.change(Change::update("ComputationStages", columns))
    }

    async fn update_stage_details(&mut self, computation: &Computation) -> Result<(), StoreError> {
        let mut columns = stage_key(computation);
        columns.push(("Details", encode_stage(computation)[..].into()));
        self.change(Change::update("ComputationStages", columns))
    }

    async fn end_stage(
        &mut self,
        computation: &Computation,
        following: ProtocolStage,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut columns = stage_key(computation);
        columns.extend([("EndTime", now.into()), ("FollowingStage", following.number().into())]);
        self.change(Change::update("ComputationStages", columns))
    }

    async fn update_blob(
        &mut self,
        computation: &Computation,
        blob_id: i64,
        path: &str,
    ) -> Result<(), StoreError> {
        let mut columns = stage_key(computation);
        columns.extend([("BlobId", blob_id.into()), ("PathToBlob", path.into())]);
        self.change(Change::update("ComputationBlobReferences", columns))
    }

    async fn insert_attempt(&mut self, computation: &Computation, now: Timestamp) -> Result<(), StoreError> {
        let mut columns = stage_key(computation);
        columns.extend([
            ("Attempt", computation.attempt.into()),
            ("BeginTime", now.into()),
            ("Details", attempt_details(&Ending::default())[..].into()),
            ("DetailsJSON", NO_COPY.into()),
        ]);
        self.change(Change::insert("ComputationStageAttempts", columns))
    }

    async fn end_attempt(
        &mut self,
        local_id: i64,
        attempt: OpenAttempt,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let columns = vec![
            ("ComputationId", local_id.into()),
            ("ComputationStage", attempt.stage.into()),
            ("Attempt", attempt.attempt.into()),
            ("EndTime", now.into()),
            ("Details", attempt_details(ending)[..].into()),
            ("DetailsJSON", NO_COPY.into()),
        ];
        self.change(Change::update("ComputationStageAttempts", columns))
    }

    async fn write_stat(&mut self, stat: &Stat, now: Timestamp) -> Result<(), StoreError> {
        let columns = vec![
            ("ComputationId", stat.local_id.into()),
            ("ComputationStage", stat.stage.number().into()),
            ("Attempt", stat.attempt.into()),
            ("MetricName", stat.name.as_str().into()),
            ("CreateTime", now.into()),
            ("MetricValue", stat.value.into()),
        ];
        self.change(Change::insert_or_update("ComputationStats", columns))
    }

    async fn write_continuation_token(&mut self, token: &str, now: Timestamp) -> Result<(), StoreError> {
        let columns =
            vec![("Presence", true.into()), ("ContinuationToken", token.into()), ("UpdateTime", now.into())];
        self.change(Change::insert_or_update("HeraldContinuationTokens", columns))
    }
}

/// The key of a computation's row and what may change in it.
fn own_columns(computation: &Computation) -> Vec<(&'static str, Value)> {
    vec![
        ("ComputationId", computation.local_id.into()),
        ("ComputationStage", computation.stage.number().into()),
        ("UpdateTime", Timestamp::from_millis(computation.version).into()),
        ("LockOwner", computation.lock_owner.as_deref().into()),
        ("LockExpirationTime", computation.lock_expiration.into()),
        ("ComputationDetails", encode(computation)[..].into()),
        ("ComputationDetailsJSON", NO_COPY.into()),
    ]
}

/// The key of the current stage's row.
fn stage_key(computation: &Computation) -> Vec<(&'static str, Value)> {
    vec![
        ("ComputationId", computation.local_id.into()),
        ("ComputationStage", computation.stage.number().into()),
    ]
}

/// What may change in a requisition's row.
fn requisition_columns(
    requisition: &RequisitionMetadata,
    unknown: &Unknown,
    now: Timestamp,
) -> [(&'static str, Value); 4] {
    let details = encode_requisition(requisition, unknown);
    let path = Some(requisition.path.as_str()).filter(|path| !path.is_empty());
    [
        ("PathToBlob", path.into()),
        ("RequisitionDetails", details[..].into()),
        ("RequisitionDetailsJSON", NO_COPY.into()),
        ("UpdateTime", now.into()),
    ]
}
