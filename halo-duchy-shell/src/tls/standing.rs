//! What becomes of open connections.
//!
//! A handshake proves who the peer is, by the certificates and roots of that moment. So that this does not hold for ever:
//!
//! - Once certificate, key or roots were replaced, or the peer's certificate has expired, a connection is [`stale`]: new
//!   calls go by another one, calls in progress go on. A server tells its clients so (GOAWAY); a client's channel sees to it.
//! - Once the peer's root is not trusted any more, the connection is cut, calls in progress included: [`Guarded`](crate::guarded::Guarded). Removing
//!   a root from the collection is how a party is shut out.
//!
//! [`stale`]: Standing::stale

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::{Material, TlsIdentity};
use crate::x509::{self, TrustedRoots};

/// What a connection was made on: the peer's certificate, and what was in force here.
#[derive(Clone)]
pub(crate) struct Standing {
    leaf: Arc<[u8]>,
    /// How long the certificate lasts. Malformed ones last no time.
    lasts: Duration,
    made_on: watch::Receiver<Arc<Material>>,
}

impl Standing {
    /// That of a connection whose peer has presented `leaf`, made on the version `version` of `own`.
    pub(crate) fn new(own: &TlsIdentity, version: u64, leaf: &[u8]) -> Self {
        let mut made_on = own.0.subscribe();
        if own.version() != version {
            // Replaced during the handshake.
            made_on.mark_changed();
        }
        Self { leaf: leaf.into(), lasts: lasts(leaf), made_on }
    }

    /// How long the peer's certificate lasts from when the connection was made.
    pub(crate) fn lasts(&self) -> Duration {
        self.lasts
    }

    /// Waits until new calls should have another connection.
    pub(crate) async fn stale(mut self) {
        tokio::select! {
            () = next(&mut self.made_on) => {}
            () = tokio::time::sleep(self.lasts) => {}
        }
    }

    /// Waits until the peer's root is not trusted any more.
    pub(crate) async fn revoked(mut self) {
        loop {
            next(&mut self.made_on).await;
            let roots = Arc::clone(&self.made_on.borrow_and_update().roots);
            if !is_trusted(&self.leaf, &roots) {
                return;
            }
        }
    }
}

/// Waits for the next change; for ever, if there can be none.
async fn next(made_on: &mut watch::Receiver<Arc<Material>>) {
    if made_on.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn is_trusted(leaf: &[u8], roots: &TrustedRoots) -> bool {
    x509::parse(leaf).is_ok_and(|leaf| roots.issuer(&leaf).is_ok())
}

fn lasts(leaf: &[u8]) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(x509::not_after(leaf).unwrap_or_default()).saturating_sub(now)
}
