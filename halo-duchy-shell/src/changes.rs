//! A number that others wait to see changed.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// A number and those who wait. They are woken in the order in which they began to wait, every time the same: those of
/// tokio's `watch` are not, and nothing else in this crate depends on chance.
#[derive(Debug)]
pub(crate) struct Changes<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Changes<T> {
    /// Starts with `value`.
    pub(crate) fn new(value: T) -> Self {
        Self { value: value.into(), changed: Notify::new() }
    }

    /// The value now.
    pub(crate) fn value(&self) -> T {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value and wakes everybody.
    pub(crate) fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }

    /// Waits for a value that `is_awaited`, which may be there already.
    pub(crate) async fn wait_for(&self, is_awaited: impl Fn(T) -> bool) {
        loop {
            // Who is on the list before looking misses nothing.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if is_awaited(self.value()) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn everybody_is_woken_in_order() {
        let changes = std::sync::Arc::new(Changes::new(0));
        let woken = std::sync::Arc::new(Mutex::new(Vec::new()));
        let waiting = (0..20).map(|index| {
            let (changes, woken) = (changes.clone(), woken.clone());
            tokio::spawn(async move {
                changes.wait_for(|value| value > 0).await;
                woken.lock().expect("no panic").push(index);
            })
        });
        let waiting: Vec<_> = waiting.collect();
        tokio::task::yield_now().await;
        changes.update(|value| *value += 1);
        for task in waiting {
            task.await.expect("woken");
        }
        assert_eq!(*woken.lock().expect("no panic"), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_there_is_not_waited_for() {
        let changes = Changes::new(1);
        assert!(changes.wait_for(|value| value == 1).now_or_never().is_some());
        assert!(changes.wait_for(|value| value == 2).now_or_never().is_none());
        assert_eq!(changes.value(), 1);
    }
}
