//! Every effect of every part, before and after it: the process dies there, and is started again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failures::Cause;
use crate::fleet::{Fleet, GLANCE, Outcome};
use crate::points::{Point, batches, one_of_each_effect, passed};
use crate::settings::{PROTOCOLS, Settings};
use crate::system::{System, mill};

/// Measurements for a point that is not always passed. The rarest needs all three data providers to choose the same one of two
/// workers: one measurement of eight passes it, so these miss one point of some thousand.
pub const TRIES: usize = 64;

/// How a measurement ends when nothing happens.
#[derive(Clone, Debug)]
pub enum Ending {
    /// With this result.
    Result(Value),
    /// It fails at the Kingdom, for a reason that says this.
    Failure(&'static str),
}

/// What came of a measurement in which processes died.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The end that it has when nothing happens.
    Same,
    /// It failed at the Kingdom, for this reason.
    Failed(String),
    /// There was no end within the time allowed.
    Hang,
    /// Another result.
    Wrong(Value),
    /// The end that it has when nothing happens, but not every process came to its point.
    NotPassed(Vec<String>),
}

impl Ending {
    /// What is to be said of `outcome`, where `alive` have not come to their points.
    pub fn verdict(&self, outcome: Outcome, alive: impl IntoIterator<Item = String>) -> Verdict {
        let alive: Vec<_> = alive.into_iter().collect();
        let same = match (self, &outcome) {
            (Self::Result(expected), Outcome::Result(result)) => result == expected,
            (Self::Failure(why), Outcome::Failed(reason)) => reason.contains(why),
            _ => false,
        };
        match outcome {
            _ if same && alive.is_empty() => Verdict::Same,
            _ if same => Verdict::NotPassed(alive),
            Outcome::Result(result) => Verdict::Wrong(result),
            Outcome::Failed(reason) => Verdict::Failed(reason),
            Outcome::Hang => Verdict::Hang,
        }
    }
}

impl System {
    /// The undisturbed result, and the points that its measurement passes, each at most `times` times.
    pub fn record(&mut self, times: usize) -> (Ending, BTreeSet<Point>) {
        let result = self.undisturbed();
        (Ending::Result(result), passed(&self.fleet, times))
    }

    /// Makes a measurement in which processes die at `points`, each at one at most. More are made for those that a
    /// measurement does not pass: chance decides which worker of a share shuffle a data provider sends its data to.
    pub fn crash(&mut self, points: &[Point], undisturbed: &Ending) -> Verdict {
        let mut left = points.to_vec();
        let mut verdict = Verdict::Same;
        for _ in 0..TRIES {
            verdict = self.crash_once(&left, undisturbed);
            let Verdict::NotPassed(alive) = &verdict else { break };
            left.retain(|point| alive.contains(&point.process));
        }
        verdict
    }

    fn crash_once(&mut self, points: &[Point], undisturbed: &Ending) -> Verdict {
        for point in points {
            self.fleet.restart(&point.process, &[("HALO_FAIL_POINT", &point.arming())]);
        }
        let mut alive: BTreeSet<String> = points.iter().map(|point| point.process.clone()).collect();
        let mut look = |fleet: &mut Fleet| {
            for name in fleet.revive() {
                alive.remove(&name);
            }
        };
        let name = self.create();
        let outcome = self.fleet.see_through(&name, &mut look);
        if !self.settle(&mut look) {
            return Verdict::Hang;
        }
        // What comes after the end of a computation: the herald writes down that it is done with it.
        let ended = Instant::now();
        while !alive.is_empty() && ended.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(GLANCE);
            for name in self.fleet.revive() {
                alive.remove(&name);
            }
        }
        undisturbed.verdict(outcome, alive)
    }
}

/// Has a process die at each of `points`, which a measurement that ends so passes.
fn crash_at(mut system: System, undisturbed: &Ending, points: Vec<Point>) {
    for batch in batches(points) {
        let verdict = system.crash(&batch, undisturbed);
        assert_eq!(verdict, Verdict::Same, "{batch:#?}");
    }
    system.end();
}

fn one_crash_for_each_effect(settings: Settings) {
    let mut system = System::start(settings);
    let (undisturbed, points) = system.record(1);
    let chosen = one_of_each_effect(&points);
    assert!(chosen.len() > 40, "{chosen:?}");
    crash_at(system, &undisturbed, chosen);
}

fn one_crash_for_each_effect_of_failing(settings: Settings, cause: Cause, effects: &[(&str, &str)]) {
    let mut system = cause.start(settings);
    let (failure, points) = cause.record(&mut system, 1);
    let chosen = one_of_each_effect(&points);
    for (part, effect) in effects {
        for side in ["before", "after"] {
            let wanted =
                |point: &Point| point.part() == *part && point.effect() == format!("{side}-{effect}");
            assert!(chosen.iter().any(wanted), "{part} {side}-{effect}: {chosen:?}");
        }
    }
    crash_at(system, &failure, chosen);
}

#[test]
fn every_protocol_survives_a_crash_at_each_effect() {
    // They wait more than they work.
    std::thread::scope(|scope| {
        for settings in PROTOCOLS {
            scope.spawn(move || one_crash_for_each_effect(settings));
        }
    });
}

/// A worker's mill gives its work back, then gives up the computation, which the others hear of from the Kingdom.
#[test]
fn a_computation_that_a_mill_fails_is_failed_whatever_dies_meanwhile() {
    std::thread::scope(|scope| {
        for settings in PROTOCOLS {
            let mill = mill(settings).subcommand();
            let effects = [
                (mill, "database.enqueue"),
                (mill, "kingdom.fail"),
                (mill, "database.finish"),
                ("herald", "database.finish"),
                ("internal-api", "commit.enqueue"),
                ("internal-api", "commit.finish"),
            ];
            scope.spawn(move || one_crash_for_each_effect_of_failing(settings, Cause::Key, &effects));
        }
    });
}

/// Every herald gives it up.
#[test]
fn a_computation_that_heralds_fail_is_failed_whatever_dies_meanwhile() {
    one_crash_for_each_effect_of_failing(Settings::Llv2, Cause::Herald, &[("herald", "kingdom.fail")]);
}
