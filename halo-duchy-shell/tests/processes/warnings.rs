//! What a process says when it is started in a way that is not safe.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use halo_duchy_shell::pki::{Pki, PkiSpec};

/// The first lines that a herald of the aggregator logs, until it stops logging or says `awaited`.
fn log_until(awaited: &str, more: &[&str]) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let pki = Pki::create(&PkiSpec::default(), &folder.path().join("pki")).expect("a sound spec");
    let tls = pki.tls("aggregator");
    let files = [
        ("tls-cert-file", tls.cert),
        ("tls-key-file", tls.key),
        ("cert-collection-file", tls.collection),
        ("duchy-info-config", pki.duchy_cert_config()),
        ("protocols-setup-config", pki.protocols_setup("aggregator")),
    ];
    let child = Command::new(env!("CARGO_BIN_EXE_halo-duchy"))
        .arg("herald")
        .args(files.map(|(flag, path)| format!("--{flag}={}", path.display())))
        .arg("--duchy-name=aggregator")
        // Nobody listens there, so it ends by itself.
        .args(["--computations-service-target=127.0.0.1:9", "--computations-service-cert-host=localhost"])
        .args(["--computations-default-deadline=1s", "--kingdom-system-api-target=127.0.0.1:9"])
        .args(more)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
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

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_herald_that_allows_no_noise_says_so() {
    let warning = "WARN halo_duchy_shell::cli::herald: --insecure-dev-allow-no-noise:";
    let (warned, log) = log_until(warning, &["--insecure-dev-allow-no-noise"]);
    assert!(warned, "{log}");
    let (warned, log) = log_until("no-noise", &[]);
    assert!(!warned, "{log}");
    assert!(log.contains("halo-duchy:"), "it ended, and told why: {log}");
}
