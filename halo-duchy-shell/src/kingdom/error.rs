//! Why the Kingdom refuses a call, and the status it answers with.

use tonic::{Code, Status};

use super::resource_name::ExternalId;
use super::state::RequisitionState;
use crate::proto::system::computation::State as ComputationState;
use crate::proto::system::computation_participant::State as ParticipantState;

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KingdomError {
    /// A resource name is missing or of another kind.
    #[error("{field}: {name:?} is not the name of a {resource}")]
    InvalidName {
        /// The field of the request.
        field: &'static str,
        /// What it should name.
        resource: &'static str,
        /// What was found.
        name: String,
    },
    /// A field has a value it must not have.
    #[error("{field}: {problem}")]
    InvalidField {
        /// The field of the request.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The resource belongs to somebody else, or the caller is of the wrong kind.
    #[error("the caller does not own {0}")]
    NotOwner(&'static str),
    /// There is no such thing.
    #[error("there is no {resource} {name:?}")]
    NotFound {
        /// Kind of resource.
        resource: &'static str,
        /// Its name.
        name: String,
    },
    /// Somebody changed the resource since the caller read it.
    #[error("etag {found:?} is out of date, the current one is {current:?}")]
    EtagMismatch {
        /// The caller's.
        found: String,
        /// The one to use.
        current: String,
    },
    /// The computation is in a state in which the call is not allowed.
    #[error("computation {computation} is {}", .state.as_str_name())]
    ComputationState {
        /// The computation.
        computation: ExternalId,
        /// Its state.
        state: ComputationState,
    },
    /// The participant is in a state in which the call is not allowed.
    #[error("participant {duchy} of computation {computation} is {}", .state.as_str_name())]
    ParticipantState {
        /// The computation.
        computation: ExternalId,
        /// The duchy.
        duchy: String,
        /// Its state.
        state: ParticipantState,
    },
    /// The requisition is in a state in which the call is not allowed.
    #[error("requisition {requisition} is {state:?}")]
    RequisitionState {
        /// The requisition.
        requisition: ExternalId,
        /// Its state.
        state: RequisitionState,
    },
    /// A certificate is not known here, or was revoked.
    #[error("certificate {0:?} is not known or was revoked")]
    CertificateInvalid(String),
    /// A duchy that has to take part is not active, or there is none of that id.
    #[error("duchy {0} is not active")]
    DuchyNotActive(String),
    /// Fewer duchies are active than a computation takes.
    #[error("{active} duchies are active, and a computation takes {minimum}")]
    TooFewDuchies {
        /// Those that could take part.
        active: usize,
        /// How many have to.
        minimum: usize,
    },
    /// The measurement to be planned exists.
    #[error("the measurement of request {request_id:?} exists already")]
    MeasurementExists {
        /// The request's id.
        request_id: String,
    },
    /// The Kingdom was not started to misbehave.
    #[error("faults are not allowed: the Kingdom was started without --insecure-dev-faults")]
    FaultsForbidden,
    /// The change could not be written to the database and did not happen.
    #[error("the Kingdom's database: {0}")]
    NotSaved(String),
    /// The aggregator has set a result already.
    #[error("computation {0} has a result")]
    ResultExists(ExternalId),
}

impl KingdomError {
    /// The gRPC code that stands for the error.
    pub fn code(&self) -> Code {
        match self {
            Self::InvalidName { .. } | Self::InvalidField { .. } => Code::InvalidArgument,
            Self::NotOwner(_) => Code::PermissionDenied,
            Self::NotFound { .. } => Code::NotFound,
            Self::EtagMismatch { .. } => Code::Aborted,
            Self::ComputationState { .. }
            | Self::ParticipantState { .. }
            | Self::RequisitionState { .. }
            | Self::CertificateInvalid(_)
            | Self::DuchyNotActive(_)
            | Self::TooFewDuchies { .. }
            | Self::FaultsForbidden => Code::FailedPrecondition,
            Self::ResultExists(_) | Self::MeasurementExists { .. } => Code::AlreadyExists,
            Self::NotSaved(_) => Code::Unavailable,
        }
    }

    /// The status of a service that, like upstream's, hides what its database answered.
    pub(super) fn unknown(&self) -> Status {
        Status::unknown(self.to_string())
    }

    pub(super) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::InvalidField { field, problem: problem.into() }
    }

    pub(super) fn name(field: &'static str, resource: &'static str, name: &str) -> Self {
        Self::InvalidName { field, resource, name: name.to_owned() }
    }
}

impl From<KingdomError> for Status {
    fn from(error: KingdomError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
