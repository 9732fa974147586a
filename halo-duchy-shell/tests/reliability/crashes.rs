//! Every effect of every part, before and after it: the process dies there, and is started again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fleet::{Fleet, GLANCE, Outcome};
use crate::points::{Point, batches, one_of_each_effect, passed};
use crate::settings::{PROTOCOLS, Settings};
use crate::system::System;

/// Measurements for a point that is not always passed.
const TRIES: usize = 8;

/// What came of a measurement in which processes died.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The result that it has when nothing happens.
    Same,
    /// It failed at the Kingdom, for this reason.
    Failed(String),
    /// There was no end within the time allowed.
    Hang,
    /// Another result.
    Wrong(Value),
    /// The result that it has when nothing happens, but not every process came to its point.
    NotPassed(Vec<String>),
}

impl System {
    /// The undisturbed result, and the points that its measurement passes, each at most `times` times.
    pub fn record(&mut self, times: usize) -> (Value, BTreeSet<Point>) {
        let result = self.undisturbed();
        (result, passed(&self.fleet, times))
    }

    /// Makes a measurement in which processes die at `points`, each at one at most. More are made for those that a
    /// measurement does not pass: chance decides which worker of a share shuffle a data provider sends its data to.
    pub fn crash(&mut self, points: &[Point], undisturbed: &Value) -> Verdict {
        let mut left = points.to_vec();
        let mut verdict = Verdict::Same;
        for _ in 0..TRIES {
            verdict = self.crash_once(&left, undisturbed);
            let Verdict::NotPassed(alive) = &verdict else { break };
            left.retain(|point| alive.contains(&point.process));
        }
        verdict
    }

    fn crash_once(&mut self, points: &[Point], undisturbed: &Value) -> Verdict {
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
        match outcome {
            Outcome::Result(result) if result != *undisturbed => Verdict::Wrong(result),
            Outcome::Result(_) if alive.is_empty() => Verdict::Same,
            Outcome::Result(_) => Verdict::NotPassed(alive.into_iter().collect()),
            Outcome::Failed(reason) => Verdict::Failed(reason),
            Outcome::Hang => Verdict::Hang,
        }
    }
}

fn one_crash_for_each_effect(settings: Settings) {
    let mut system = System::start(settings);
    let (undisturbed, points) = system.record(1);
    let chosen = one_of_each_effect(&points);
    assert!(chosen.len() > 40, "{chosen:?}");
    for batch in batches(chosen) {
        let verdict = system.crash(&batch, &undisturbed);
        assert_eq!(verdict, Verdict::Same, "{batch:#?}");
    }
    system.end();
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
