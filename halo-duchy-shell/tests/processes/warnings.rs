//! What a process says when it is started in a way that is not safe.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use halo_duchy_shell::pki::{Pki, PkiSpec};

use crate::single::{Killed, lost_herald};

/// The first lines that such a herald logs, until it stops logging or says `awaited`.
fn log_until(awaited: &str, more: &[&str]) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let pki = Pki::create(&PkiSpec::default(), &folder.path().join("pki")).expect("a sound spec");
    let child = lost_herald(&pki).args(more).stderr(Stdio::piped()).spawn().expect("the program runs");
    let mut herald = Killed(child);
    let lines = BufReader::new(herald.0.stderr.take().expect("piped")).lines();
    let mut log = String::new();
    for line in lines.map_while(Result::ok) {
        log += &line;
        log.push('\n');
        if line.contains(awaited) {
            return (true, log);
        }
    }
    (false, log)
}

#[test]
fn a_herald_that_allows_no_noise_says_so() {
    let warning = "WARN halo_duchy_shell::cli::options: --insecure-dev-allow-no-noise:";
    let (warned, log) = log_until(warning, &["--insecure-dev-allow-no-noise"]);
    assert!(warned, "{log}");
    let (warned, log) = log_until("no-noise", &[]);
    assert!(!warned, "{log}");
    assert!(log.contains("halo-duchy:"), "it ended, and told why: {log}");
}
