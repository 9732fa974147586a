//! Computations as JSON, for programs.

use serde_json::{Value, json};

use super::text::{between, end_reason, utc};
use super::{Diagnosis, State, progress};
use crate::blob::Content;
use crate::clock::Timestamp;
use crate::protocol_stages::{participants, role_name};
use crate::store::{AttemptRecord, BlobDependency, Record, StageRecord};

/// What `halo-duchy computations list` tells of a computation.
pub fn summarized(record: &Record, now: Timestamp) -> Value {
    let error = record.last_error();
    json!({
        "id": record.global_id,
        "protocol": record.stage.protocol().type_name(),
        "stage": record.stage.name(),
        "state": State::of(record, now).name(),
        "created": utc(record.created),
        "updated": utc(record.updated),
        "age_seconds": between(record.created, now).as_secs(),
        "attempts": attempts(record),
        "progress": progress(record, now).map(|progress| json!({
            "step": progress.step, "done_records": progress.done, "total_records": progress.total,
        })),
        "lock_owner": record.lock_owner,
        "lock_expiration": record.lock_expiration.map(utc),
        "last_error": error.map(|(stage, attempt, error)| json!({
            "stage": stage.name(), "attempt": attempt, "message": error,
        })),
    })
}

/// What `halo-duchy computations show` tells of one.
pub fn described(record: &Record, duchy: Option<&str>, now: Timestamp) -> Value {
    let mut value = summarized(record, now);
    let Diagnosis { waits_for, next } = Diagnosis::of(record, duchy, now);
    let requisitions = record.requisitions.iter().map(|requisition| {
        json!({
            "id": requisition.id,
            "fulfilled": requisition.path.is_some(),
            "fulfilling_duchy": requisition.fulfilling_duchy,
            "path": requisition.path,
            "bytes": requisition.path.as_deref().and_then(size),
            "updated": utc(requisition.updated),
        })
    });
    if let Value::Object(fields) = &mut value {
        fields.extend([
            ("local_id".to_owned(), json!(record.local_id)),
            ("role".to_owned(), json!(role_name(&record.details))),
            ("participants".to_owned(), json!(participants(&record.details))),
            ("waits_for".to_owned(), json!(waits_for)),
            ("next".to_owned(), json!(next)),
            ("requisitions".to_owned(), requisitions.collect()),
            ("stages".to_owned(), record.stages.iter().map(stage).collect()),
        ]);
    }
    value
}

/// How often the current stage has been begun.
pub(crate) fn attempts(record: &Record) -> i32 {
    record.current().and_then(|current| current.attempts.last()).map_or(0, |attempt| attempt.number)
}

/// How many bytes a blob has, as its path tells.
pub(crate) fn size(path: &str) -> Option<u64> {
    Content::in_path(path).map(|content| content.length)
}

/// What a stage does with a blob, in a word.
pub(crate) const fn use_of(dependency: BlobDependency) -> &'static str {
    match dependency {
        BlobDependency::Input => "input",
        BlobDependency::Output => "output",
        BlobDependency::PassThrough => "pass-through",
    }
}

fn stage(record: &StageRecord) -> Value {
    let blobs = record.blobs.iter().map(|blob| {
        json!({
            "id": blob.id,
            "use": use_of(blob.dependency),
            "path": blob.path,
            "bytes": blob.path.as_deref().and_then(size),
        })
    });
    json!({
        "stage": record.stage.name(),
        "entered": utc(record.entered),
        "left": record.left.map(utc),
        "blobs": blobs.collect::<Value>(),
        "attempts": record.attempts.iter().map(attempt).collect::<Value>(),
    })
}

fn attempt(record: &AttemptRecord) -> Value {
    json!({
        "number": record.number,
        "begun": utc(record.begun),
        "ended": record.ended.map(utc),
        "outcome": end_reason(record.reason, record.ended.is_some()),
        "error": record.error,
        "statistics": record.stats,
    })
}
