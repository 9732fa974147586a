//! The example `stage` on recorded requests of upstream's C++ core.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// For each protocol a recorded computation and its methods.
const CASES: [(&str, &[&str]); 4] = [
    (
        "llv2_3duchies_one_provider_small",
        &[
            "CombineElGamalPublicKeys",
            "EncryptSketch",
            "CompleteInitializationPhase",
            "CompleteSetupPhase",
            "CompleteExecutionPhaseOne",
            "CompleteExecutionPhaseOneAtAggregator",
            "CompleteExecutionPhaseTwo",
            "CompleteExecutionPhaseTwoAtAggregator",
            "CompleteExecutionPhaseThree",
            "CompleteExecutionPhaseThreeAtAggregator",
        ],
    ),
    (
        "rollv2_2duchies_no_noise",
        &[
            "EncryptSketch",
            "CompleteReachOnlyInitializationPhase",
            "CompleteReachOnlySetupPhase",
            "CompleteReachOnlySetupPhaseAtAggregator",
            "CompleteReachOnlyExecutionPhase",
            "CompleteReachOnlyExecutionPhaseAtAggregator",
        ],
    ),
    (
        "hmss_rf_one_provider_tiny",
        &[
            "GenerateSecretShares",
            "CompleteReachAndFrequencyShufflePhase",
            "CompleteReachAndFrequencyAggregationPhase",
        ],
    ),
    (
        "hmss_ro_no_noise_small_prime",
        &["GenerateSecretShares", "CompleteReachOnlyShufflePhase", "CompleteReachOnlyAggregationPhase"],
    ),
];

/// The program, which `cargo test` builds beside the tests.
fn stage(arguments: &[&Path]) -> std::io::Result<Output> {
    let deps = std::env::current_exe()?;
    let built = deps.ancestors().nth(2).map(|folder| folder.join("examples/stage")).unwrap_or_default();
    Command::new(built).args(arguments).output()
}

fn recorded(case: &str, method: &str) -> std::io::Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../halo-protocols/tests/vectors").join(case);
    let files: std::io::Result<Vec<PathBuf>> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    let suffix = format!("_{method}_");
    let is_request = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.contains(&suffix) && name.ends_with(".request.pb")
    };
    let mut requests: Vec<PathBuf> = files?.into_iter().filter(is_request).collect();
    requests.sort();
    Ok(requests)
}

#[test]
fn every_method_answers_a_recorded_request() -> TestResult {
    let folder = tempfile::tempdir()?;
    let response = folder.path().join("response.pb");
    for (case, method) in
        CASES.iter().flat_map(|(case, methods)| methods.iter().map(move |method| (case, *method)))
    {
        let request = recorded(case, method)?.into_iter().next().ok_or(method)?;
        let output = stage(&[Path::new(method), &request, &response])?;
        assert!(output.status.success(), "{case}, {method}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{method}");
        let theirs = std::fs::read(request.to_string_lossy().replace(".request.pb", ".response.pb"))?;
        let ours = std::fs::read(&response)?;
        match method {
            // A function of the request. The recorded one has its CPU time at the end.
            "CombineElGamalPublicKeys"
            | "CompleteExecutionPhaseThree"
            | "CompleteReachAndFrequencyShufflePhase"
            | "CompleteReachOnlyShufflePhase"
            | "CompleteReachOnlyAggregationPhase" => {
                assert!(theirs.starts_with(&ours) && !ours.is_empty(), "{method}");
            }
            // Keys and CPU time vary in length.
            "CompleteInitializationPhase" | "CompleteReachOnlyInitializationPhase" => {
                assert!(ours.len().abs_diff(theirs.len()) < 8, "{method}")
            }
            // Random content, or a map in any order.
            _ => assert!(theirs.len() >= ours.len() && theirs.len() - ours.len() < 8, "{method}"),
        }
    }
    Ok(())
}

#[test]
fn an_invalid_request_ends_with_one_line() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (request, response) = (folder.path().join("request.pb"), folder.path().join("response.pb"));
    let refused = |method: &str, bytes: &[u8], about: &str| -> TestResult {
        std::fs::write(&request, bytes)?;
        let output = stage(&[Path::new(method), &request, &response])?;
        let line = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains(about), "{line}");
        assert!(!response.exists());
        Ok(())
    };
    refused("CompleteInitializationPhase", &[], "curve id 0 is not supported")?;
    refused("CompleteInitializationPhase", &[0xff], "decode")?;
    refused("CompleteSetupPhase", &[0x0a, 3, b'a', b'b', b'c', 0x20, 5], "records of 198")?;
    refused("CompleteNothing", &[], "no such method")?;
    assert_eq!(stage(&[Path::new("CompleteSetupPhase")])?.status.code(), Some(1));
    Ok(())
}
