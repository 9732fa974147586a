//! The processes of a whole system on loopback ports.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::settings::{DELTA, EPSILON, Settings};

const PROGRAM: &str = env!("CARGO_BIN_EXE_halo-duchy");
pub const DUCHIES: [&str; 3] = ["aggregator", "worker1", "worker2"];
const KINGDOM: &str = "kingdom";
/// All parts of a duchy in one process.
const SERVE: &str = "serve";

/// How long a process may take to start, to end, or to see a measurement through.
const PATIENCE: Duration = Duration::from_secs(120);
const GLANCE: Duration = Duration::from_millis(50);

/// A process of a duchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    InternalApi,
    AsyncControl,
    Control,
    Fulfillment,
    Herald,
    Llv2Mill,
    HmssMill,
}

impl Part {
    /// Callers before those they call, so that stopping in this order disturbs nobody.
    pub const ALL: [Self; 7] = [
        Self::Llv2Mill,
        Self::HmssMill,
        Self::Herald,
        Self::Fulfillment,
        Self::Control,
        Self::AsyncControl,
        Self::InternalApi,
    ];

    const SERVERS: [Self; 4] = [Self::InternalApi, Self::AsyncControl, Self::Control, Self::Fulfillment];

    fn subcommand(self) -> &'static str {
        match self {
            Self::InternalApi => "internal-api-server",
            Self::AsyncControl => "async-computation-control-server",
            Self::Control => "computation-control-server",
            Self::Fulfillment => "requisition-fulfillment-server",
            Self::Herald => "herald",
            Self::Llv2Mill => "llv2-mill",
            Self::HmssMill => "hmss-mill",
        }
    }
}

struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// Everybody's processes. They are killed when this is dropped.
pub struct Fleet {
    folder: TempDir,
    kingdom: u16,
    /// For each of [`DUCHIES`], the ports of [`Part::SERVERS`].
    ports: Vec<[u16; 4]>,
    publishers: Vec<String>,
    /// A duchy that is one process.
    whole: Option<&'static str>,
    /// Variables of every process.
    environment: Vec<(&'static str, String)>,
    settings: Settings,
    processes: Vec<Process>,
}

impl Fleet {
    /// Starts everybody and waits until all servers listen. The events are those of `publishers`, each of which is a
    /// data provider that hands its data to a duchy of its own. The duchy `whole` is one process.
    pub fn start(settings: Settings, events: &str, publishers: &[&str], whole: Option<&'static str>) -> Self {
        Self::start_in(Vec::new(), settings, events, publishers, whole)
    }

    /// As [`Fleet::start`], with variables for every process.
    pub fn start_in(
        environment: Vec<(&'static str, String)>,
        settings: Settings,
        events: &str,
        publishers: &[&str],
        whole: Option<&'static str>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("events.csv"), events).expect("the log is written");
        let mut ports = free_ports(1 + 4 * DUCHIES.len()).into_iter();
        let mut fleet = Self {
            kingdom: ports.next().expect("a port"),
            ports: DUCHIES.iter().map(|_| std::array::from_fn(|_| ports.next().expect("a port"))).collect(),
            publishers: publishers.iter().map(|name| String::from(*name)).collect(),
            whole,
            environment,
            settings,
            processes: Vec::new(),
            folder,
        };
        let pki = [
            format!("--out={}", fleet.pki("").display()),
            format!("--duchies={}", DUCHIES.join(",")),
            format!("--data-providers={}", publishers.join(",")),
        ];
        fleet.tool("pki", &pki);
        fleet.start_kingdom();
        for part in Part::SERVERS {
            fleet.start_part(part);
        }
        for (index, duchy) in DUCHIES.iter().enumerate().filter(|(_, duchy)| Some(**duchy) == whole) {
            let flags = fleet.serve_flags(duchy, index);
            fleet.spawn(&format!("{duchy}-{SERVE}"), SERVE, &flags);
        }
        fleet.await_servers();
        fleet.start_part(Part::Herald);
        fleet.start_part(Part::Llv2Mill);
        fleet.start_part(Part::HmssMill);
        for (index, publisher) in publishers.iter().enumerate() {
            let flags = fleet.data_provider_flags(publisher, index);
            fleet.spawn(publisher, "edp", &flags);
        }
        fleet
    }

    /// Starts the Kingdom, from what it remembers if it ran before.
    fn start_kingdom(&mut self) {
        let mut flags = self.server_flags(self.kingdom);
        flags.push(format!("--pki={}", self.pki("").display()));
        flags.push(format!("--database={}", self.folder.path().join("kingdom.sqlite").display()));
        flags.push("--stream-throttle=20ms".into());
        flags.push("--insecure-dev-faults".into());
        flags.extend(self.settings.kingdom_flags());
        self.spawn(KINGDOM, KINGDOM, &flags);
    }

    /// Ends the Kingdom without warning (SIGKILL) and starts it again.
    pub fn restart_kingdom(&mut self) {
        self.processes.retain(|process| process.name != KINGDOM);
        self.start_kingdom();
        self.await_server(self.kingdom);
    }

    /// Has the measurement of this index computed as `settings` say.
    pub fn plan(&self, index: usize, settings: Settings) {
        let mut flags = vec![
            "--measurement-consumer=measurementConsumers/mc".to_owned(),
            format!("--request-id=measurement-{index}"),
        ];
        flags.extend(settings.kingdom_flags());
        self.kingdom("plan", &flags);
    }

    /// Runs a command to the Kingdom, which must succeed; the JSON that it prints.
    pub fn kingdom(&self, command: &str, flags: &[String]) -> Vec<Value> {
        let target = [
            command.to_owned(),
            format!("--pki={}", self.pki("").display()),
            format!("--target=127.0.0.1:{}", self.kingdom),
        ];
        let output = self.tool(KINGDOM, &[&target[..], flags].concat());
        let printed = String::from_utf8(output.stdout).expect("text");
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Starts a part of every duchy.
    fn start_part(&mut self, part: Part) {
        let whole = self.whole;
        for (index, duchy) in DUCHIES.iter().enumerate().filter(|(_, duchy)| Some(**duchy) != whole) {
            let flags = self.part_flags(part, duchy, index);
            self.spawn(&part_name(duchy, part), part.subcommand(), &flags);
        }
    }

    /// Asks for a measurement of everybody's data; its name.
    pub fn create(&self, index: usize, metric: &[&str]) -> String {
        let mut flags = vec!["create".to_owned()];
        flags.extend(self.consumer_flags());
        flags.extend(metric.iter().map(|flag| String::from(*flag)));
        flags.push(format!("--reach-privacy-epsilon={EPSILON}"));
        flags.push(format!("--reach-privacy-delta={DELTA}"));
        flags.push(format!("--request-id=measurement-{index}"));
        for publisher in &self.publishers {
            let key = self.pki(&format!("{publisher}_enc_hpke_public.tink"));
            flags.push(format!("--data-provider=dataProviders/{publisher}/certificates/1={}", key.display()));
        }
        let output = self.tool("measurement", &flags);
        String::from_utf8(output.stdout).expect("a name").trim().to_owned()
    }

    /// Waits for the result of a measurement.
    pub fn watch(&self, measurement: &str) -> Value {
        let mut flags = vec!["watch".to_owned()];
        flags.extend(self.consumer_flags());
        flags.push(format!("--measurement={measurement}"));
        flags.push("--polling-delay=100ms".into());
        let output = self.tool("measurement", &flags);
        serde_json::from_slice(&output.stdout).expect("a result")
    }

    /// Tells everything of every duchy to stop, and sees that it ends in order.
    pub fn stop(&mut self) {
        let parts = Part::ALL.map(Part::subcommand).into_iter().chain([SERVE]);
        for name in parts.flat_map(|part| DUCHIES.map(|duchy| format!("{duchy}-{part}"))) {
            self.stop_process(&name);
        }
    }

    /// Tells the Kingdom to stop, too.
    pub fn stop_kingdom(&mut self) {
        self.stop_process(KINGDOM);
    }

    /// Tells a process to stop, if there is one of the name, and sees that it ends in order.
    fn stop_process(&mut self, name: &str) {
        let Some(at) = self.processes.iter().position(|process| process.name == name) else { return };
        let mut process = self.processes.remove(at);
        let pid = process.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(told.success(), "{name} has ended before");
        assert!(process.wait(), "{name}: {}", process.log());
    }

    /// Runs a mill of a duchy as a job, for work that nobody has; how it ended. Its internal API is the duchy's, or at
    /// another port. More variables may be set.
    pub fn mill_job(&self, duchy: &str, internal: Option<u16>, environment: &[(&str, &str)]) -> Output {
        let index = DUCHIES.iter().position(|known| *known == duchy).expect("a duchy");
        let mut flags = self.part_flags(Part::Llv2Mill, duchy, index);
        if let Some(port) = internal {
            flags.retain(|flag| !flag.starts_with("--computations-service-target="));
            flags.push(format!("--computations-service-target=127.0.0.1:{port}"));
        }
        flags.push("--claimed-computation-type=LIQUID_LEGIONS_SKETCH_AGGREGATION_V2".into());
        flags.extend(["--claimed-computation-id=nobody".into(), "--claimed-computation-version=1".into()]);
        let program = Command::new("timeout")
            .arg(PATIENCE.as_secs().to_string())
            .args([PROGRAM, Part::Llv2Mill.subcommand()])
            .args(flags)
            .envs(self.environment.iter().cloned())
            .envs(environment.iter().copied())
            .output();
        program.expect("the program runs")
    }

    /// The file of a duchy's computations.
    pub fn database(&self, duchy: &str) -> PathBuf {
        self.folder.path().join(duchy).join("computations.sqlite")
    }

    /// All that the processes have logged.
    pub fn whole_logs(&self) -> String {
        let files = fs::read_dir(self.folder.path()).expect("the folder").flatten();
        let logs =
            files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|kind| kind == "log"));
        logs.map(|path| read(&path)).collect()
    }

    /// The keys that the parties were given.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.pki("")).expect("the keys").flatten().map(|file| file.path());
        let is_secret = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            ["_private.der", "_private.tink", "_kek.tink", ".key"].iter().any(|end| name.ends_with(end))
        };
        files.filter(is_secret).collect()
    }

    fn pki(&self, file: &str) -> PathBuf {
        self.folder.path().join("pki").join(file)
    }

    /// Runs a tool to its end, which must be a good one.
    fn tool(&self, subcommand: &str, flags: &[String]) -> Output {
        let output = Command::new("timeout")
            .arg(PATIENCE.as_secs().to_string())
            .args([PROGRAM, subcommand])
            .args(flags)
            .envs(self.environment.iter().cloned())
            .output()
            .expect("the program runs");
        let complaint = || format!("{}\n{}", String::from_utf8_lossy(&output.stderr), self.logs());
        assert!(output.status.success(), "{subcommand}: {}: {}", output.status, complaint());
        output
    }

    fn spawn(&mut self, name: &str, subcommand: &str, flags: &[String]) {
        let log = self.folder.path().join(format!("{name}.log"));
        let file = File::create(&log).expect("a log");
        let child = Command::new(PROGRAM)
            .arg(subcommand)
            .args(flags)
            .envs(self.environment.iter().cloned())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the program runs");
        self.processes.push(Process { name: name.to_owned(), child, log });
    }

    fn await_servers(&mut self) {
        let ports = DUCHIES.iter().zip(&self.ports).flat_map(|(duchy, ports)| match self.whole {
            // Nobody else calls its internal servers.
            Some(whole) if whole == *duchy => &ports[2..],
            _ => &ports[..],
        });
        for port in ports.chain([&self.kingdom]).copied().collect::<Vec<_>>() {
            self.await_server(port);
        }
    }

    fn await_server(&mut self, port: u16) {
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = self.processes.iter_mut().find_map(Process::ended);
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "{ended:?}\n{}", self.logs());
            sleep(GLANCE);
        }
    }

    fn logs(&self) -> String {
        self.processes.iter().map(|process| format!("== {}\n{}", process.name, process.log())).collect()
    }

    fn tls_flags(&self, party: &str) -> Vec<String> {
        vec![
            format!("--tls-cert-file={}", self.pki(&format!("{party}_tls.pem")).display()),
            format!("--tls-key-file={}", self.pki(&format!("{party}_tls.key")).display()),
            format!("--cert-collection-file={}", self.pki("all_root_certs.pem").display()),
        ]
    }

    fn server_flags(&self, port: u16) -> Vec<String> {
        let flags = ["--listen-address=127.0.0.1", "--health-port=0", "--shutdown-grace-period-seconds=5"];
        flags.into_iter().map(String::from).chain([format!("--port={port}")]).collect()
    }

    fn part_flags(&self, part: Part, duchy: &str, index: usize) -> Vec<String> {
        let [internal, asynchronous, _, _] = self.ports[index];
        let home = self.folder.path().join(duchy);
        let mut flags = self.tls_flags(duchy);
        flags.push(format!("--duchy-name={duchy}"));
        if let Some(server) = Part::SERVERS.iter().position(|server| *server == part) {
            flags.extend(self.server_flags(self.ports[index][server]));
        }
        if part != Part::InternalApi {
            flags.push(format!("--computations-service-target=127.0.0.1:{internal}"));
            flags.push("--computations-service-cert-host=localhost".into());
        }
        let is_mill = matches!(part, Part::Llv2Mill | Part::HmssMill);
        if is_mill || matches!(part, Part::AsyncControl | Part::Control | Part::Herald) {
            flags.push(format!("--duchy-info-config={}", self.pki("duchy_cert_config.textproto").display()));
        }
        if is_mill || matches!(part, Part::InternalApi | Part::Fulfillment | Part::Herald) {
            flags.push(format!("--kingdom-system-api-target=127.0.0.1:{}", self.kingdom));
            flags.push("--kingdom-system-api-cert-host=localhost".into());
        }
        if part != Part::AsyncControl {
            flags.push(format!("--blob-directory={}", home.join("blobs").display()));
        }
        if matches!(part, Part::Herald | Part::HmssMill) {
            flags.extend(self.role_flags(duchy));
        }
        match part {
            Part::InternalApi => {
                flags.push(format!("--store=sqlite:{}", home.join("computations.sqlite").display()));
            }
            Part::AsyncControl | Part::Herald => {}
            Part::Control => {
                flags.push(format!("--async-computation-control-service-target=127.0.0.1:{asynchronous}"));
                flags.push("--async-computation-control-service-cert-host=localhost".into());
            }
            Part::Fulfillment => flags.push(self.principals_flag()),
            Part::Llv2Mill => flags.extend(self.mill_flags(duchy, part)),
            Part::HmssMill => {
                flags.extend(self.mill_flags(duchy, part));
                flags.extend(self.kingdom_public_flags());
                flags.push(self.principals_flag());
            }
        }
        flags
    }

    fn serve_flags(&self, duchy: &str, index: usize) -> Vec<String> {
        let [_, _, control, fulfillment] = self.ports[index];
        let home = self.folder.path().join(duchy);
        let mut flags = self.tls_flags(duchy);
        flags.extend(self.mill_flags(duchy, Part::Llv2Mill));
        flags.extend(self.kingdom_public_flags());
        flags.extend([
            format!("--duchy-name={duchy}"),
            "--listen-address=127.0.0.1".into(),
            "--health-port=0".into(),
            "--shutdown-grace-period-seconds=5".into(),
            format!("--computation-control-port={control}"),
            format!("--requisition-fulfillment-port={fulfillment}"),
            format!("--store=sqlite:{}", home.join("computations.sqlite").display()),
            format!("--blob-directory={}", home.join("blobs").display()),
            format!("--duchy-info-config={}", self.pki("duchy_cert_config.textproto").display()),
            format!("--kingdom-system-api-target=127.0.0.1:{}", self.kingdom),
            "--kingdom-system-api-cert-host=localhost".into(),
            self.principals_flag(),
        ]);
        flags.extend(self.role_flags(duchy));
        flags
    }

    fn role_flags(&self, duchy: &str) -> [String; 2] {
        let setup = self.pki(&format!("{duchy}_protocols_setup_config.textproto"));
        let key = self.pki(&format!("{duchy}_kek.tink"));
        [
            format!("--protocols-setup-config={}", setup.display()),
            format!("--key-encryption-key-file={}", key.display()),
        ]
    }

    fn mill_flags(&self, duchy: &str, mill: Part) -> Vec<String> {
        let key = self.pki(&format!("{duchy}_cs_private.der"));
        let certificate = self.pki(&format!("{duchy}_cs_cert.der"));
        let mut flags = vec![
            format!("--mill-id={duchy}-{}", mill.subcommand()),
            "--polling-delay=50ms".into(),
            format!("--consent-signaling-certificate-resource-name=duchies/{duchy}/certificates/1"),
            format!("--consent-signaling-private-key-der-file={}", key.display()),
            format!("--consent-signaling-certificate-der-file={}", certificate.display()),
        ];
        let peers = DUCHIES.iter().zip(&self.ports).filter(|(id, _)| **id != duchy);
        flags.extend(peers.map(|(id, [_, _, control, _])| {
            format!("--duchy-computation-control-target={id}=127.0.0.1:{control}")
        }));
        flags
    }

    fn principals_flag(&self) -> String {
        let map = self.pki("authority_key_identifier_to_principal_map.textproto");
        format!("--authority-key-identifier-to-principal-map-file={}", map.display())
    }

    fn kingdom_public_flags(&self) -> Vec<String> {
        let target = format!("--kingdom-public-api-target=127.0.0.1:{}", self.kingdom);
        vec![target, "--kingdom-public-api-cert-host=localhost".into()]
    }

    fn public_api_flags(&self, party: &str) -> Vec<String> {
        let mut flags = self.tls_flags(party);
        flags.extend(self.kingdom_public_flags());
        flags.push(format!("--duchy-info-config={}", self.pki("duchy_cert_config.textproto").display()));
        flags.push(self.principals_flag());
        flags
    }

    fn consumer_flags(&self) -> Vec<String> {
        let mut flags = self.public_api_flags("mc");
        flags.push("--measurement-consumer-certificate=measurementConsumers/mc/certificates/1".into());
        flags.push(format!("--private-key-der-file={}", self.pki("mc_cs_private.der").display()));
        flags.push(format!("--certificate-der-file={}", self.pki("mc_cs_cert.der").display()));
        let keyset = self.pki("mc_enc_hpke_private.tink");
        flags.push(format!("--encryption-private-key-file={}", keyset.display()));
        flags
    }

    fn data_provider_flags(&self, publisher: &str, index: usize) -> Vec<String> {
        let mut flags = vec!["fulfill".to_owned()];
        flags.extend(self.public_api_flags(publisher));
        let [_, _, _, fulfillment] = self.ports[index % DUCHIES.len()];
        let keyset = self.pki(&format!("{publisher}_enc_hpke_private.tink"));
        flags.extend([
            format!("--data-provider-resource-name=dataProviders/{publisher}"),
            format!("--data-provider-encryption-private-keyset={}", keyset.display()),
            format!("--requisition-fulfillment-service-target=127.0.0.1:{fulfillment}"),
            "--requisition-fulfillment-service-cert-host=localhost".into(),
            format!("--events={}", self.folder.path().join("events.csv").display()),
            format!("--publisher={publisher}"),
            "--watch=100ms".into(),
        ]);
        let key = self.pki(&format!("{publisher}_cs_private.der"));
        let certificate = self.pki(&format!("{publisher}_cs_cert.der"));
        flags.extend([
            format!("--data-provider-certificate-resource-name=dataProviders/{publisher}/certificates/1"),
            format!("--data-provider-consent-signaling-private-key-der-file={}", key.display()),
            format!("--data-provider-consent-signaling-certificate-der-file={}", certificate.display()),
            "--worker-requisition-fulfillment-service-cert-host=localhost".into(),
        ]);
        flags.extend(DUCHIES.iter().zip(&self.ports).map(|(id, [_, _, _, fulfillment])| {
            format!("--worker-requisition-fulfillment-service-target={id}=127.0.0.1:{fulfillment}")
        }));
        flags
    }
}

impl Process {
    /// Its name and how it ended, if it has.
    fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().expect("a child can be waited for")?;
        Some(format!("{} ended: {status}", self.name))
    }

    /// Waits until it has ended; whether in order.
    fn wait(&mut self) -> bool {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.success();
            }
            if start.elapsed() >= PATIENCE {
                return false;
            }
            sleep(GLANCE);
        }
    }

    /// The end of its log.
    fn log(&self) -> String {
        let text = read(&self.log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n") + "\n"
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn part_name(duchy: &str, part: Part) -> String {
    format!("{duchy}-{}", part.subcommand())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Ports that nobody listens on, each handed out once. They are below those that the system gives to connections, which
/// would otherwise take one before its server starts.
fn free_ports(count: usize) -> Vec<u16> {
    const POOL: std::ops::Range<u32> = 20_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Where to begin differs between processes of tests that run at the same time.
    let first = std::process::id().wrapping_mul(97) % POOL.len() as u32;
    std::iter::repeat_with(|| POOL.start + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % POOL.len() as u32)
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .take(count)
        .collect()
}
