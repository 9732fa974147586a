//! What a duchy must never do, although the real Kingdom would not notice (docs/development-kingdom.md#invariants).

use serde::{Deserialize, Serialize};

use super::resource_name::ExternalId;
use super::saved::number;
use crate::proto::system::computation::State as ComputationState;

/// A broken invariant. Tests assert that there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Deserialize, Serialize)]
#[non_exhaustive]
pub enum Violation {
    /// A duchy, having set its keys, came with others.
    #[error("{duchy} set other requisition params for computation {computation}")]
    ParamsChanged {
        /// The computation.
        computation: ExternalId,
        /// The duchy.
        duchy: String,
    },
    /// A duchy confirmed before all requisitions were fulfilled.
    #[error("{duchy} confirmed computation {computation} before all requisitions were fulfilled")]
    ConfirmedEarly {
        /// The computation.
        computation: ExternalId,
        /// The duchy.
        duchy: String,
    },
    /// A result came while none could exist.
    #[error("{duchy} set the result of computation {computation} while it was {}", .state.as_str_name())]
    UnexpectedResult {
        /// The computation.
        computation: ExternalId,
        /// The duchy.
        duchy: String,
        /// The computation's state at the time.
        #[serde(with = "number")]
        state: ComputationState,
    },
    /// A result is not encrypted to the measurement consumer's key.
    #[error("{duchy} set a result of computation {computation} that its measurement consumer cannot decrypt")]
    ResultNotDecrypted {
        /// The computation.
        computation: ExternalId,
        /// The duchy.
        duchy: String,
    },
    /// A result's signature is not one under the certificate that the duchy named.
    #[error("{duchy} set a result of computation {computation} that its certificate did not sign")]
    ResultNotSigned {
        /// The computation.
        computation: ExternalId,
        /// The duchy.
        duchy: String,
    },
    /// A result is of another type than the measurement's spec asks for, or of none.
    #[error("{duchy} set a result of computation {computation} that is not of the type asked for")]
    ResultType {
        /// The computation.
        computation: ExternalId,
        /// The duchy.
        duchy: String,
    },
    /// A second result came that is not the first one repeated, or encrypted anew.
    #[error("{duchy} set another result of computation {computation}")]
    SecondResult {
        /// The computation.
        computation: ExternalId,
        /// The duchy.
        duchy: String,
    },
    /// A duchy passed on a nonce that its requisition does not have.
    #[error("{duchy} fulfilled requisition {requisition} of computation {computation} with a wrong nonce")]
    WrongNonce {
        /// The computation.
        computation: ExternalId,
        /// The requisition.
        requisition: ExternalId,
        /// The duchy.
        duchy: String,
    },
    /// A duchy took the data of a requisition that the Kingdom gave to another one.
    #[error(
        "{duchy} fulfilled requisition {requisition} of computation {computation} in place of another duchy"
    )]
    FulfilledElsewhere {
        /// The computation.
        computation: ExternalId,
        /// The requisition.
        requisition: ExternalId,
        /// The duchy.
        duchy: String,
    },
    /// A log entry or failure text contains a secret (see
    /// [`Kingdom::register_secret`](super::Kingdom::register_secret)).
    #[error("{duchy} wrote a secret into a text about computation {computation}")]
    SecretDisclosed {
        /// The computation.
        computation: ExternalId,
        /// The duchy.
        duchy: String,
    },
}

impl Violation {
    /// The computation it happened in.
    pub const fn computation(&self) -> ExternalId {
        match self {
            Self::ParamsChanged { computation, .. }
            | Self::ConfirmedEarly { computation, .. }
            | Self::UnexpectedResult { computation, .. }
            | Self::ResultNotDecrypted { computation, .. }
            | Self::ResultNotSigned { computation, .. }
            | Self::ResultType { computation, .. }
            | Self::SecondResult { computation, .. }
            | Self::WrongNonce { computation, .. }
            | Self::FulfilledElsewhere { computation, .. }
            | Self::SecretDisclosed { computation, .. } => *computation,
        }
    }
}
