//! The examples that embed the state machines come to an end, with an estimate that noise allows.

use std::collections::BTreeMap;
use std::process::Command;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// What an example prints.
fn run(example: &str) -> Result<String, Box<dyn std::error::Error>> {
    // `cargo test` builds the examples beside the tests.
    let deps = std::env::current_exe()?;
    let built = deps.ancestors().nth(2).ok_or("no build folder")?.join("examples").join(example);
    let output = Command::new(built).output()?;
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The reach among the last lines, and the share of each frequency.
fn result(printed: &str) -> Option<(f64, BTreeMap<u32, f64>)> {
    let (_, result) = printed.split_once("reach: ")?;
    let mut lines = result.lines();
    let reach = lines.next()?.split(' ').next()?.parse().ok()?;
    let share = |line: &str| {
        let (frequency, share) = line.strip_prefix("frequency ")?.split_once(": ")?;
        Some((frequency.parse().ok()?, share.parse().ok()?))
    };
    Some((reach, lines.map(share).collect::<Option<_>>()?))
}

/// 1,500 people: a third of them is seen once, a half twice, a sixth three times.
#[test]
fn the_state_machines_can_be_embedded() -> TestResult {
    // Noise is drawn afresh each time: eight standard deviations, which chance exceeds once in 10^15 times.
    for (example, deviation) in [("embed_llv2", 12.0), ("custom_transport", 12.0), ("embed_hmss", 6.0)] {
        let printed = run(example)?;
        let (reach, shares) = result(&printed).ok_or_else(|| format!("no result in {printed}"))?;
        assert!((reach - 1500.0_f64).abs() <= 8.0 * deviation, "{printed}");
        for (frequency, expected) in (1..=5).zip([1.0 / 3.0, 1.0 / 2.0, 1.0 / 6.0, 0.0, 0.0]) {
            let share = shares.get(&frequency).copied().unwrap_or(0.0);
            assert!((share - expected).abs() <= 0.08, "{printed}");
        }
    }
    Ok(())
}
