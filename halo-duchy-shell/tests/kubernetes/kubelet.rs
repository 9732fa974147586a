//! What nodes would do: run Pods. Here each of a Job's Pods is a mill that does what it was given at once.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::queue::Queue;

const GLANCE: Duration = Duration::from_millis(100);

/// Whether the mill of the computation dies.
pub type Dies = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// A running kubelet, until it is dropped.
pub struct Kubelet(JoinHandle<()>);

impl Kubelet {
    /// Runs the Pods of the client's namespace.
    pub fn start(client: Client, queue: Arc<Queue>, dies: Dies) -> Self {
        let pods: Api<Pod> = Api::default_namespaced(client);
        Self(tokio::spawn(async move {
            loop {
                // Without an API server there is nothing to do.
                if let Ok(found) = pods.list(&ListParams::default()).await {
                    for pod in found.items {
                        let _ = run(&pods, &pod, &queue, &dies).await;
                    }
                }
                tokio::time::sleep(GLANCE).await;
            }
        }))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes the Pod one phase further.
async fn run(pods: &Api<Pod>, pod: &Pod, queue: &Queue, dies: &Dies) -> Result<(), kube::Error> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let next = match phase {
        "Pending" => "Running",
        "Running" => {
            let (owner, id, version) = (
                flag(pod, "--mill-id="),
                flag(pod, "--claimed-computation-id="),
                flag(pod, "--claimed-computation-version="),
            );
            if dies(&id) {
                "Failed"
            } else {
                queue.mill(&owner, &id, version.parse().expect("a version")).await;
                "Succeeded"
            }
        }
        _ => return Ok(()),
    };
    set_phase(pods, pod, next).await
}

/// Says of the Pod what a kubelet would.
async fn set_phase(pods: &Api<Pod>, pod: &Pod, phase: &str) -> Result<(), kube::Error> {
    let name = pod.metadata.name.as_deref().expect("a name");
    let status = Patch::Merge(json!({ "status": { "phase": phase } }));
    pods.patch_status(name, &PatchParams::default(), &status).await.map(drop)
}

/// The value of a flag of the Pod's mill.
fn flag(pod: &Pod, flag: &str) -> String {
    let args = pod.spec.as_ref().and_then(|spec| spec.containers[0].args.clone()).expect("args");
    let value = args.iter().find_map(|arg| arg.strip_prefix(flag));
    value.unwrap_or_else(|| panic!("{flag} is not among {args:?}")).to_owned()
}
