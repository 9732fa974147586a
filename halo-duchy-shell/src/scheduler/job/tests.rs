use std::time::Duration;

use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff;

use super::*;
use crate::protocol_stages::Protocol;
use crate::scheduler::{HistoryLimits, MillJobOptions};

fn options() -> SchedulerOptions {
    let mill = MillJobOptions {
        pod_template: "template".to_owned(),
        maximum_concurrency: 1,
        work_lock_duration: Duration::from_secs(300),
    };
    SchedulerOptions {
        duchy: "worker1".to_owned(),
        identity: "one".to_owned(),
        mills: [mill.clone(), mill],
        history: HistoryLimits { successful: 3, failed: 1 },
        job_time_to_live: Duration::from_secs(3600),
        job_active_deadline: Duration::from_millis(1),
        failed_job_delay: Duration::from_secs(10),
        max_failed_job_delay: Duration::from_secs(300),
        polling_delay: Duration::from_secs(2),
        max_polling_delay: Duration::from_secs(30),
        leader_lease_duration: Duration::from_secs(15),
    }
}

fn deployment() -> Deployment {
    Deployment { name: "worker1-mill-job-scheduler-deployment".to_owned(), uid: "uid-1".to_owned() }
}

fn template() -> PodTemplate {
    let container = |name: &str| Container {
        name: name.to_owned(),
        args: Some(vec!["llv2-mill".to_owned()]),
        ..Container::default()
    };
    let labels = BTreeMap::from([("app".to_owned(), "worker1-llv2-mill-app".to_owned())]);
    PodTemplate {
        template: Some(PodTemplateSpec {
            metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
            spec: Some(PodSpec {
                containers: vec![container("mill"), container("sidecar")],
                restart_policy: Some("Always".to_owned()),
                ..PodSpec::default()
            }),
        }),
        ..PodTemplate::default()
    }
}

fn claimed() -> ClaimedWork {
    ClaimedWork {
        protocol: Protocol::ReachOnlyLiquidLegionsV2,
        computation: "abc".to_owned(),
        version: 1_700_000_000_000,
    }
}

fn made() -> Job {
    job("a-job", &template(), MillType::LiquidLegionsV2, &claimed(), &deployment(), &options())
        .expect("a Job")
}

fn observed(job: &Job) -> Option<ObservedJob> {
    ObservedJob::read(job, &deployment(), "worker1")
}

fn ended(kind: &str, transition: i64, completion: Option<i64>) -> Option<JobStatus> {
    let time = |second| Time(jiff::Timestamp::from_second(second).expect("a time"));
    Some(JobStatus {
        conditions: Some(vec![JobCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(time(transition)),
            ..JobCondition::default()
        }]),
        completion_time: completion.map(time),
        ..JobStatus::default()
    })
}

#[test]
fn a_job_is_the_template_with_a_claim() {
    let job = made();
    let spec = job.spec.clone().expect("a spec");
    assert_eq!(spec.backoff_limit, Some(0));
    assert_eq!(spec.ttl_seconds_after_finished, Some(3600));
    assert_eq!(spec.active_deadline_seconds, Some(1), "a Job cannot have less than a second");
    let pod = spec.template.spec.expect("a Pod");
    assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
    let args: Vec<_> =
        pod.containers.iter().map(|container| container.args.clone().unwrap_or_default()).collect();
    assert_eq!(
        args,
        [
            vec![
                "llv2-mill",
                "--mill-id=a-job",
                "--claimed-computation-type=REACH_ONLY_LIQUID_LEGIONS_SKETCH_AGGREGATION_V2",
                "--claimed-computation-id=abc",
                "--claimed-computation-version=1700000000000",
            ],
            vec!["llv2-mill"],
        ]
    );
    let labels = spec.template.metadata.and_then(|metadata| metadata.labels).expect("labels");
    assert_eq!(labels["app"], "worker1-llv2-mill-app", "network policies go by it");
    assert_eq!(labels["mill-type"], "LIQUID_LEGIONS_V2");
    assert_eq!(job.metadata.labels.clone().expect("labels")["mill-type"], "LIQUID_LEGIONS_V2");
    assert_eq!(job.metadata.owner_references, Some(vec![deployment().owner()]));
    assert!(works_on(&job, &claimed()));
    assert!(!works_on(&job, &ClaimedWork { version: 1, ..claimed() }));
    assert!(!works_on(&job, &ClaimedWork { computation: "abd".to_owned(), ..claimed() }));
}

#[test]
fn a_template_without_a_container_is_no_job() {
    let template = PodTemplate::default();
    let made = job("a-job", &template, MillType::LiquidLegionsV2, &claimed(), &deployment(), &options());
    assert_eq!(made, Err(NoContainer));
}

#[test]
fn names_are_upstreams() {
    assert_eq!(name("worker1", MillType::LiquidLegionsV2, 0), "worker1-llv2-mill-job-bbbbb");
    let most = name("worker1", MillType::HonestMajorityShareShuffle, 27_u64.pow(5) - 1);
    assert_eq!(most, "worker1-hmss-mill-job-99999");
    assert_ne!(name("a", MillType::LiquidLegionsV2, 1), name("a", MillType::LiquidLegionsV2, 27));
}

#[test]
fn a_duchys_id_must_be_usable_in_names() {
    let longest = "d".repeat(43);
    for good in ["worker1", "a", "a-1", longest.as_str()] {
        assert!(is_name(good), "{good}");
        assert!(name(good, MillType::LiquidLegionsV2, 7).len() <= 63);
    }
    for bad in ["", "Worker1", "worker_1", "-a", "a-", "a.b", &"d".repeat(44)] {
        assert!(!is_name(bad), "{bad}");
    }
}

#[test]
fn only_our_jobs_are_seen() {
    let ours = observed(&made()).expect("ours");
    assert_eq!((ours.mill_type, ours.orphan, ours.going), (MillType::LiquidLegionsV2, false, false));

    // Upstream's scheduler, in the same Deployment before, put no label for the duchy.
    let mut job = made();
    job.metadata.labels.as_mut().expect("labels").remove(DUCHY);
    assert!(observed(&job).is_some());

    let mut orphan = made();
    orphan.metadata.owner_references = None;
    assert!(observed(&orphan).expect("to be ours").orphan);
    assert_eq!(ObservedJob::read(&orphan, &deployment(), "worker2"), None);

    let mut another = made();
    another.metadata.owner_references.as_mut().expect("owners")[0].uid = "uid-2".to_owned();
    assert_eq!(observed(&another), None);

    for label in [None, Some("TRUS_TEE")] {
        let mut unknown = made();
        let labels = unknown.metadata.labels.as_mut().expect("labels");
        labels.remove(MILL_TYPE);
        labels.extend(label.map(|label| (MILL_TYPE.to_owned(), label.to_owned())));
        assert_eq!(observed(&unknown), None);
    }
}

#[test]
fn a_job_has_ended_when_its_conditions_say_so() {
    for (status, expected) in [
        (None, JobState::Unfinished),
        (Some(JobStatus::default()), JobState::Unfinished),
        (Some(JobStatus { failed: Some(1), ..JobStatus::default() }), JobState::Unfinished),
        // Its Pod is still going.
        (ended("FailureTarget", 5, None), JobState::Unfinished),
        (ended("SuccessCriteriaMet", 5, None), JobState::Unfinished),
        (ended("Complete", 5, Some(4)), JobState::Succeeded(Timestamp::from_millis(4000))),
        (ended("Complete", 5, None), JobState::Succeeded(Timestamp::from_millis(5000))),
        (ended("Failed", 5, None), JobState::Failed(Timestamp::from_millis(5000))),
    ] {
        let job = Job { status, ..made() };
        assert_eq!(observed(&job).expect("ours").state, expected, "{:?}", job.status);
    }
}
