//! Kills and stops at random times, of random processes, with several measurements under way. A seed gives the same
//! choices again, though not the same moments. A long run by hand (docs/reliability.md):
//!
//! `HALO_KILLS_MINUTES=60 cargo test --test reliability random_kills -- --ignored --nocapture`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::Value;

use crate::campaign::protocols;
use crate::crashes::{Ending, Verdict};
use crate::fleet::{Fleet, Outcome};
use crate::settings::{Settings, number};
use crate::system::System;

/// Measurements at once.
const MEASUREMENTS: usize = 3;
/// How often a measurement that takes long is left alone, for as long as a measurement may take.
const QUIET: usize = 10;
/// The longest that a process is stopped: three leases.
const LONGEST_STOP: u64 = 3000;
/// The pause between two attacks, in milliseconds, at most; half of it on average.
const LONGEST_PAUSE: u64 = 1500;

/// Somebody who kills and stops.
struct Attacker {
    rng: ChaCha20Rng,
    next: Instant,
    stopped: BTreeMap<String, Instant>,
    kills: usize,
    stops: usize,
}

impl Attacker {
    fn new(seed: u64) -> Self {
        let rng = ChaCha20Rng::seed_from_u64(seed);
        Self { rng, next: Instant::now(), stopped: BTreeMap::new(), kills: 0, stops: 0 }
    }

    fn up_to(&mut self, milliseconds: u64) -> Duration {
        Duration::from_millis(self.rng.next_u64() % milliseconds)
    }

    /// Does what is due, and starts again whoever was killed.
    fn strike(&mut self, fleet: &mut Fleet) {
        let now = Instant::now();
        self.stopped.retain(|name, until| {
            let sleeps = *until > now;
            if !sleeps {
                fleet.signal(name, "CONT");
            }
            sleeps
        });
        fleet.revive();
        if now < self.next {
            return;
        }
        self.next = now + self.up_to(LONGEST_PAUSE);
        let processes = fleet.duchy_processes();
        let victim = &processes[self.rng.next_u64() as usize % processes.len()];
        if self.stopped.contains_key(victim) {
            return;
        }
        if self.rng.next_u64().is_multiple_of(3) {
            fleet.signal(victim, "STOP");
            let until = now + self.up_to(LONGEST_STOP);
            self.stopped.insert(victim.clone(), until);
            self.stops += 1;
        } else {
            fleet.signal(victim, "KILL");
            self.kills += 1;
        }
    }

    /// Lets everybody go on.
    fn rest(&mut self, fleet: &mut Fleet) {
        for (name, _) in std::mem::take(&mut self.stopped) {
            fleet.signal(&name, "CONT");
        }
        fleet.revive();
    }
}

/// What came of measurements under attack.
#[derive(Debug, Default)]
struct Score {
    same: usize,
    failed: Vec<String>,
    hangs: usize,
    wrong: Vec<Value>,
    /// How often all was left alone because a measurement took so long.
    slow: usize,
    kills: usize,
    stops: usize,
}

impl Score {
    /// Whether nothing hung or came out wrong.
    fn holds(&self) -> bool {
        self.hangs == 0 && self.wrong.is_empty()
    }
}

/// Attacks for a while.
fn attack(settings: Settings, seed: u64, duration: Duration) -> Score {
    let mut system = System::start(settings);
    let undisturbed = Ending::Result(system.undisturbed());
    let (mut attacker, mut score) = (Attacker::new(seed), Score::default());
    let begun = Instant::now();
    while begun.elapsed() < duration {
        let names: Vec<_> = (0..MEASUREMENTS).map(|_| system.create()).collect();
        let mut hangs = 0;
        for name in names {
            let mut outcome = system.fleet.see_through(&name, |fleet| attacker.strike(fleet));
            // A stage that was disturbed ten times waits for up to twenty minutes: what goes on when left alone hangs not.
            for _ in 0..QUIET {
                if outcome == Outcome::Hang {
                    attacker.rest(&mut system.fleet);
                    score.slow += 1;
                    outcome = system.fleet.see_through(&name, |fleet| drop(fleet.revive()));
                }
            }
            match undisturbed.verdict(outcome, []) {
                Verdict::Same | Verdict::NotPassed(_) => score.same += 1,
                Verdict::Failed(reason) => score.failed.push(reason),
                Verdict::Hang => hangs += 1,
                Verdict::Wrong(result) => score.wrong.push(result),
            }
        }
        score.hangs += hangs;
        if hangs > 0 {
            // What hangs would also hang the next.
            system = System::start(settings);
        }
    }
    attacker.rest(&mut system.fleet);
    if !system.settle(|fleet| drop(fleet.revive())) {
        score.hangs += 1;
    }
    assert!(system.fleet.kingdom("violations", &[]).is_empty(), "{}, seed {seed}", settings.name());
    Score { kills: attacker.kills, stops: attacker.stops, ..score }
}

#[test]
fn measurements_survive_some_seconds_of_random_kills() {
    let score = attack(Settings::Llv2, 1, Duration::from_secs(5));
    assert!(score.holds() && score.same > 0 && score.kills > 0, "{score:?}");
}

#[test]
#[ignore = "a campaign, by hand: HALO_KILLS_MINUTES of it, by HALO_KILLS_SEED"]
fn random_kills() {
    let seed = number("HALO_KILLS_SEED", u64::from(std::process::id()));
    let protocols = protocols();
    let share = Duration::from_secs(60 * number("HALO_KILLS_MINUTES", 10) / protocols.len() as u64);
    println!("HALO_KILLS_SEED={seed}");
    println!(
        "| protocol | kills | stops | same result | failed at the Kingdom | left alone | hang | wrong number |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let scores = protocols.into_iter().map(|settings| {
        let score = attack(settings, seed, share);
        let Score { same, failed, hangs, wrong, slow, kills, stops } = &score;
        let (name, failed, wrong) = (settings.name(), failed.len(), wrong.len());
        println!("| {name} | {kills} | {stops} | {same} | {failed} | {slow} | {hangs} | {wrong} |");
        (settings, score)
    });
    let scores: Vec<_> = scores.collect();
    for (settings, score) in &scores {
        score.failed.iter().for_each(|reason| println!("{}: {reason}", settings.name()));
        score.wrong.iter().for_each(|result| println!("{}: {result}", settings.name()));
    }
    assert!(scores.iter().all(|(_, score)| score.holds()), "hangs, or wrong numbers");
}
