//! Why a store refuses.

use std::error::Error;

use crate::continuation_token::ContinuationTokenError;
use crate::protocol_stages::{ProtocolError, ProtocolStage};

/// Why a store refuses, or cannot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No computation has this id.
    #[error("no computation has the {kind} id {id}")]
    NotFound {
        /// `local` or `global`.
        kind: &'static str,
        /// The id asked for.
        id: String,
    },
    /// No requisition has this key.
    #[error("no requisition {0} with this fingerprint")]
    RequisitionNotFound(String),
    /// The requisition is another computation's.
    #[error("requisition {requisition} does not belong to computation {local_id}")]
    ForeignRequisition {
        /// The external requisition id.
        requisition: String,
        /// The computation named.
        local_id: i64,
    },
    /// A computation with this global id exists.
    #[error("computation {0} exists already")]
    AlreadyExists(String),
    /// A requisition with this key exists, here or in another computation.
    #[error("requisition {0} with this fingerprint exists already")]
    DuplicateRequisition(String),
    /// The computation has changed since it was read.
    #[error("computation {local_id} is at version {actual}, the token at {token}")]
    VersionMismatch {
        /// The computation.
        local_id: i64,
        /// The version of the token presented.
        token: i64,
        /// The version it has.
        actual: i64,
    },
    /// Somebody else holds the lease.
    #[error("computation {local_id} is locked by {actual:?}, not by {expected:?}")]
    LockOwnerMismatch {
        /// The computation.
        local_id: i64,
        /// The owner presented.
        expected: Option<String>,
        /// The owner found.
        actual: Option<String>,
    },
    /// The lease is over: the stage or the attempt has ended, or somebody else has taken the work.
    #[error("attempt {attempt} of {} of computation {local_id} is no longer {owner}'s", stage.name())]
    LeaseLost {
        /// The computation.
        local_id: i64,
        /// The stage once claimed.
        stage: ProtocolStage,
        /// The attempt.
        attempt: i32,
        /// Who held the lease.
        owner: String,
    },
    /// The protocol has no such step for this role.
    #[error("no step leads from {} to {}", from.name(), to.name())]
    IllegalTransition {
        /// The stage of the computation.
        from: ProtocolStage,
        /// The stage asked for.
        to: ProtocolStage,
    },
    /// The stage has not produced or received all it must.
    #[error("output {blob_id} of {} is not written", stage.name())]
    OutputsMissing {
        /// The stage.
        stage: ProtocolStage,
        /// The first empty slot.
        blob_id: i64,
    },
    /// The caller counts the next stage's outputs otherwise than the protocol.
    #[error("{} has {expected} outputs, not {found}", stage.name())]
    WrongOutputs {
        /// The stage to enter.
        stage: ProtocolStage,
        /// What the protocol says.
        expected: usize,
        /// What the caller says.
        found: usize,
    },
    /// The caller gives the next stage other details than the protocol.
    #[error("these are not the details of {} of this computation", stage.name())]
    WrongStageDetails {
        /// The stage to enter.
        stage: ProtocolStage,
    },
    /// The stage has no such blob.
    #[error("{} has no blob {blob_id}", stage.name())]
    NoSuchSlot {
        /// The stage.
        stage: ProtocolStage,
        /// The blob id.
        blob_id: i64,
    },
    /// The blob is not one that the stage produces or receives.
    #[error("blob {blob_id} of {} is not an output", stage.name())]
    NotAnOutput {
        /// The stage.
        stage: ProtocolStage,
        /// The blob id.
        blob_id: i64,
    },
    /// The output has been recorded elsewhere.
    #[error("output {blob_id} of {} is already at {path}", stage.name())]
    SlotTaken {
        /// The stage.
        stage: ProtocolStage,
        /// The blob id.
        blob_id: i64,
        /// Where it is.
        path: String,
    },
    /// The requisition has been fulfilled with other data.
    #[error("requisition {requisition} is already fulfilled by {path}")]
    AlreadyFulfilled {
        /// The external requisition id.
        requisition: String,
        /// Where its data is.
        path: String,
    },
    /// No mill works on this stage.
    #[error("{} is not work for a mill", stage.name())]
    NotWork {
        /// The stage.
        stage: ProtocolStage,
    },
    /// This attempt never began.
    #[error("computation {local_id} has no attempt {attempt} of {}", stage.name())]
    NoSuchAttempt {
        /// The computation.
        local_id: i64,
        /// The stage.
        stage: ProtocolStage,
        /// The attempt.
        attempt: i32,
    },
    /// The details do not fit the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The herald would go back in time.
    #[error("the continuation token is older than the one remembered")]
    ContinuationTokenOutdated,
    /// What the store holds is not what was put there.
    #[error("the store holds a bad {what}")]
    Corrupt {
        /// What is bad.
        what: &'static str,
        /// Why, if anything said so.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The database does not answer, or not now.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// Names what is bad and why.
    pub(crate) fn corrupt(what: &'static str) -> impl FnOnce(Box<dyn Error + Send + Sync>) -> Self {
        move |source| Self::Corrupt { what, source: Some(source) }
    }
}

impl From<ContinuationTokenError> for StoreError {
    fn from(error: ContinuationTokenError) -> Self {
        Self::Corrupt { what: "continuation token", source: Some(error.into()) }
    }
}
