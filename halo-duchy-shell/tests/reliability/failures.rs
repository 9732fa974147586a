//! Computations that are made to fail: the Kingdom hears why, and every duchy closes its books.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::crashes::{Ending, Verdict};
use crate::fleet::{DUCHIES, Extras, Fleet, Outcome, Part, part_name};
use crate::leases::{Memory, await_that};
use crate::points::{Point, passed};
use crate::settings::Settings;
use crate::system::{System, mill};

/// The effects of giving work back and of failing a computation.
const OF_FAILING: [&str; 5] =
    ["kingdom.fail", "database.enqueue", "database.finish", "commit.enqueue", "commit.finish"];

/// Why computations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The Kingdom does not take the key of a worker, at first in a way that may pass.
    Key,
    /// No duchy takes part in computations without noise.
    Herald,
}

impl Cause {
    pub const ALL: [Self; 2] = [Self::Key, Self::Herald];

    /// Which part gives up.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "a mill fails it",
            Self::Herald => "heralds fail it",
        }
    }

    /// A system in which every computation fails.
    pub fn start(self, settings: Settings) -> System {
        match self {
            Self::Key => {
                let mut system = System::start(settings);
                system.misbehave(&[
                    &[
                        "--refuse=INTERNAL",
                        "--method=SetParticipantRequisitionParams",
                        "--caller=duchies/worker1",
                        "--calls=1",
                    ],
                    &[
                        "--refuse=INVALID_ARGUMENT",
                        "--method=SetParticipantRequisitionParams",
                        "--caller=duchies/worker1",
                    ],
                ]);
                system
            }
            Self::Herald => System::start_requiring_noise(settings, &[Part::Herald], Extras::default()),
        }
    }

    fn ending(self) -> Ending {
        Ending::Failure(match self {
            Self::Key => "publishing the key",
            Self::Herald => "noise",
        })
    }

    /// The undisturbed end, and the points of failing that its measurement passes, each at most `times` times.
    pub fn record(self, system: &mut System, times: usize) -> (Ending, BTreeSet<Point>) {
        let ending = self.ending();
        let outcome = system.measure();
        assert_eq!(ending.verdict(outcome.clone(), []), Verdict::Same, "{outcome:?}");
        let mut points = passed(&system.fleet, times);
        points.retain(|point| OF_FAILING.iter().any(|effect| point.effect().ends_with(effect)));
        (ending, points)
    }
}

/// It stops for longer than its lease, at `point` of the stage that cannot be done. Another mill of the duchy fails the
/// computation; then it goes on.
fn a_woken_mill_that_was_failing_changes_nothing(system: &mut System, point: &str) {
    let (settings, ending) = (system.settings, Cause::Key.ending());
    let sleeper = part_name("worker1", mill(settings));
    system.fleet.restart(&sleeper, &[("HALO_FAIL_POINT", &format!("{point}=stop"))]);
    let name = system.create();
    await_that(&format!("the mill stops at {point}"), || system.fleet.is_stopped(&sleeper));
    let other = system.fleet.start_mill("worker1", mill(settings), &[]);
    let see = |fleet: &mut Fleet| ending.verdict(fleet.see_through(&name, |_| ()), []);
    assert_eq!(see(&mut system.fleet), Verdict::Same, "{point}");
    assert!(system.settle(|_| ()), "{point}");
    system.fleet.end_process(&other);
    let before = Memory::of(&system.fleet);
    system.fleet.signal(&sleeper, "CONT");
    // It does what it is about before it ends in order.
    system.fleet.stop_process(&sleeper);
    Memory::of(&system.fleet).is_as(&before, point);
    assert_eq!(see(&mut system.fleet), Verdict::Same, "{point}: what the Kingdom has told stays");
}

#[test]
fn a_mill_that_slept_while_it_failed_a_computation_changes_nothing() {
    for point in ["before-kingdom.fail", "before-database.finish"] {
        let mut system = Cause::Key.start(Settings::Llv2);
        a_woken_mill_that_was_failing_changes_nothing(&mut system, &format!("{point}@INITIALIZATION_PHASE"));
        assert!(system.fleet.kingdom("violations", &[]).is_empty());
    }
}

/// The heralds let a computation without noise in, the mills do not.
#[test]
fn a_mill_that_demands_noise_fails_the_computation_and_says_so_in_the_audit_log() {
    for settings in [Settings::Llv2, Settings::ShareShuffle] {
        let mill = mill(settings);
        let extras = Extras { audit: true, ..Extras::default() };
        let mut system = System::start_requiring_noise(settings, &[mill], extras);
        let failed = system.measure();
        let told = "less noise than demanded";
        assert!(matches!(&failed, Outcome::Failed(reason) if reason.contains(told)), "{failed:?}");
        let log: Vec<_> =
            DUCHIES.iter().flat_map(|duchy| system.fleet.audit(&part_name(duchy, mill))).collect();
        let of = |event: &str| log.iter().filter(|record| record["event"] == event).collect::<Vec<_>>();
        let (missing, failures) = (of("noise.missing"), of("computation.failed"));
        assert!(!missing.is_empty() && !failures.is_empty(), "{log:?}");
        let says = |record: &Value, outcome: &str, told: &str| {
            assert_eq!(record["outcome"], outcome, "{record}");
            assert!(record["computation"].as_str().is_some_and(|id| !id.is_empty()), "{record}");
            assert!(record["reason"].as_str().is_some_and(|reason| reason.contains(told)), "{record}");
        };
        missing.iter().for_each(|record| says(record, "refused", "--insecure-dev-allow-no-noise"));
        failures.iter().for_each(|record| says(record, "failed", told));
        assert_eq!(of("noise.added"), [] as [&Value; 0]);
        system.end();
    }
}
