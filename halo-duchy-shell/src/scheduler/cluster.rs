//! What the scheduler asks of Kubernetes, in its own namespace.

use std::error::Error;
use std::time::Duration;

use k8s_openapi::api::apps::v1;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::PodTemplate;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use tokio::time::timeout;

use super::election::Election;
use super::job::{Deployment, MILL_TYPE, ObservedJob};

/// Why Kubernetes did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// There is no configuration for a client, or a wrong one.
    #[error("no access to Kubernetes")]
    Access(#[source] Box<dyn Error + Send + Sync>),
    /// What must exist does not, or may not be read.
    #[error("{kind} {name}: {why}")]
    Missing {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the API server says.
        why: String,
    },
    /// The API server refuses a request.
    #[error("{operation}: {status}")]
    Refused {
        /// What was to be done.
        operation: &'static str,
        /// What the API server says.
        status: Box<kube::core::Status>,
    },
    /// This process no longer leads.
    #[error("another scheduler leads")]
    Superseded,
    /// The API server could not be reached or its answer could not be read: what was to be done may have been.
    #[error("{operation}")]
    Unclear {
        /// What was to be done.
        operation: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Of one request, with its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The objects of the scheduler's namespace.
#[derive(Clone)]
pub(super) struct Cluster {
    deployments: Api<v1::Deployment>,
    templates: Api<PodTemplate>,
    jobs: Api<Job>,
    leases: Api<Lease>,
    deployment: String,
}

impl Cluster {
    /// Of the client's namespace.
    pub(super) fn new(client: Client, deployment: String) -> Self {
        Self {
            deployments: Api::default_namespaced(client.clone()),
            templates: Api::default_namespaced(client.clone()),
            jobs: Api::default_namespaced(client.clone()),
            leases: Api::default_namespaced(client),
            deployment,
        }
    }

    /// The scheduler's own Deployment.
    pub(super) async fn deployment(&self) -> Result<Deployment, ClusterError> {
        let name = self.deployment.clone();
        let found = answer(self.deployments.get_metadata(&name)).await;
        let found = found.map_err(|error| ClusterError::get("Deployment", &name, error))?;
        Ok(Deployment { name, uid: found.metadata.uid.unwrap_or_default() })
    }

    pub(super) async fn template(&self, name: &str) -> Result<PodTemplate, ClusterError> {
        let found = answer(self.templates.get(name)).await;
        found.map_err(|error| ClusterError::get("PodTemplate", name, error))
    }

    /// The Jobs of all schedulers, as they are now (not as they were when a cache was filled).
    pub(super) async fn jobs(&self) -> Result<Vec<Job>, ClusterError> {
        let listed = answer(self.jobs.list(&ListParams::default().labels(MILL_TYPE))).await;
        Ok(listed.map_err(|error| ClusterError::of("list the Jobs", error))?.items)
    }

    /// The Job with this name.
    pub(super) async fn job(&self, name: &str) -> Result<Option<Job>, ClusterError> {
        answer(self.jobs.get_opt(name)).await.map_err(|error| ClusterError::of("get the Job", error))
    }

    /// Creates the Job, or only says whether it would be created.
    pub(super) async fn create(&self, job: &Job, dry_run: bool) -> Result<(), ClusterError> {
        let params = PostParams { dry_run, ..PostParams::default() };
        let created = answer(self.jobs.create(&params, job)).await;
        created.map(drop).map_err(|error| ClusterError::of("create a Job", error))
    }

    /// Deletes the Job, then its Pods. Whether it was there.
    pub(super) async fn delete(&self, job: &ObservedJob) -> Result<bool, ClusterError> {
        let uid = Some(job.uid.clone());
        let only = Preconditions { uid, ..Preconditions::default() };
        let background = DeleteParams::background().preconditions(only);
        match answer(self.jobs.delete(&job.name, &background)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(false),
            Err(error) => Err(ClusterError::of("delete a Job", error)),
        }
    }

    /// Makes the Job, which has no owner, the Deployment's.
    pub(super) async fn adopt(&self, job: &ObservedJob, deployment: &Deployment) -> Result<(), ClusterError> {
        let patch = serde_json::json!({
            "metadata": { "uid": job.uid, "ownerReferences": [deployment.owner()] }
        });
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let adopted = answer(self.jobs.patch_metadata(&job.name, &params, &patch)).await;
        adopted.map(drop).map_err(|error| ClusterError::of("adopt a Job", error))
    }

    /// The Lease is called as the Deployment.
    pub(super) fn lease_name(&self) -> &str {
        &self.deployment
    }

    pub(super) async fn lease(&self) -> Result<Option<Lease>, ClusterError> {
        answer(self.leases.get_opt(self.lease_name()))
            .await
            .map_err(|error| ClusterError::of("get the Lease", error))
    }

    /// Whether the Lease was created; another may have been quicker.
    pub(super) async fn create_lease(&self, lease: &Lease) -> Result<bool, ClusterError> {
        taken("create the Lease", answer(self.leases.create(&PostParams::default(), lease)).await)
    }

    /// Whether the Lease was replaced; another may have been quicker.
    pub(super) async fn replace_lease(&self, lease: &Lease) -> Result<bool, ClusterError> {
        let replaced = answer(self.leases.replace(self.lease_name(), &PostParams::default(), lease)).await;
        taken("update the Lease", replaced)
    }

    /// Gives the Lease up, if it is the candidate's.
    pub(super) async fn release(&self, election: &Election) -> Result<(), ClusterError> {
        match self.lease().await?.and_then(|lease| election.release(&lease)) {
            Some(released) => self.replace_lease(&released).await.map(drop),
            None => Ok(()),
        }
    }
}

/// What a request gives, in time.
async fn answer<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    let answered = timeout(DEADLINE, request).await;
    answered.unwrap_or_else(|late| Err(kube::Error::Service(late.into())))
}

fn taken(operation: &'static str, result: Result<Lease, kube::Error>) -> Result<bool, ClusterError> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
        Err(error) => Err(ClusterError::of(operation, error)),
    }
}

impl ClusterError {
    pub(super) fn of(operation: &'static str, error: kube::Error) -> Self {
        match error {
            // Server errors may come of a request that was carried out.
            kube::Error::Api(status) if (400..500).contains(&status.code) => {
                Self::Refused { operation, status }
            }
            error => Self::Unclear { operation, source: Box::new(error) },
        }
    }

    /// Whether nothing was created, and would not be if it were tried again.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if !status.is_already_exists())
    }

    fn get(kind: &'static str, name: &str, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.is_not_found() || status.is_forbidden() => {
                Self::Missing { kind, name: name.to_owned(), why: status.message.clone() }
            }
            error => Self::of("get an object", error),
        }
    }
}
