//! A namespace as a duchy's: the scheduler's Deployment, PodTemplates, and any number of schedulers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use halo_duchy_shell::scheduler::{
    HistoryLimits, MillJobOptions, Scheduler, SchedulerError, SchedulerOptions,
};
use halo_duchy_shell::shutdown::{self, Trigger};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodTemplate};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::manifests::manifests;
use crate::queue::{DUCHY, Queue};

pub const DEPLOYMENT: &str = "worker1-mill-job-scheduler-deployment";
pub const TEMPLATES: [&str; 2] = ["worker1-llv2-mill", "worker1-hmss-mill"];
/// The name of the scheduler's service account, of its role, and of what binds them.
const ROLE: &str = "worker1-mill-job-scheduler";
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Office {
    pub client: Client,
    scheduler: Client,
    pub queue: Arc<Queue>,
    pub jobs: Api<Job>,
}

/// A scheduler that runs until it is told to stop, or dropped: killed, without a word.
pub struct Running {
    stop: Trigger,
    task: JoinHandle<Result<(), SchedulerError>>,
}

impl Office {
    /// In a new namespace.
    pub async fn new(cluster: &Cluster) -> Self {
        let client = cluster.namespace().await;
        let scheduler = cluster.client_as(client.default_namespace(), ROLE).await;
        let office = Self {
            scheduler,
            queue: Arc::new(Queue::new().await),
            jobs: Api::default_namespaced(client.clone()),
            client,
        };
        // Its rights are those of the manifests.
        for object in manifests("gke").into_iter().filter(|object| object["metadata"]["name"] == ROLE) {
            match object["kind"].as_str() {
                Some("Role") => office.create(&from::<Role>(object)).await,
                Some("RoleBinding") => office.create(&from::<RoleBinding>(object)).await,
                _ => {}
            }
        }
        let pods: Api<Pod> = Api::default_namespaced(office.scheduler.clone());
        let refused = pods.list(&ListParams::default()).await.expect_err("it may not do more");
        assert!(matches!(refused, kube::Error::Api(status) if status.is_forbidden()));
        office.create_deployment().await;
        for (template, subcommand) in TEMPLATES.into_iter().zip(["llv2-mill", "hmss-mill"]) {
            office.create_template(template, subcommand).await;
        }
        office
    }

    pub async fn create_deployment(&self) {
        let labels = json!({ "app": "scheduler" });
        let container = json!({ "name": "scheduler", "image": "halo-duchy" });
        let deployment: Deployment = from(json!({
            "metadata": { "name": DEPLOYMENT },
            "spec": {
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } },
            },
        }));
        self.create(&deployment).await;
    }

    pub async fn create_template(&self, name: &str, subcommand: &str) {
        let container = json!({ "name": "mill", "image": "halo-duchy", "args": [subcommand] });
        let template: PodTemplate = from(json!({
            "metadata": { "name": name },
            "template": { "spec": { "containers": [container] } },
        }));
        self.create(&template).await;
    }

    pub async fn create<K>(&self, object: &K)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + serde::Serialize
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::default_namespaced(self.client.clone());
        api.create(&PostParams::default(), object).await.expect("an object");
    }

    /// What tests begin with: quick looks, and a claim that outlasts what a mill does.
    pub fn options(&self, identity: &str) -> SchedulerOptions {
        let mill = |template: &str| MillJobOptions {
            pod_template: template.to_owned(),
            maximum_concurrency: 4,
            work_lock_duration: Duration::from_secs(60),
        };
        SchedulerOptions {
            duchy: DUCHY.to_owned(),
            identity: identity.to_owned(),
            mills: TEMPLATES.map(mill),
            history: HistoryLimits { successful: 3, failed: 1 },
            job_time_to_live: Duration::from_secs(3600),
            job_active_deadline: Duration::from_secs(3600),
            failed_job_delay: Duration::from_millis(10),
            max_failed_job_delay: Duration::from_millis(20),
            polling_delay: Duration::from_millis(100),
            max_polling_delay: Duration::from_secs(1),
            leader_lease_duration: Duration::from_secs(3),
        }
    }

    pub fn start(&self, options: SchedulerOptions) -> Running {
        let internal = self.queue.internal.clone();
        let scheduler = Scheduler::new(self.scheduler.clone(), DEPLOYMENT.to_owned(), internal, options);
        let (stop, shutdown) = shutdown::channel();
        let task = tokio::spawn(scheduler.expect("good options").run(shutdown));
        Running { stop, task }
    }

    pub async fn all_jobs(&self) -> Vec<Job> {
        self.jobs.list(&ListParams::default()).await.expect("Jobs").items
    }
}

impl Running {
    /// Tells it to stop, and waits until it has.
    pub async fn stop(self) {
        self.stop.fire();
        self.ended().await.expect("an orderly end");
    }

    /// How it ended by itself.
    pub async fn ended(self) -> Result<(), SchedulerError> {
        let Self { stop, task } = self;
        let ended = task.await.expect("no panic");
        drop(stop);
        ended
    }

    /// Ends it without a word.
    pub fn kill(self) {
        self.task.abort();
        // What it has spawned would hear of the end.
        std::mem::forget(self.stop);
    }
}

/// The same options for another scheduler.
pub fn named(options: &SchedulerOptions, identity: &str) -> SchedulerOptions {
    SchedulerOptions { identity: identity.to_owned(), ..options.clone() }
}

/// An object by its JSON.
pub fn from<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
