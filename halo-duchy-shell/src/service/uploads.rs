//! How often one thing may be uploaded at once, and how slowly. A client whose connection broke sends again what the server still waits
//! for the rest of, so twice is honest; but each upload takes its place on the disk until it is refused or recorded, and
//! whoever may send one could send it a hundred times.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::coop::consume_budget;
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

/// Uploads of one thing at once; further ones wait.
const AT_ONCE: usize = 4;

/// The uploads in progress.
#[derive(Clone, Debug, Default)]
pub(super) struct Uploads(Arc<Mutex<HashMap<String, Weak<Semaphore>>>>);

impl Uploads {
    /// Waits until fewer uploads of `what` are in progress. The upload lasts as long as what is returned.
    ///
    /// # Errors
    /// `UNAVAILABLE` after `patience`.
    pub(super) async fn begin(
        &self,
        what: String,
        patience: Duration,
    ) -> Result<OwnedSemaphorePermit, Status> {
        let begun = timeout(patience, self.of(what).acquire_owned()).await;
        begun
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| Status::unavailable(format!("{AT_ONCE} uploads of the same are in progress")))
    }

    fn of(&self, what: String) -> Arc<Semaphore> {
        let mut uploads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = uploads.get(&what).and_then(Weak::upgrade) {
            return known;
        }
        uploads.retain(|_, upload| upload.strong_count() > 0);
        let new = Arc::new(Semaphore::new(AT_ONCE));
        uploads.insert(what, Arc::downgrade(&new));
        new
    }
}

/// The next message of an upload that brings something, or the end. Those that do not are passed over without prolonging
/// the wait, as however many of them come, no limit of bytes is reached.
///
/// # Errors
/// Those of the stream; `DEADLINE_EXCEEDED` after `patience`.
pub(super) async fn next_that_brings<M>(
    messages: &mut (impl Stream<Item = Result<M, Status>> + Unpin),
    patience: Duration,
    brings_something: impl Fn(&M) -> bool,
) -> Result<Option<M>, Status> {
    let next = async {
        while let Some(message) = messages.next().await.transpose()? {
            if brings_something(&message) {
                return Ok(Some(message));
            }
            // A stream that always has another one must not keep the clock from being looked at.
            consume_budget().await;
        }
        Ok(None)
    };
    let stalls =
        |_| Err(Status::deadline_exceeded(format!("the stream stalls: nothing within {patience:?}")));
    timeout(patience, next).await.unwrap_or_else(stalls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_that_bring_nothing_do_not_prolong_the_wait() {
        let patience = Duration::from_millis(50);
        let mut endless = tokio_stream::iter(std::iter::repeat(Ok(0)));
        let stalled = next_that_brings(&mut endless, patience, |message| *message != 0).await;
        assert_eq!(stalled.expect_err("nothing comes").code(), tonic::Code::DeadlineExceeded);

        let mut few = tokio_stream::iter([Ok(0), Ok(0), Ok(7), Ok(0)]);
        let mut next = async || next_that_brings(&mut few, patience, |message| *message != 0).await;
        assert_eq!(next().await.expect("in time"), Some(7));
        assert_eq!(next().await.expect("the end"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn uploads_of_one_thing_wait_for_one_another() {
        let uploads = Uploads::default();
        let patience = Duration::from_secs(60);
        let begin = async |what: &str| uploads.begin(what.to_owned(), patience).await;
        let mut begun = Vec::new();
        for _ in 0..AT_ONCE {
            begun.push(begin("a").await.expect("room"));
        }
        assert_eq!(begin("a").await.expect_err("no room").code(), tonic::Code::Unavailable);
        drop(begin("b").await.expect("another thing"));
        begun.pop();
        begun.push(begin("a").await.expect("room again"));
        drop(begun);
        drop(begin("c").await.expect("another thing"));
        assert_eq!(uploads.0.lock().expect("no panic").len(), 1, "what is over is forgotten");
    }
}
