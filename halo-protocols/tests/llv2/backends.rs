//! A test once more on each backend of P-256 that the process does not use: in a process of its own, for the choice is
//! made once.

use std::io::Write;
use std::process::Command;

use halo_crypto::Backend;

/// By which the parent tells the child its backend, as a person tells `halo-duchy`.
const VARIABLE: &str = "HALO_BACKEND";

/// Runs the test of this name, an ignored one that calls [`choose`] first.
pub fn repeat_on_the_others(test: &str) {
    for backend in Backend::ALL.into_iter().filter(|backend| *backend != Backend::active()) {
        if !backend.is_available() {
            // Past libtest, which would swallow it.
            let _ = writeln!(std::io::stderr(), "SKIPPED backend-{backend}: the processor cannot run it");
            continue;
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env(VARIABLE, backend.name())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "on {backend}: {printed}");
        assert!(
            printed.contains(&format!("backend: {backend}\n")),
            "{test} did not run on {backend}: {printed}"
        );
    }
}

/// Lets the backend that the variable names compute, if there is one.
pub fn choose() {
    if let Ok(name) = std::env::var(VARIABLE) {
        name.parse::<Backend>().unwrap().force().unwrap();
    }
    println!("backend: {}", Backend::active());
}
