//! The computations cleaner: has the internal API delete computations that ended long ago and blobs that nothing needs
//! any more (docs/blobs.md#cleaning-up).

use std::time::Duration;

use tonic::{Code, Status};

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::internal_api::InternalApi;
use crate::proto::internal::computation_details::CompletedReason;
use crate::protocol_stages::Protocol;
use crate::shutdown::Shutdown;
use crate::sweep::{SweepOptions, Swept};

/// Calls of one purge that may be cut off by their deadline: each deletes some.
const PURGE_CALLS: u32 = 100;

/// What a cleaner deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanerOptions {
    /// How long computations are kept after their last change, which is their end.
    pub time_to_live: Duration,
    /// The ends after which they go at all; all if there are none.
    pub end_states: Vec<CompletedReason>,
    /// How long the blobs of stages are kept after the end of their computation.
    pub intermediate_ttl: Duration,
    /// How long blobs are kept that no computation refers to.
    pub orphan_ttl: Duration,
    /// How long one call may take, and the silence of a sweep.
    pub deadline: Duration,
    /// Whether to count only.
    pub dry_run: bool,
}

/// What a cleaner has done, or would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Computations deleted.
    pub computations: u64,
    /// What became of blobs; `None` if the server, being upstream's, sweeps none.
    pub blobs: Option<Swept>,
}

/// Cleans a duchy through its internal API.
#[derive(Clone, Debug)]
pub struct Cleaner {
    internal: InternalApi,
    options: CleanerOptions,
}

impl Cleaner {
    /// A cleaner over the internal API.
    pub fn new(internal: InternalApi, options: CleanerOptions) -> Self {
        Self { internal, options }
    }

    /// Cleans once. What is done stays done if it fails half-way, and the next time goes on from there.
    ///
    /// # Errors
    /// The server's status.
    pub async fn clean(&self) -> Result<Cleaned, Status> {
        let CleanerOptions { time_to_live, intermediate_ttl, orphan_ttl, deadline, dry_run, .. } =
            self.options;
        let mut cleaned = Cleaned::default();
        let ttl = i64::try_from(time_to_live.as_millis()).unwrap_or(i64::MAX);
        let updated_before = Timestamp::from_millis(SystemClock.now().millis().saturating_sub(ttl).max(0));
        for protocol in Protocol::ALL {
            let count = self.purge(protocol, updated_before).await?;
            tracing::info!(protocol = protocol.name(), computations = count, dry_run, "purged");
            cleaned.computations += count;
        }
        let options = SweepOptions { intermediate_ttl, orphan_ttl, force: !dry_run };
        let swept = self.internal.sweep(options, deadline, |so_far| {
            tracing::info!(examined = so_far.examined, bytes = so_far.bytes, dry_run, "sweeping blobs");
        });
        cleaned.blobs = match swept.await {
            Ok(swept) => {
                tracing::info!(?swept, dry_run, "swept blobs");
                Some(swept)
            }
            Err(status) if status.code() == Code::Unimplemented => {
                tracing::warn!("the internal API does not sweep blobs: those that nothing needs remain");
                None
            }
            Err(status) => return Err(status),
        };
        Ok(cleaned)
    }

    /// Deletes the ended computations of a protocol that last changed before.
    async fn purge(&self, protocol: Protocol, updated_before: Timestamp) -> Result<u64, Status> {
        let mut calls = 1;
        loop {
            let CleanerOptions { end_states, dry_run, deadline, .. } = &self.options;
            let purged = self.internal.purge(protocol, updated_before, end_states, !dry_run, *deadline);
            match purged.await {
                Err(status) if status.code() == Code::DeadlineExceeded && calls < PURGE_CALLS => {
                    tracing::info!(protocol = protocol.name(), "there is more to purge than one call can");
                    calls += 1;
                }
                purged => return purged,
            }
        }
    }

    /// Cleans at once and then every `interval`, until told to stop. A failure is logged.
    pub async fn run(&self, interval: Duration, shutdown: Shutdown) {
        loop {
            match shutdown.unless_requested(self.clean()).await {
                None => return,
                Some(Err(status)) => tracing::warn!(%status, "cleaning failed, and is tried again later"),
                Some(Ok(_)) => {}
            }
            if shutdown.unless_requested(tokio::time::sleep(interval)).await.is_none() {
                return;
            }
        }
    }
}
