//! When to try again, how soon, and when not: one policy for everything that calls others.
//!
//! - [`Class`] says whether trying again can help; each caller decides how often it does.
//! - [`Backoff`] says after which pause: ever longer up to a limit, and never in step with others.
//! - [`Retries`] puts both together.
//! - A deadline is everybody's who works for a call (`deadline`): whoever is called in the course of it is given what
//!   is left, in `grpc-timeout`, and nothing is tried again after it.
//! - A [`Budget`] keeps all callers of this process together from flooding a peer that is sick (gRPC's
//!   `retryThrottling`).

mod backoff;
mod budget;
pub(crate) mod deadline;

pub use backoff::Backoff;
pub use budget::Budget;

use tonic::Code;

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The call was not refused: it may simply be made again.
    Transient,
    /// It may be the answer, or it may pass: worth a few tries and no more.
    Limited,
    /// It is the answer, and will be again.
    Permanent,
}

impl Class {
    /// What a status says of itself. A caller who knows more about the call may think otherwise.
    pub const fn of(code: Code) -> Self {
        match code {
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted => Self::Transient,
            Code::ResourceExhausted | Code::Unknown | Code::Internal | Code::Cancelled => Self::Limited,
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | Code::Unauthenticated => Self::Permanent,
        }
    }

    /// [`Self::Transient`] for what may pass, else [`Self::Permanent`].
    pub const fn transient_if(may_pass: bool) -> Self {
        if may_pass { Self::Transient } else { Self::Permanent }
    }

    /// Whether there is any sense in trying again.
    pub const fn may_pass(self) -> bool {
        !matches!(self, Self::Permanent)
    }
}

/// How often something is tried, and how soon again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// Attempts in all while errors are [`Class::Transient`]; at least one is made.
    pub attempts: u32,
    /// Attempts after which an error that is [`Class::Limited`] counts as the answer.
    pub limited: u32,
    /// The pauses between them.
    pub backoff: Backoff,
}

impl Retries {
    /// Whether there is another attempt after the `failures`th ended in an error of this class.
    pub const fn allow(&self, class: Class, failures: u32) -> bool {
        let attempts = match class {
            Class::Transient => self.attempts,
            Class::Limited if self.limited < self.attempts => self.limited,
            Class::Limited => self.attempts,
            Class::Permanent => 0,
        };
        failures < attempts
    }

    /// Makes `attempt` until it succeeds, its error is the answer, or there were enough of them; what the last one gave.
    /// Within a call that has a deadline and whose peer's budget is spent, there is no further attempt.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn run<T, E, Attempt>(
        &self,
        class: impl Fn(&E) -> Class,
        mut attempt: impl FnMut() -> Attempt,
    ) -> Result<T, E>
    where
        E: std::fmt::Display,
        Attempt: Future<Output = Result<T, E>>,
    {
        let mut failures = 0;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            failures += 1;
            if !self.allow(class(&error), failures) || deadline::is_budget_spent() {
                return Err(error);
            }
            tracing::debug!(%error, failures, "trying again");
            tokio::time::sleep(self.backoff.pause(failures)).await;
        }
    }
}

#[cfg(test)]
mod tests;
