//! One pass of the scheduler: what it sees, and what follows from it.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::cluster::ClusterError;
use super::job::{self, Deployment, JobState, NoContainer, ObservedJob};
use super::leader::Leadership;
use super::plan::{self, Plan};
use super::{MillType, Scheduler};
use crate::clock::{Clock, SystemClock};
use crate::mill::ClaimedWork;
use crate::proto::internal::ComputationToken;
use crate::shutdown::Shutdown;
use crate::store::GivenBack;
use crate::telemetry::instruments::MILL_JOBS;

/// Between two tries of a request whose answer was not heard.
const RETRY: Duration = Duration::from_millis(500);

/// For how long the scheduler may act.
pub(super) struct Office<'a> {
    pub leadership: &'a Leadership,
    pub shutdown: &'a Shutdown,
}

/// What came of a Job that was to be created.
enum Placed {
    /// It is there.
    Created,
    /// It is not there.
    Not(ClusterError),
    /// Nobody knows, and there is no time to find out.
    Unknown,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum PassError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("no randomness")]
    Randomness(#[from] getrandom::Error),
    #[error("the internal API")]
    InternalApi(#[source] Box<Status>),
    #[error("{template}")]
    Template {
        template: String,
        #[source]
        source: NoContainer,
    },
}

impl Scheduler {
    /// One look, and what follows from it. Whether there are Jobs at work.
    pub(super) async fn pass(&mut self, office: &Office<'_>) -> Result<bool, PassError> {
        let deployment = self.cluster.deployment().await?;
        let found = self.cluster.jobs().await?;
        let read = |job: &Job| ObservedJob::read(job, &deployment, &self.options.duchy);
        let jobs: Vec<_> = found.iter().filter_map(read).collect();
        let now = SystemClock.now();
        for ended in self.failures.observe(&jobs, now) {
            let event = if matches!(ended.state, JobState::Failed(_)) { "failed" } else { "succeeded" };
            tracing::info!(job = ended.name, event, "a Job has ended");
            MILL_JOBS.add(1, [ended.mill_type.label(), event]);
        }
        let Plan { vacancies, delete, adopt } = plan::plan(
            &jobs,
            self.options.mills.each_ref().map(|mill| mill.maximum_concurrency),
            self.options.history,
        );
        for orphan in adopt {
            self.cluster.adopt(orphan, &deployment).await?;
            tracing::info!(job = orphan.name, "adopted");
            MILL_JOBS.add(1, [orphan.mill_type.label(), "adopted"]);
        }
        // Before others are created: a quota may count these too.
        for old in delete {
            if self.cluster.delete(old).await? {
                tracing::debug!(job = old.name, "deleted");
                MILL_JOBS.add(1, [old.mill_type.label(), "deleted"]);
            }
        }
        let mut busy = jobs.iter().any(ObservedJob::is_unfinished);
        let mut failed = None;
        for (index, mill_type) in MillType::ALL.into_iter().enumerate() {
            if !self.failures.allow(mill_type, now) {
                busy = true;
            } else if vacancies[index] > 0 {
                match self.fill(mill_type, vacancies[index], &deployment, office).await {
                    Ok(created) => busy |= created,
                    // The other type's template may be a better one.
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        failed.map_or(Ok(busy), Err)
    }

    /// Creates up to `vacancies` Jobs, as long as there is work. Whether there was any.
    async fn fill(
        &mut self,
        mill_type: MillType,
        vacancies: usize,
        deployment: &Deployment,
        office: &Office<'_>,
    ) -> Result<bool, PassError> {
        // Read for each pass, so that a changed template needs no restart, and before the claim.
        let options = self.options.clone();
        let template_name = &options.mills[mill_type as usize].pod_template;
        let template = self.cluster.template(template_name).await?;
        let make = |name: &str, claimed: &ClaimedWork| {
            let made = job::job(name, &template, mill_type, claimed, deployment, &options);
            made.map_err(|source| PassError::Template { template: template_name.clone(), source })
        };
        if self.refused[mill_type as usize] {
            // Every claim is an attempt of the computation's: one that would be for nothing is not made.
            let protocol = mill_type.protocols()[0];
            let nothing = ClaimedWork { protocol, computation: "dry-run".to_owned(), version: 0 };
            let name = job::name(&options.duchy, mill_type, getrandom::u64()?);
            self.cluster.create(&make(&name, &nothing)?, true).await?;
            self.refused[mill_type as usize] = false;
        }
        let mut created = false;
        for _ in 0..vacancies {
            if office.is_over() {
                break;
            }
            let name = job::name(&options.duchy, mill_type, getrandom::u64()?);
            let Some((claimed, token)) = self.claim(mill_type, &name).await? else { break };
            let computation = &claimed.computation;
            let failed = match make(&name, &claimed) {
                Ok(job) => match self.place(&name, &job, mill_type, &claimed, office).await {
                    Placed::Created => {
                        tracing::info!(job = name, computation, "created");
                        MILL_JOBS.add(1, [mill_type.label(), "created"]);
                        created = true;
                        continue;
                    }
                    Placed::Unknown => {
                        tracing::warn!(job = name, computation, "nobody knows whether it was created");
                        break;
                    }
                    Placed::Not(error) => error.into(),
                },
                Err(error) => error,
            };
            self.refused[mill_type as usize] = true;
            MILL_JOBS.add(1, [mill_type.label(), "refused"]);
            let why = format!("no Job was created: {failed}");
            let given_back = GivenBack::Interrupted(&why);
            if let Err(status) = self.internal.enqueue(token, &name, Duration::ZERO, given_back).await {
                tracing::warn!(%status, computation, "the claim has to run out");
            }
            return Err(failed);
        }
        Ok(created)
    }

    /// Claims work for a mill of the type called `owner`. Not to be cancelled: a claim whose reply is not heard is nobody's
    /// until it runs out.
    async fn claim(
        &mut self,
        mill_type: MillType,
        owner: &str,
    ) -> Result<Option<(ClaimedWork, ComputationToken)>, PassError> {
        let protocols = mill_type.protocols();
        let duration = self.options.mills[mill_type as usize].work_lock_duration;
        let turn = &mut self.turns[mill_type as usize];
        *turn = turn.wrapping_add(1);
        for protocol in protocols.iter().cycle().skip(*turn % protocols.len()).take(protocols.len()) {
            let claimed = self.internal.claim(*protocol, owner, duration).await;
            if let Some(token) = claimed.map_err(|status| PassError::InternalApi(Box::new(status)))? {
                let computation = token.global_computation_id.clone();
                return Ok(Some((
                    ClaimedWork { protocol: *protocol, computation, version: token.version },
                    token,
                )));
            }
        }
        Ok(None)
    }

    /// Creates the Job `name`. A request without an answer is made again, which a Job that was created refuses.
    async fn place(
        &self,
        name: &str,
        job: &Job,
        mill_type: MillType,
        claimed: &ClaimedWork,
        office: &Office<'_>,
    ) -> Placed {
        let begun = Instant::now();
        // Later, somebody else may have claimed the same.
        let patience = self.options.mills[mill_type as usize].work_lock_duration;
        let mut last = ClusterError::Superseded;
        while begun.elapsed() < patience {
            // Out of office, only looking is allowed.
            if !office.is_over() {
                match self.cluster.create(job, false).await {
                    Ok(()) => return Placed::Created,
                    Err(error) if error.is_refusal() => return Placed::Not(error),
                    Err(error) => last = error,
                }
            }
            match self.cluster.job(name).await {
                Ok(Some(found)) if job::works_on(&found, claimed) => return Placed::Created,
                // The name is another's.
                Ok(Some(_)) => return Placed::Not(last),
                Ok(None) if office.is_over() => return Placed::Not(last),
                Ok(None) => {}
                Err(error) => last = error,
            }
            if office.shutdown.unless_requested(sleep(RETRY)).await.is_none() {
                break;
            }
        }
        Placed::Unknown
    }
}

impl Office<'_> {
    fn is_over(&self) -> bool {
        self.shutdown.is_requested() || self.leadership.until().is_none()
    }
}
