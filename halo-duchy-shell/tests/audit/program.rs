//! A process that keeps an audit log, and the command that verifies it.

use std::path::Path;
use std::process::{Command, Output};

use halo_duchy_shell::pki::{Pki, PkiSpec};

use crate::single::lost_herald;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_halo-duchy"))
}

/// Runs a herald that ends by itself, because nobody listens where it is told to call; what it logs.
fn herald_log(folder: &Path, more: &[String]) -> String {
    let dir = folder.join("pki");
    let pki = match dir.exists() {
        true => Pki::at(&dir),
        false => Pki::create(&PkiSpec::default(), &dir).expect("a sound spec"),
    };
    let output = lost_herald(&pki).args(more).output().expect("the program runs");
    assert!(!output.status.success(), "nobody listens");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn verify(path: &Path, more: &[&str]) -> Output {
    program().args(["audit", "verify"]).arg(path).args(more).output().expect("the program runs")
}

#[test]
fn a_process_keeps_a_log_that_can_be_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let flags = [format!("--audit-log={}", path.display()), "--insecure-dev-allow-no-noise".to_owned()];
    for _ in 0..2 {
        let log = herald_log(folder.path(), &flags);
        assert!(log.contains("the audit log is kept"), "{log}");
    }
    let text = std::fs::read_to_string(&path).expect("a log");
    let events = ["log.opened", "insecure.flag", "log.closed"].map(|event| format!(r#""event":"{event}""#));
    assert_eq!(text.lines().count(), 2 * events.len(), "{text}");
    for (line, event) in text.lines().zip(events.iter().cycle()) {
        assert!(
            line.contains(event) && line.contains(r#""process":"herald","duchy":"aggregator""#),
            "{line}"
        );
    }

    let sound = verify(&path, &[]);
    let told = String::from_utf8(sound.stdout).expect("text");
    assert!(sound.status.success() && told.contains(": 6 records from 2"), "{told}");
    let head = told.trim_end().rsplit(' ').next().expect("a hash").to_owned();
    assert!(verify(&path, &["--expect-hash", &head]).status.success());

    let without_last: String = text.split_inclusive('\n').take(5).collect();
    std::fs::write(&path, &without_last).expect("written");
    assert!(verify(&path, &[]).status.success(), "nothing shows by itself");
    let cut = verify(&path, &["--expect-hash", &head]);
    assert_eq!(cut.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&cut.stderr).contains("was cut off"), "{cut:?}");

    std::fs::write(&path, text.replacen("insecure.flag", "configuration", 1)).expect("written");
    let altered = verify(&path, &[]);
    assert_eq!(altered.status.code(), Some(1));
    let why = String::from_utf8_lossy(&altered.stderr).into_owned();
    assert!(why.contains("audit.log, line 2: altered"), "{why}");
}

#[test]
fn a_process_without_a_log_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = herald_log(folder.path(), &[]);
    assert!(log.contains("no audit log is kept: --audit-log is not given"), "{log}");
}
