//! A place among the computations that a mill works on at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A place taken, which can be left while there is nothing to do but wait.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Slot {
    /// Waits for a free place.
    pub(super) async fn take(slots: &Arc<Semaphore>) -> Self {
        let slots = Arc::clone(slots);
        // An error would mean that the semaphore was closed: nobody does.
        let permit = Arc::clone(&slots).acquire_owned().await.ok();
        Self { slots, permit }
    }

    /// Leaves the place to others.
    pub(super) fn leave(&mut self) {
        self.permit = None;
    }

    /// Waits for a place again, if this one was left.
    pub(super) async fn retake(&mut self) {
        if self.permit.is_none() {
            *self = Self::take(&self.slots).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_place_that_is_left_is_free_for_others() {
        let slots = Arc::new(Semaphore::new(1));
        let mut first = Slot::take(&slots).await;
        assert!(Slot::take(&slots).now_or_never().is_none());
        first.leave();
        let second = Slot::take(&slots).now_or_never().expect("the place is free");
        assert!(first.retake().now_or_never().is_none());
        drop(second);
        first.retake().await;
        assert!(Slot::take(&slots).now_or_never().is_none());
    }
}
