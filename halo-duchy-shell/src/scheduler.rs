//! The mill job scheduler: runs mills as Kubernetes Jobs, as many as there is work for and as are allowed (upstream's
//! `duchy/deploy/common/daemon/mill/MillJobScheduler.kt`).
//!
//! Each pass looks at the Jobs there are, decides what to do (`plan`, without effects), and does it: claims work in the
//! name of a Job to be, and creates the Job (`job`), whose mill does that work and what else of its protocol is to be
//! claimed. Nothing is remembered but how Jobs failed: a scheduler that starts again goes on from the Jobs it finds.
//!
//! Of several schedulers one leads, by a Lease (`election`, `leader`), and does all that; it counts Jobs as they are in
//! the cluster's database, its own included, so that no limit is exceeded, even for a moment. What a dead Job was to do
//! is claimed again when the claim has run out, because until then nobody can know that it is dead.

mod cluster;
mod election;
mod job;
mod leader;
mod mill_type;
mod pass;
mod plan;

pub use cluster::ClusterError;
pub use mill_type::MillType;
pub use plan::HistoryLimits;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::time::sleep;

use crate::internal_api::InternalApi;
use crate::mill::Idle;
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use cluster::Cluster;
use leader::Leadership;
use pass::Office;
use plan::Failures;

/// The Jobs of one type of mill.
#[derive(Clone, Debug)]
pub struct MillJobOptions {
    /// Name of the PodTemplate whose first container is a mill.
    pub pod_template: String,
    /// Jobs at once.
    pub maximum_concurrency: usize,
    /// How long the claim lasts that a Job is created with. Its mill, once it runs, extends it.
    pub work_lock_duration: Duration,
}

/// How a scheduler works.
#[derive(Clone, Debug)]
pub struct SchedulerOptions {
    /// The duchy, with whose id names of Jobs begin.
    pub duchy: String,
    /// Name of this scheduler in the Lease, which no other has.
    pub identity: String,
    /// The Jobs of each of [`MillType::ALL`].
    pub mills: [MillJobOptions; 2],
    /// How many ended Jobs are kept.
    pub history: HistoryLimits,
    /// How long an ended Job is kept at most, scheduler or not. In seconds.
    pub job_time_to_live: Duration,
    /// How long a Job may run. Its mill is then told to stop, and gives its work back. In seconds.
    pub job_active_deadline: Duration,
    /// For how long a failed Job holds others of its type back; each further one does twice as long.
    pub failed_job_delay: Duration,
    /// The longest such time.
    pub max_failed_job_delay: Duration,
    /// The pause between two looks at Jobs and work. It doubles from look to look while there are neither.
    pub polling_delay: Duration,
    /// The longest such pause. News of work end it.
    pub max_polling_delay: Duration,
    /// How long a scheduler that died without a word keeps others from leading. In seconds.
    pub leader_lease_duration: Duration,
}

/// Why a scheduler ended, or did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// The duchy's id cannot begin a name in Kubernetes.
    #[error(
        "{0}: names of Jobs begin with the duchy's id, which may then have 43 of a-z, 0-9 and - (not at its ends)"
    )]
    Name(String),
    /// Something that must be there is not.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// A scheduler.
pub struct Scheduler {
    cluster: Arc<Cluster>,
    internal: InternalApi,
    options: SchedulerOptions,
    failures: Failures,
    /// Of each of [`MillType::ALL`], whose protocols take turns in being asked for first.
    turns: [usize; 2],
    /// Of each of [`MillType::ALL`], whether its last Job was refused.
    refused: [bool; 2],
}

/// Connects to the cluster that `KUBECONFIG` or `~/.kube/config` names, or, in a Pod, to its own.
///
/// # Errors
/// [`ClusterError::Access`].
pub async fn connect() -> Result<Client, ClusterError> {
    let config = kube::Config::infer().await.map_err(|error| ClusterError::Access(error.into()))?;
    Client::try_from(config).map_err(|error| ClusterError::Access(error.into()))
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// A scheduler of mills for what `internal` has to do, in the namespace of `client`, where `deployment` is its own
    /// Deployment.
    ///
    /// # Errors
    /// [`SchedulerError::Name`].
    pub fn new(
        client: Client,
        deployment: String,
        internal: InternalApi,
        options: SchedulerOptions,
    ) -> Result<Self, SchedulerError> {
        if !job::is_name(&options.duchy) {
            return Err(SchedulerError::Name(options.duchy));
        }
        let cluster = Arc::new(Cluster::new(client, deployment));
        let failures = Failures::new(options.failed_job_delay, options.max_failed_job_delay);
        Ok(Self { cluster, internal, options, failures, turns: [0; 2], refused: [false; 2] })
    }

    /// Schedules until told to stop. An API server or internal API that does not answer is waited for.
    ///
    /// # Errors
    /// [`ClusterError::Missing`], at the start, if the Deployment or a PodTemplate is not there.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), SchedulerError> {
        self.check(&shutdown).await?;
        let (cluster, options) = (Arc::clone(&self.cluster), &self.options);
        let mut leadership =
            Leadership::seek(cluster, options.identity.clone(), options.leader_lease_duration);
        let mut idle = Idle::new(options.polling_delay, options.max_polling_delay);
        let (pauses, mut failures) = (self.pauses(), 0);
        while shutdown.unless_requested(leadership.won()).await.is_some() {
            match self.pass(&Office { leadership: &leadership, shutdown: &shutdown }).await {
                Ok(busy) => {
                    failures = 0;
                    if busy {
                        idle.over();
                        shutdown.unless_requested(sleep(self.options.polling_delay)).await;
                    } else {
                        shutdown.unless_requested(idle.wait(&self.internal)).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a pass failed");
                    failures += 1;
                    shutdown.unless_requested(sleep(pauses.pause(failures))).await;
                }
            }
        }
        leadership.resign().await;
        Ok(())
    }

    /// Between passes that fail.
    fn pauses(&self) -> Backoff {
        let SchedulerOptions { polling_delay, max_polling_delay, .. } = self.options;
        Backoff::new(polling_delay, 2.0, max_polling_delay.max(polling_delay))
    }

    /// Waits until the cluster answers, and looks for what is to be there.
    async fn check(&self, shutdown: &Shutdown) -> Result<(), SchedulerError> {
        loop {
            match self.find_all().await {
                Ok(()) => return Ok(()),
                Err(missing @ ClusterError::Missing { .. }) => return Err(missing.into()),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "waiting for Kubernetes")
                }
            }
            if shutdown.unless_requested(sleep(self.pauses().pause(1))).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn find_all(&self) -> Result<(), ClusterError> {
        self.cluster.deployment().await?;
        for mill in &self.options.mills {
            self.cluster.template(&mill.pod_template).await?;
        }
        Ok(())
    }
}
