//! How many retries a peer is sent in all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Retries to one peer by all callers of this process, as a bucket of tokens (gRPC's `retryThrottling`): a failure takes
/// one, a success gives half of one back, and while half or more of them are gone no call is made again. Calls
/// themselves are always made, so a peer that has recovered is noticed.
///
/// One call with all of its attempts takes no more than a tenth: a peer that is started again costs nobody a call, one
/// that stays away is soon called once per call. Clones share the bucket.
#[derive(Clone, Debug)]
pub struct Budget(Arc<AtomicU32>);

/// Half tokens in a full bucket.
const FULL: u32 = 2 * 100;

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(FULL)))
    }
}

impl Budget {
    /// A call succeeded, or was refused by a peer who is well.
    pub fn succeeded(&self) {
        self.change(|tokens| tokens.saturating_add(1).min(FULL));
    }

    /// A call failed because the peer is not there.
    pub fn failed(&self) {
        self.change(|tokens| tokens.saturating_sub(2));
    }

    /// Whether too much has failed for calls to be made again.
    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= FULL / 2
    }

    fn change(&self, change: impl Fn(u32) -> u32) {
        // The closure never refuses.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| Some(change(tokens)));
    }
}
