//! The gRPC services of a duchy.
//!
//! The processes are upstream's: the internal API server ([`ComputationsService`], [`ComputationStatsService`],
//! [`ContinuationTokensService`]) over the store, the asynchronous control server ([`AsyncComputationControlService`])
//! over the internal API, the control server for peers ([`ComputationControlService`]) over both, and the fulfillment
//! server for data providers ([`RequisitionFulfillmentService`]). Each speaks to the next through a channel, also where
//! they run in one process.

mod async_computation_control;
mod computation_control;
mod computation_stats;
mod computations;
mod continuation_tokens;
mod requisition_fulfillment;
mod uploads;

pub use async_computation_control::AsyncComputationControlService;
pub use computation_control::{AdvanceLimits, ComputationControlService};
pub use computation_stats::ComputationStatsService;
pub use computations::ComputationsService;
pub use continuation_tokens::ContinuationTokensService;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use requisition_fulfillment::fuzzing;
pub use requisition_fulfillment::{FulfillmentLimits, RequisitionFulfillmentService};

pub(crate) use computations::queue;

use tonic::Request;

use crate::error::ShellError;
use crate::identity::calling_duchy;

/// Refuses every caller of an internal API but the duchy itself.
fn require_own<T>(request: &Request<T>, duchy: &str) -> Result<(), ShellError> {
    if calling_duchy(request)? == duchy {
        return Ok(());
    }
    Err(ShellError::PermissionDenied("only this duchy itself may call its internal API".into()))
}

/// A required message field.
fn required<T>(field: Option<T>, name: &'static str) -> Result<T, ShellError> {
    field.ok_or_else(|| ShellError::invalid(name, "is missing"))
}

/// A text that must say something.
fn not_blank(text: String, name: &'static str) -> Result<String, ShellError> {
    if text.trim().is_empty() {
        return Err(ShellError::invalid(name, "is blank"));
    }
    Ok(text)
}
