//! The mill job scheduler and the manifests of `deploy` on a real API server of Kubernetes with etcd and the controllers
//! of Jobs. Without nodes: what a Pod would do, a test does (`kubelet`).

#![cfg(feature = "kubernetes")]
#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "../servers/kubernetes.rs"]
mod cluster;
#[path = "../store_conformance/fixture.rs"]
#[allow(dead_code, reason = "shared with the store's tests, which use all of it")]
mod fixture;
mod kubelet;
#[path = "../deployment/manifests.rs"]
mod manifests;
mod office;
mod queue;
mod validation;
mod watcher;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::Cluster;
use halo_duchy_shell::pki::{Pki, PkiSpec};
use halo_duchy_shell::protocol_stages::Protocol;
use halo_duchy_shell::scheduler::{ClusterError, SchedulerError};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use kubelet::{Dies, Kubelet};
use office::{DEPLOYMENT, Office, TEMPLATES, from, until};
use queue::DUCHY;
use serde_json::json;
use validation::the_manifests_are_valid;
use watcher::{Watcher, outcome};

const LLV2: &str = "LIQUID_LEGIONS_V2";
const HMSS: &str = "HONEST_MAJORITY_SHARE_SHUFFLE";

/// One cluster for all: it takes seconds to start. They run one after another, as one of them ends the API server.
#[test]
fn on_a_cluster() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let Some(mut cluster) = Cluster::start().await else { return };
        tokio::join!(
            limits_hold_under_200_computations(&cluster),
            jobs_are_found_adopted_and_deleted(&cluster),
            a_dead_jobs_work_is_done_by_another(&cluster),
            a_refused_job_costs_one_attempt(&cluster),
            what_must_be_there_is_asked_for(&cluster),
            the_manifests_are_valid(&cluster),
            the_program_leads_until_it_is_told_to_stop(&cluster),
        );
        the_api_server_may_go_and_come_back(&mut cluster).await;
    });
}

fn nobody_dies() -> Dies {
    Arc::new(|_| false)
}

fn ids(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |index| format!("{prefix}{index}"))
}

/// Two schedulers, one of which is killed while it leads, and a third.
async fn limits_hold_under_200_computations(cluster: &Cluster) {
    let office = Office::new(cluster).await;
    office.queue.add(Protocol::LiquidLegionsV2, "l", 100).await;
    office.queue.add(Protocol::ReachOnlyLiquidLegionsV2, "r", 50).await;
    office.queue.add(Protocol::HonestMajorityShareShuffle, "h", 50).await;
    let all: Vec<_> = ids("l", 100).chain(ids("r", 50)).chain(ids("h", 50)).collect();
    let watcher = Watcher::start(office.client.clone()).await;
    let options = |identity: &str| {
        let mut options = office.options(identity);
        options.mills[0].maximum_concurrency = 20;
        options.mills[1].maximum_concurrency = 10;
        // The one that is killed may have claimed something for a Job that never came to be.
        options.mills.iter_mut().for_each(|mill| mill.work_lock_duration = Duration::from_secs(15));
        options
    };
    let mut running = BTreeMap::from(["one", "two"].map(|name| (name, office.start(options(name)))));
    let _kubelet = Kubelet::start(office.client.clone(), Arc::clone(&office.queue), nobody_dies());

    until("a quarter is done", async || office.queue.ended(&all).await >= 50).await;
    let killed = leader(&office).await;
    running.remove(killed.as_str()).expect("one of them leads").kill();
    running.insert("three", office.start(options("three")));
    until("another leads", async || leader(&office).await != killed).await;
    until("everything is done", async || office.queue.ended(&all).await == all.len()).await;
    until("only the history is left", async || {
        let jobs = office.all_jobs().await;
        let of = |label: &str| jobs.iter().filter(|job| job.labels()["mill-type"] == label).count();
        of(LLV2) <= 3 && of(HMSS) <= 3
    })
    .await;

    let seen = watcher.seen();
    assert_eq!(seen.most, BTreeMap::from([(LLV2.to_owned(), 20), (HMSS.to_owned(), 10)]));
    let claims: BTreeSet<_> = seen.claims.values().collect();
    assert_eq!(claims.len(), seen.claims.len(), "no claim has two Jobs");
    assert!(seen.claims.len() >= all.len(), "a mill of this test does one computation");
    for (name, (id, _)) in &seen.claims {
        let expected = if id.starts_with('h') { "worker1-hmss-mill-job-" } else { "worker1-llv2-mill-job-" };
        assert!(name.starts_with(expected), "{name} for {id}");
    }
    for (_, scheduler) in running {
        scheduler.stop().await;
    }
    assert_eq!(leader(&office).await, "", "the Lease is given up in the end");
}

async fn jobs_are_found_adopted_and_deleted(cluster: &Cluster) {
    let office = Office::new(cluster).await;
    let mut options = office.options("one");
    options.mills[0].maximum_concurrency = 2;
    options.history.successful = 1;
    office.queue.add(Protocol::LiquidLegionsV2, "c", 3).await;
    let first = office.start(options.clone());
    until("two Jobs", async || office.all_jobs().await.len() == 2).await;
    first.stop().await;

    // What the Deployment leaves behind when it is deleted alone is the next one's.
    let deployments: Api<Deployment> = Api::default_namespaced(office.client.clone());
    let orphan = DeleteParams::orphan();
    deployments.delete(DEPLOYMENT, &orphan).await.expect("deleted");
    until("the Deployment is gone", async || {
        let owned = |job: &Job| !job.owner_references().is_empty();
        deployments.get_opt(DEPLOYMENT).await.expect("an answer").is_none()
            && !office.all_jobs().await.iter().any(owned)
    })
    .await;
    office.create_deployment().await;
    let uid = deployments.get(DEPLOYMENT).await.expect("the Deployment").uid().expect("a uid");
    let second = office.start(office::named(&options, "two"));
    until("both are the new one's", async || {
        let jobs = office.all_jobs().await;
        jobs.len() == 2 && jobs.iter().all(|job| job.owner_references().iter().any(|owner| owner.uid == uid))
    })
    .await;

    // They count: the third computation has to wait until one of them has ended.
    let kubelet = Kubelet::start(office.client.clone(), Arc::clone(&office.queue), nobody_dies());
    let all: Vec<_> = ids("c", 3).collect();
    until("all is done", async || office.queue.ended(&all).await == 3).await;
    until("one is kept", async || {
        let jobs = office.all_jobs().await;
        jobs.len() == 1 && jobs.iter().all(|job| outcome(job).is_some())
    })
    .await;
    second.stop().await;
    drop(kubelet);

    // With the Deployment, its Jobs go.
    deployments.delete(DEPLOYMENT, &DeleteParams::background()).await.expect("deleted");
    until("no Jobs", async || office.all_jobs().await.is_empty()).await;
}

async fn a_dead_jobs_work_is_done_by_another(cluster: &Cluster) {
    let office = Office::new(cluster).await;
    let mut options = office.options("one");
    options.mills[0].maximum_concurrency = 1;
    options.mills[0].work_lock_duration = Duration::from_secs(5);
    options.history.failed = 0;
    let watcher = Watcher::start(office.client.clone()).await;
    office.queue.add(Protocol::LiquidLegionsV2, "c", 1).await;
    let scheduler = office.start(options);
    // The first mill of each computation dies.
    let dead = Mutex::new(BTreeSet::new());
    let dies: Dies = Arc::new(move |id| dead.lock().expect("no panic").insert(id.to_owned()));
    let _kubelet = Kubelet::start(office.client.clone(), Arc::clone(&office.queue), dies);
    until("it is done", async || office.queue.ended(&["c0".to_owned()]).await == 1).await;
    until("the failed Job is deleted", async || office.all_jobs().await.len() == 1).await;
    let claims = watcher.seen().claims;
    assert_eq!(claims.len(), 2);
    let versions: BTreeSet<_> = claims.values().map(|(_, version)| version).collect();
    assert_eq!(versions.len(), 2, "another claim: {claims:?}");
    scheduler.stop().await;
}

/// A quota may last for hours, and a computation has ten attempts.
async fn a_refused_job_costs_one_attempt(cluster: &Cluster) {
    let office = Office::new(cluster).await;
    let quotas: Api<ResourceQuota> = Api::default_namespaced(office.client.clone());
    let hard = json!({ "count/jobs.batch": "0" });
    office
        .create(&from::<ResourceQuota>(json!({ "metadata": { "name": "none" }, "spec": { "hard": hard } })))
        .await;
    let status = Patch::Merge(json!({ "status": { "hard": hard, "used": hard } }));
    quotas.patch_status("none", &PatchParams::default(), &status).await.expect("a quota in force");

    office.queue.add(Protocol::LiquidLegionsV2, "c", 1).await;
    let scheduler = office.start(office.options("one"));
    let attempt = async || office.queue.computation("c0").await.attempt;
    until("a first claim", async || attempt().await == 1).await;
    until("it is given back", async || office.queue.computation("c0").await.lock_owner.is_none()).await;
    // Several more passes.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(attempt().await, 1);
    assert!(office.all_jobs().await.is_empty());

    quotas.delete("none", &DeleteParams::default()).await.expect("deleted");
    until("a Job", async || office.all_jobs().await.len() == 1).await;
    assert_eq!(attempt().await, 2);
    scheduler.stop().await;
}

async fn what_must_be_there_is_asked_for(cluster: &Cluster) {
    let office = Office::new(cluster).await;
    let missing = async |options| match office.start(options).ended().await {
        Err(SchedulerError::Cluster(ClusterError::Missing { kind, name, .. })) => (kind, name),
        other => panic!("{other:?}"),
    };
    let mut options = office.options("one");
    options.mills[1].pod_template = "nothing".to_owned();
    assert_eq!(missing(options).await, ("PodTemplate", "nothing".to_owned()));
    let deployments: Api<Deployment> = Api::default_namespaced(office.client.clone());
    deployments.delete(DEPLOYMENT, &DeleteParams::default()).await.expect("deleted");
    assert_eq!(missing(office.options("one")).await, ("Deployment", DEPLOYMENT.to_owned()));
}

/// The program, from its flags to its end, without an internal API.
async fn the_program_leads_until_it_is_told_to_stop(cluster: &Cluster) {
    let office = Office::new(cluster).await;
    let folder = tempfile::tempdir().expect("a folder");
    let pki = Pki::create(&PkiSpec::default(), &folder.path().join("pki")).expect("keys");
    let tls = pki.tls(DUCHY);
    let path = |flag: &str, path: &Path| format!("{flag}={}", path.display());
    let mut program = Command::new(env!("CARGO_BIN_EXE_halo-duchy"))
        .env("KUBECONFIG", cluster.kubeconfig_of(office.client.default_namespace()))
        .arg("mill-job-scheduler")
        .arg(format!("--duchy-name={DUCHY}"))
        .arg(path("--tls-cert-file", &tls.cert))
        .arg(path("--tls-key-file", &pki.tls_key(DUCHY)))
        .arg(path("--cert-collection-file", &tls.collection))
        .args(["--computations-service-target=127.0.0.1:1", "--computations-service-cert-host=localhost"])
        .arg(format!("--deployment-name={DEPLOYMENT}"))
        .arg(format!("--llv2-pod-template-name={}", TEMPLATES[0]))
        .arg(format!("--hmss-pod-template-name={}", TEMPLATES[1]))
        .arg("--scheduler-id=program")
        .arg("--leader-lease-duration=3s")
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    until("it leads", async || leader(&office).await.starts_with("program_")).await;
    let asked = Command::new("kill").args(["-TERM", &program.id().to_string()]).status();
    assert!(asked.expect("a signal").success());
    let ended = tokio::task::spawn_blocking(move || program.wait()).await.expect("no panic");
    assert!(ended.expect("an exit status").success());
    assert_eq!(leader(&office).await, "", "the Lease is given up");
}

/// Who leads, as the Lease says.
async fn leader(office: &Office) -> String {
    let leases: Api<Lease> = Api::default_namespaced(office.client.clone());
    let lease = leases.get_opt(DEPLOYMENT).await.expect("an answer");
    lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
}

/// In the middle of forty computations the API server is killed, and started again some seconds later.
async fn the_api_server_may_go_and_come_back(cluster: &mut Cluster) {
    let office = Office::new(&*cluster).await;
    office.queue.add(Protocol::LiquidLegionsV2, "l", 30).await;
    office.queue.add(Protocol::HonestMajorityShareShuffle, "h", 10).await;
    let all: Vec<_> = ids("l", 30).chain(ids("h", 10)).collect();
    let watcher = Watcher::start(office.client.clone()).await;
    let schedulers = ["one", "two"].map(|name| office.start(office.options(name)));
    let _kubelet = Kubelet::start(office.client.clone(), Arc::clone(&office.queue), nobody_dies());
    until("some are done", async || office.queue.ended(&all).await >= 8).await;
    cluster.kill_api();
    // Longer than a lease.
    tokio::time::sleep(Duration::from_secs(4)).await;
    cluster.start_api().await;
    until("everything is done", async || office.queue.ended(&all).await == all.len()).await;
    let seen = watcher.seen();
    assert!(seen.most.values().all(|most| *most <= 4), "{:?}", seen.most);
    let claims: BTreeSet<_> = seen.claims.values().collect();
    assert_eq!(claims.len(), seen.claims.len(), "no claim has two Jobs");
    for scheduler in schedulers {
        scheduler.stop().await;
    }
}
