//! The demo as a library: any number of duchies, both suites, a log of one's own.

use std::io::Write;

use clap::Parser;
use halo_duchy_shell::demo::args::DemoArgs;
use halo_duchy_shell::demo::{self, DemoError};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    demo: DemoArgs,
}

/// 30 people at one publisher, 20 of them and 10 more at the other: 40 people, half of them seen twice.
fn log() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::with_suffix(".csv").expect("a file");
    writeln!(file, "id,event_time,publisher").expect("a line");
    for (publisher, people) in [("news", 0..30), ("video, late", 10..40)] {
        for person in people {
            writeln!(file, "\"person, {person}\",2026-01-01T00:00:00Z,\"{publisher}\"").expect("a line");
        }
    }
    file
}

async fn run(log: &tempfile::NamedTempFile, options: &[&str]) -> Result<demo::report::Report, DemoError> {
    let path = log.path().to_str().expect("a path");
    let always = ["demo", "--events", path, "--max-frequency", "2"];
    let cli = Cli::try_parse_from(always.iter().chain(options)).expect("options");
    demo::run(&cli.demo).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_to_five_duchies_agree_in_both_suites() {
    let log = log();
    for suite in ["p256", "ristretto255"] {
        for duchies in ["2", "3", "4", "5"] {
            // With more duchies than publishers some have nothing of their own to send.
            let report = run(&log, &["--noise", "none", "--suite", suite, "--duchies", duchies]).await;
            let report = report.unwrap_or_else(|error| panic!("{duchies} on {suite}: {error}"));
            // 40 registers of 100,000 stand for up to 42 people: the estimator counts on collisions.
            assert!((40..=43).contains(&report.reach), "{duchies} on {suite}: {}", report.reach);
            assert_eq!((report.true_reach, report.true_frequency[&2]), (40, 0.5));
            assert_eq!((report.frequency[&1], report.frequency[&2]), (0.5, 0.5), "{duchies} on {suite}");
            let duchies: usize = duchies.parse().expect("a number");
            // Initialization, confirmation, setup and three execution phases each.
            assert_eq!(report.stages.len(), 6 * duchies);
            assert_eq!(report.bytes_sent.len(), duchies + 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_repeats_a_noised_run_exactly() {
    let log = log();
    let mut results = Vec::new();
    for seed in ["7", "7", "8"] {
        let report = run(&log, &["--noise", "geometric", "--seed", seed]).await.expect("a result");
        results.push((report.reach, report.frequency));
    }
    assert_eq!(results[0], results[1]);
    assert_ne!(results[0], results[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_or_malformed_log_is_refused_by_line() {
    let mut file = tempfile::NamedTempFile::with_suffix(".csv").expect("a file");
    writeln!(file, "id,event_time,publisher\nann,yesterday,news").expect("lines");
    let refused = run(&file, &[]).await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains(":2: column 2 (event_time)"), "{refused}");
}
