//! Services of cloud vendors that have no client here: one JSON object is sent, one comes back.

#[cfg(any(feature = "aws-kms", feature = "aws-secrets"))]
pub(crate) mod aws;
#[cfg(any(feature = "gcp-kms", feature = "spanner"))]
pub(crate) mod gcp;
#[cfg(test)]
pub(crate) mod testing;

#[cfg(any(feature = "aws-kms", feature = "aws-secrets", feature = "gcp-kms"))]
pub(crate) use http::{Answer, Http, from_environment};

#[cfg(any(feature = "aws-kms", feature = "aws-secrets", feature = "gcp-kms"))]
mod http;

use tonic::codegen::http::StatusCode;

use crate::retry::Class;

/// Why a service of a cloud does not do what it is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloudError {
    /// The name of the region is none.
    #[error("{0:?} is no region of AWS")]
    Region(String),
    /// The variable names an endpoint to which nothing must be sent in the clear.
    #[error("{variable} is {endpoint:?}, neither https:// nor http:// on this machine")]
    Endpoint {
        /// Which variable.
        variable: &'static str,
        /// What it says.
        endpoint: String,
    },
    /// There are no credentials, or no HTTP client.
    #[error("no credentials for {service}")]
    Credentials {
        /// Which service.
        service: &'static str,
        /// Why.
        #[source]
        source: Box<object_store::Error>,
    },
    /// The call cannot be made, or has no answer.
    #[error("{service} does not answer")]
    Unreachable {
        /// Which service.
        service: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The call is refused.
    #[error("{service} refuses: {status}, {kind} {message}")]
    Refused {
        /// Which service.
        service: &'static str,
        /// HTTP's status.
        status: StatusCode,
        /// The kind of the error, as the service names it.
        kind: String,
        /// What is said about it.
        message: String,
    },
}

impl CloudError {
    /// Whether calling again can help. What an operator can put right (permissions, a key that is disabled) may pass.
    pub fn class(&self) -> Class {
        match self {
            Self::Region(_) | Self::Endpoint { .. } => Class::Permanent,
            Self::Unreachable { .. } => Class::Transient,
            // The metadata server may be away, or give others when it is asked again.
            Self::Credentials { .. } => Class::Limited,
            Self::Refused { status, kind, .. } => {
                let throttled = ["ThrottlingException", "LimitExceededException", "RequestLimitExceeded"];
                let sick = status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS;
                if sick || throttled.contains(&kind.as_str()) { Class::Transient } else { Class::Limited }
            }
        }
    }
}

/// More than is kept of what a service says about an error, in characters.
#[cfg(any(feature = "aws-kms", feature = "aws-secrets", feature = "gcp-kms"))]
const LONGEST_MESSAGE: usize = 300;

/// What a service says about an error, short enough for a log and on one line.
#[cfg(any(feature = "aws-kms", feature = "aws-secrets", feature = "gcp-kms"))]
pub(crate) fn shortened(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_MESSAGE).collect()
}
