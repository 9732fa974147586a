//! Transactions that databases give up because others stand in their way.

use std::time::Duration;

use tokio::time::Instant;

use super::StoreError;
use crate::retry::Backoff;

/// How long such a transaction is tried again.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pauses between tries: spread so widely that those who were in each other's way do not meet again.
const PAUSES: Backoff =
    Backoff::new(Duration::from_millis(2), 2.0, Duration::from_millis(500)).spread(0.5, 1.0);

/// Other transactions were in the way of this one, however often it was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("aborted for {0:?}")]
pub struct Contention(pub Duration);

impl From<Contention> for StoreError {
    fn from(error: Contention) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Tries again for as long as the database gives the transaction up, which `attempt` tells by `None`.
pub(super) async fn until_done<T, E, F>(attempt: impl Fn() -> F) -> Result<T, E>
where
    E: From<Contention>,
    F: Future<Output = Result<Option<T>, E>>,
{
    within(PATIENCE, attempt).await
}

async fn within<T, E, F>(patience: Duration, attempt: impl Fn() -> F) -> Result<T, E>
where
    E: From<Contention>,
    F: Future<Output = Result<Option<T>, E>>,
{
    let deadline = Instant::now() + patience;
    let mut given_up = 0;
    loop {
        if let Some(value) = attempt().await? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(Contention(patience).into());
        }
        given_up += 1;
        tokio::time::sleep(PAUSES.pause(given_up)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_is_given_up_is_tried_again() {
        let tries = Cell::new(0);
        let done: Result<i32, Contention> = until_done(async || {
            tries.set(tries.get() + 1);
            Ok((tries.get() == 4).then_some(7))
        })
        .await;
        assert_eq!((done, tries.get()), (Ok(7), 4));
    }

    #[tokio::test]
    async fn patience_ends() {
        let limit = Duration::from_millis(20);
        let given_up: Result<(), Contention> = within(limit, async || Ok(None)).await;
        assert_eq!(given_up, Err(Contention(limit)));
    }
}
