//! A PostgreSQL server, one for a test process, and databases in it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use halo_duchy_shell::store::postgres::PostgresAddress;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_postgres::{Client, NoTls};

/// Of the user `duchy`, by TCP.
pub const PASSWORD: &str = "secret";

/// A running server, which ends with the process.
pub struct Server {
    port: u16,
    /// Where its socket is. It goes when the server ends.
    folder: PathBuf,
    databases: AtomicU32,
    output: BufReader<ChildStdout>,
    /// Its standard input is open as long as this process lives, and no longer: that is what it waits for.
    process: Child,
}

impl Server {
    /// Starts one; without PostgreSQL on the machine, `None`, told to `.ci/run`.
    pub fn start() -> Option<Self> {
        let certificates = certificates();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/postgres.sh");
        let mut process = Command::new(script)
            .args(["server.pem", "server.key"].map(|file| certificates.path().join(file)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the script that starts PostgreSQL");
        let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut place = String::new();
        output.read_line(&mut place).expect("output");
        let Some((port, folder)) = place.trim().split_once(' ') else {
            let mut reason = String::new();
            process.stderr.take().expect("a pipe").read_to_string(&mut reason).expect("text");
            let status = process.wait().expect("an exit status");
            assert_eq!(status.code(), Some(77), "{reason}");
            skipped(&reason);
            return None;
        };
        let (port, folder) = (port.parse().expect("a port"), PathBuf::from(folder));
        for file in ["authority.pem", "other.pem"] {
            std::fs::copy(certificates.path().join(file), folder.join(file)).expect("a copy");
        }
        Some(Self { port, folder, databases: AtomicU32::new(0), output, process })
    }

    /// Creates an empty database, whose language does not order text by its bytes.
    pub async fn database(&self) -> String {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let language = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'";
        let create = format!("CREATE DATABASE {name} {language}");
        self.client("postgres").await.batch_execute(&create).await.expect("a database");
        name
    }

    /// Its address by the socket.
    pub fn address(&self, database: &str) -> PostgresAddress {
        let text = format!("postgres://duchy@:{}/{database}?host={}", self.port, self.folder.display());
        text.parse().expect("an address")
    }

    /// Its address by TCP; `credentials` stand before the host, `parameters` behind it.
    pub fn tcp_address(&self, credentials: &str, database: &str, parameters: &str) -> PostgresAddress {
        let text = format!("postgres://{credentials}@localhost:{}/{database}{parameters}", self.port);
        text.parse().expect("an address")
    }

    /// The port of the loopback interface that it listens on.
    #[allow(dead_code, reason = "not every test goes past the addresses")]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection past the store, as another program has it.
    pub async fn client(&self, database: &str) -> Client {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.folder).port(self.port).user("duchy").dbname(database);
        let (client, connection) = config.connect(NoTls).await.expect("the server");
        tokio::spawn(connection);
        client
    }

    /// The authority that the server's certificate for `localhost` is from.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// Another authority.
    pub fn other_authority(&self) -> PathBuf {
        self.folder.join("other.pem")
    }

    /// Stops it as a crash does, and starts it again.
    pub fn restart(&mut self) {
        self.process.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("the script");
        let mut done = String::new();
        self.output.read_line(&mut done).expect("output");
        assert_eq!(done, "restarted\n");
    }

    /// Ends it before the process ends.
    pub fn stop(mut self) {
        drop(self.process.stdin.take());
        self.process.wait().expect("an exit status");
    }
}

/// Files of two authorities, and of a certificate for `localhost` that one of them has issued.
fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    let write = |file: &str, text: String| std::fs::write(folder.path().join(file), text).expect("a file");
    let authority = authority();
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    write("server.pem", server.signed_by(&key, &authority).expect("a certificate").pem());
    write("server.key", key.serialize_pem());
    write("authority.pem", authority.pem());
    write("other.pem", self::authority().pem());
    folder
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// Not by `eprintln!`, which libtest swallows.
pub fn skipped(reason: &str) {
    let line = format!("SKIPPED postgresql: {}\n", reason.lines().next().unwrap_or_default());
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}
