//! [`StepError`]: why a computation does not take an event.

use super::RingStage;
use super::key_set::KeySetError;
use crate::computation::Refusal;
use crate::duchy_id::DuchyId;
use crate::kernel::KernelError;
use crate::llv2::Stage;
use crate::role::Role;

/// Why a step was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError<S: RingStage = Stage> {
    /// The event does not belong in this stage and role.
    #[error("{event} is not possible in {} as {role:?}", stage.name())]
    Unexpected {
        /// The stage of the state.
        stage: S,
        /// The part this duchy plays.
        role: Role,
        /// The event's name.
        event: &'static str,
    },
    /// A peer sent something other than what is awaited.
    #[error("{from} sent {found:?} to a duchy in {}", stage.name())]
    MessageMismatch {
        /// Who sent it.
        from: DuchyId,
        /// What it sent.
        found: S::Message,
        /// The stage of the state.
        stage: S,
    },
    /// Somebody sent what somebody else is to send.
    #[error("{from} is not the one to send this: {expected}")]
    WrongSender {
        /// Who sent it.
        from: DuchyId,
        /// Who is to send it.
        expected: String,
    },
    /// A stage was given another number of messages than it works on.
    #[error("{} works on {expected} messages, {found} were given", stage.name())]
    MessageCount {
        /// The stage.
        stage: S,
        /// How many it works on.
        expected: usize,
        /// How many it was given.
        found: usize,
    },
    /// What a duchy sent is too short, or cut short.
    #[error(
        "{}: message {message} has {length} bytes, which are not registers and a ciphertext of {ciphertext}",
        stage.name()
    )]
    MessageLength {
        /// The stage that works on it.
        stage: S,
        /// Who sent it, if the ring tells.
        from: Option<DuchyId>,
        /// Which of the messages, counted from 0.
        message: usize,
        /// Its length.
        length: usize,
        /// The length of a ciphertext.
        ciphertext: usize,
    },
    /// The keys of the participants cannot be computed with.
    #[error("key set: {0}")]
    KeySet(#[from] KeySetError),
    /// The curve is not supported (a setting that was never validated).
    #[error("curve id {0} names no supported group")]
    Curve(i64),
    /// The state lacks what an earlier stage must have left.
    #[error("{}: {missing} is missing", stage.name())]
    Incomplete {
        /// The stage.
        stage: S,
        /// What is missing.
        missing: &'static str,
    },
    /// The output that an earlier attempt kept cannot be read.
    #[error("{}: the kept output cannot be read", .0.name())]
    KeptOutput(S),
    /// The data of a stage was refused.
    #[error("{}: {source}", stage.name())]
    Kernel {
        /// The stage.
        stage: S,
        /// Who handed over what is wrong, if it is a duchy's message. It need not have made it: what is in the registers
        /// of setup inputs is looked at by the first duchy that computes with them, which has them from the aggregator.
        from: Option<DuchyId>,
        /// What the kernel found.
        source: KernelError,
    },
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It can: the work was interrupted.
    Transient,
    /// It cannot: the same input gives the same error.
    Permanent,
}

impl<S: RingStage> StepError<S> {
    /// The duchy whose doing it is, if it can be told.
    pub fn culprit(&self) -> Option<&DuchyId> {
        match self {
            Self::MessageMismatch { from, .. } | Self::WrongSender { from, .. } => Some(from),
            Self::KeySet(error) => error.culprit(),
            Self::MessageLength { from, .. } | Self::Kernel { from, .. } => from.as_ref(),
            Self::Unexpected { .. }
            | Self::MessageCount { .. }
            | Self::Curve(_)
            | Self::Incomplete { .. }
            | Self::KeptOutput(_) => None,
        }
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Kernel { source: KernelError::Cancelled(_), .. } => Retry::Transient,
            Self::Kernel { .. }
            | Self::Unexpected { .. }
            | Self::MessageMismatch { .. }
            | Self::WrongSender { .. }
            | Self::MessageCount { .. }
            | Self::MessageLength { .. }
            | Self::KeySet(_)
            | Self::Curve(_)
            | Self::Incomplete { .. }
            | Self::KeptOutput(_) => Retry::Permanent,
        }
    }
}

impl<S: RingStage> Refusal for StepError<S> {
    fn culprit(&self) -> Option<&DuchyId> {
        self.culprit()
    }

    fn retry(&self) -> Retry {
        self.retry()
    }
}
