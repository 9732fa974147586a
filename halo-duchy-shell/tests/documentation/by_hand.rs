//! The page that shows a measurement by hand, run as it stands, and with it what the operator's guide has for the duchies of that page.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use halo_protocols::estimate::LiquidLegions;
use halo_protocols::estimate::accuracy::{discrete_gaussian_noise_variance, reach_standard_deviation};
use serde_json::Value;

use crate::pages;

const PAGE: &str = "docs/by-hand.md";
const GUIDE: &str = "docs/operators-guide.md";

/// The ports that the page gives, which may be taken here.
const PORTS: [&str; 7] = ["8443", "8451", "8452", "8461", "8462", "8471", "8472"];

/// How many people are in the events of the page, and what its sketches are.
const PEOPLE: f64 = 160.0;
const SKETCH: (f64, i64) = (12.0, 10_000);

#[test]
fn the_page_gives_a_result() {
    let all = pages::all();
    let blocks = |path: &str| -> Vec<String> {
        let page = all.iter().find(|page| page.path == path).expect("the page");
        page.code().into_iter().filter(|code| code.language == Some("sh")).map(|code| code.text).collect()
    };
    let mut script = blocks(PAGE);
    let end = script.pop().expect("what stops everybody");
    script.extend(blocks(GUIDE).into_iter().filter(|block| block.starts_with("halo-duchy ")));
    let mut script = [script, vec![end]].concat().join("\n");
    for (port, free) in PORTS.iter().zip(free_ports(0)) {
        assert!(script.contains(port), "the page has another port than {port}");
        script = script.replace(port, &free.to_string());
    }
    // What the page starts ends with it, also if a command fails.
    script.insert_str(0, "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n");

    let folder = tempfile::tempdir().expect("a folder");
    let said = run(&script, folder.path(), &[]);
    check_result(&folder.path().join("result.json"), SKETCH);
    // What an operator sees of it, and of what was brought back from a backup.
    assert!(said.matches("succeeded").count() > 2, "{said}");
    assert!(folder.path().join("restored.sqlite").exists(), "{said}");
}

/// Runs a script in a folder, with our program and those of other folders in the path, and returns what it prints. Panics with
/// that and with the logs in the folder if it fails.
pub fn run(script: &str, folder: &Path, others: &[&Path]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_halo-duchy")).parent().expect("a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        others.iter().copied().chain([program]).map(Path::to_owned).chain(std::env::split_paths(&path));
    let output = Command::new("timeout")
        .args(["180", "bash", "-c", script])
        .current_dir(folder)
        .env("PATH", std::env::join_paths(path).expect("a path"))
        .output()
        .expect("there is a bash");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let logs = || {
        let files = fs::read_dir(folder).expect("the folder").filter_map(|entry| Some(entry.ok()?.path()));
        let logs = files.filter(|file| file.extension().is_some_and(|extension| extension == "log"));
        logs.map(|log| format!("{}:\n{}", log.display(), fs::read_to_string(&log).unwrap_or_default()))
            .collect::<String>()
    };
    assert!(output.status.success(), "{said}\n{}\n{}", String::from_utf8_lossy(&output.stderr), logs());
    said
}

/// Checks the result of the pages' events by sketches of this decay rate and size.
pub fn check_result(file: &Path, sketch: (f64, i64)) {
    let result = fs::read_to_string(file).expect("a result");
    let result: Value = serde_json::from_str(&result).expect("JSON");
    let sketch = LiquidLegions::new(sketch.0, sketch.1).expect("a sketch");
    let deviation =
        reach_standard_deviation(&sketch, PEOPLE, 1.0, discrete_gaussian_noise_variance(1.0, 1e-5));
    // Noise is drawn afresh each time: eight standard deviations, which chance exceeds once in 10^15 times.
    let reach = result["reach"].as_f64().expect("a reach");
    assert!((reach - PEOPLE).abs() <= 8.0 * deviation, "σ = {deviation}: {result}");
    for (frequency, share) in [("1", 70.0 / PEOPLE), ("2", 30.0 / PEOPLE), ("3", 60.0 / PEOPLE)] {
        let estimated = result["frequency"][frequency].as_f64().unwrap_or_default();
        // A count is off by 5, for which the shares of the others make up.
        assert!((estimated - share).abs() <= 8.0 * 2.0 * 5.0 / PEOPLE, "{result}");
    }
}

/// Below those that the system gives to callers, other ones than tests of other processes take, and none that holds one of
/// [`PORTS`]. One test of this process has the even ones (0) and one the odd ones (1).
pub fn free_ports(parity: u16) -> impl Iterator<Item = u16> {
    const POOL: std::ops::Range<u16> = 13_000..17_000;
    let first = std::process::id().wrapping_mul(97) % u32::from(POOL.end - POOL.start);
    let from = POOL.start + u16::try_from(first).unwrap_or_default();
    (from..POOL.end)
        .chain(POOL.start..from)
        .filter(move |port| port % 2 == parity)
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
}
