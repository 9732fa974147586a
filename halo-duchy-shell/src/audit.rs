//! The audit log: who did what, in which computation, and what came of it, as lines that vouch for one another.
//!
//! Each line is a JSON object that has the digest of the line before it and its own, so that nothing in the middle can be
//! changed, removed or moved without a trace ([`verify`]). What is recorded, and what a chain of digests does not
//! protect against, is told in `docs/audit-log.md`.
//!
//! A process has one audit log ([`install`]), or none; what happens in it is recorded by [`Entry::record`]. Nothing
//! secret is ever put into an entry: no key, no register, no noise; where something must be named that is, a digest
//! stands for it.

mod entry;
mod log;
mod provoked;
mod record;
mod rpc;
mod verify;

#[cfg(test)]
mod tests;

pub use entry::{Entry, Event, Outcome};
pub use log::{AuditError, AuditLog};
pub use record::Hash;
pub(crate) use rpc::{AuditedCall, name_computation, name_principal};
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use verify::verify_bytes;
pub use verify::{Expected, Fault, FileSummary, VerifyError, verify};

use std::sync::OnceLock;

/// The log of this process.
static PROCESS: OnceLock<AuditLog> = OnceLock::new();

/// Makes `log` that of the whole process. It stays so.
///
/// # Errors
/// [`AuditError::Installed`] if the process has one.
pub fn install(log: AuditLog) -> Result<(), AuditError> {
    PROCESS.set(log).map_err(|_| AuditError::Installed)
}

/// Ends the process's log, if it has one, with a last record.
pub fn close() {
    if let Some(log) = PROCESS.get()
        && let Err(error) = log.close()
    {
        tracing::error!(error = &error as &dyn std::error::Error, "the audit log is not ended");
    }
}
