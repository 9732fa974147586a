//! The SQLite backend, and what only concerns a file.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use halo_duchy_shell::clock::{Clock, ManualClock, SystemClock};
use halo_duchy_shell::proto::internal::computation_details::CompletedReason;
use halo_duchy_shell::store::{Fulfillment, SqliteStore, Store, StoreError};
use halo_protocols::proto::duchy::config::RoleInComputation;
use rusqlite::Connection;

use crate::Harness;
use crate::fixture::{claim_by, key, new_computation, requisition, start_of_time};

pub fn open() -> Harness {
    let folder = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::new(start_of_time()));
    let handle = || -> Arc<dyn Store> {
        let clock = Arc::clone(&clock) as Arc<dyn Clock>;
        Arc::new(SqliteStore::open(&folder.path().join("duchy.db"), clock).expect("a database"))
    };
    Harness { store: handle(), other: handle(), clock, faulty: false, folder }
}

#[tokio::test]
async fn a_computation_survives_closing_the_file() {
    let harness = open();
    let created = harness.create("c1", RoleInComputation::Aggregator).await;
    let Harness { store, other, clock, folder, .. } = harness;
    drop((store, other));
    let reopened = SqliteStore::open(&folder.path().join("duchy.db"), clock).expect("a database");
    assert_eq!(reopened.get("c1").await.expect("get"), created);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let harness = open();
    harness.create("c1", RoleInComputation::Aggregator).await;
    let mut files = 0;
    for entry in harness.folder.path().read_dir().expect("a directory") {
        let metadata = entry.and_then(|entry| entry.metadata()).expect("a file");
        assert_eq!(metadata.permissions().mode() & 0o077, 0);
        files += 1;
    }
    assert!(files >= 1);
}

const DATABASE: &str = "STORE_CONFORMANCE_DATABASE";

/// Not a test by itself: the other process of the next one.
#[tokio::test]
async fn claimer_process() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let store = SqliteStore::open(path.as_ref(), Arc::new(SystemClock)).expect("a database");
    while let Some(claimed) = store.claim(claim_by("child")).await.expect("claim") {
        println!("claimed={}", claimed.global_id);
    }
}

#[tokio::test]
async fn processes_share_the_file() {
    const COMPUTATIONS: usize = 60;
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("duchy.db");
    let store = SqliteStore::open(&path, Arc::new(SystemClock)).expect("a database");
    for n in 0..COMPUTATIONS {
        let new = new_computation(&format!("c{n}"), RoleInComputation::NonAggregator);
        store.create(new).await.expect("create");
    }
    let spawn = |_| {
        let this = std::env::current_exe().expect("this test");
        let mut command = Command::new(this);
        command.args(["--exact", "sqlite::claimer_process", "--nocapture"]).env(DATABASE, &path);
        command.stdout(std::process::Stdio::piped()).spawn().expect("a process")
    };
    let children: Vec<_> = (0..3).map(spawn).collect();
    let mut claimed = Vec::new();
    for child in children {
        let output = child.wait_with_output().expect("output");
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).expect("text");
        // libtest may print its own words before ours on a line.
        claimed
            .extend(text.lines().filter_map(|line| line.split_once("claimed=")).map(|(_, id)| id.to_owned()));
    }
    assert_eq!(claimed.len(), COMPUTATIONS, "every computation is claimed exactly once");
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), COMPUTATIONS);
}

/// What a newer version has written into the details of the computation and of a requisition, by field 4000.
fn newer_fields(path: &Path) -> (bool, bool) {
    let connection = Connection::open(path).expect("the database");
    let ends = |query: &str| -> bool {
        let details: Vec<u8> = connection.query_row(query, [], |row| row.get(0)).expect("a row");
        details.ends_with(&NEWER)
    };
    (
        ends("SELECT ComputationDetails FROM Computations"),
        ends("SELECT RequisitionDetails FROM Requisitions WHERE ExternalRequisitionId = 'c1/1'"),
    )
}

const NEWER: [u8; 7] = [0x82, 0xfa, 0x01, 3, b'n', b'e', b'w'];

#[tokio::test]
async fn what_a_newer_version_has_written_stays() {
    let harness = open();
    let path = harness.folder.path().join("duchy.db");
    harness.create("c1", RoleInComputation::NonAggregator).await;
    assert_eq!(newer_fields(&path), (false, false));
    let connection = Connection::open(&path).expect("the database");
    for (table, column) in [("Computations", "ComputationDetails"), ("Requisitions", "RequisitionDetails")] {
        let append = format!("UPDATE {table} SET {column} = CAST({column} || ?1 AS BLOB)");
        connection.execute(&append, [NEWER]).expect("rows");
    }
    let computation = harness.store.get("c1").await.expect("get");
    let mut details = computation.details.clone();
    details.kingdom_computation.get_or_insert_default().participant_count = 4;
    let guard = computation.guard();
    let computation = harness
        .store
        .update_details(&guard, details.clone(), vec![requisition("c1/1")])
        .await
        .expect("update");
    assert_eq!(computation.details, details);
    assert_eq!(newer_fields(&path), (true, true));
    let fulfillment =
        Fulfillment { path: "blob".into(), public_api_version: "v2alpha".into(), protocol: None };
    let fulfilled = harness.store.record_fulfillment(computation.local_id, &key("c1/1"), fulfillment).await;
    fulfilled.expect("fulfilled");
    let entered = harness.next_stage(harness.other.get("c1").await.expect("get")).await;
    harness.store.finish(&entered.guard(), CompletedReason::Failed, "").await.expect("finish");
    assert_eq!(newer_fields(&path), (true, true));
}

#[tokio::test]
async fn a_stage_that_a_newer_version_has_hides_nothing_else() {
    let harness = open();
    harness.create("c1", RoleInComputation::NonAggregator).await;
    harness.create("c2", RoleInComputation::NonAggregator).await;
    let connection = Connection::open(harness.folder.path().join("duchy.db")).expect("the database");
    let newer = "UPDATE ComputationStages SET ComputationStage = 99
                 WHERE ComputationId = (SELECT ComputationId FROM Computations WHERE GlobalComputationId = 'c1');
                 UPDATE Computations SET ComputationStage = 99 WHERE GlobalComputationId = 'c1'";
    connection.execute_batch("PRAGMA foreign_keys = OFF").expect("a setting");
    connection.execute_batch(newer).expect("a row");
    assert_eq!(harness.claim("mill").await.expect("work").global_id, "c2");
    assert!(harness.claim("mill").await.is_none(), "nobody works on what he does not know");
    assert!(matches!(harness.store.get("c1").await, Err(StoreError::Corrupt { .. })));
}
