//! Many seeds, and what came of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

use super::keys::KEYS;
use super::plan::{Fault, Plan, stream};
use super::world::{Ending, Flaw, Flawless, World};
use crate::platform::simulated::simulate;
use crate::telemetry::cpu;

/// What came of one seed.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    /// The digest of all events.
    pub digest: String,
    /// The events, for those who have to find out.
    pub lines: Vec<String>,
    pub faults: BTreeMap<Fault, u64>,
    pub endings: Vec<Ending>,
    /// Invariants that did not hold.
    pub findings: Vec<String>,
    /// Stages committed.
    pub commits: usize,
    /// How long the run was for those in it.
    pub lasted: Duration,
}

impl Report {
    /// Everything that must not be.
    pub fn problems(&self) -> Vec<String> {
        let endings = self.endings.iter().enumerate().filter_map(|(index, ending)| match ending {
            Ending::Right | Ending::Failed(_) => None,
            Ending::Wrong(what) => Some(format!("measurement {index} is wrong: {what}")),
            Ending::Lost => Some(format!("measurement {index} is lost")),
        });
        endings.chain(self.findings.iter().cloned()).collect()
    }
}

/// Runs a plan.
pub fn run(plan: Plan, flaw: &'static dyn Flaw) -> Report {
    let seed = plan.seed;
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let mut key = [0; 32];
        rand_core::Rng::fill_bytes(&mut stream(seed, 4), &mut key);
        let _machine = simulate(KEYS.epoch, key);
        let begun = tokio::time::Instant::now();
        let (machine, endings) = World::run(plan, flaw).await;
        let checker = machine.checker();
        Report {
            seed,
            digest: machine.digest(),
            faults: machine.faults(),
            findings: checker.findings().to_vec(),
            commits: checker.commits(),
            lasted: begun.elapsed(),
            lines: machine.lines(),
            endings,
        }
    })
}

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Summary {
    pub seeds: u64,
    faults: BTreeMap<Fault, u64>,
    commits: usize,
    events: usize,
    right: u64,
    wrong: u64,
    lost: u64,
    /// How many measurements failed for each reason, figures and names left out.
    failed: BTreeMap<String, u64>,
    lasted: Duration,
    /// Seeds with problems.
    pub failing: BTreeMap<u64, Vec<String>>,
}

impl Summary {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        for (fault, count) in &report.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        self.commits += report.commits;
        self.events += report.lines.len();
        self.lasted += report.lasted;
        for ending in &report.endings {
            match ending {
                Ending::Right => self.right += 1,
                Ending::Wrong(_) => self.wrong += 1,
                Ending::Lost => self.lost += 1,
                Ending::Failed(reason) => *self.failed.entry(shape(reason)).or_default() += 1,
            }
        }
        let problems = report.problems();
        if !problems.is_empty() {
            self.failing.insert(report.seed, problems);
        }
    }

    /// The table for people.
    pub fn table(&self, cost: Cost) -> String {
        let mut lines = vec![format!(
            "{} seeds in {:.1} s, {:.1} s of processor time ({:.1} h simulated, {} events, {} stages committed)",
            self.seeds,
            cost.took.as_secs_f64(),
            cost.cpu.as_secs_f64(),
            self.lasted.as_secs_f64() / 3600.0,
            self.events,
            self.commits
        )];
        let mut row = |name: &str, count: u64| lines.push(format!("  {name:<28}{count:>9}"));
        row("faults injected", self.faults.values().sum());
        for fault in Fault::ALL {
            row(&format!("  {}", fault.name()), self.faults.get(&fault).copied().unwrap_or_default());
        }
        let failed: u64 = self.failed.values().sum();
        row("measurements", self.right + self.wrong + self.lost + failed);
        row("  right result", self.right);
        row("  failed at the Kingdom", failed);
        row("  lost", self.lost);
        row("  wrong", self.wrong);
        row("seeds with findings", self.failing.len() as u64);
        for (reason, count) in &self.failed {
            lines.push(format!("  {count:>6} failed: {reason}"));
        }
        for (seed, problems) in &self.failing {
            lines.extend(problems.iter().map(|problem| format!("  SEED {seed}: {problem}")));
        }
        lines.join("\n")
    }
}

/// A reason without figures and ids, so that equal ones count together.
fn shape(reason: &str) -> String {
    let mut shape = String::new();
    for word in reason.split(' ') {
        let plain = !word.chars().any(|c| c.is_ascii_digit()) && !word.contains('/');
        let word = if plain { word } else { "#" };
        if !(shape.ends_with('#') && word == "#") {
            shape = if shape.is_empty() { word.to_owned() } else { format!("{shape} {word}") };
        }
    }
    shape
}

/// Runs the seeds on this many threads.
pub fn campaign(seeds: std::ops::Range<u64>, threads: usize) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = run(Plan::draw(seed), &Flawless);
                    summary.lock().unwrap_or_else(PoisonError::into_inner).add(&report);
                }
            });
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What a campaign cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// On the clock.
    took: Duration,
    /// Of processors, whatever else they had to do.
    cpu: Duration,
}

/// As [`campaign`]; what it cost goes with it.
pub fn timed(seeds: std::ops::Range<u64>, threads: usize) -> (Summary, Cost) {
    let (begun, cpu) = (Instant::now(), cpu::of_this_process());
    let summary = campaign(seeds, threads);
    (summary, Cost { took: begun.elapsed(), cpu: cpu::of_this_process().saturating_sub(cpu) })
}
