//! One duchy's servers and a development Kingdom, each a process of its own, and callers with certificates.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use halo_duchy_shell::client::{Channel, channel};
use halo_duchy_shell::pki::{Pki, PkiSpec};

const PROGRAM: &str = env!("CARGO_BIN_EXE_halo-duchy");

/// How long a process may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The duchies; the first one aggregates.
pub const DUCHIES: [&str; 3] = ["aggregator", "worker1", "worker2"];
/// Whom TLS lets in, but no configuration knows.
pub const STRANGER: &str = "stranger";
/// The most bytes of a body, of requisitions and of peers.
pub const MAX_BYTES: usize = 20_000;

/// A process that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Kingdom,
    InternalApi,
    AsyncControl,
    Control,
    Fulfillment,
}

impl Part {
    pub const ALL: [Self; 5] =
        [Self::Kingdom, Self::InternalApi, Self::AsyncControl, Self::Control, Self::Fulfillment];

    pub const fn subcommand(self) -> &'static str {
        match self {
            Self::Kingdom => "kingdom",
            Self::InternalApi => "internal-api-server",
            Self::AsyncControl => "async-computation-control-server",
            Self::Control => "computation-control-server",
            Self::Fulfillment => "requisition-fulfillment-server",
        }
    }
}

/// The processes around one duchy. They are killed when this is dropped.
pub struct World {
    folder: tempfile::TempDir,
    pub duchy: &'static str,
    pub pki: Pki,
    ports: [u16; 5],
    processes: Mutex<Vec<Child>>,
    next: AtomicU64,
}

impl World {
    /// Starts the servers of `duchy` and a Kingdom, and waits until they listen.
    pub fn start(duchy: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Pki::create(&PkiSpec::default(), &folder.path().join("pki")).expect("a sound spec");
        add_stranger(&pki, folder.path());
        let listeners = [(); 5].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
        let ports = listeners.map(|listener| listener.local_addr().expect("an address").port());
        let next = AtomicU64::new(1);
        let world = Self { folder, duchy, pki, ports, processes: Mutex::default(), next };
        for part in Part::ALL {
            world.spawn(part);
        }
        world.wait();
        world
    }

    /// Where a process listens.
    pub fn address(&self, part: Part) -> String {
        format!("127.0.0.1:{}", self.ports[part as usize])
    }

    /// A channel to a process, with the certificate of `party`.
    pub fn channel(&self, part: Part, party: &str) -> Channel {
        let tls = self.pki.tls(party).load().expect("own files");
        channel(&tls, &self.address(part), Some("localhost")).expect("a target")
    }

    /// A text that nothing else in this world has.
    pub fn fresh(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The number of objects in the duchy's blob store, unfinished ones too.
    pub fn blobs(&self) -> usize {
        let (mut count, mut folders) = (0, vec![self.home("blobs")]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.expect("readable").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => count += 1,
                }
            }
        }
        count
    }

    /// Kills a process.
    pub fn kill(&self, part: Part) {
        let process = &mut self.processes()[part as usize];
        process.kill().expect("it runs");
        process.wait().expect("it ends");
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Child>> {
        self.processes.lock().expect("no panic elsewhere")
    }

    fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn spawn(&self, part: Part) {
        let log = fs::File::create(self.home(part.subcommand())).expect("a log");
        let child = Command::new(PROGRAM)
            .arg(part.subcommand())
            .args(self.flags(part))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program runs");
        self.processes().push(child);
    }

    fn wait(&self) {
        let start = Instant::now();
        for part in Part::ALL {
            while TcpStream::connect(self.address(part)).is_err() {
                let ended = self.processes()[part as usize].try_wait().expect("a child");
                let log = || fs::read_to_string(self.home(part.subcommand())).unwrap_or_default();
                assert!(ended.is_none() && start.elapsed() < PATIENCE, "{part:?} {ended:?}: {}", log());
                sleep(Duration::from_millis(20));
            }
        }
    }

    fn flags(&self, part: Part) -> Vec<String> {
        let mut flags = vec![
            "--listen-address=127.0.0.1".to_owned(),
            "--health-port=0".to_owned(),
            format!("--port={}", self.ports[part as usize]),
        ];
        let folder = self.home("pki");
        if part == Part::Kingdom {
            flags.push(format!("--pki={}", folder.display()));
            flags.push("--stream-throttle=0s".to_owned());
            flags.push("--insecure-dev-faults".to_owned());
            return flags;
        }
        let tls = self.pki.tls(self.duchy);
        let mut path = |flag: &str, path: PathBuf| flags.push(format!("--{flag}={}", path.display()));
        path("tls-cert-file", tls.cert);
        path("tls-key-file", self.pki.tls_key(self.duchy));
        path("cert-collection-file", tls.collection);
        match part {
            Part::Kingdom => {}
            Part::InternalApi => {
                path("store", format!("sqlite:{}", self.home("computations.sqlite").display()).into());
            }
            Part::AsyncControl | Part::Control => path("duchy-info-config", self.pki.duchy_cert_config()),
            Part::Fulfillment => {
                path("authority-key-identifier-to-principal-map-file", self.pki.principal_map());
            }
        }
        if part != Part::AsyncControl {
            path("blob-directory", self.home("blobs"));
        }
        flags.push(format!("--duchy-name={}", self.duchy));
        let mut service = |name: &str, part| {
            flags.push(format!("--{name}-target={}", self.address(part)));
            flags.push(format!("--{name}-cert-host=localhost"));
        };
        match part {
            Part::Kingdom => {}
            Part::InternalApi => service("kingdom-system-api", Part::Kingdom),
            Part::AsyncControl => service("computations-service", Part::InternalApi),
            Part::Control => {
                service("computations-service", Part::InternalApi);
                service("async-computation-control-service", Part::AsyncControl);
                flags.push(format!("--max-advance-bytes={MAX_BYTES}"));
            }
            Part::Fulfillment => {
                service("computations-service", Part::InternalApi);
                service("kingdom-system-api", Part::Kingdom);
                flags.push(format!("--max-requisition-bytes={MAX_BYTES}"));
            }
        }
        flags
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for process in self.processes().iter_mut() {
            // It may have ended, and then there is nothing to kill.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Makes a party whose root is trusted, and which no configuration knows.
fn add_stranger(pki: &Pki, folder: &Path) {
    let spec = PkiSpec { data_providers: vec![STRANGER.into()], ..PkiSpec::default() };
    let others = Pki::create(&spec, &folder.join("others")).expect("a sound spec");
    let root = fs::read_to_string(folder.join(format!("others/{STRANGER}_root.pem"))).expect("just written");
    let collection = fs::read_to_string(pki.collection()).expect("just written");
    fs::write(pki.collection(), collection + &root).expect("writable");
    let (from, to) = (others.tls(STRANGER), pki.tls(STRANGER));
    fs::copy(from.cert, to.cert).expect("copied");
    fs::copy(others.tls_key(STRANGER), pki.tls_key(STRANGER)).expect("copied");
}
