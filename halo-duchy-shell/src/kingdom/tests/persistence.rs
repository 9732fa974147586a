//! A Kingdom in a file, from which it goes on.

use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::kingdom::fault::{Fault, FaultKind};
use crate::proto::system::computation_log_entries_client::ComputationLogEntriesClient;
use crate::proto::system::{CreateComputationLogEntryRequest, StageAttempt};

fn open(path: &Path, allow_faults: bool) -> Result<Kingdom, DatabaseError> {
    let protocols = vec![Protocol::LiquidLegionsV2(LiquidLegionsSettings::default())];
    let config = KingdomConfig { allow_faults, ..config(protocols, StreamSettings::default()) };
    Kingdom::open(path, config, Arc::new(SystemClock), ChaCha20Rng::seed_from_u64(1))
}

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kingdom.sqlite");
    (folder, path)
}

/// What the end of the process would leave behind now: a copy of the file and of its log of writes.
fn left_behind(path: &Path) -> PathBuf {
    let copy = path.with_extension("copy");
    for end in ["", "-wal"] {
        let file = |path: &Path| format!("{}{end}", path.display());
        // What is left of an earlier copy would be taken for a part of this one.
        let _ = std::fs::remove_file(file(&copy));
        std::fs::copy(file(path), file(&copy)).unwrap();
    }
    copy
}

/// All that is remembered, as text.
fn remembered(kingdom: &Kingdom) -> String {
    format!("{:#?}", kingdom.state().records)
}

/// A Kingdom in which about everything has happened.
async fn eventful(path: &Path) -> Kingdom {
    let trial = Trial::around(open(path, true).unwrap()).await;
    let (_, done) = trial.create().await;
    trial.start_computation(&done).await;
    let mut result = life_cycle::result_request(&done, "aggregator");
    trial.computations("aggregator").set_computation_result(result.clone()).await.unwrap();
    result.encrypted_result.push(0);
    assert_eq!(code(trial.computations("aggregator").set_computation_result(result).await), Code::Unknown);
    let (_, failed) = trial.create().await;
    let request = refusals::fail_request(&failed, "worker1", "disk full");
    trial.participants("worker1").fail_computation_participant(request).await.unwrap();
    let request = CreateMeasurementRequest { request_id: "again".into(), ..create_request() };
    trial.consumer().create_measurement(request).await.unwrap();
    let entry = ComputationLogEntry {
        log_message: "claimed".into(),
        stage_attempt: Some(StageAttempt { stage: 6, attempt_number: 2, ..Default::default() }),
        ..Default::default()
    };
    let parent = participant_name(&failed, "worker2");
    let request = CreateComputationLogEntryRequest { parent, computation_log_entry: Some(entry) };
    let mut worker2 = trial.as_caller("duchies/worker2", ComputationLogEntriesClient::with_interceptor);
    worker2.create_computation_log_entry(request).await.unwrap();
    let planned = Protocol::ReachOnlyLiquidLegionsV2(LiquidLegionsSettings::default());
    trial.kingdom.plan_measurement(CONSUMER, "planned", planned).unwrap();
    trial.kingdom.revoke_certificate("duchies/worker2/certificates/1").unwrap();
    trial.kingdom.inject(Fault::new(FaultKind::Refuse(Code::Aborted)).times(3)).unwrap();
    trial.kingdom.clone()
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let (_folder, path) = file();
    let kingdom = eventful(&path).await;
    let before = remembered(&kingdom);
    assert_eq!(kingdom.violations().len(), 1);
    let again = open(&left_behind(&path), true).unwrap();
    assert_eq!(remembered(&again), before);
    // Certificates are told again at each start; a revoked one stays revoked.
    let der = b"certificate of duchies/worker2".to_vec();
    again.register_certificate("duchies/worker2/certificates/1", der).unwrap();
    assert_eq!(remembered(&again), before);
}

#[tokio::test]
async fn a_restarted_kingdom_goes_on_where_it_was() {
    let (_folder, path) = file();
    let trial = Trial::around(open(&path, false).unwrap()).await;
    let (created, computation) = trial.create().await;
    trial.set_all_params(&computation).await;
    trial.fulfill(&computation, "news", "worker1").await.unwrap();
    let etag = trial.participant(&computation, "worker1").await.etag;
    let time = trial.kingdom.state().records.last_update;

    let trial = Trial::around(open(&left_behind(&path), false).unwrap()).await;
    assert_eq!(trial.participant(&computation, "worker1").await.etag, etag);
    trial.fulfill(&computation, "video", "worker1").await.unwrap();
    for duchy in DUCHIES {
        trial.confirm(&computation, duchy, "").await.unwrap();
    }
    let request = life_cycle::result_request(&computation, "aggregator");
    trial.computations("aggregator").set_computation_result(request).await.unwrap();
    assert!(trial.kingdom.state().records.last_update > time);
    assert_eq!(trial.kingdom.violations(), []);
    let request = crate::proto::api::GetMeasurementRequest { name: created.name };
    let measurement = trial.consumer().get_measurement(request).await.unwrap().into_inner();
    assert_eq!(measurement.results.len(), 1);
}

#[tokio::test]
async fn faults_end_with_the_permission_for_them() {
    let (_folder, path) = file();
    let kingdom = open(&path, true).unwrap();
    kingdom.inject(Fault::new(FaultKind::RepeatItems)).unwrap();
    drop(kingdom);
    assert_eq!(open(&path, false).unwrap().faults(), []);
}

#[tokio::test]
async fn two_kingdoms_do_not_share_a_file() {
    let (_folder, path) = file();
    let _first = open(&path, false).unwrap();
    assert!(matches!(open(&path, false), Err(DatabaseError::Sqlite(_))));
}

#[tokio::test]
async fn what_cannot_be_saved_did_not_happen() {
    let (_folder, path) = file();
    let trial = Trial::around(open(&path, false).unwrap()).await;
    let (created, computation) = trial.create().await;
    let forbid = "CREATE TRIGGER Forbid BEFORE UPDATE ON Records BEGIN SELECT RAISE(ABORT, 'disk full'); END;
        CREATE TRIGGER Forbid2 BEFORE INSERT ON Records BEGIN SELECT RAISE(ABORT, 'disk full'); END;";
    trial.kingdom.execute(forbid);
    let before = remembered(&trial.kingdom);
    let refused = trial.set_params(&computation, "worker1", "").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("disk full"), "{refused}");
    let cancelled = trial.kingdom.cancel_measurement(&created.name);
    assert!(matches!(cancelled, Err(KingdomError::NotSaved(_))), "{cancelled:?}");
    assert_eq!(trial.state(&computation), ComputationState::PendingRequisitionParams);
    let without_time = |text: &str| text.split("last_update").next().unwrap().to_owned();
    assert_eq!(without_time(&remembered(&trial.kingdom)), without_time(&before));

    trial.kingdom.execute("DROP TRIGGER Forbid; DROP TRIGGER Forbid2;");
    trial.set_params(&computation, "worker1", "").await.unwrap();
}

impl Kingdom {
    fn execute(&self, sql: &str) {
        self.shared.database.as_ref().unwrap().lock().unwrap().execute(sql);
    }
}

#[tokio::test]
async fn a_database_that_no_kingdom_wrote_is_refused() {
    let (_folder, path) = file();
    let _kingdom = eventful(&path).await;
    let tampered = |sql: &str| {
        let copy = left_behind(&path);
        Connection::open(&copy).unwrap().execute_batch(sql).unwrap();
        open(&copy, true).err().map(|error| error.to_string())
    };
    assert_eq!(tampered(""), None);
    let replaced = |kind: &str, from: &str, to: &str| {
        format!("UPDATE Records SET Value = replace(Value, '{from}', '{to}') WHERE Kind = '{kind}'")
    };
    for (sql, problem) in [
        ("PRAGMA user_version = 2".to_owned(), "version 2"),
        ("UPDATE Records SET Value = 'x' WHERE Kind = 'plan'".to_owned(), "plan"),
        ("UPDATE Records SET Value = '\"AAAA\"' WHERE Kind = 'fault'".to_owned(), "fault"),
        ("UPDATE Records SET Key = 'x' WHERE Kind = 'log_entry'".to_owned(), "log_entry"),
        ("UPDATE Records SET Value = '5' WHERE Kind = 'last_update'".to_owned(), "after the last change"),
        ("DELETE FROM Records WHERE Kind = 'measurement'".to_owned(), "is not there"),
        (replaced("measurement", "\"state\":5", "\"state\":99"), "measurement"),
        (replaced("measurement", "\"result\":{", "\"result\":null,\"x\":{"), "go with its result"),
        (
            replaced("measurement", "\"fulfilling_duchy\":\"worker1\"", "\"fulfilling_duchy\":\"x\""),
            "no part",
        ),
        (replaced("measurement", "\"Fulfilled\"", "\"Unfulfilled\""), "nonce"),
        (replaced("measurement", "\"spec_bytes\":\"", "\"spec_bytes\":\"AAAA"), "signed bytes"),
    ] {
        let refused = tampered(&sql).unwrap_or_else(|| panic!("{sql}: accepted"));
        assert!(refused.contains(problem), "{sql}: {refused}");
    }
}
