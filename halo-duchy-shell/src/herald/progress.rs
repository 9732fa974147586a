//! How far the herald has come in the stream: the position of the last item before which all are done.
//!
//! Every stream begins behind that position, so it brings again what was begun and is not done, or done behind something
//! that is not. These items are known by their computation and continuation token, which change together with what the
//! Kingdom says of the computation.

use std::collections::{HashMap, VecDeque};
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

/// What the Kingdom said of which computation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Item {
    computation: String,
    token: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Done,
    /// Whoever worked on it has stopped, without an outcome.
    Abandoned,
}

#[derive(Debug, Default)]
struct Line {
    /// Those not yet passed.
    items: VecDeque<(Item, Phase)>,
    /// Where they are.
    numbers: HashMap<Item, u64>,
    /// The number of the first of them, counted from the herald's start.
    first: u64,
}

impl Line {
    /// Takes an item in; `None` if it has been taken in before, and not abandoned since.
    fn begin(&mut self, item: Item) -> Option<u64> {
        if let Some(number) = self.numbers.get(&item).copied() {
            let phase = self.phase(number)?;
            return (*phase == Phase::Abandoned).then(|| {
                *phase = Phase::Open;
                number
            });
        }
        let number = self.first + self.items.len() as u64;
        self.numbers.insert(item.clone(), number);
        self.items.push_back((item, Phase::Open));
        Some(number)
    }

    fn phase(&mut self, number: u64) -> Option<&mut Phase> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.items.get_mut(index).map(|(_, phase)| phase)
    }

    /// Marks an item done; the newest token before which everything is done, if that has moved.
    fn finish(&mut self, number: u64) -> Option<String> {
        if let Some(phase) = self.phase(number) {
            *phase = Phase::Done;
        }
        let mut newest = None;
        while let Some((item, _)) = self.items.pop_front_if(|(_, phase)| *phase == Phase::Done) {
            self.numbers.remove(&item);
            newest = Some(item.token);
            self.first += 1;
        }
        newest
    }

    /// Lets an item be taken in again if it is open.
    fn abandon(&mut self, number: u64) {
        if let Some(phase) = self.phase(number).filter(|phase| **phase == Phase::Open) {
            *phase = Phase::Abandoned;
        }
    }
}

/// Reports one item done. If it is dropped before, the item is worked on again when the Kingdom sends it again.
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

    /// Takes in the next item of the stream; `None` if it is worked on already, or done.
    pub(super) fn begin(&mut self, computation: &str, token: String) -> Option<Done> {
        let item = Item { computation: computation.to_owned(), token };
        let number = self.line.lock().unwrap_or_else(PoisonError::into_inner).begin(item)?;
        Some(Done { line: Arc::clone(&self.line), committed: self.committed.clone(), number })
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

impl Drop for Done {
    fn drop(&mut self) {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).abandon(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(computation: &str, token: &str) -> Item {
        Item { computation: computation.to_owned(), token: token.to_owned() }
    }

    fn begin(line: &mut Line, token: &str) -> u64 {
        line.begin(item("c", token)).expect("a new item")
    }

    #[test]
    fn only_the_longest_finished_prefix_counts() {
        let mut line = Line::default();
        let numbers = ["a", "b", "c", "d"].map(|token| begin(&mut line, token));
        assert_eq!(line.finish(numbers[1]), None);
        assert_eq!(line.finish(numbers[3]), None);
        assert_eq!(line.finish(numbers[0]).as_deref(), Some("b"));
        assert_eq!(line.finish(numbers[2]).as_deref(), Some("d"));
        let next = begin(&mut line, "e");
        assert_eq!(line.finish(next).as_deref(), Some("e"));
    }

    #[test]
    fn finishing_twice_changes_nothing() {
        let mut line = Line::default();
        let (first, second) = (begin(&mut line, "a"), begin(&mut line, "b"));
        assert_eq!(line.finish(first).as_deref(), Some("a"));
        assert_eq!(line.finish(first), None);
        assert_eq!(line.finish(second).as_deref(), Some("b"));
    }

    #[test]
    fn what_a_stream_brings_again_is_begun_once() {
        let mut line = Line::default();
        let (first, second) = (begin(&mut line, "a"), begin(&mut line, "b"));
        line.finish(second);
        assert_eq!(line.begin(item("c", "a")), None, "it is open");
        assert_eq!(line.begin(item("c", "b")), None, "it is done, behind one that is open");
        // Another computation with the same token, and another word about the same computation.
        let third = line.begin(item("d", "a")).expect("a new item");
        let fourth = begin(&mut line, "c");
        assert_eq!(line.finish(first).as_deref(), Some("b"));
        line.finish(third);
        assert_eq!(line.finish(fourth).as_deref(), Some("c"));
        assert!(line.numbers.is_empty() && line.items.is_empty());
    }

    #[test]
    fn what_was_abandoned_is_begun_again_in_its_place() {
        let mut line = Line::default();
        let (first, second) = (begin(&mut line, "a"), begin(&mut line, "b"));
        line.abandon(first);
        line.finish(second);
        line.abandon(second);
        assert_eq!(line.begin(item("c", "b")), None, "it is done");
        assert_eq!(line.begin(item("c", "a")), Some(first));
        assert_eq!(line.begin(item("c", "a")), None, "it is open again");
        assert_eq!(line.finish(first).as_deref(), Some("b"));
    }
}
