//! The demo as a newcomer starts it, on the event log that comes with the program.

#[path = "../servers/browser.rs"]
mod browser;
#[cfg(feature = "gcs")]
#[path = "../servers/gcs.rs"]
mod gcs;
#[cfg(feature = "s3")]
#[path = "../servers/minio.rs"]
mod minio;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn demo(options: &[&str]) -> Output {
    demo_with(options, &[])
}

/// With variables of the environment.
fn demo_with(options: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_halo-duchy"))
        .arg("demo")
        .args(options)
        .envs(variables.iter().copied())
        .output()
        .expect("the program runs")
}

fn complaint(output: &Output) -> String {
    format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// What the bundled log's `README` counted.
const REACH: f64 = 2048.0;
const SHARES: [f64; 10] = [0.3574, 0.2144, 0.1499, 0.0840, 0.0610, 0.0342, 0.0342, 0.0220, 0.0146, 0.0283];

#[test]
fn json_is_one_object_near_the_truth_and_all_that_is_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("out.html");
    let output = demo(&["--noise", "none", "--json", "--report", page.to_str().expect("a path")]);
    assert!(output.status.success(), "{}", complaint(&output));
    // Nothing but the object, or this would not parse.
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(report["protocol"], "llv2");
    let number = |name: &str| report[name].as_f64().expect("a number");
    assert_eq!((number("true_reach"), number("true_reach_in_sample")), (REACH, REACH));
    let reach = number("reach");
    assert!((reach - REACH).abs() <= 0.03 * REACH, "{reach}");
    for (frequency, share) in (1..=10).zip(SHARES) {
        let key = frequency.to_string();
        let number = |name: &str| report[name][&key].as_f64().expect("a share");
        assert!((number("true_frequency") - share).abs() < 1e-4, "{frequency}");
        assert!((number("frequency") - share).abs() <= 0.03, "{frequency}");
    }
    let stages = report["stages"].as_array().expect("a list");
    for duchy in ["aggregator", "worker1", "worker2"] {
        for stage in ["SETUP_PHASE", "EXECUTION_PHASE_ONE", "EXECUTION_PHASE_TWO", "EXECUTION_PHASE_THREE"] {
            let entry = stages.iter().find(|entry| entry["duchy"] == duchy && entry["stage"] == stage);
            let entry = entry.unwrap_or_else(|| panic!("no {stage} of {duchy}"));
            assert!(entry["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{entry}");
            assert!(entry["registers"].is_u64(), "{entry}");
        }
        let sent =
            stages.iter().filter(|entry| entry["duchy"] == duchy).map(|entry| entry["bytes_sent"].as_u64());
        assert_eq!(sent.sum::<Option<u64>>(), report["bytes_sent"][duchy].as_u64(), "{duchy}");
    }
    let page = std::fs::read_to_string(page).expect("the page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{page}");
    for found in ["A measurement by llv2 on p256", "2\u{202f}048", "EXECUTION_PHASE_THREE", "edp-JFK", "10+"]
    {
        assert!(page.contains(found), "{found}");
    }
}

#[test]
fn a_report_is_shown_by_a_browser() {
    let Some(browser) = browser::Browser::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("out.html");
    let output = demo(&["--report", page.to_str().expect("a path")]);
    assert!(output.status.success(), "{}", complaint(&output));
    let url = format!("file://{}", page.display());
    let elements = browser.elements(&url);
    for found in ["A measurement by llv2 on p256", "EXECUTION_PHASE_THREE", "edp-JFK"] {
        assert!(elements.contains(found), "{found}");
    }
    browser.picture("report", &url, [1400, 1700]);
}

#[test]
fn a_report_that_cannot_be_written_takes_no_result_along() {
    let options = ["--protocol", "hmss", "--noise", "none", "--json", "--report", "/no/such/folder/out.html"];
    let output = demo(&options);
    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(report["reach"], 2048);
    assert!(complaint(&output).contains("cannot write /no/such/folder/out.html"), "{}", complaint(&output));
}

#[test]
fn a_sample_is_told_from_all_people() {
    let sample = ["--noise", "none", "--max-frequency", "1", "--vid-sampling-start", "0.25"];
    let output = demo(&[&sample[..], &["--vid-sampling-width", "0.5", "--json"]].concat());
    assert!(output.status.success(), "{}", complaint(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let number = |name: &str| report[name].as_f64().expect("a number");
    assert_eq!(number("true_reach"), REACH);
    // Half of the people, within four standard deviations of a binomial.
    assert!((number("true_reach_in_sample") - REACH / 2.0).abs() <= 4.0 * (REACH / 4.0).sqrt());
    // The estimate stands for all, though only half were looked at.
    let error = number("reach") - 2.0 * number("true_reach_in_sample");
    assert!(error.abs() <= 0.05 * REACH, "{error}");
    assert_eq!(report["frequency"], serde_json::json!({}));
}

#[test]
fn options_that_cannot_be_met_are_usage_errors() {
    for options in [
        &["--duchies", "1"][..],
        &["--noise", "laplace"],
        &["--vid-sampling-width", "0"],
        &["--max-frequency", "0"],
        &["--suite", "p384"],
    ] {
        let output = demo(options);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {}", complaint(&output));
        assert!(output.stdout.is_empty());
    }
    let output = demo(&["--events", "no-such-file.csv", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("no-such-file.csv") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn more_noise_than_a_computation_may_hold_is_refused_with_the_number() {
    let output = demo(&["--epsilon", "1e-5", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = "the parameters demand 73107696 noise registers, at most 10845877 fit a message";
    assert!(stderr.lines().last().is_some_and(|line| line.ends_with(reason)), "{stderr}");
}

/// A demo by each protocol with the blobs of all duchies in one store.
fn all_protocols(blobs: &str, variables: &[(&str, &str)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let events = folder.path().join("events.csv");
    std::fs::write(&events, crate::events()).expect("a log");
    let events = events.to_str().expect("a path");
    for protocol in ["llv2", "ro-llv2", "hmss"] {
        let options =
            ["--events", events, "--noise", "none", "--json", "--protocol", protocol, "--blobs", blobs];
        let output = demo_with(&options, variables);
        assert!(output.status.success(), "{protocol}: {}", complaint(&output));
        let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
        let reach = report["reach"].as_f64().expect("a number");
        assert!((reach - crate::PEOPLE).abs() <= 5.0, "{protocol}: {reach}");
    }
}

/// The files under a folder, by their paths.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in folder.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn duchies_share_a_directory() {
    let folder = tempfile::tempdir().expect("a folder");
    all_protocols(&format!("file:{}", folder.path().join("blobs").display()), &[]);
    let duchies: Vec<_> = folder.path().join("blobs").read_dir().expect("a folder").collect();
    // The aggregator of a share shuffle is sent nothing by data providers, but it is in the other protocols.
    assert_eq!(duchies.len(), 3, "a folder each: {duchies:?}");
    let sent = files(folder.path());
    assert!(!sent.is_empty() && sent.iter().all(|path| path.contains("/requisitions/")), "{sent:?}");
}

#[cfg(feature = "s3")]
#[test]
fn duchies_share_a_bucket() {
    let Some(server) = minio::Minio::start() else { return };
    let endpoint = format!("endpoint=http://{}", server.address());
    let blobs = format!("s3://{}/demo?region=us-east-1&{endpoint}", minio::BUCKET);
    let variables =
        [("AWS_ACCESS_KEY_ID", minio::ACCESS_KEY_ID), ("AWS_SECRET_ACCESS_KEY", minio::SECRET_ACCESS_KEY)];
    all_protocols(&blobs, &variables);
}

#[cfg(feature = "gcs")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duchies_share_a_bucket_of_the_fake_of_google_cloud_storage() {
    let server = gcs::FakeGcs::start().await;
    let blobs = format!("gs://{}/demo?endpoint=http://{}", gcs::BUCKET, server.address());
    tokio::task::spawn_blocking(move || all_protocols(&blobs, &[])).await.expect("three measurements");
    assert_eq!(server.unfinished_uploads(), 0);
}
