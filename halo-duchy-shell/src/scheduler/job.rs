//! The Job of a mill: what it is called, what it is made of, and what one that is found says of itself.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodTemplate, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{MillType, SchedulerOptions};
use crate::clock::Timestamp;
use crate::mill::ClaimedWork;

/// The label by which Jobs are listed, upstream's too; its values are [`MillType::label`]'s.
pub(super) const MILL_TYPE: &str = "mill-type";
/// The label with the duchy's id, so that several duchies may share a namespace.
const DUCHY: &str = "halo-cmms/duchy";
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "mill-job-scheduler");
const COMPUTATION: &str = "halo-cmms/claimed-computation-id";
const VERSION: &str = "halo-cmms/claimed-computation-version";

/// Of the suffixes of names, upstream's: no vowels and no digits that look like letters.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// Of a Job's name, which becomes a label of its Pods.
const LONGEST_NAME: usize = 63;

/// Why a PodTemplate cannot become a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the PodTemplate has no container")]
pub(super) struct NoContainer;

/// The Deployment that the scheduler runs in, which owns its Jobs: with it, they are deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deployment {
    pub name: String,
    pub uid: String,
}

/// How a Job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobState {
    /// Its mill works, or will, or has just ended.
    Unfinished,
    /// It ended well, then.
    Succeeded(Timestamp),
    /// It ended otherwise, then.
    Failed(Timestamp),
}

/// A Job that is this scheduler's, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObservedJob {
    pub name: String,
    pub uid: String,
    pub mill_type: MillType,
    pub state: JobState,
    /// Nobody owns it, but its labels are ours: the Deployment that owned it was deleted without it.
    pub orphan: bool,
    /// It is being deleted.
    pub going: bool,
}

/// Whether names of objects can begin with the duchy's id.
pub(super) fn is_name(duchy: &str) -> bool {
    let longest = LONGEST_NAME - "-llv2-mill-job-".len() - SUFFIX_LENGTH;
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = duchy.as_bytes();
    duchy.len() <= longest
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// The name of a Job, as upstream's; `random` makes it new.
pub(super) fn name(duchy: &str, mill_type: MillType, random: u64) -> String {
    let (mut rest, base) = (random, ALPHABET.len() as u64);
    let mut name = format!("{duchy}-{}-mill-job-", mill_type.abbreviation());
    for _ in 0..SUFFIX_LENGTH {
        name.push(char::from(ALPHABET[(rest % base) as usize]));
        rest /= base;
    }
    name
}

/// The Job `name`, which runs `template` on what was claimed in its name.
///
/// # Errors
/// [`NoContainer`].
pub(super) fn job(
    name: &str,
    template: &PodTemplate,
    mill_type: MillType,
    claimed: &ClaimedWork,
    deployment: &Deployment,
    options: &SchedulerOptions,
) -> Result<Job, NoContainer> {
    let ours = [(MILL_TYPE, mill_type.label()), (DUCHY, options.duchy.as_str()), MANAGED_BY];
    let ours = || ours.iter().map(|(key, value)| (String::from(*key), String::from(*value)));
    let mut template: PodTemplateSpec = template.template.clone().unwrap_or_default();
    template.metadata.get_or_insert_default().labels.get_or_insert_default().extend(ours());
    let pod = template.spec.get_or_insert_default();
    // What a Job cannot do, a PodTemplate says if it says nothing: always start again.
    pod.restart_policy = Some("Never".to_owned());
    let mill = pod.containers.first_mut().ok_or(NoContainer)?;
    mill.args.get_or_insert_default().extend([
        format!("--mill-id={name}"),
        format!("--claimed-computation-type={}", claimed.protocol.type_name()),
        format!("--claimed-computation-id={}", claimed.computation),
        format!("--claimed-computation-version={}", claimed.version),
    ]);
    let annotations = [(COMPUTATION, claimed.computation.clone()), (VERSION, claimed.version.to_string())];
    let seconds = |duration: std::time::Duration| duration.as_secs().max(1);
    Ok(Job {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(ours().collect()),
            annotations: Some(annotations.map(|(key, value)| (String::from(key), value)).into()),
            owner_references: Some(vec![deployment.owner()]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            template,
            // A second Pod would work on a claim that is no longer its own, or, worse, on one that just killed the
            // first, without counting the attempt. Failed work is claimed anew when its lease has run out.
            backoff_limit: Some(0),
            active_deadline_seconds: i64::try_from(seconds(options.job_active_deadline)).ok(),
            ttl_seconds_after_finished: i32::try_from(seconds(options.job_time_to_live)).ok(),
            ..JobSpec::default()
        }),
        status: None,
    })
}

impl Deployment {
    /// The reference to it that its Jobs have.
    pub(super) fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }
}

/// Whether the Job works on what was claimed.
pub(super) fn works_on(job: &Job, claimed: &ClaimedWork) -> bool {
    let annotation = |key: &str| job.metadata.annotations.as_ref().and_then(|all| all.get(key));
    annotation(COMPUTATION) == Some(&claimed.computation)
        && annotation(VERSION) == Some(&claimed.version.to_string())
}

impl ObservedJob {
    /// What `job` says, if it is a Job of the Deployment's, or an orphan of the duchy's.
    pub(super) fn read(job: &Job, deployment: &Deployment, duchy: &str) -> Option<Self> {
        let metadata = &job.metadata;
        let none = BTreeMap::new();
        let labels = metadata.labels.as_ref().unwrap_or(&none);
        let mill_type = MillType::from_label(labels.get(MILL_TYPE)?)?;
        let owners = metadata.owner_references.as_deref().unwrap_or_default();
        let owned = owners.iter().any(|owner| owner.uid == deployment.uid);
        let orphan = owners.is_empty() && labels.get(DUCHY).is_some_and(|label| label == duchy);
        (owned || orphan).then(|| Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            mill_type,
            state: JobState::read(job),
            orphan,
            going: metadata.deletion_timestamp.is_some(),
        })
    }
}

impl JobState {
    /// By the conditions: a Job without one may not have got its Pod yet, and counts as one that has.
    fn read(job: &Job) -> Self {
        let Some(status) = &job.status else { return Self::Unfinished };
        let ended = |kind: &str| {
            let conditions = status.conditions.as_deref().unwrap_or_default();
            conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
        };
        let time = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
            time.as_ref()
                .map_or_else(Timestamp::default, |time| Timestamp::from_millis(time.0.as_millisecond()))
        };
        if let Some(condition) = ended("Failed") {
            Self::Failed(time(&condition.last_transition_time))
        } else if let Some(condition) = ended("Complete") {
            let at = status.completion_time.clone().or_else(|| condition.last_transition_time.clone());
            Self::Succeeded(time(&at))
        } else {
            Self::Unfinished
        }
    }
}

#[cfg(test)]
mod tests;
