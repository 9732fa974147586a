//! A database that is restored from an older backup: nobody is sent other bytes than before, no result changes, and nobody
//! waits for what was forgotten (docs/reliability.md). By hand:
//!
//! `cargo test --test reliability restored_at_every_stage -- --ignored --nocapture`

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use halo_duchy_shell::protocol_stages::Protocol;
use halo_protocols::llv2::StageKind;

use crate::campaign::{Tally, protocols};
use crate::crashes::{Ending, TRIES, Verdict};
use crate::fleet::{DUCHIES, Extras, Fleet, GLANCE, Outcome, Part, part_name};
use crate::points::Point;
use crate::rows;
use crate::settings::{PROTOCOLS, Settings, number};
use crate::system::{System, mill};

/// Of so many restores one is tried; all without it.
const ONE_OF: &str = "HALO_RESTORE_ONE_OF";

/// What a duchy's database forgets: all that it has committed between two moments of a measurement.
#[derive(Clone, Debug)]
struct Restore {
    duchy: &'static str,
    /// After this commit the backup is made; before the measurement without it.
    backup: Option<Point>,
    /// After this commit it is put back; after the measurement without it.
    back: Option<Point>,
}

impl Restore {
    fn describe(&self) -> String {
        let name = |point: &Option<Point>, otherwise: &str| {
            point.as_ref().map_or_else(|| otherwise.to_owned(), Point::arming)
        };
        let (backup, back) = (name(&self.backup, "before"), name(&self.back, "after"));
        format!("{} from {backup} at {back}", self.duchy)
    }
}

fn start(settings: Settings) -> System {
    let flags = vec![
        (mill(settings), "--lost-message-interval=300ms".to_owned()),
        // What a duchy does not know any more, it waits for so long.
        (Part::Herald, "--herald-stage-patience=10s".to_owned()),
        // What stages computed stays, to be compared.
        (Part::InternalApi, "--intermediate-ttl=1h".to_owned()),
    ];
    System::start_with(settings, Extras { flags, ..Extras::default() })
}

fn internal_api(duchy: &str) -> String {
    part_name(duchy, Part::InternalApi)
}

/// What a duchy commits in a measurement, in this order, but for leases and the herald's position.
fn commits(fleet: &Fleet, duchy: &str) -> Vec<Point> {
    let process = internal_api(duchy);
    let mut counts = BTreeMap::new();
    let mut commits = Vec::new();
    for name in fleet.points(&process) {
        let Some(effect) = name.strip_prefix("after-commit.") else { continue };
        let nth = counts.entry(name.clone()).and_modify(|count| *count += 1).or_insert(1);
        if !["claim", "enqueue", "position"].iter().any(|other| effect.starts_with(other)) {
            commits.push(Point { process: process.clone(), nth: *nth, name });
        }
    }
    commits
}

/// What every stage of every computation put out at a duchy, now or before: more than one for a stage is one too many.
pub fn outputs(blobs: &Path, duchy: &str) -> BTreeMap<PathBuf, BTreeSet<Vec<u8>>> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries =
            fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
        entries.unwrap_or_default()
    };
    let computes = |stage: &Path| {
        let name = stage.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut stages = Protocol::ALL.into_iter().flat_map(Protocol::stages);
        stages.any(|stage| stage.kind() == StageKind::Compute && stage.name() == name)
    };
    let mut outputs = BTreeMap::<_, BTreeSet<_>>::new();
    for computation in entries(&blobs.join(duchy).join("computations")) {
        for stage in entries(&computation).into_iter().filter(|stage| computes(stage)) {
            for blob in entries(&stage).iter().flat_map(|attempt| entries(attempt)) {
                outputs.entry(stage.clone()).or_default().insert(fs::read(&blob).expect("a blob"));
            }
        }
    }
    outputs
}

/// A restore under way.
struct Restoring<'a> {
    restore: &'a Restore,
    /// The process that stops at the two moments.
    process: String,
    copy: PathBuf,
    copied: bool,
    restored: bool,
}

impl Restoring<'_> {
    /// Does what is due at a moment, if the process has come to one.
    fn look(&mut self, fleet: &mut Fleet) {
        let duchy = self.restore.duchy;
        if self.restored || !fleet.is_stopped(&self.process) {
            return;
        }
        if self.copied {
            fleet.restore(duchy, &self.copy);
            self.restored = true;
        } else {
            rows::copy(&fleet.database(duchy), &self.copy);
            self.copied = true;
            fleet.signal(&self.process, "CONT");
        }
    }
}

impl System {
    /// Makes a measurement in the course of which a duchy's database is put back to an earlier state. More are made if one
    /// does not come to the two moments.
    fn restore(&mut self, restore: &Restore, undisturbed: &Ending) -> Verdict {
        let tries = (0..TRIES).map(|_| self.restore_once(restore, undisturbed));
        let mut tries = tries.skip_while(|verdict| matches!(verdict, Verdict::NotPassed(_)));
        tries.next().unwrap_or_else(|| Verdict::NotPassed(vec![internal_api(restore.duchy)]))
    }

    fn restore_once(&mut self, restore: &Restore, undisturbed: &Ending) -> Verdict {
        let Restore { duchy, backup, back } = restore;
        let process = internal_api(duchy);
        let points = [backup, back].into_iter().flatten();
        let arming: Vec<_> = points.map(|point| format!("{}=stop", point.arming())).collect();
        self.fleet.restart(&process, &[("HALO_FAIL_POINT", &arming.join(","))]);
        let copy = self.fleet.database(duchy).with_extension("backup");
        if backup.is_none() {
            rows::copy(&self.fleet.database(duchy), &copy);
        }
        let copied = backup.is_none();
        let mut restoring = Restoring { restore, process, copy, copied, restored: false };
        let name = self.create();
        let outcome = self.fleet.see_through(&name, |fleet| restoring.look(fleet));
        // What comes after the end of a measurement.
        let ended = Instant::now();
        while !restoring.restored && ended.elapsed() < Duration::from_secs(1) {
            restoring.look(&mut self.fleet);
            std::thread::sleep(GLANCE);
        }
        if restoring.copied && back.is_none() && outcome != Outcome::Hang {
            self.fleet.restore(duchy, &restoring.copy);
            restoring.restored = true;
            let again = self.fleet.see_through(&name, |_| ());
            assert_eq!(again, outcome, "what the Kingdom has told does not change");
        }
        if !self.settle(|_| ()) {
            return Verdict::Hang;
        }
        let outputs = outputs(&self.fleet.blobs(duchy), duchy);
        assert!(!outputs.is_empty(), "{}: nothing to compare", restore.describe());
        let changed: Vec<_> =
            outputs.iter().filter(|(_, outputs)| outputs.len() > 1).map(|(stage, _)| stage).collect();
        assert!(changed.is_empty(), "{}: other output of {changed:?}", restore.describe());
        undisturbed.verdict(outcome, (!restoring.restored).then_some(restoring.process))
    }
}

/// Each backup of a measurement, put back after the next commit, after the last, and after the measurement.
fn restores(fleet: &Fleet, duchy: &'static str) -> Vec<Restore> {
    let commits = commits(fleet, duchy);
    let last = commits.len().saturating_sub(1);
    let mut restores = Vec::new();
    for backup in 0..=commits.len() {
        let moments = BTreeSet::from([backup, last, commits.len()]);
        restores.extend(moments.into_iter().filter(|moment| *moment >= backup).map(|back| Restore {
            duchy,
            backup: backup.checked_sub(1).map(|index| commits[index].clone()),
            back: commits.get(back).cloned(),
        }));
    }
    restores
}

/// A database loses a third of what a measurement makes it write, in every protocol, but never that there is one: such a
/// measurement may have to wait until the Kingdom cancels it (docs/reliability.md).
fn a_third_is_lost(settings: Settings, duchy: &'static str) {
    let mut system = start(settings);
    let undisturbed = Ending::Result(system.undisturbed());
    let commits = commits(&system.fleet, duchy);
    assert!(commits.len() > 6, "{commits:?}");
    let thirds = [(0, 1), (1, 2), (2, 3)].map(|(from, to)| Restore {
        duchy,
        backup: commits.get(commits.len() * from / 3).cloned(),
        back: commits.get(commits.len() * to / 3).cloned(),
    });
    let mut same = 0;
    for restore in thirds {
        let verdict = system.restore(&restore, &undisturbed);
        same += usize::from(verdict == Verdict::Same);
        let held = matches!(verdict, Verdict::Same | Verdict::Failed(_));
        assert!(held, "{} {}: {verdict:?}", settings.name(), restore.describe());
    }
    assert!(same > 0, "{}: no measurement survives a restore", settings.name());
    system.end();
}

#[test]
fn a_database_that_forgets_changes_no_result() {
    std::thread::scope(|scope| {
        for (settings, duchy) in PROTOCOLS.into_iter().zip(["worker1", "aggregator", "worker2"]) {
            scope.spawn(move || a_third_is_lost(settings, duchy));
        }
    });
}

#[test]
fn a_stage_that_has_all_it_waits_for_is_left() {
    let mut system = start(Settings::Llv2);
    let undisturbed = Ending::Result(system.undisturbed());
    let point = |name: &str| Point { process: internal_api("worker2"), nth: 1, name: name.to_owned() };
    // The message is recorded, and who sent it has been told so.
    let restore = Restore {
        duchy: "worker2",
        backup: Some(point("after-commit.record@WAIT_EXECUTION_PHASE_TWO_INPUTS")),
        back: Some(point("after-commit.advance@WAIT_EXECUTION_PHASE_TWO_INPUTS")),
    };
    assert_eq!(system.restore(&restore, &undisturbed), Verdict::Same, "{}", restore.describe());
    system.end();
}

/// The Kingdom asks for what the aggregator has confirmed and does not know any more. It waits for no word of the Kingdom's, and
/// the others wait for it.
#[test]
fn an_aggregator_that_forgot_its_confirmation_fails_the_computation() {
    let mut system = start(Settings::Llv2);
    let undisturbed = Ending::Result(system.undisturbed());
    let process = internal_api("aggregator");
    let point = |name: &str| Some(Point { process: process.clone(), nth: 1, name: name.to_owned() });
    let restore = Restore {
        duchy: "aggregator",
        backup: point("after-commit.create"),
        back: point("after-commit.record@WAIT_SETUP_PHASE_INPUTS"),
    };
    let verdict = system.restore(&restore, &undisturbed);
    let Verdict::Failed(reason) = &verdict else { panic!("{}: {verdict:?}", restore.describe()) };
    assert!(reason.contains("aggregator failed"), "{reason}");
    system.end();
}

/// The verdicts on the restores of one protocol, by duchy.
fn campaign(settings: Settings) -> BTreeMap<&'static str, Tally> {
    let mut system = start(settings);
    let undisturbed = Ending::Result(system.undisturbed());
    let restores: Vec<_> = DUCHIES.into_iter().flat_map(|duchy| restores(&system.fleet, duchy)).collect();
    let restores: Vec<_> = restores.into_iter().step_by(number(ONE_OF, 1)).collect();
    let mut tallies = BTreeMap::<_, Tally>::new();
    for (index, restore) in restores.iter().enumerate() {
        let begun = Instant::now();
        let verdict = system.restore(restore, &undisturbed);
        let (name, elapsed) = (settings.name(), begun.elapsed().as_secs_f32());
        let (what, total) = (restore.describe(), restores.len());
        println!("{name} {}/{total} {what} {verdict:?} {elapsed:.1} s", index + 1);
        tallies.entry(restore.duchy).or_default().count(&verdict);
        if verdict == Verdict::Hang {
            // What hangs would also hang the next.
            system = start(settings);
        }
    }
    system.end();
    tallies
}

#[test]
#[ignore = "a campaign, by hand: up to an hour"]
fn restored_at_every_stage() {
    let mut held = true;
    let tallies: Vec<_> = protocols().into_iter().map(|settings| (settings, campaign(settings))).collect();
    println!("| protocol, duchy | same result | failed at the Kingdom | hang | wrong number | not passed |");
    println!("|---|---|---|---|---|---|");
    for (settings, tallies) in &tallies {
        for (duchy, tally) in tallies {
            tally.row(&format!("{}, {duchy}", settings.name()));
            held &= tally.holds();
        }
    }
    assert!(held, "hangs, or wrong numbers");
}
