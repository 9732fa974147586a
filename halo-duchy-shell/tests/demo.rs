//! The demo as a library: all protocols, any number of duchies, both suites, a log of one's own.

use std::io::Write;

#[cfg(feature = "spanner")]
#[path = "servers/spanner.rs"]
#[allow(dead_code, reason = "the demo makes its databases itself")]
mod server;

use clap::Parser;
use halo_duchy_shell::clock::SystemClock;
use halo_duchy_shell::demo::args::DemoArgs;
use halo_duchy_shell::demo::{self, DemoError};
use halo_duchy_shell::protocol_stages::Protocol;
use halo_duchy_shell::store::StoreAddress;

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
    run_on(log, &[&["--max-frequency", "2"], options].concat()).await
}

async fn run_on(log: &tempfile::NamedTempFile, options: &[&str]) -> Result<demo::report::Report, DemoError> {
    let path = log.path().to_str().expect("a path");
    let cli = Cli::try_parse_from(["demo", "--events", path].iter().chain(options)).expect("options");
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
async fn reach_alone_is_measured_by_every_protocol() {
    let log = log();
    let mut reaches = Vec::new();
    for (options, stages) in [
        // Initialization, confirmation, setup and two execution phases, or one.
        (&["--reach-only"][..], 5 * 3),
        (&["--protocol", "ro-llv2"], 4 * 3),
        (&["--protocol", "ro-llv2", "--duchies", "2", "--suite", "ristretto255"], 4 * 2),
        // Three stages of each worker, two of the aggregator.
        (&["--protocol", "hmss", "--reach-only"], 3 + 3 + 2),
    ] {
        let report = run_on(&log, &[&["--noise", "none"], options].concat()).await;
        let report = report.unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert!((40..=43).contains(&report.reach), "{options:?}: {}", report.reach);
        assert!(report.frequency.is_empty() && report.frequency_standard_deviation.is_empty(), "{options:?}");
        assert_eq!(report.stages.len(), stages, "{options:?}");
        reaches.push(report.reach);
    }
    assert_eq!(reaches[0], reaches[1], "the same sketch counts the same");
    assert_eq!(reaches[3], 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_shuffle_without_noise_is_exact_on_the_bundled_log() {
    for options in [&[][..], &["--reach-only"]] {
        let cli = Cli::try_parse_from([&["demo", "--protocol", "hmss", "--noise", "none"], options].concat());
        let report = demo::run(&cli.expect("options").demo).await.expect("a result");
        assert_eq!((report.reach, report.true_reach), (2048, 2048));
        if options.is_empty() {
            let truth = report.true_frequency.iter().map(|(k, share)| (i64::from(*k), *share)).collect();
            assert_eq!(report.frequency, truth);
        }
        assert_eq!((report.suite, report.reach_standard_deviation), (None, 0.0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reach_only_without_noise_is_within_three_percent_on_the_bundled_log() {
    let cli = Cli::try_parse_from(["demo", "--protocol", "ro-llv2", "--noise", "none"]);
    let report = demo::run(&cli.expect("options").demo).await.expect("a result");
    assert!((report.reach - 2048).abs() <= 2048 * 3 / 100, "{}", report.reach);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_shuffle_samples_people_and_adds_noise() {
    let options = ["--protocol", "hmss", "--vid-sampling-width", "0.5", "--vid-sampling-start", "0.75"];
    let cli = Cli::try_parse_from(["demo"].iter().chain(&options).chain(&["--seed", "1"]));
    let report = demo::run(&cli.expect("options").demo).await.expect("a result");
    assert!((900..1150).contains(&report.true_reach_in_sample), "{}", report.true_reach_in_sample);
    let error = (report.reach - 2048).abs() as f64;
    assert!(error <= 4.0 * report.reach_standard_deviation, "{error} of {}", report.reach_standard_deviation);
    assert_eq!(report.frequency.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_make_no_sense_are_refused_before_anything_starts() {
    let log = log();
    for (options, flag) in [
        (&["--protocol", "ro-llv2", "--reach-only"][..], "--reach-only"),
        (&["--protocol", "hmss", "--duchies", "2"], "--duchies"),
        (&["--protocol", "hmss", "--suite", "p256"], "--suite"),
    ] {
        match run_on(&log, options).await {
            Err(DemoError::Misuse(misuse)) => assert_eq!(misuse.flag, flag),
            other => panic!("{options:?}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_repeats_a_noised_run_exactly() {
    let log = log();
    let mut results = Vec::new();
    for protocol in ["llv2", "hmss"] {
        results.clear();
        for seed in ["7", "7", "8"] {
            let options = ["--protocol", protocol, "--noise", "geometric", "--seed", seed];
            let report = run(&log, &options).await.expect("a result");
            results.push((report.reach, report.frequency));
        }
        assert_eq!(results[0], results[1], "{protocol}");
        assert_ne!(results[0], results[2], "{protocol}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_or_malformed_log_is_refused_by_line() {
    let mut file = tempfile::NamedTempFile::with_suffix(".csv").expect("a file");
    writeln!(file, "id,event_time,publisher\nann,yesterday,news").expect("lines");
    let refused = run(&file, &[]).await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains(":2: column 2 (event_time)"), "{refused}");
}

/// Each duchy has a database of its own, in which the computation has ended.
async fn assert_each_duchy_has_a_database(beside: &StoreAddress) {
    for duchy in ["aggregator", "worker1", "worker2"] {
        let address = beside.of_duchy(duchy).expect("an address");
        let store = address.open(std::sync::Arc::new(SystemClock)).await.expect("a database");
        let ended = store.ids_in_stages(&[Protocol::HonestMajorityShareShuffle.terminal_stage()]).await;
        assert_eq!(ended.expect("the ended computations").len(), 1, "{address}");
    }
}

const ON_A_STORE: [&str; 4] = ["--protocol", "hmss", "--noise", "none"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn computations_are_kept_where_the_demo_is_told() {
    let (log, folder) = (log(), tempfile::tempdir().expect("a directory"));
    let beside = StoreAddress::Sqlite(folder.path().join("new").join("demo.db"));
    let report =
        run(&log, &[&ON_A_STORE[..], &["--store", &beside.to_string()]].concat()).await.expect("a result");
    assert_eq!(report.reach, 40);
    assert_each_duchy_has_a_database(&beside).await;
}

#[cfg(feature = "spanner")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn computations_are_kept_in_spanner() {
    let Some(emulator) = server::Emulator::start(&[]) else { return };
    let gcloud_gax::conn::Environment::Emulator(host) = emulator.environment() else { return };
    let (log, address) = (log(), "spanner://projects/p/instances/i1/databases/demo");
    let options = ["--store", address, "--spanner-emulator-host", &host];
    let report = run(&log, &[&ON_A_STORE[..], &options].concat()).await.expect("a result");
    assert_eq!(report.reach, 40);
    let beside = address.parse::<StoreAddress>().expect("an address").on_emulator(&host);
    assert_each_duchy_has_a_database(&beside).await;
}
