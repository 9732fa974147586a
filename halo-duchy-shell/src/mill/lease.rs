//! Holding a lease: a task beside the work extends it, and stops the work if that fails.

use std::time::Duration;

use halo_crypto::parallel::Control;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tonic::Code;
use tracing::Instrument as _;

use crate::internal_api::InternalApi;
use crate::proto::internal::ComputationToken;
use crate::telemetry::instruments::LOCK_RENEWALS;

/// A lease that is being extended. Dropping it lets it run out.
#[derive(Debug)]
pub(super) struct Lease {
    lost: watch::Receiver<Option<String>>,
    extending: AbortHandle,
}

impl Lease {
    /// Extends the lease on the work of `token` three times per `duration`. When the lease is lost, `control` stops
    /// the kernel that is running.
    pub(super) fn hold(
        internal: InternalApi,
        token: ComputationToken,
        duration: Duration,
        control: Control,
    ) -> Self {
        let (tell, lost) = watch::channel(None);
        let extending = async move {
            let reason = extend(&internal, &token, duration).await;
            control.cancel();
            tell.send_replace(Some(reason));
        };
        let extending = tokio::spawn(extending.in_current_span());
        Self { lost, extending: extending.abort_handle() }
    }

    /// Completes, with the reason, when the lease is lost.
    pub(super) async fn lost(&self) -> String {
        match self.lost.clone().wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the lease is no longer extended".to_owned(),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.extending.abort();
    }
}

/// Extends the lease until that fails for good; says why.
async fn extend(internal: &InternalApi, token: &ComputationToken, duration: Duration) -> String {
    let mut expires = Instant::now() + duration;
    let mut pause = duration / 3;
    loop {
        sleep(pause).await;
        let asked = Instant::now();
        match internal.extend_lease(token, duration).await {
            Ok(()) => {
                LOCK_RENEWALS.add(1, ["extended"]);
                expires = asked + duration;
                pause = duration / 3;
            }
            Err(status) => match status.code() {
                Code::Aborted | Code::NotFound | Code::FailedPrecondition | Code::InvalidArgument => {
                    LOCK_RENEWALS.add(1, ["lost"]);
                    return status.message().to_owned();
                }
                _ if Instant::now() >= expires => {
                    LOCK_RENEWALS.add(1, ["lost"]);
                    return format!("the lease ran out: {}", status.message());
                }
                // Until it runs out, the lease is still ours.
                _ => {
                    LOCK_RENEWALS.add(1, ["failed"]);
                    tracing::warn!(%status, "the lease is not extended");
                    pause = duration / 12;
                }
            },
        }
    }
}
