//! What can go wrong in a stage, sorted by what is to be done about it (upstream's `duchy/mill/MillBase.kt`).

use std::time::Duration;

use halo_protocols::Refusal;
use halo_protocols::llv2::Retry;
use tonic::{Code, Status};

use crate::blob::BlobError;
use crate::computation_secrets::ComputationSecretError;
use crate::consent::ConsentError;
use crate::convert::ConvertError;
use crate::retry::Class;

/// Why a stage was not finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MillError {
    /// It may go better next time: the work is given back, for a later attempt.
    #[error("{what}: {reason}")]
    Transient {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// A peer did not come to await our data in all the time it was given. Waiting cost no attempt; giving up does.
    #[error("{peer} does not await our data after {waited:?}: {reason}")]
    PeerNotReady {
        /// Which duchy.
        peer: String,
        /// How long.
        waited: Duration,
        /// Where it is, or why it did not take the data.
        reason: String,
    },
    /// Somebody else has the work, or the computation has ended: there is nothing to do, and nothing may be written.
    #[error("the work is no longer this mill's: {0}")]
    LostLock(String),
    /// The mill is told to stop.
    #[error("the mill is stopping")]
    Stopped,
    /// The computation cannot go on.
    #[error("{what}: {reason}")]
    Permanent {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
}

impl MillError {
    /// The outcome of an attempt that ends so, as metrics name it.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Transient { .. } => "transient",
            Self::PeerNotReady { .. } => "peer_not_ready",
            Self::LostLock(_) => "lost_lock",
            Self::Stopped => "stopped",
            Self::Permanent { .. } => "permanent",
        }
    }

    pub(super) fn permanent(what: &'static str) -> impl FnOnce(&dyn std::error::Error) -> Self {
        move |error| Self::Permanent { what, reason: chain(error) }
    }

    pub(super) fn transient(what: &'static str) -> impl FnOnce(&dyn std::error::Error) -> Self {
        move |error| Self::Transient { what, reason: chain(error) }
    }

    /// What it means that the protocol refuses what it was told.
    pub(super) fn refused(error: &impl Refusal) -> Self {
        let what = "computing";
        let reason = match error.culprit() {
            Some(duchy) => format!("{} (from {duchy})", chain(error)),
            None => chain(error),
        };
        match error.retry() {
            Retry::Transient => Self::Transient { what, reason },
            Retry::Permanent => Self::Permanent { what, reason },
        }
    }

    /// A status of this class. Attempts are limited in any case: the class only decides whether there is another.
    fn of(class: Class, what: &'static str, status: &Status) -> Self {
        let reason = text(status);
        if class.may_pass() { Self::Transient { what, reason } } else { Self::Permanent { what, reason } }
    }

    /// What a status of the duchy's own internal API means.
    pub(super) fn internal(what: &'static str) -> impl FnOnce(Status) -> Self {
        move |status| match status.code() {
            // The computation has changed under the mill, or is gone.
            Code::Aborted | Code::NotFound => Self::LostLock(format!("{what}: {}", status.message())),
            // Without credentials the duchy cannot write that it failed either.
            Code::PermissionDenied | Code::Unauthenticated => Self::of(Class::Transient, what, &status),
            code => Self::of(Class::of(code), what, &status),
        }
    }

    /// What a status of the Kingdom means.
    pub(super) fn kingdom(what: &'static str) -> impl FnOnce(Status) -> Self {
        move |status| match status.code() {
            // It is there by another attempt, whose effect the next one will find.
            Code::AlreadyExists => Self::of(Class::Limited, what, &status),
            code => Self::of(Class::of(code), what, &status),
        }
    }

    /// What a status of a peer means. Refusals that do not say what is wrong may pass, up to the attempt limit.
    pub(super) fn peer(what: &'static str) -> impl FnOnce(Status) -> Self {
        move |status| match status.code() {
            // Its stage may change yet.
            Code::FailedPrecondition => Self::of(Class::Limited, what, &status),
            code => Self::of(Class::of(code), what, &status),
        }
    }

    /// What it means that a secret of the computation cannot be read or written.
    pub(super) fn secret(what: &'static str) -> impl FnOnce(&ComputationSecretError) -> Self {
        move |error| match error.class().may_pass() {
            true => Self::transient(what)(error),
            false => Self::permanent(what)(error),
        }
    }

    /// What an error of the blob storage means.
    pub(super) fn blob(what: &'static str) -> impl FnOnce(BlobError) -> Self {
        move |error| {
            if error.is_transient() {
                Self::Transient { what, reason: chain(&error) }
            } else {
                Self::Permanent { what, reason: chain(&error) }
            }
        }
    }
}

impl From<ConvertError> for MillError {
    fn from(error: ConvertError) -> Self {
        Self::permanent("reading the computation")(&error)
    }
}

impl From<ConsentError> for MillError {
    fn from(error: ConsentError) -> Self {
        match error.is_transient() {
            true => Self::transient("signing")(&error),
            false => Self::permanent("signing")(&error),
        }
    }
}

fn text(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Many errors print their cause themselves.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::CloudError;
    use crate::computation_secrets::SecretProblem;
    use crate::key_encryption::KeyEncryptionError;
    use crate::key_encryption::envelope::EnvelopeError;

    #[test]
    fn a_changed_computation_is_a_lost_lock() {
        for code in [Code::Aborted, Code::NotFound] {
            assert!(matches!(MillError::internal("x")(Status::new(code, "")), MillError::LostLock(_)));
        }
        let refused = MillError::internal("x")(Status::invalid_argument("no"));
        assert!(matches!(refused, MillError::Permanent { .. }));
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Unknown, Code::Internal] {
            assert!(matches!(MillError::peer("x")(Status::new(code, "")), MillError::Transient { .. }));
            assert!(matches!(MillError::kingdom("x")(Status::new(code, "")), MillError::Transient { .. }));
            assert!(matches!(MillError::internal("x")(Status::new(code, "")), MillError::Transient { .. }));
        }
    }

    #[test]
    fn a_secret_that_does_not_open_is_permanent_and_a_key_service_that_is_away_is_not() {
        let error = |why| ComputationSecretError { field: "key", why };
        let forged = MillError::secret("x")(&error(SecretProblem::Open(EnvelopeError::Altered)));
        let MillError::Permanent { reason, .. } = forged else { panic!("{forged:?}") };
        assert_eq!(reason, "key: the envelope was altered: its data key does not open it");
        let away = CloudError::Unreachable { service: "a service", source: "connection refused".into() };
        let away = KeyEncryptionError::Service { key: "kms".to_owned(), source: away };
        let away = MillError::secret("x")(&error(SecretProblem::Seal(away)));
        let MillError::Transient { reason, .. } = away else { panic!("{away:?}") };
        assert_eq!(reason, "key: kms: a service does not answer: connection refused");
    }

    #[test]
    fn missing_blobs_are_permanent_and_flaky_storage_is_not() {
        let missing = BlobError::NotFound { path: "a".into() };
        assert!(matches!(MillError::blob("x")(missing), MillError::Permanent { .. }));
        let flaky = BlobError::Randomness(getrandom::Error::UNSUPPORTED);
        assert!(matches!(MillError::blob("x")(flaky), MillError::Transient { .. }));
    }
}
