//! A server that a script runs for as long as its standard input is open.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

/// A running server, which ends with the process that started it.
pub struct Script {
    /// What the script printed once the server listened: its address.
    pub address: String,
    /// Its standard input is open as long as this process lives, and no longer: that is what it waits for.
    server: Child,
}

impl Script {
    /// Runs `script` of this folder. If the machine has not what it needs, `None`, told to `.ci/run` under `name`.
    pub fn start(script: &str, arguments: &[&str], name: &str) -> Option<Self> {
        let mut server = Command::new(format!("{}/tests/servers/{script}", env!("CARGO_MANIFEST_DIR")))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the script that starts the server");
        let mut address = String::new();
        let output = server.stdout.as_mut().expect("a pipe");
        BufReader::new(output).read_line(&mut address).expect("output");
        if address.is_empty() {
            let mut reason = String::new();
            server.stderr.take().expect("a pipe").read_to_string(&mut reason).expect("text");
            let status = server.wait().expect("an exit status");
            assert_eq!(status.code(), Some(77), "{reason}");
            // Not by `eprintln!`, which libtest swallows.
            let line = format!("SKIPPED {name}: {}\n", reason.lines().next().unwrap_or_default());
            std::io::stderr().write_all(line.as_bytes()).expect("standard error");
            return None;
        }
        Some(Self { address: address.trim().to_owned(), server })
    }

    /// Ends it before the process ends.
    #[allow(dead_code, reason = "for those who test what happens then")]
    pub fn stop(mut self) {
        drop(self.server.stdin.take());
        self.server.wait().expect("an exit status");
    }
}
