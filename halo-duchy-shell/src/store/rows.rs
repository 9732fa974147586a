//! What a database must do for the operations of a [`Store`](super::Store): read and write rows within a transaction.

use async_trait::async_trait;

use super::inspection::Listing;
use super::tables::{Row, Table};
use super::unknown::Unknown;
use super::{Claim, Computation, Ended, Expired, Queue, Stat, StoreError};
use crate::clock::Timestamp;
use crate::proto::internal::computation_stage_attempt_details::EndReason;
use crate::proto::internal::{ExternalRequisitionKey, RequisitionMetadata};
use crate::protocol_stages::{Protocol, ProtocolStage};

/// How a computation is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// By its id within this duchy.
    Local(i64),
    /// By the id that all parties use.
    Global(&'a str),
}

/// Where a requisition's row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequisitionRow {
    /// What it was looked up by.
    pub(super) key: ExternalRequisitionKey,
    /// Its computation.
    pub(super) local_id: i64,
    /// Its place among the computation's requisitions when that was created, from 0.
    pub(super) position: i64,
}

/// An attempt of a stage that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenAttempt {
    /// The number of the stage within the computation's protocol.
    pub(super) stage: i32,
    /// The number of the attempt within the stage, from 1.
    pub(super) attempt: i32,
}

/// How an attempt ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ending {
    /// By what; unspecified if it has not.
    pub(super) reason: EndReason,
    /// Why it did not succeed, for people; may be empty. See [`rules::ending`](super::rules::ending).
    pub(super) error: String,
}

/// A computation that can be claimed, as the queue was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The computation.
    pub(super) local_id: i64,
    /// Its version then.
    pub(super) version: i64,
}

/// What a transaction reads; no rules.
#[async_trait]
pub(super) trait ReadRows: Send {
    /// A computation with its current stage's blobs by id and its requisitions by external id and fingerprint.
    async fn computation(&mut self, key: Key<'_>) -> Result<Option<Computation>, StoreError>;

    /// Whether there is such a computation.
    async fn exists(&mut self, key: Key<'_>) -> Result<bool, StoreError>;

    /// Those of the requisitions that exist, in any computation, in any order.
    async fn find_requisitions(
        &mut self,
        keys: &[ExternalRequisitionKey],
    ) -> Result<Vec<RequisitionRow>, StoreError>;

    /// All attempts of all stages of a computation that have not ended.
    async fn open_attempts(&mut self, local_id: i64) -> Result<Vec<OpenAttempt>, StoreError>;

    /// The most urgent computations in a stage that mills work on, whose lease has ended or that nobody holds: in
    /// `claim.prioritized` first, then by creation, end of the last lease, version and id. In a transaction of its
    /// [`Backend`](super::backend::Backend)'s `claim` a database may lock those it returns, and skip what others have
    /// locked.
    async fn candidates(
        &mut self,
        claim: &Claim,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Candidate>, StoreError>;

    /// All paths of a computation, each once: of the blobs of all its stages and of its requisitions.
    async fn blob_paths(&mut self, local_id: i64) -> Result<Vec<String>, StoreError>;

    /// See [`Store::expired`](super::Store::expired).
    async fn expired(&mut self, expired: &Expired) -> Result<Vec<Ended>, StoreError>;

    /// See [`Store::is_empty`](super::Store::is_empty).
    async fn is_empty(&mut self) -> Result<bool, StoreError>;

    /// See [`Store::queue`](super::Store::queue).
    async fn queue(&mut self, protocol: Protocol) -> Result<Queue, StoreError>;

    /// See [`Store::ids_in_stages`](super::Store::ids_in_stages).
    async fn ids_in_stages(&mut self, stages: &[ProtocolStage]) -> Result<Vec<String>, StoreError>;

    /// See [`Listing`]: the local ids of a page.
    async fn page(&mut self, listing: &Listing) -> Result<Vec<i64>, StoreError>;

    /// All rows of a table that belong to these computations, by key.
    async fn rows_of(&mut self, table: &'static Table, local_ids: &[i64]) -> Result<Vec<Row>, StoreError>;

    /// Whether the attempt that `stat` is of has begun.
    async fn attempt_exists(&mut self, stat: &Stat) -> Result<bool, StoreError>;

    /// The text of the continuation token.
    async fn continuation_token(&mut self) -> Result<Option<String>, StoreError>;
}

/// The rows of one transaction; no rules.
///
/// An operation reads all that it needs before it writes, so that a backend may keep its writes until the commit.
/// An error ends the transaction without a trace.
#[async_trait]
pub(super) trait Rows: ReadRows {
    /// Inserts the computation's own row.
    async fn insert_computation(
        &mut self,
        computation: &Computation,
        created: Timestamp,
    ) -> Result<(), StoreError>;

    /// Writes the computation's own row: stage, version, lease and details.
    async fn update_computation(&mut self, computation: &Computation) -> Result<(), StoreError>;

    /// Deletes a computation with all that belongs to it; `false` if there is none.
    async fn delete_computation(&mut self, local_id: i64) -> Result<bool, StoreError>;

    /// Inserts the requisitions of a new computation, in this order.
    async fn insert_requisitions(
        &mut self,
        local_id: i64,
        requisitions: &[RequisitionMetadata],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Writes a requisition's path and details, and what is unknown of these.
    async fn update_requisition(
        &mut self,
        row: &RequisitionRow,
        requisition: &RequisitionMetadata,
        unknown: &Unknown,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Inserts the current stage with its blobs, entered from `previous`.
    async fn insert_stage(
        &mut self,
        computation: &Computation,
        previous: Option<ProtocolStage>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Writes the number of the current stage's next attempt.
    async fn update_next_attempt(&mut self, computation: &Computation) -> Result<(), StoreError>;

    /// Writes the details of the current stage.
    async fn update_stage_details(&mut self, computation: &Computation) -> Result<(), StoreError>;

    /// Ends the current stage, left for `following`.
    async fn end_stage(
        &mut self,
        computation: &Computation,
        following: ProtocolStage,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Writes the path of a blob of the current stage.
    async fn update_blob(
        &mut self,
        computation: &Computation,
        blob_id: i64,
        path: &str,
    ) -> Result<(), StoreError>;

    /// Inserts the current attempt of the current stage.
    async fn insert_attempt(&mut self, computation: &Computation, now: Timestamp) -> Result<(), StoreError>;

    /// Ends an attempt.
    async fn end_attempt(
        &mut self,
        local_id: i64,
        attempt: OpenAttempt,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Inserts a measurement, or replaces the one of its name.
    async fn write_stat(&mut self, stat: &Stat, now: Timestamp) -> Result<(), StoreError>;

    /// Writes the continuation token.
    async fn write_continuation_token(&mut self, token: &str, now: Timestamp) -> Result<(), StoreError>;
}
