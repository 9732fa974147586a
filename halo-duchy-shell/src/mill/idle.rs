//! The pause of a mill, or of a scheduler of mills, that has found no work.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tonic::Code;

use crate::internal_api::InternalApi;

/// Looks for work come ever less often while there is none, and at once when the internal API says that there may be some.
#[derive(Debug)]
pub(crate) struct Idle {
    shortest: Duration,
    longest: Duration,
    pause: Duration,
    /// What the internal API last said of its state.
    seen: i64,
}

impl Idle {
    /// Pauses of `shortest` at first, of `longest` in the end.
    pub(crate) fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest: longest.max(shortest), pause: shortest, seen: 0 }
    }

    /// There was work, or there may have been.
    pub(crate) const fn over(&mut self) {
        self.pause = self.shortest;
    }

    /// Waits until it is time to look again.
    pub(crate) async fn wait(&mut self, internal: &InternalApi) {
        let now = Instant::now();
        let pause = self.pause;
        self.pause = (pause * 2).min(self.longest);
        loop {
            let left = (now + pause).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            match internal.await_work(self.seen, left).await {
                Ok(seen) if seen == self.seen => {}
                Ok(seen) => {
                    self.seen = seen;
                    return;
                }
                // Upstream's internal API does not tell: then there are only the pauses.
                Err(status) if status.code() == Code::Unimplemented => return sleep_until(now + pause).await,
                Err(status) => {
                    tracing::debug!(%status, "the internal API does not tell of work");
                    return sleep_until(now + self.shortest).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;
    use crate::client::CallPolicy;

    #[tokio::test]
    async fn pauses_double_up_to_the_longest_until_there_is_work() {
        let millis = Duration::from_millis;
        let mut idle = Idle::new(millis(2), millis(30));
        // A server that is not there: what is waited for is then the shortest pause.
        let nowhere = Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
        let internal = InternalApi::new(nowhere.into(), CallPolicy::once(Duration::from_secs(1)));
        for expected in [2, 4, 8, 16, 30, 30] {
            assert_eq!(idle.pause, millis(expected));
            let begun = Instant::now();
            idle.wait(&internal).await;
            assert!(begun.elapsed() >= millis(2), "it does not spin");
        }
        idle.over();
        assert_eq!(idle.pause, millis(2));
    }
}
