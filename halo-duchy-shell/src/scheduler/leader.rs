//! Keeps the scheduler's Lease, or waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::cluster::{Cluster, ClusterError};
use super::election::{Election, Step};

/// A seat to be won, and kept until it is given up. If it is dropped instead, the Lease runs out: what is under way then
/// may still happen.
#[derive(Debug)]
pub(super) struct Leadership {
    held: watch::Receiver<Option<Instant>>,
    resign: oneshot::Sender<()>,
    candidate: JoinHandle<()>,
}

impl Leadership {
    /// Stands for election from now on.
    pub(super) fn seek(cluster: Arc<Cluster>, identity: String, duration: Duration) -> Self {
        let (sender, held) = watch::channel(None);
        let (resign, resigned) = oneshot::channel();
        let candidate = Candidate { cluster, election: Election::new(identity, duration), held: sender };
        Self { held, resign, candidate: tokio::spawn(candidate.run(duration / 3, resigned)) }
    }

    /// Until when this process leads; `None` if it does not.
    pub(super) fn until(&self) -> Option<Instant> {
        self.held.borrow().filter(|until| *until > Instant::now())
    }

    /// Completes when this process leads.
    pub(super) async fn won(&mut self) {
        while self.until().is_none() {
            if self.held.changed().await.is_err() {
                // Nobody stands any more, which is the end.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Gives the Lease up, so that another may lead at once.
    pub(super) async fn resign(self) {
        // If nobody hears, nobody stands.
        let _ = self.resign.send(());
        if let Err(panicked) = self.candidate.await {
            tracing::warn!(%panicked, "the lease has to run out");
        }
    }
}

struct Candidate {
    cluster: Arc<Cluster>,
    election: Election,
    held: watch::Sender<Option<Instant>>,
}

impl Candidate {
    /// Looks after the Lease every `pause` until it is to be given up.
    async fn run(mut self, pause: Duration, mut resigned: oneshot::Receiver<()>) {
        let mut failed = false;
        let in_order = loop {
            let begun = Instant::now();
            // One that takes longer would be too late for a renewal.
            match timeout(pause, self.tend(begun)).await {
                Ok(Ok(leads)) => {
                    failed = false;
                    self.report(leads.then(|| begun + self.election.held()));
                }
                Ok(Err(error)) => {
                    if !failed {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "the lease cannot be kept or taken; trying again");
                    }
                    failed = true;
                }
                Err(_) => tracing::debug!("no answer about the lease"),
            }
            tokio::select! {
                asked = &mut resigned => break asked.is_ok(),
                () = sleep_until(begun + pause) => {}
            }
        };
        self.held.send_replace(None);
        if in_order {
            match timeout(pause, self.cluster.release(&self.election)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the lease has to run out"),
                Err(_) => tracing::warn!("no answer about the lease, which has to run out"),
            }
        }
    }

    /// Whether the Lease is ours.
    async fn tend(&mut self, now: Instant) -> Result<bool, ClusterError> {
        let found = self.cluster.lease().await?;
        let stamp = k8s_openapi::jiff::Timestamp::now();
        match self.election.step(self.cluster.lease_name(), found.as_ref(), now, stamp) {
            Step::Create(lease) => self.cluster.create_lease(&lease).await,
            Step::Replace(lease) => self.cluster.replace_lease(&lease).await,
            Step::Wait => Ok(false),
        }
    }

    fn report(&self, held: Option<Instant>) {
        let before = self.held.send_replace(held);
        match (before.is_some(), held.is_some()) {
            (false, true) => tracing::info!("this scheduler leads"),
            (true, false) => tracing::warn!("another scheduler leads"),
            _ => {}
        }
    }
}
