//! A value that can be replaced while others use it.

use std::sync::Arc;

use tokio::sync::watch;

/// A value in force. Clones share it; who took it with [`Self::current`] keeps what it took.
#[derive(Debug, Default)]
pub struct Live<T>(Arc<watch::Sender<Arc<T>>>);

impl<T> Live<T> {
    /// Starts with `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(value))))
    }

    /// Puts `value` in force for everyone who asks from now on.
    pub fn replace(&self, value: impl Into<Arc<T>>) {
        self.0.send_replace(value.into());
    }

    /// Puts what `newer` makes of the value in force in its place, if it makes something.
    pub(crate) fn replace_by(&self, newer: impl FnOnce(&T) -> Option<T>) {
        self.0.send_if_modified(|value| match newer(value) {
            Some(newer) => {
                *value = Arc::new(newer);
                true
            }
            None => false,
        });
    }

    /// Hears of every value that is put in force from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.0.subscribe()
    }

    /// The value in force now.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> From<T> for Live<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}
