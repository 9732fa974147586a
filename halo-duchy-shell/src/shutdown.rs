//! Telling tasks to stop: one [`Trigger`], any number of [`Shutdown`]s that wait for it.

use tokio::sync::watch;

/// Tells everyone who holds a [`Shutdown`] to stop, when asked to or when dropped.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Waits for the word to stop.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and what waits for it.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Tells everyone to stop.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Whether the word has been given.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Completes when the word is given, at once if it was given before.
    pub async fn requested(&self) {
        // An error means that the trigger is gone: the same.
        drop(self.0.clone().wait_for(|stop| *stop).await);
    }

    /// What `future` gives, or `None` if the word to stop comes first.
    pub async fn unless_requested<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.requested() => None,
            output = future => Some(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_hears_the_trigger() {
        let (trigger, shutdown) = channel();
        let late = shutdown.clone();
        assert!(!shutdown.is_requested());
        assert_eq!(shutdown.unless_requested(async { 7 }).await, Some(7));
        trigger.fire();
        late.requested().await;
        assert!(late.is_requested());
        assert_eq!(shutdown.unless_requested(std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn a_lost_trigger_stops_everyone() {
        let (trigger, shutdown) = channel();
        drop(trigger);
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }
}
