//! Trying again what may go better: beside the retries of `object_store`, which do not repeat a request that changes
//! something once its connection is cut.

use std::time::Duration;

use object_store::Error;

use crate::retry::{Backoff, Class, Retries};

/// How often one operation is tried.
const RETRIES: Retries = Retries {
    attempts: 4,
    limited: 4,
    backoff: Backoff::new(Duration::from_millis(200), 2.0, Duration::from_secs(1)),
};

/// Does `operation`, which must be repeatable, again while its error may pass.
pub(super) async fn retried<T, Attempt>(operation: impl FnMut() -> Attempt) -> Result<T, Error>
where
    Attempt: Future<Output = Result<T, Error>>,
{
    RETRIES.run(|error| Class::transient_if(may_pass(error)), operation).await
}

/// Whether the error is not the storage's considered answer.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::JoinError { .. })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn generic() -> Error {
        Error::Generic { store: "test", source: "cut".into() }
    }

    async fn tries(errors: usize, error: fn() -> Error) -> (bool, usize) {
        let count = Cell::new(0);
        let done = retried(|| {
            count.set(count.get() + 1);
            let failed = count.get() <= errors;
            async move { if failed { Err(error()) } else { Ok(()) } }
        });
        (done.await.is_ok(), count.get())
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_a_few_times() {
        assert_eq!(tries(0, generic).await, (true, 1));
        assert_eq!(tries(3, generic).await, (true, 4));
        assert_eq!(tries(usize::MAX, generic).await, (false, 4));
    }

    #[tokio::test]
    async fn an_answer_is_an_answer() {
        let missing = || Error::NotFound { path: "a".into(), source: "404".into() };
        let exists = || Error::AlreadyExists { path: "a".into(), source: "412".into() };
        assert_eq!(tries(1, missing).await, (false, 1));
        assert_eq!(tries(1, exists).await, (false, 1));
    }
}
