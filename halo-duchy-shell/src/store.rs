//! What a duchy remembers of its computations.
//!
//! [`Store`] speaks of computations, not of SQL; every backend passes the same suite (`tests/store_conformance.rs`).
//! A backend runs transactions (`backend`) and reads and writes rows in them (`rows`); what an operation reads, checks
//! (`rules`) and writes is written once for all. [`StoreAddress`] names a database and opens it; [`transfer`] moves all
//! that is in one (`tables`) into another.
//!
//! Writers prove that they act on what they saw: a [`Guard`] carries the version of the computation that the caller
//! read, and the write happens only if the computation is unchanged. Work is claimed as a lease: an owner, an expiry,
//! and the number of the attempt as fencing number. A claim changes the version, so whoever held an older lease can
//! write no more; keeping a lease ([`Store::extend`]) does not change the version, so it can go on beside the work.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::continuation_token::ContinuationToken;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::requisition_details::RequisitionProtocol;
use crate::proto::internal::{
    ComputationBlobDependency, ComputationDetails, ComputationStageBlobMetadata, ComputationStageDetails,
    ComputationToken, ExternalRequisitionKey, RequisitionEntry, RequisitionMetadata,
};
use crate::protocol_stages::{Protocol, ProtocolStage};

mod address;
mod backend;
mod columns;
#[cfg(any(feature = "postgres", feature = "spanner"))]
mod contention;
mod error;
mod inspection;
mod leases;
mod lifecycle;
mod migrations;
#[cfg(feature = "postgres")]
pub mod postgres;
mod requisitions;
mod retention;
mod rows;
mod rules;
#[cfg(feature = "spanner")]
pub mod spanner;
pub mod sqlite;
mod tables;
#[cfg(test)]
mod tests;
pub mod transfer;
mod unknown;

pub use address::{AddressError, OpenError, StoreAddress};
pub(crate) use address::{RESERVED, RESERVED_IN_VALUES};
#[cfg(any(feature = "postgres", feature = "spanner"))]
pub use contention::Contention;
pub use error::StoreError;
pub use inspection::{AttemptRecord, Listing, Order, Record, RequisitionRecord, StageRecord};
pub use migrations::{MigrationError, Schema};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "spanner")]
pub use spanner::SpannerStore;
pub use sqlite::SqliteStore;
pub use unknown::Unknown;

/// A computation as one transaction saw it: upstream's `ComputationToken` with its stage checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Computation {
    /// The id within this duchy.
    pub local_id: i64,
    /// The id that all parties use.
    pub global_id: String,
    /// The stage it is in.
    pub stage: ProtocolStage,
    /// How often this stage has been begun; 0 if it waits for its first claim.
    pub attempt: i32,
    /// When it last changed, in milliseconds since 1970; strictly increasing.
    pub version: i64,
    /// What the protocol keeps over all stages.
    pub details: ComputationDetails,
    /// What the protocol keeps for this stage.
    pub stage_details: ComputationStageDetails,
    /// The blobs of this stage, by id.
    pub blobs: Vec<StageBlob>,
    /// The requisitions, by external id.
    pub requisitions: Vec<RequisitionMetadata>,
    /// Who has claimed it.
    pub lock_owner: Option<String>,
    /// When the claim ends, or from when on it can be claimed; `None` if nobody can claim it.
    pub lock_expiration: Option<Timestamp>,
    /// What the row has beyond what is known here.
    pub unknown: Unknown,
}

/// A blob that a stage reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageBlob {
    /// The id within the stage.
    pub id: i64,
    /// What the stage does with it.
    pub dependency: BlobDependency,
    /// Where it is; `None` for an output that is not there yet.
    pub path: Option<String>,
}

/// What a stage does with a blob. Numbers are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlobDependency {
    /// Reads it.
    Input,
    /// Produces it, or waits for a peer to.
    Output,
    /// Hands it to a later stage unread.
    PassThrough,
}

/// The computation that a caller has read and wants to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The computation.
    pub local_id: i64,
    /// Its version as read.
    pub version: i64,
    /// Who held the lease as read; must still.
    pub owner: Option<String>,
}

/// A claim on the work of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The computation.
    pub local_id: i64,
    /// The stage claimed.
    pub stage: ProtocolStage,
    /// The number of the attempt that the claim began.
    pub attempt: i32,
    /// Who claimed it.
    pub owner: String,
}

/// A computation to be created, in its protocol's initial stage.
#[derive(Clone, Debug, PartialEq)]
pub struct NewComputation {
    /// The protocol; the details must be of it.
    pub protocol: Protocol,
    /// The id that all parties use.
    pub global_id: String,
    /// What the protocol keeps over all stages.
    pub details: ComputationDetails,
    /// The requisitions, with distinct keys.
    pub requisitions: Vec<RequisitionEntry>,
}

/// A wish for work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The protocol whose work is wanted.
    pub protocol: Protocol,
    /// Who wants it.
    pub owner: String,
    /// For how long.
    pub duration: Duration,
    /// Stages that come before all others.
    pub prioritized: Vec<ProtocolStage>,
}

/// The step of a computation to its next stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Advance {
    /// The stage to enter.
    pub next: ProtocolStage,
    /// Paths of the blobs that it reads.
    pub inputs: Vec<String>,
    /// Paths of the blobs that it hands on.
    pub pass_through: Vec<String>,
    /// How many outputs it will have: the number that the protocol says.
    pub outputs: usize,
    /// What the protocol keeps for the new stage: what the protocol says.
    pub stage_details: ComputationStageDetails,
}

/// The data of a fulfilled requisition.
#[derive(Clone, Debug, PartialEq)]
pub struct Fulfillment {
    /// Where the data is.
    pub path: String,
    /// The version of the public API by which it came.
    pub public_api_version: String,
    /// What the protocol needs beside the data.
    pub protocol: Option<RequisitionProtocol>,
}

/// A measurement of one attempt of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The computation.
    pub local_id: i64,
    /// The stage measured.
    pub stage: ProtocolStage,
    /// Its attempt.
    pub attempt: i32,
    /// What was measured.
    pub name: String,
    /// How much, in the unit that the name tells.
    pub value: i64,
}

/// Which ended computations may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Terminal stages.
    pub stages: Vec<ProtocolStage>,
    /// Only those not changed after this.
    pub updated_before: Timestamp,
    /// Only those with a greater local id: the last one of the previous page, 0 at first.
    pub after: i64,
    /// At most so many.
    pub limit: u32,
}

/// A computation that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The id within this duchy.
    pub local_id: i64,
    /// The id that all parties use.
    pub global_id: String,
    /// What it ended for; unspecified if that cannot be read.
    pub reason: CompletedReason,
}

/// The work of a protocol: what waits for a mill, and what mills are at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many computations there are.
    pub depth: u32,
    /// When the one that has not changed for longest last did; `None` if there is none.
    pub oldest: Option<Timestamp>,
}

/// How an attempt ended whose work is given back, with why, of which up to 2,000 bytes are kept, on one line. It must not
/// hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenBack<'w> {
    /// It failed.
    Failed(&'w str),
    /// It was cut short through no fault of the work: [counted](ComputationStageDetails::interrupted_attempts) by itself.
    Interrupted(&'w str),
}

/// Where a duchy keeps its computations, shared by all its processes.
///
/// Every method is one transaction. Every method can fail with [`StoreError::Unavailable`] and
/// [`StoreError::Corrupt`]; each names its other errors.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Creates a computation, claimable at once.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`], [`StoreError::DuplicateRequisition`], [`StoreError::Protocol`].
    async fn create(&self, new: NewComputation) -> Result<Computation, StoreError>;

    /// Reads a computation by its global id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn get(&self, global_id: &str) -> Result<Computation, StoreError>;

    /// Reads the computation that a requisition belongs to.
    ///
    /// # Errors
    /// [`StoreError::RequisitionNotFound`].
    async fn get_by_requisition(&self, key: &ExternalRequisitionKey) -> Result<Computation, StoreError>;

    /// Takes the lease on the most urgent work there is: in a prioritized stage first, then the oldest computation.
    /// A new attempt of the stage begins; one whose lease ran out ends as overwritten. `None` if there is no work.
    async fn claim(&self, claim: Claim) -> Result<Option<Computation>, StoreError>;

    /// Keeps a lease until `duration` from now. The version stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::LeaseLost`] if the stage or the attempt is over, or another owner has it.
    async fn extend(&self, lease: &Lease, duration: Duration) -> Result<Computation, StoreError>;

    /// Replaces the details of the computation and of the requisitions named. What a fulfillment recorded in a
    /// requisition stays unless the new details have it too.
    ///
    /// # Errors
    /// Those of the guard; [`StoreError::RequisitionNotFound`], [`StoreError::Protocol`].
    async fn update_details(
        &self,
        guard: &Guard,
        details: ComputationDetails,
        requisitions: Vec<RequisitionEntry>,
    ) -> Result<Computation, StoreError>;

    /// Records where an output of the current stage is. Recording the same path again changes nothing.
    ///
    /// # Errors
    /// Those of the guard; [`StoreError::NoSuchSlot`], [`StoreError::NotAnOutput`], [`StoreError::SlotTaken`].
    async fn record_output(&self, guard: &Guard, blob_id: i64, path: &str)
    -> Result<Computation, StoreError>;

    /// Records where a requisition's data is. This changes the requisition, not the computation: providers fulfill
    /// while others move the computation, so no version is asked for and none changes. Once recorded, only the same
    /// path is accepted again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::RequisitionNotFound`] if the requisition is unknown,
    /// [`StoreError::ForeignRequisition`] if it is another computation's; [`StoreError::AlreadyFulfilled`].
    async fn record_fulfillment(
        &self,
        local_id: i64,
        key: &ExternalRequisitionKey,
        fulfillment: Fulfillment,
    ) -> Result<Computation, StoreError>;

    /// Enters the next stage. The current attempt ends as succeeded; the lease ends.
    ///
    /// # Errors
    /// Those of the guard; [`StoreError::IllegalTransition`], [`StoreError::OutputsMissing`],
    /// [`StoreError::WrongOutputs`], [`StoreError::WrongStageDetails`], [`StoreError::Protocol`].
    async fn advance(&self, guard: &Guard, advance: Advance) -> Result<Computation, StoreError>;

    /// Ends the computation. Ending it again for the same reason changes nothing. `error` says why it does not succeed,
    /// and may be empty: it is kept with the attempts that end, up to 2,000 bytes of it, on one line. It must not hold
    /// secrets.
    ///
    /// # Errors
    /// Those of the guard; [`StoreError::IllegalTransition`] if it has ended for another reason.
    async fn finish(
        &self,
        guard: &Guard,
        reason: CompletedReason,
        error: &str,
    ) -> Result<Computation, StoreError>;

    /// Gives work back: the lease ends, and from `delay` on anybody may claim the stage again. `expected_owner`
    /// is whose lease it is; a stage that nobody holds may be enqueued by anybody.
    ///
    /// # Errors
    /// Those of the guard; [`StoreError::LockOwnerMismatch`]; [`StoreError::NotWork`] in a stage that no mill works on.
    async fn enqueue(
        &self,
        guard: &Guard,
        expected_owner: &str,
        delay: Duration,
        given_back: GivenBack<'_>,
    ) -> Result<(), StoreError>;

    /// All blobs that the computation has ever recorded, those of its requisitions included; empty for an unknown id.
    async fn blob_paths(&self, local_id: i64) -> Result<Vec<String>, StoreError>;

    /// Forgets a computation; `false` if there is none. Its blobs must have been deleted before.
    async fn delete(&self, local_id: i64) -> Result<bool, StoreError>;

    /// Ended computations that may go, by local id.
    async fn expired(&self, expired: &Expired) -> Result<Vec<Ended>, StoreError>;

    /// Whether there is no computation.
    async fn is_empty(&self) -> Result<bool, StoreError>;

    /// The computations of a protocol in stages that mills work on.
    async fn queue(&self, protocol: Protocol) -> Result<Queue, StoreError>;

    /// The global ids of the computations in any of these stages, oldest first.
    async fn ids_in_stages(&self, stages: &[ProtocolStage]) -> Result<Vec<String>, StoreError>;

    /// Computations with their stages and attempts, but without blobs, requisitions and measurements.
    async fn list(&self, listing: &Listing) -> Result<Vec<Record>, StoreError>;

    /// All that is kept of a computation.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn record(&self, global_id: &str) -> Result<Record, StoreError>;

    /// Records a measurement; the last one of a name counts.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAttempt`].
    async fn record_stat(&self, stat: Stat) -> Result<(), StoreError>;

    /// Where the herald was in the Kingdom's stream.
    async fn continuation_token(&self) -> Result<Option<ContinuationToken>, StoreError>;

    /// Remembers where the herald is.
    ///
    /// # Errors
    /// [`StoreError::ContinuationTokenOutdated`] if the token is older than the one remembered.
    async fn set_continuation_token(&self, token: &ContinuationToken) -> Result<(), StoreError>;
}

impl Computation {
    /// The guard for changing the computation as read here.
    pub fn guard(&self) -> Guard {
        Guard { local_id: self.local_id, version: self.version, owner: self.lock_owner.clone() }
    }
}

impl From<&ComputationToken> for Guard {
    fn from(token: &ComputationToken) -> Self {
        Self {
            local_id: token.local_computation_id,
            version: token.version,
            owner: Some(token.lock_owner.clone()).filter(|owner| !owner.is_empty()),
        }
    }
}

impl From<BlobDependency> for ComputationBlobDependency {
    fn from(dependency: BlobDependency) -> Self {
        match dependency {
            BlobDependency::Input => Self::Input,
            BlobDependency::Output => Self::Output,
            BlobDependency::PassThrough => Self::PassThrough,
        }
    }
}

impl From<StageBlob> for ComputationStageBlobMetadata {
    fn from(blob: StageBlob) -> Self {
        Self {
            dependency_type: ComputationBlobDependency::from(blob.dependency) as i32,
            path: blob.path.unwrap_or_default(),
            blob_id: blob.id,
        }
    }
}

impl From<Computation> for ComputationToken {
    fn from(computation: Computation) -> Self {
        Self {
            local_computation_id: computation.local_id,
            global_computation_id: computation.global_id,
            computation_stage: Some(computation.stage.into()),
            attempt: computation.attempt,
            blobs: computation.blobs.into_iter().map(Into::into).collect(),
            version: computation.version,
            computation_details: Some(computation.details),
            stage_specific_details: Some(computation.stage_details),
            requisitions: computation.requisitions,
            lock_owner: computation.lock_owner.unwrap_or_default(),
            lock_expiration_time: computation.lock_expiration.map(Into::into),
        }
    }
}
