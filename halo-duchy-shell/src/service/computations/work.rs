//! Tells waiting mills that there may be work, so that they need not look for it all the time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::changes::Changes;
use crate::clock::{Clock, SystemClock};

/// The longest that a call is kept waiting: short beside the time that a server gives its calls when it is stopped.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Counts what may have made work. Clones share the count.
#[derive(Clone, Debug)]
pub(super) struct WorkNotices(Arc<Changes<i64>>);

impl WorkNotices {
    /// Starts at the time, so that nobody takes the count of an earlier process for this one's.
    pub(super) fn new() -> Self {
        Self(Arc::new(Changes::new(SystemClock.now().millis().max(1))))
    }

    /// There may be work.
    pub(super) fn announce(&self) {
        self.0.update(|count| *count += 1);
    }

    /// There may be work after `delay`.
    pub(super) fn announce_after(&self, delay: Duration) {
        if delay.is_zero() {
            return self.announce();
        }
        let notices = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            notices.announce();
        });
    }

    /// Waits until the count is not `seen`, or for `patience`; the count then.
    pub(super) async fn wait(&self, seen: i64, patience: Duration) -> i64 {
        // The end of patience is no failure: there is no news.
        let _ = timeout(patience.min(LONGEST_WAIT), self.0.wait_for(|count| count != seen)).await;
        self.0.value()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn news_end_the_wait() {
        let notices = WorkNotices::new();
        // Nobody waits so long in this test, or it would fail by its duration.
        let long = Duration::MAX;
        let begun = Instant::now();
        let seen = notices.wait(0, long).await;
        notices.announce();
        let next = notices.wait(seen, long).await;
        assert_eq!(next, seen + 1, "news from before the call are not missed");
        let delay = Duration::from_millis(30);
        notices.announce_after(delay);
        assert_eq!(notices.wait(next, long).await, next + 1);
        assert!(begun.elapsed() >= delay && begun.elapsed() < LONGEST_WAIT);
    }

    #[tokio::test]
    async fn without_news_patience_ends_the_wait() {
        let notices = WorkNotices::new();
        let seen = notices.wait(0, Duration::ZERO).await;
        let (begun, patience) = (Instant::now(), Duration::from_millis(30));
        assert_eq!(notices.wait(seen, patience).await, seen);
        assert!(begun.elapsed() >= patience);
    }
}
