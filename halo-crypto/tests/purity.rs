//! The crate does no I/O: not in its sources, and not through what it depends on.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the test reads the sources and asks cargo"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// What would reach past the arguments of a function.
const FORBIDDEN: [&str; 14] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time",
    "SystemTime",
    "Instant::now",
    "OsRng",
    "SysRng",
    "getrandom",
    "thread_rng",
    "rand::rng",
];

/// Crates that do I/O, draw randomness from the system, or keep the time.
const FORBIDDEN_CRATES: [&str; 12] = [
    "async-std",
    "chrono",
    "getrandom",
    "hyper",
    "mio",
    "object_store",
    "reqwest",
    "rusqlite",
    "socket2",
    "time",
    "tokio",
    "tonic",
];

/// The sources below `folder` without those of tests, which may measure the time.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_sources_name_nothing_outside() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 10, "the sources are somewhere else");
    let mut offences = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source in UTF-8");
        for (number, line) in text.lines().enumerate() {
            for forbidden in FORBIDDEN.iter().filter(|forbidden| line.contains(**forbidden)) {
                offences.push(format!("{}:{}: {forbidden}", file.display(), number + 1));
            }
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn no_dependency_does_io() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("names in UTF-8");
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"p256"), "not the tree of this crate: {names:?}");
    for forbidden in FORBIDDEN_CRATES {
        assert!(!names.contains(&forbidden), "{forbidden} is among the dependencies");
    }
}
