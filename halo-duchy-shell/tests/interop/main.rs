//! Our signatures, certificates and envelopes against independent implementations: OpenSSL's command line and Tink's
//! library for Go.

mod openssl;
mod tink;

use std::io::Write;

/// Tells `.ci/run` that a test could not run here. Not by `eprintln!`, which libtest swallows.
fn skipped(name: &str, reason: &str) {
    let line = format!("SKIPPED {name}: {}\n", reason.lines().next().unwrap_or_default());
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}
