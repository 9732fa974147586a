//! Leases: a stage may take longer than one, and a mill that slept through the end of its own changes nothing any more.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::types::Value as Cell;
use serde_json::Value;

use crate::fleet::{DUCHIES, Extras, Fleet, GLANCE, Outcome, PATIENCE, Part, part_name};
use crate::rows;
use crate::settings::Settings;
use crate::system::{System, mill};

/// What a mill says when it finds that its work is no longer its own.
const GAVE_UP: &str = "the work is no longer this mill's";

/// What a mill says at the end of a stage.
const DONE: &str = ": stage done";

/// All that duchies keep: rows by duchy, files by path.
#[derive(Debug, PartialEq)]
pub struct Memory {
    rows: Vec<Vec<(String, Vec<Vec<Cell>>)>>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Memory {
    pub fn of(fleet: &Fleet) -> Self {
        let mut files = BTreeMap::new();
        for duchy in DUCHIES {
            collect(&fleet.blobs(duchy), &mut files);
        }
        Self { rows: DUCHIES.map(|duchy| rows::all(&fleet.database(duchy))).into(), files }
    }

    /// That every row and every file is as it was before. A blob that nothing refers to may have come.
    pub fn is_as(&self, before: &Self, what: &str) {
        assert_eq!(self.rows, before.rows, "{what}");
        for (path, bytes) in &before.files {
            assert!(self.files.get(path) == Some(bytes), "{what}: {} has changed", path.display());
        }
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path.clone(), fs::read(path).expect("a blob"));
        }
    }
}

/// Whether something comes about in time.
fn comes(patience: Duration, mut come: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !come() {
        if begun.elapsed() >= patience {
            return false;
        }
        sleep(GLANCE);
    }
    true
}

/// Waits for something that must come about.
#[track_caller]
pub fn await_that(what: &str, come: impl FnMut() -> bool) {
    assert!(comes(PATIENCE, come), "{what}");
}

fn count(fleet: &Fleet, name: &str, told: &str) -> usize {
    fleet.log(name).matches(told).count()
}

/// A stage that computes for ten times as long as the lease on it lasts, in a duchy with two mills.
pub fn a_stage_of_ten_leases(settings: Settings, duchy: &str, stage: &str) {
    const LEASE: Duration = Duration::from_millis(500);
    let part = mill(settings);
    let flags = vec![(part, format!("--work-lock-duration={}ms", LEASE.as_millis()))];
    let mut system = System::start_with(settings, Extras { flags, ..Extras::default() });
    let undisturbed = system.undisturbed();
    let before = rows::attempts(&system.fleet.database(duchy), stage);
    let armed = format!("before-compute@{stage}=delay:{}ms", 10 * LEASE.as_millis());
    let variables = [("HALO_FAIL_POINT", armed.as_str())];
    system.fleet.restart(&part_name(duchy, part), &variables);
    // Another mill of the duchy would take whatever is free. Whichever comes first is slow.
    system.fleet.start_mill(duchy, part, &variables);
    let name = system.create();
    assert_eq!(system.fleet.see_through(&name, |_| ()), Outcome::Result(undisturbed));
    let attempts = rows::attempts(&system.fleet.database(duchy), stage) - before;
    assert_eq!(attempts, 1, "{}", system.fleet.log(&part_name(duchy, part)));
}

/// Measurements until a mill is stopped at the point where it is to sleep: the herald may have ended the computation before
/// the mill got there, and a mill that finds that out does not go on.
const MOST_TRIES: usize = 5;

/// How long after the end of a computation a mill may need to get there all the same.
const ON_ITS_WAY: Duration = Duration::from_secs(10);

/// A measurement in which a mill of `duchy` stops at `point` for longer than its lease, while another does its work, and
/// then goes on. Whether it stopped.
fn a_woken_mill_changes_nothing(system: &mut System, undisturbed: &Value, duchy: &str, point: &str) -> bool {
    let (what, part) = (format!("{duchy} {point}"), mill(system.settings));
    let sleeper = part_name(duchy, part);
    system.fleet.restart(&sleeper, &[("HALO_FAIL_POINT", &format!("{point}=stop"))]);
    let name = system.create();
    let mut other = None;
    let mut look = |fleet: &mut Fleet| {
        if other.is_none() && fleet.is_stopped(&sleeper) {
            other = Some(fleet.start_mill(duchy, part, &[]));
        }
    };
    let outcome = system.fleet.see_through(&name, &mut look);
    assert_eq!(outcome, Outcome::Result(undisturbed.clone()), "{what}");
    assert!(system.settle(look), "{what}");
    let stopped = comes(ON_ITS_WAY, || system.fleet.is_stopped(&sleeper));
    if stopped {
        let (before, given_up) = (Memory::of(&system.fleet), count(&system.fleet, &sleeper, GAVE_UP));
        let done = count(&system.fleet, &sleeper, DONE);
        system.fleet.signal(&sleeper, "CONT");
        // The herald has ended what the mill was about to end: to end it so once more, before the lease is over, is no error.
        let ends = point.starts_with("before-database.finish");
        await_that(&format!("{what}: the mill does not give up"), || {
            count(&system.fleet, &sleeper, GAVE_UP) > given_up
                || ends && count(&system.fleet, &sleeper, DONE) > done
        });
        Memory::of(&system.fleet).is_as(&before, &what);
        if count(&system.fleet, &sleeper, GAVE_UP) > given_up {
            let (_, stage) = point.split_once('@').expect("a stage");
            await_that(&format!("{what}: the audit log tells of no lost lease"), || {
                let log = system.fleet.audit(&sleeper);
                log.iter()
                    .any(|record| record["event"] == "lease.lost" && record["details"]["stage"] == stage)
            });
        }
    }
    if let Some(other) = other {
        system.fleet.end_process(&other);
    }
    stopped
}

/// Mills that stop at `points` for longer than their lease, while others do their work, and then go on.
pub fn woken_mills_change_nothing(settings: Settings, shared_blobs: bool, points: &[(&str, &str)]) {
    // What stages computed stays, to be looked at.
    let flags = vec![(Part::InternalApi, "--intermediate-ttl=1h".to_owned())];
    let mut system =
        System::start_with(settings, Extras { flags, shared_blobs, audit: true, ..Extras::default() });
    let undisturbed = system.undisturbed();
    for (duchy, point) in points {
        let slept =
            (0..MOST_TRIES).any(|_| a_woken_mill_changes_nothing(&mut system, &undisturbed, duchy, point));
        assert!(slept, "{duchy} never stopped at {point}");
    }
    assert!(system.fleet.kingdom("violations", &[]).is_empty());
}

#[test]
fn a_share_shuffle_stage_of_ten_leases_takes_one_attempt() {
    a_stage_of_ten_leases(Settings::ShareShuffle, "worker1", "SHUFFLE_PHASE");
}

#[test]
fn a_mill_that_slept_through_its_lease_changes_nothing() {
    let points = [
        ("worker1", "before-database.update@INITIALIZATION_PHASE"),
        ("worker2", "before-peer.advance@EXECUTION_PHASE_ONE"),
        ("aggregator", "before-kingdom.result@EXECUTION_PHASE_THREE"),
    ];
    woken_mills_change_nothing(Settings::Llv2, false, &points);
}

#[test]
fn a_share_shuffle_mill_that_slept_through_its_lease_changes_nothing() {
    let points = [
        ("worker1", "before-peer.advance@SHUFFLE_PHASE"),
        ("aggregator", "before-database.finish@AGGREGATION_PHASE"),
    ];
    woken_mills_change_nothing(Settings::ShareShuffle, false, &points);
}
