//! Sees every change of every Job, so that nothing is missed between two looks.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::task::JoinHandle;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Unfinished Jobs of each type at once, at most.
    pub most: BTreeMap<String, usize>,
    /// Jobs that were ever there, by name, with their claims.
    pub claims: BTreeMap<String, (String, String)>,
    unfinished: BTreeMap<String, String>,
}

/// Watches until it is dropped.
pub struct Watcher {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Watches the Jobs of the client's namespace.
    pub async fn start(client: Client) -> Self {
        let jobs: Api<Job> = Api::default_namespaced(client);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                // Ends with the API server; then it is begun anew.
                let _ = follow(&jobs, &kept).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Self { seen, task }
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(jobs: &Api<Job>, seen: &Mutex<Seen>) -> Result<(), kube::Error> {
    let listed = jobs.list(&ListParams::default()).await?;
    {
        let mut seen = seen.lock().expect("no panic");
        seen.unfinished.clear();
        listed.items.iter().for_each(|job| seen.see(job));
    }
    let version = listed.metadata.resource_version.unwrap_or_default();
    let mut events = pin!(jobs.watch(&WatchParams::default(), &version).await?);
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(job) | WatchEvent::Modified(job) => seen.lock().expect("no panic").see(&job),
            WatchEvent::Deleted(job) => {
                seen.lock().expect("no panic").unfinished.remove(&job.name_any());
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}

impl Seen {
    fn see(&mut self, job: &Job) {
        let name = job.name_any();
        let annotation = |key: &str| job.annotations().get(key).cloned().unwrap_or_default();
        let claim = (
            annotation("halo-cmms/claimed-computation-id"),
            annotation("halo-cmms/claimed-computation-version"),
        );
        self.claims.insert(name.clone(), claim);
        if outcome(job).is_some() {
            self.unfinished.remove(&name);
        } else {
            self.unfinished.insert(name, job.labels().get("mill-type").cloned().unwrap_or_default());
        }
        for mill_type in self.unfinished.values() {
            let now = self.unfinished.values().filter(|other| *other == mill_type).count();
            let most = self.most.entry(mill_type.clone()).or_default();
            *most = now.max(*most);
        }
    }
}

/// How the Job ended: `Complete` or `Failed`.
pub fn outcome(job: &Job) -> Option<String> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let ended = |kind: &str| kind == "Complete" || kind == "Failed";
    conditions.into_iter().find(|one| ended(&one.type_) && one.status == "True").map(|one| one.type_)
}
