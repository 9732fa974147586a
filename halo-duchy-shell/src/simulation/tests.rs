use std::ops::Range;
use std::time::Duration;

use halo_protocols::llv2::NoisePolicy;

use super::campaign::{run, timed};
use super::flaws::{Forgetful, Unfair, Unfenced, Without};
use super::plan::{Fault, Kind, Measured, Plan};
use super::world::{Ending, Flaw, Flawless};
use crate::mill::MillOptions;

/// The value of `--name` among the arguments in `HALO_SIMULATION`.
fn argument(name: &str) -> Option<u64> {
    let text = std::env::var("HALO_SIMULATION").unwrap_or_default();
    let mut words = text.split_whitespace();
    words.find(|word| *word == name)?;
    Some(words.next().and_then(|value| value.parse().ok()).expect("a number after each name"))
}

fn check(seeds: Range<u64>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (summary, cost) = timed(seeds, threads);
    eprintln!("{}", summary.table(cost));
    assert!(summary.failing.is_empty(), "seeds with findings: {:?}", summary.failing.keys());
}

#[test]
fn undisturbed_everything_is_right() {
    for seed in 0..6 {
        let report = run(Plan::draw(seed).undisturbed(), &Flawless);
        assert_eq!(report.problems(), [] as [String; 0], "seed {seed}");
        assert!(report.endings.iter().all(|ending| *ending == Ending::Right), "{:?}", report.endings);
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in 100..104 {
        let (first, second) = (run(Plan::draw(seed), &Flawless), run(Plan::draw(seed), &Flawless));
        let differs = first.lines.iter().zip(&second.lines).position(|(a, b)| a != b);
        if let Some(at) = differs {
            let context = at.saturating_sub(5)..at + 1;
            panic!("seed {seed}: {:#?} and then {}", &first.lines[context], second.lines[at]);
        }
        assert_eq!(first.digest, second.digest);
    }
}

#[test]
fn whatever_goes_wrong_results_are_right_or_failures_have_reasons() {
    check(0..40);
}

/// A duchy's servers are started again all the time: no reason for a computation to fail.
#[test]
fn processes_that_die_cost_no_measurement() {
    for seed in 200..206 {
        let report = run(Plan::draw(seed).undisturbed().with_rate(Fault::Crash, 0.004), &Flawless);
        assert_eq!(report.problems(), [] as [String; 0], "seed {seed}");
        assert!(report.endings.iter().all(|ending| *ending == Ending::Right), "{seed}: {:?}", report.endings);
    }
}

/// Duchies that cannot take part, and of whose words hardly one gets through: once, a herald said it, and thought that it
/// was done. Everybody waited without end (seed 1, when this was found).
#[test]
fn the_kingdom_hears_of_every_failure() {
    for seed in 300..303 {
        let plan = Plan {
            noise_policy: NoisePolicy::Required,
            quiet_after: Duration::from_secs(1800),
            ..Plan::draw(seed).undisturbed()
        };
        let report = run(plan.with_rate(Fault::RequestLost, 0.9), &Flawless);
        assert_eq!(report.problems(), [] as [String; 0], "seed {seed}");
        let refused = |ending: &Ending| matches!(ending, Ending::Failed(reason) if reason.contains("noise"));
        assert!(report.endings.iter().all(refused), "{seed}: {:?}", report.endings);
    }
}

/// A restored duchy sends nothing that is not what it has sent before, and nobody waits for what it has forgotten.
#[test]
fn a_restored_database_costs_measurements_and_no_more() {
    let plan = |seed| Plan { quiet_after: Duration::from_secs(600), ..Plan::draw(seed).undisturbed() };
    let mut restored = 0;
    for seed in 405..413 {
        let report = run(plan(seed).with_rate(Fault::Restore, 0.15), &Flawless);
        if !report.problems().is_empty() {
            let told = ["restored", "ends:", "refused", "FAULT"];
            let lines = report.lines.iter().filter(|line| told.iter().any(|word| line.contains(word)));
            lines.for_each(|line| eprintln!("{line}"));
        }
        assert_eq!(report.problems(), [] as [String; 0], "seed {seed}");
        restored += report.faults.get(&Fault::Restore).copied().unwrap_or_default();
    }
    assert!(restored > 8, "{restored} restores");
}

/// Mills that stand still for longer than their leases, and a store that lets them write when they wake up.
#[test]
fn a_store_without_fencing_is_found_out() {
    let plan = |seed| Plan { lock: Duration::from_secs(10), mills: 2, ..Plan::draw(seed).undisturbed() };
    let paused = |seed| plan(seed).with_rate(Fault::Pause, 0.02);
    let found = (0..20).find(|seed| {
        let findings = run(paused(*seed), &Unfenced).findings;
        findings.iter().any(|finding| finding.contains("advanced by"))
    });
    let seed = found.expect("a mill that has lost its lease commits a stage");
    assert_eq!(
        run(paused(seed), &Flawless).problems(),
        [] as [String; 0],
        "fencing is what keeps it from it"
    );
}

/// So many measurements of reach by `kind`, at once.
fn at_once(kind: Kind, measurements: usize) -> Vec<Measured> {
    vec![Measured { kind, frequency: false, after: Duration::ZERO }; measurements]
}

/// The plan of `seed` in which `flaw` is the only thing that goes wrong; what is found, and that without it nothing is.
fn found_by(plan: &Plan, flaw: &'static dyn Flaw) -> Vec<String> {
    assert_eq!(run(plan.clone(), &Flawless).problems(), [] as [String; 0], "without the flaw");
    run(plan.clone(), flaw).findings
}

/// The mill hears that its stage is committed, and the stage is there to be done again.
#[test]
fn a_store_that_loses_a_commit_is_found_out() {
    let plan = Plan { measured: at_once(Kind::Llv2, 1), ..Plan::draw(500).undisturbed() };
    let findings = found_by(&plan, &Forgetful);
    assert!(findings.iter().any(|finding| finding.contains("was left twice")), "{findings:?}");
}

/// Enough other work for one computation to be passed over again and again.
#[test]
fn a_store_that_lets_a_computation_starve_is_found_out() {
    let plan = Plan { measured: at_once(Kind::Llv2, 16), ..Plan::draw(501).undisturbed() };
    let findings = found_by(&plan, &Unfair);
    assert!(findings.iter().any(|finding| finding.contains("starves in")), "{findings:?}");
}

/// Every attempt at the stage that sends asks the peer for its stage: ten times, until the budget of retries is spent, and
/// once from then on.
#[test]
fn a_mill_sends_a_peer_that_is_away_no_more_than_the_budget_of_retries() {
    const MEASUREMENTS: usize = 3;
    // Half of the tokens, one for each call that failed.
    const RETRIES: usize = 50;
    let attempts = MEASUREMENTS * MillOptions::default().max_attempts as usize;
    let plan =
        Plan { measured: at_once(Kind::Llv2, MEASUREMENTS), mills: 1, ..Plan::draw(502).undisturbed() };
    let report = run(plan, &Without("aggregator/control"));
    for worker in ["worker1", "worker2"] {
        let called = format!(" {worker}/mill0 calls GetComputationStage of aggregator/control");
        let calls = report.lines.iter().filter(|line| line.ends_with(&called)).count();
        assert!((RETRIES + 1..=RETRIES + attempts).contains(&calls), "{worker}: {calls} calls");
    }
    let in_vain =
        |ending: &Ending| matches!(ending, Ending::Failed(reason) if reason.contains("asking a peer"));
    assert!(report.endings.iter().all(in_vain), "{:?}", report.endings);
}

/// By hand: `.ci/simulate --seeds 1000 --from 0`.
#[test]
#[ignore = "a campaign, run by .ci/simulate"]
fn campaign() {
    let (from, seeds) = (argument("--from").unwrap_or(0), argument("--seeds").unwrap_or(1000));
    check(from..from + seeds);
}

/// By hand: `.ci/simulate --replay SEED`.
#[test]
#[ignore = "prints the events of one seed, run by .ci/simulate"]
fn replay() {
    let seed = argument("--replay").expect("--replay SEED");
    let report = run(Plan::draw(seed), &Flawless);
    for line in &report.lines {
        eprintln!("{line}");
    }
    eprintln!("{:#?}\n{:?}\nevents {}", report.endings, report.faults, report.digest);
    assert_eq!(report.problems(), [] as [String; 0], "seed {seed}");
}
