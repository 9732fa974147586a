//! The crash matrix: every passing of every fail point by every process in every protocol, one crash a measurement; of
//! computations that fail, the points of failing.
//! By hand (docs/reliability.md):
//!
//! `cargo test --test reliability crash_matrix -- --ignored --nocapture`

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::Instant;

use crate::crashes::{Ending, Verdict};
use crate::failures::Cause;
use crate::points::Point;
use crate::settings::{PROTOCOLS, Settings, number};
use crate::system::System;

/// Fleets at work at the same time, by this variable.
const FLEETS: &str = "HALO_CRASH_FLEETS";
/// Protocols, by their names with commas between them; all without it.
const ONLY: &str = "HALO_CRASH_PROTOCOLS";
/// Of so many points one is tried; all without it.
const ONE_OF: &str = "HALO_CRASH_ONE_OF";

/// Passings of one point by one process that are told apart: those of two peers, and one more.
const PASSINGS: usize = 3;

pub fn protocols() -> Vec<Settings> {
    let Ok(names) = std::env::var(ONLY) else { return PROTOCOLS.to_vec() };
    let protocol = |name: &str| PROTOCOLS.into_iter().find(|settings| settings.name() == name);
    names.split(',').map(|name| protocol(name).unwrap_or_else(|| panic!("{ONLY}: no {name}"))).collect()
}

/// Measurements by one protocol, which fail for one cause if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    settings: Settings,
    cause: Option<Cause>,
}

impl Series {
    /// Those of a protocol.
    fn of(settings: Settings) -> impl Iterator<Item = Self> {
        let causes = Cause::ALL.map(Some).into_iter();
        [None].into_iter().chain(causes).map(move |cause| Self { settings, cause })
    }

    fn name(self) -> String {
        match self.cause {
            Some(cause) => format!("{}, {}", self.settings.name(), cause.name()),
            None => self.settings.name().to_owned(),
        }
    }

    fn start(self) -> System {
        match self.cause {
            Some(cause) => cause.start(self.settings),
            None => System::start(self.settings),
        }
    }

    /// The undisturbed end and the points to crash at.
    fn record(self, system: &mut System) -> (Ending, BTreeSet<Point>) {
        match self.cause {
            Some(cause) => cause.record(system, PASSINGS),
            None => system.record(PASSINGS),
        }
    }
}

/// The verdicts on the points of a series.
fn campaign(series: Series) -> Vec<(Point, Verdict)> {
    let mut first = series.start();
    let (undisturbed, points) = series.record(&mut first);
    let one_of = number(ONE_OF, 1);
    let queue: VecDeque<Point> = points.into_iter().step_by(one_of).collect();
    let total = queue.len();
    let (queue, verdicts) = (Mutex::new(queue), Mutex::new(Vec::new()));
    let work = |mut system: System| {
        loop {
            let next = queue.lock().expect("no panic").pop_front();
            let Some(point) = next else { break };
            let begun = Instant::now();
            let verdict = system.crash(std::slice::from_ref(&point), &undisturbed);
            let hangs = verdict == Verdict::Hang;
            let mut verdicts = verdicts.lock().expect("no panic");
            let (count, elapsed) = (verdicts.len() + 1, begun.elapsed().as_secs_f32());
            let (name, process, arming) = (series.name(), &point.process, point.arming());
            println!("{name} {count}/{total} {process} {arming} {verdict:?} {elapsed:.1} s");
            verdicts.push((point, verdict));
            drop(verdicts);
            if hangs {
                // What hangs would also hang the next.
                system = series.start();
            }
        }
        system.end();
    };
    std::thread::scope(|scope| {
        for _ in 1..number(FLEETS, 2) {
            scope.spawn(|| work(series.start()));
        }
        work(first);
    });
    verdicts.into_inner().expect("no panic")
}

/// Counts by kind of verdict.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    same: usize,
    failed: usize,
    hangs: usize,
    wrong: usize,
    not_passed: usize,
}

impl Tally {
    pub fn count(&mut self, verdict: &Verdict) {
        *match verdict {
            Verdict::Same => &mut self.same,
            Verdict::Failed(_) => &mut self.failed,
            Verdict::Hang => &mut self.hangs,
            Verdict::Wrong(_) => &mut self.wrong,
            Verdict::NotPassed(_) => &mut self.not_passed,
        } += 1;
    }

    /// Whether nothing hung or came out wrong.
    pub fn holds(&self) -> bool {
        self.hangs == 0 && self.wrong == 0
    }

    /// Whether there was a crash at every point, too.
    fn is_complete(&self) -> bool {
        self.holds() && self.not_passed == 0
    }

    pub fn row(&self, name: &str) {
        let Self { same, failed, hangs, wrong, not_passed } = self;
        println!("| {name} | {same} | {failed} | {hangs} | {wrong} | {not_passed} |");
    }
}

#[test]
#[ignore = "a campaign, by hand: up to two hours"]
fn crash_matrix() {
    let begun = Instant::now();
    let mut tallies = BTreeMap::<(Series, String), Tally>::new();
    let mut totals = BTreeMap::<Series, Tally>::new();
    for series in protocols().into_iter().flat_map(Series::of) {
        for (point, verdict) in campaign(series) {
            let row = format!("{} {} {}", series.name(), point.part(), point.effect());
            tallies.entry((series, row)).or_default().count(&verdict);
            totals.entry(series).or_default().count(&verdict);
        }
    }
    println!(
        "| protocol, part, point | same end | failed at the Kingdom | hang | wrong number | not passed |"
    );
    println!("|---|---|---|---|---|---|");
    tallies.iter().for_each(|((_, row), tally)| tally.row(row));
    totals.iter().for_each(|(series, tally)| tally.row(&format!("**{}**", series.name())));
    println!("{:.0} minutes", begun.elapsed().as_secs_f32() / 60.0);
    assert!(totals.values().all(Tally::is_complete), "hangs, wrong numbers, or points that were not passed");
}
