//! How far the herald has come in the stream: the position of the last item before which all are done.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tonic::Code;

use crate::continuation_token::ContinuationToken;
use crate::fail_point::around;
use crate::internal_api::InternalApi;
use crate::platform;
use crate::telemetry::instruments::HERALD_LAG_SECONDS;

/// Items in the order of the stream, and the position that may be remembered.
#[derive(Debug)]
pub(super) struct Progress {
    line: Arc<Mutex<Line>>,
    committed: watch::Sender<String>,
}

#[derive(Debug, Default)]
struct Line {
    /// The continuation tokens of items not yet passed, with whether they are done.
    items: VecDeque<(String, bool)>,
    /// The number of the first of them, counted from the herald's start.
    first: u64,
}

impl Line {
    fn push(&mut self, token: String) -> u64 {
        self.items.push_back((token, false));
        self.first + self.items.len() as u64 - 1
    }

    /// Marks an item done; the newest token before which everything is done, if that has moved.
    fn finish(&mut self, number: u64) -> Option<String> {
        let item = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some((_, done)) = item.and_then(|index| self.items.get_mut(index)) {
            *done = true;
        }
        let mut newest = None;
        while self.items.front().is_some_and(|(_, done)| *done) {
            newest = self.items.pop_front().map(|(token, _)| token);
            self.first += 1;
        }
        newest
    }
}

/// Reports one item done.
#[derive(Debug)]
pub(super) struct Done {
    line: Arc<Mutex<Line>>,
    committed: watch::Sender<String>,
    number: u64,
}

impl Progress {
    /// Starts at `position`; positions reached are remembered through `internal`, one write at a time, the newest only.
    pub(super) fn new(position: String, internal: InternalApi) -> Self {
        let (committed, mut positions) = watch::channel(position);
        tokio::spawn(async move {
            while positions.changed().await.is_ok() {
                let position = positions.borrow_and_update().clone();
                // The lag is the age of the last change behind which nothing is left to do.
                if let Ok(token) = ContinuationToken::parse(&position) {
                    HERALD_LAG_SECONDS.set(token.age(platform::time()).as_secs_f64(), [""; 0]);
                }
                match around("database.position", "", internal.set_continuation_token(position)).await {
                    Ok(()) => {}
                    Err(status) if status.code() == Code::FailedPrecondition => {
                        tracing::info!(%status, "a later position is remembered already");
                    }
                    // The items are done; at worst they are delivered again to the next herald.
                    Err(status) => tracing::warn!(%status, "the position in the stream is not remembered"),
                }
            }
        });
        Self { line: Arc::default(), committed }
    }

    /// The position from which to read on.
    pub(super) fn position(&self) -> String {
        self.committed.borrow().clone()
    }

    /// Takes in the next item of the stream.
    pub(super) fn begin(&mut self, token: String) -> Done {
        let number = self.line.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        Done { line: Arc::clone(&self.line), committed: self.committed.clone(), number }
    }
}

impl Done {
    /// The item is done.
    pub(super) fn report(self) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        // Sent under the lock, so that positions arrive in order.
        if let Some(newest) = line.finish(self.number).filter(|token| !token.is_empty()) {
            self.committed.send_replace(newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_longest_finished_prefix_counts() {
        let mut line = Line::default();
        let numbers: Vec<_> = ["a", "b", "c", "d"].map(|token| line.push(token.to_owned())).into();
        assert_eq!(line.finish(numbers[1]), None);
        assert_eq!(line.finish(numbers[3]), None);
        assert_eq!(line.finish(numbers[0]).as_deref(), Some("b"));
        assert_eq!(line.finish(numbers[2]).as_deref(), Some("d"));
        let next = line.push("e".to_owned());
        assert_eq!(line.finish(next).as_deref(), Some("e"));
    }

    #[test]
    fn finishing_twice_changes_nothing() {
        let mut line = Line::default();
        let (first, second) = (line.push("a".to_owned()), line.push("b".to_owned()));
        assert_eq!(line.finish(first).as_deref(), Some("a"));
        assert_eq!(line.finish(first), None);
        assert_eq!(line.finish(second).as_deref(), Some("b"));
    }
}
