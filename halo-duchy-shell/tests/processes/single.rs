//! Processes that tests start by themselves, outside a fleet.

use std::path::Path;
use std::process::{Child, Command};

use halo_duchy_shell::pki::Pki;

/// A process that is killed when this is dropped.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The flags of whatever part of a duchy.
pub fn part_flags(pki: &Pki, duchy: &str) -> Vec<String> {
    let tls = pki.tls(duchy);
    vec![
        format!("--tls-cert-file={}", tls.cert.display()),
        format!("--tls-key-file={}", pki.tls_key(duchy).display()),
        format!("--cert-collection-file={}", tls.collection.display()),
        format!("--duchy-name={duchy}"),
    ]
}

/// The flags of the internal API server of worker1, with its database in `folder`, but for its ports. It needs nobody to
/// run.
pub fn internal_api_flags(pki: &Pki, folder: &Path) -> Vec<String> {
    let mut flags = part_flags(pki, "worker1");
    flags.push(format!("--blob-directory={}", folder.join("blobs").display()));
    flags.push(format!("--store=sqlite:{}", folder.join("duchy.sqlite").display()));
    flags.push("--kingdom-system-api-target=127.0.0.1:9".into());
    flags
}

/// The internal API server of worker1 on ports of the system's choice.
pub fn internal_api(pki: &Pki, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halo-duchy"));
    command.arg("internal-api-server").args(internal_api_flags(pki, folder));
    command.args(["--port=0", "--health-port=0"]);
    command
}

/// A herald of the aggregator that ends by itself, because nobody listens where it is told to call.
pub fn lost_herald(pki: &Pki) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halo-duchy"));
    command
        .arg("herald")
        .args(part_flags(pki, "aggregator"))
        .arg(format!("--duchy-info-config={}", pki.duchy_cert_config().display()))
        .arg(format!("--protocols-setup-config={}", pki.protocols_setup("aggregator").display()))
        .args(["--computations-service-target=127.0.0.1:9", "--computations-service-cert-host=localhost"])
        .args(["--computations-default-deadline=1s", "--kingdom-system-api-target=127.0.0.1:9"]);
    command
}
