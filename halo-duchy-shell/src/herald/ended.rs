//! [`Ended`]: which computations are over while older news of them is still being worked on.
//!
//! The Kingdom tells of each change of a computation, and items are worked on side by side. One whose creation has to be tried
//! again may come to it only after the news of the end: what it made then would stay open for ever.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::system::computation::State;

/// An end of a computation, as the Kingdom and as this duchy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) state: State,
    pub(super) reason: CompletedReason,
}

/// The computations of the items in progress.
#[derive(Debug, Default)]
pub(super) struct Ended {
    computations: Mutex<HashMap<String, Items>>,
}

/// The items of one computation.
#[derive(Debug, Default)]
struct Items {
    open: usize,
    end: Option<End>,
}

/// An item in progress.
#[derive(Debug)]
pub(super) struct Open<'a> {
    ended: &'a Ended,
    id: &'a str,
}

impl End {
    /// The end that a state of the Kingdom's is, if it is one.
    pub(super) const fn of(state: State) -> Option<Self> {
        let reason = match state {
            State::Succeeded => CompletedReason::Succeeded,
            State::Cancelled => CompletedReason::Canceled,
            State::Failed => CompletedReason::Failed,
            _ => return None,
        };
        Some(Self { state, reason })
    }
}

impl Ended {
    /// Begins an item of the computation, which tells of its end if `end` is given.
    pub(super) fn begin<'a>(&'a self, id: &'a str, end: Option<End>) -> Open<'a> {
        let mut computations = self.lock();
        let items = computations.entry(id.to_owned()).or_default();
        items.open += 1;
        items.end = items.end.or(end);
        Open { ended: self, id }
    }

    /// How the computation has ended, if an item has told so while others of it were in progress.
    pub(super) fn end_of(&self, id: &str) -> Option<End> {
        self.lock().get(id).and_then(|items| items.end)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Items>> {
        // Nothing that is done under the lock can panic half way.
        self.computations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut computations = self.ended.lock();
        if let Some(items) = computations.get_mut(self.id) {
            items.open -= 1;
            if items.open == 0 {
                computations.remove(self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_known_for_as_long_as_there_is_older_news() {
        let ended = Ended::default();
        let creation = ended.begin("1", None);
        assert_eq!(ended.end_of("1"), None);
        drop(ended.begin("1", End::of(State::Cancelled)));
        let other = ended.begin("2", None);
        assert_eq!(ended.end_of("1").map(|end| end.reason), Some(CompletedReason::Canceled));
        assert_eq!(ended.end_of("2"), None);
        drop(creation);
        assert_eq!(ended.end_of("1"), None, "nothing is kept of what is done");
        drop(other);
        assert!(ended.lock().is_empty());
    }
}
