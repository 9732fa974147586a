//! The SQLite backend, and what only concerns a file.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use halo_duchy_shell::clock::{Clock, ManualClock, SystemClock};
use halo_duchy_shell::store::{SqliteStore, Store};
use halo_protocols::proto::duchy::config::RoleInComputation;

use crate::Harness;
use crate::fixture::{claim_by, new_computation, start_of_time};

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
