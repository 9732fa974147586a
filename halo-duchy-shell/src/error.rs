//! Why a service refuses, and how it says so: one translation from causes to gRPC statuses (docs/status-codes.md).

use std::collections::HashMap;

use bytes::Bytes;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::blob::BlobError;
use crate::continuation_token::ContinuationTokenError;
use crate::protocol_stages::ProtocolError;
use crate::store::StoreError;

/// The domain of the machine-readable reasons: upstream's `ErrorCode` enum.
pub const ERROR_DOMAIN: &str = "wfa.measurement.internal.duchy.ErrorCode";

/// Why a service refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShellError {
    /// The request makes no sense, whatever the state.
    #[error("{field} {why}")]
    InvalidArgument {
        /// The field of the request, by its protobuf name.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The caller may not do this.
    #[error("{0}")]
    PermissionDenied(String),
    /// The state does not allow it.
    #[error("{0}")]
    FailedPrecondition(String),
    /// Not yet; the caller should try again.
    #[error("{0}")]
    NotYet(String),
    /// The caller acts on a state that is gone, or not there yet.
    #[error("{0}")]
    Aborted(String),
    /// Something else was put there first.
    #[error("{0}")]
    AlreadyExists(String),
    /// A stage or protocol that does not exist here.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A text that is no continuation token.
    #[error(transparent)]
    ContinuationToken(#[from] ContinuationTokenError),
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blob storage refuses.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Another service refuses, or the stream from the caller broke.
    #[error("{0}")]
    Rpc(#[from] Status),
}

impl ShellError {
    /// A field of the request that makes no sense.
    pub fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        Self::InvalidArgument { field, why: why.into() }
    }
}

impl From<ShellError> for Status {
    fn from(error: ShellError) -> Self {
        let message = error.to_string();
        match error {
            ShellError::InvalidArgument { .. } | ShellError::Protocol(_) => Self::invalid_argument(message),
            ShellError::ContinuationToken(_) => {
                refuse(Code::InvalidArgument, message, Some(("CONTINUATION_TOKEN_MALFORMED", vec![])))
            }
            ShellError::PermissionDenied(_) => Self::permission_denied(message),
            ShellError::FailedPrecondition(_) => Self::failed_precondition(message),
            ShellError::NotYet(_) => Self::unavailable(message),
            ShellError::Aborted(_) => Self::aborted(message),
            ShellError::AlreadyExists(_) => Self::already_exists(message),
            ShellError::Store(error) => refuse(store_code(&error), message, store_reason(&error)),
            ShellError::Blob(error) => Self::new(blob_code(&error), message),
            // Without the headers of the response that brought it.
            ShellError::Rpc(status) => {
                Self::with_details(status.code(), status.message(), Bytes::copy_from_slice(status.details()))
            }
        }
    }
}

/// A reason's name and its details.
type Reason = (&'static str, Vec<(&'static str, String)>);

fn refuse(code: Code, message: String, reason: Option<Reason>) -> Status {
    // What the layer around all services does not log, for it is not always a fault.
    if code == Code::Unavailable {
        tracing::error!(%message, "a request failed");
    }
    match reason {
        None => Status::new(code, message),
        Some((reason, details)) => {
            let details: HashMap<_, _> =
                details.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, details);
            Status::with_error_details(code, message, details)
        }
    }
}

fn store_code(error: &StoreError) -> Code {
    match error {
        StoreError::NotFound { .. } | StoreError::RequisitionNotFound(_) | StoreError::NoSuchSlot { .. } => {
            Code::NotFound
        }
        StoreError::AlreadyExists(_) | StoreError::DuplicateRequisition(_) => Code::AlreadyExists,
        StoreError::VersionMismatch { .. }
        | StoreError::LockOwnerMismatch { .. }
        | StoreError::LeaseLost { .. } => Code::Aborted,
        StoreError::ForeignRequisition { .. }
        | StoreError::WrongOutputs { .. }
        | StoreError::WrongStageDetails { .. }
        | StoreError::Protocol(_) => Code::InvalidArgument,
        StoreError::IllegalTransition { .. }
        | StoreError::OutputsMissing { .. }
        | StoreError::NotAnOutput { .. }
        | StoreError::SlotTaken { .. }
        | StoreError::AlreadyFulfilled { .. }
        | StoreError::NotWork { .. }
        | StoreError::NoSuchAttempt { .. }
        | StoreError::ContinuationTokenOutdated => Code::FailedPrecondition,
        StoreError::Corrupt { .. } => Code::Internal,
        StoreError::Unavailable(_) => Code::Unavailable,
    }
}

/// The reason that upstream's clients look for, with upstream's keys.
fn store_reason(error: &StoreError) -> Option<Reason> {
    let owner = |owner: &Option<String>| owner.clone().unwrap_or_else(|| "none".into());
    match error {
        StoreError::NotFound { id, .. } => {
            Some(("COMPUTATION_NOT_FOUND", vec![("computation_id", id.clone())]))
        }
        StoreError::AlreadyExists(id) => {
            Some(("COMPUTATION_ALREADY_EXISTS", vec![("global_computation_id", id.clone())]))
        }
        StoreError::VersionMismatch { local_id, token, actual } => Some((
            "COMPUTATION_TOKEN_VERSION_MISMATCH",
            vec![
                ("computation_id", local_id.to_string()),
                ("version", actual.to_string()),
                ("token_version", token.to_string()),
            ],
        )),
        StoreError::LockOwnerMismatch { local_id, expected, actual } => Some((
            "COMPUTATION_LOCK_OWNER_MISMATCH",
            vec![
                ("computation_id", local_id.to_string()),
                ("expected_owner", owner(expected)),
                ("actual_owner", owner(actual)),
            ],
        )),
        StoreError::LeaseLost { local_id, owner, .. } => Some((
            "COMPUTATION_LOCK_OWNER_MISMATCH",
            vec![("computation_id", local_id.to_string()), ("expected_owner", owner.clone())],
        )),
        StoreError::ContinuationTokenOutdated => Some(("CONTINUATION_TOKEN_INVALID", vec![])),
        _ => None,
    }
}

fn blob_code(error: &BlobError) -> Code {
    match error {
        BlobError::BadPath { .. } => Code::InvalidArgument,
        BlobError::NotFound { .. } => Code::NotFound,
        BlobError::TooLarge { .. } => Code::ResourceExhausted,
        BlobError::WrongLength { .. }
        | BlobError::Corrupt { .. }
        | BlobError::Open { .. }
        | BlobError::NotBuilt { .. }
        | BlobError::Directory { .. } => Code::Internal,
        BlobError::Storage { .. } | BlobError::Randomness(_) => Code::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_mismatch_carries_what_upstream_clients_look_for() {
        let error = StoreError::VersionMismatch { local_id: 3, token: 10, actual: 11 };
        let status = Status::from(ShellError::from(error));
        assert_eq!(status.code(), Code::Aborted);
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(info.domain, ERROR_DOMAIN);
        assert_eq!(info.reason, "COMPUTATION_TOKEN_VERSION_MISMATCH");
        let expected = [("computation_id", "3"), ("version", "11"), ("token_version", "10")];
        assert_eq!(info.metadata.len(), expected.len());
        for (key, value) in expected {
            assert_eq!(info.metadata.get(key).map(String::as_str), Some(value));
        }
    }

    #[test]
    fn an_unowned_lock_is_called_none() {
        let error =
            StoreError::LockOwnerMismatch { local_id: 3, expected: Some("mill".into()), actual: None };
        let status = Status::from(ShellError::from(error));
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(info.metadata.get("actual_owner").map(String::as_str), Some("none"));
    }
}
