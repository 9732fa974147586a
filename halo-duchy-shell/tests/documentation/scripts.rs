//! The scripts that no test runs, `.ci/release` above all, are scripts, and what they name is there.

use std::fs;
use std::process::Command;

use crate::assert_none;
use crate::cargo;
use crate::pages;

/// Every script of the repository, with its text.
fn scripts() -> Vec<(String, String)> {
    let script = |path: String| {
        let text = fs::read_to_string(pages::root().join(&path)).ok()?;
        (text.starts_with("#!/usr/bin/env bash") || path.ends_with(".sh")).then_some((path, text))
    };
    pages::files("").into_iter().filter_map(script).collect()
}

#[test]
fn bash_understands_every_script() {
    let scripts = scripts();
    assert!(scripts.iter().any(|(path, _)| path == ".ci/release"), "{scripts:?}");
    let mut wrong = Vec::new();
    for (path, _) in scripts {
        let output = Command::new("bash").arg("-n").arg(pages::root().join(&path)).output().expect("bash");
        if !output.status.success() {
            wrong.push(format!("{path}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert_none(&wrong);
}

#[test]
fn what_scripts_name_exists() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in scripts() {
        for words in pages::simple_commands(&text) {
            let files = words.iter().filter(|word| !word.contains('$') && !word.starts_with('-'));
            for file in files.filter(|word| word.starts_with(".ci/") || word.ends_with("/Cargo.toml")) {
                seen += 1;
                if !pages::root().join(file).exists() {
                    wrong.push(format!("{path}: there is no {file}"));
                }
            }
            // What a variable holds is known to bash alone.
            let Some(at) = words.iter().position(|word| word == "cargo") else { continue };
            if !words.iter().any(|word| word.contains('$')) {
                seen += 1;
                let missing = cargo::missing(&words[at + 1..]);
                wrong.extend(missing.map(|why| format!("{path}: {}: {why}", words.join(" "))));
            }
        }
    }
    assert_none(&wrong);
    assert!(seen > 10, "only {seen} names were found");
}
