//! The line to a server: one connection at a time for new calls, and another one once that is stale.
//!
//! tonic makes a new connection when the old one has ended. A line does so earlier: when certificate, key or roots were
//! replaced, or the server's certificate has expired. Calls in progress stay on the connection that they began on, which
//! ends with the last of them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::{Channel, Error};
use tower::Service;

use crate::tls::TlsIdentity;

/// Makes a channel that connects when it is first used, and tells the [`Expiry`] whenever it does.
type Dial = dyn Fn(&Expiry) -> Channel + Send + Sync;

/// A line to a server. Clones share its connection.
#[derive(Clone)]
pub(super) struct Line {
    tls: TlsIdentity,
    dial: Arc<Dial>,
    shared: Arc<Mutex<Shared>>,
    /// The channel that this clone was last ready on, and its number.
    own: Option<(u64, Channel)>,
}

#[derive(Default)]
struct Shared {
    /// The channel for new calls, with the version of the certificates that it is for, and when it expires.
    channel: Option<(u64, Expiry, Channel)>,
    /// How many channels there were.
    number: u64,
}

/// When the certificate of a server expires, once it has been seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Expiry(Arc<Mutex<Option<Instant>>>);

impl Expiry {
    /// The server has presented a certificate that lasts so long from now.
    pub(super) fn set(&self, lasts: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(lasts);
    }

    fn is_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|end| end <= Instant::now())
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Line {
    pub(super) fn new(tls: &TlsIdentity, dial: impl Fn(&Expiry) -> Channel + Send + Sync + 'static) -> Self {
        Self { tls: tls.clone(), dial: Arc::new(dial), shared: Arc::default(), own: None }
    }

    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.current().poll_ready(context)
    }

    /// The channel that was ready last.
    pub(super) fn ready(&mut self) -> &mut Channel {
        match self.own {
            Some((_, ref mut channel)) => channel,
            // Nobody has asked whether one is ready, which tower forbids and tonic then says.
            None => self.current(),
        }
    }

    /// The channel for new calls.
    fn current(&mut self) -> &mut Channel {
        let version = self.tls.version();
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh =
            shared.channel.take().filter(|(made_for, expiry, _)| *made_for == version && !expiry.is_over());
        let is_new = fresh.is_none();
        let fresh = fresh.unwrap_or_else(|| {
            let expiry = Expiry::default();
            let channel = (self.dial)(&expiry);
            (version, expiry, channel)
        });
        shared.number += u64::from(is_new);
        let own = match self.own.take() {
            Some(own) if own.0 == shared.number => own,
            _ => (shared.number, fresh.2.clone()),
        };
        shared.channel = Some(fresh);
        &mut self.own.insert(own).1
    }
}
