//! The processes of a whole system on loopback ports.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
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
pub const PATIENCE: Duration = Duration::from_secs(120);
pub const GLANCE: Duration = Duration::from_millis(50);
/// How `timeout` says that time was up.
const TIMED_OUT: i32 = 124;

/// A process of a duchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    pub fn subcommand(self) -> &'static str {
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
    /// With what to start it again.
    subcommand: &'static str,
    flags: Vec<String>,
}

/// What is done with a folder.
pub type Preparation = Box<dyn FnOnce(&Path)>;

/// What a fleet has beyond certificates and settings.
#[derive(Default)]
pub struct Extras {
    /// Variables of every process.
    pub environment: Vec<(&'static str, String)>,
    /// Flags of parts of every duchy.
    pub flags: Vec<(Part, String)>,
    /// Parts that no duchy has.
    pub without: Vec<Part>,
    /// Whether the duchies have one directory for their blobs.
    pub shared_blobs: bool,
    /// Whether processes write down which fail points they pass.
    pub points: bool,
    /// Whether processes of duchies keep audit logs.
    pub audit: bool,
    /// Flags that end in the first have the second in their place, in whatever process.
    pub swaps: Vec<(String, String)>,
    /// What is done with the folder of the keys before any process starts.
    pub prepare: Option<Preparation>,
    /// Flags of the Kingdom, in place of those for the protocol.
    pub kingdom: Option<Vec<String>>,
}

/// How a measurement ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With this result.
    Result(Value),
    /// Failed at the Kingdom, with this reason.
    Failed(String),
    /// Not within [`PATIENCE`].
    Hang,
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
    extras: Extras,
    settings: Settings,
    /// Processes that run another program than ours.
    programs: BTreeMap<String, PathBuf>,
    processes: Vec<Process>,
}

impl Fleet {
    /// Starts everybody and waits until all servers listen. The events are those of `publishers`, each of which is a
    /// data provider that hands its data to a duchy of its own. The duchy `whole` is one process.
    pub fn start(settings: Settings, events: &str, publishers: &[&str], whole: Option<&'static str>) -> Self {
        Self::start_with(Extras::default(), settings, events, publishers, whole)
    }

    /// As [`Fleet::start`], with more.
    pub fn start_with(
        extras: Extras,
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
            extras,
            settings,
            programs: BTreeMap::new(),
            processes: Vec::new(),
            folder,
        };
        let pki = [
            format!("--out={}", fleet.pki("").display()),
            format!("--duchies={}", DUCHIES.join(",")),
            format!("--data-providers={}", publishers.join(",")),
        ];
        fleet.tool("pki", &pki);
        if let Some(prepare) = fleet.extras.prepare.take() {
            prepare(&fleet.pki(""));
        }
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
            let mut flags = fleet.data_provider_flags(publisher, index);
            flags.push("--watch=100ms".into());
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
        flags.extend(self.extras.kingdom.clone().unwrap_or_else(|| self.settings.kingdom_flags()));
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
        if self.extras.without.contains(&part) {
            return;
        }
        for (index, duchy) in DUCHIES.iter().enumerate().filter(|(_, duchy)| Some(**duchy) != whole) {
            let flags = self.part_flags(part, duchy, index);
            self.spawn(&part_name(duchy, part), part.subcommand(), &flags);
        }
    }

    /// Starts another mill beside the one that a duchy has, with variables for it alone; its name.
    pub fn start_mill(&mut self, duchy: &str, mill: Part, variables: &[(&str, &str)]) -> String {
        let index = DUCHIES.iter().position(|known| *known == duchy).expect("a duchy");
        let mut flags = self.part_flags(mill, duchy, index);
        let name = format!("{}-another", part_name(duchy, mill));
        flags.retain(|flag| !flag.starts_with("--mill-id="));
        flags.push(format!("--mill-id={name}"));
        self.spawn_with(&name, mill.subcommand(), &flags, variables);
        name
    }

    /// Ends a process without warning (SIGKILL), if it runs, and starts it again, with variables for it alone.
    pub fn restart(&mut self, name: &str, variables: &[(&str, &str)]) {
        let at = self.processes.iter().position(|process| process.name == name);
        let ended = self.processes.swap_remove(at.unwrap_or_else(|| panic!("there is no process {name}")));
        let (subcommand, flags) = (ended.subcommand, ended.flags.clone());
        drop(ended);
        self.spawn_with(name, subcommand, &flags, variables);
    }

    /// As [`Fleet::restart`], by another program than ours, or by ours again.
    pub fn run_by(&mut self, name: &str, program: Option<&PathBuf>) {
        match program {
            Some(program) => drop(self.programs.insert(name.to_owned(), program.clone())),
            None => drop(self.programs.remove(name)),
        }
        self.restart(name, &[]);
    }

    /// As [`Fleet::restart`], where no file may become longer than `kib` KiB: writing more fails, as on a full disk.
    pub fn restart_on_full_disk(&mut self, name: &str, kib: u32) {
        // Without the trap, the process would die.
        let shell = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\"");
        let at = self.processes.iter().position(|process| process.name == name).expect("a process");
        let ended = self.processes.swap_remove(at);
        let (subcommand, flags) = (ended.subcommand, ended.flags.clone());
        drop(ended);
        let mut command = Command::new("bash");
        command.args(["-c", &shell, "bash", PROGRAM]);
        self.spawn_as(command, name, subcommand, &flags, &[]);
    }

    /// Ends the processes of a duchy without warning (SIGKILL), puts `backup` in the place of its database, and starts them
    /// again.
    pub fn restore(&mut self, duchy: &str, backup: &Path) {
        let of_duchy = |process: &mut Process| process.name.starts_with(&format!("{duchy}-"));
        let ended: Vec<_> = self.processes.extract_if(.., of_duchy).collect();
        let again: Vec<_> = ended
            .iter()
            .map(|process| (process.name.clone(), process.subcommand, process.flags.clone()))
            .collect();
        drop(ended);
        let database = self.database(duchy);
        for left in ["-wal", "-shm"] {
            let mut file = database.clone().into_os_string();
            file.push(left);
            // There is none if nobody had the database open.
            let _ = fs::remove_file(file);
        }
        fs::copy(backup, &database).expect("the backup is put back");
        for (name, subcommand, flags) in again {
            self.spawn(&name, subcommand, &flags);
        }
    }

    /// Starts every process again that was killed (SIGKILL); their names. None may have ended in another way.
    pub fn revive(&mut self) -> Vec<String> {
        let mut killed = Vec::new();
        for process in &mut self.processes {
            if let Some(status) = process.status() {
                assert_eq!(status.signal(), Some(9), "{}: {status}\n{}", process.name, process.log());
                killed.push(process.name.clone());
            }
        }
        for name in &killed {
            self.restart(name, &[]);
        }
        killed
    }

    /// Ends a process without warning, for good.
    pub fn end_process(&mut self, name: &str) {
        self.processes.retain(|process| process.name != name);
    }

    /// Whether a process has ended.
    pub fn has_ended(&mut self, name: &str) -> bool {
        let process = self.processes.iter_mut().find(|process| process.name == name);
        process.expect("a process").status().is_some()
    }

    /// Sends a signal to a process.
    pub fn signal(&self, name: &str, signal: &str) {
        let process = self.processes.iter().find(|process| process.name == name).expect("a process");
        let pid = process.child.id().to_string();
        let told = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs");
        assert!(told.success(), "{name} has ended before");
    }

    /// Whether a process is stopped, as by SIGSTOP.
    pub fn is_stopped(&self, name: &str) -> bool {
        let process = self.processes.iter().find(|process| process.name == name).expect("a process");
        let state = read(Path::new(&format!("/proc/{}/status", process.child.id())));
        state.lines().any(|line| line.starts_with("State:") && line.contains('T'))
    }

    /// All that a process has logged.
    pub fn log(&self, name: &str) -> String {
        read(&self.folder.path().join(format!("{name}.log")))
    }

    /// The fail points that a process has passed, in their order.
    pub fn points(&self, name: &str) -> Vec<String> {
        read(&self.points_file(name)).lines().map(str::to_owned).collect()
    }

    fn points_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.points"))
    }

    /// The records of a process's audit log, in their order.
    pub fn audit(&self, name: &str) -> Vec<Value> {
        let record = |line: &str| serde_json::from_str(line).expect("a record");
        read(&self.audit_file(name)).lines().map(record).collect()
    }

    /// The file of a process's audit log.
    pub fn audit_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.audit"))
    }

    /// The names of the processes of duchies.
    pub fn duchy_processes(&self) -> Vec<String> {
        let names = self.processes.iter().map(|process| process.name.clone());
        names.filter(|name| DUCHIES.iter().any(|duchy| name.starts_with(duchy))).collect()
    }

    /// The folder in which a duchy, or all of them, have their blobs.
    pub fn blobs(&self, duchy: &str) -> PathBuf {
        let home =
            if self.extras.shared_blobs { self.folder.path() } else { &self.folder.path().join(duchy) };
        home.join("blobs")
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
        // A busy machine may take longer than a call may. The id of the request makes repeating it harmless.
        let first = self.command("measurement", &flags).output().expect("the program runs");
        let output = if first.status.success() { first } else { self.tool("measurement", &flags) };
        String::from_utf8(output.stdout).expect("a name").trim().to_owned()
    }

    /// Waits for the result of a measurement.
    pub fn watch(&self, measurement: &str) -> Value {
        let output = self.tool("measurement", &self.watch_flags(measurement));
        serde_json::from_slice(&output.stdout).expect("a result")
    }

    fn watch_flags(&self, measurement: &str) -> Vec<String> {
        let mut flags = vec!["watch".to_owned()];
        flags.extend(self.consumer_flags());
        flags.push(format!("--measurement={measurement}"));
        flags.push("--polling-delay=100ms".into());
        flags
    }

    /// Waits for the end of a measurement. Meanwhile `look` is called again and again, to do what it likes to everybody.
    pub fn see_through(&mut self, measurement: &str, mut look: impl FnMut(&mut Self)) -> Outcome {
        let mut watching = self.command("measurement", &self.watch_flags(measurement));
        let watching = watching.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut watching = watching.expect("the program runs");
        while watching.try_wait().expect("a child can be waited for").is_none() {
            look(self);
            sleep(GLANCE);
        }
        let output = watching.wait_with_output().expect("its output");
        let told = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => Outcome::Result(serde_json::from_slice(&output.stdout).expect("a result")),
            Some(TIMED_OUT) => Outcome::Hang,
            _ => match told.split_once("the measurement failed ") {
                Some((_, reason)) => Outcome::Failed(reason.trim().to_owned()),
                None => panic!("{told}\n{}", self.logs()),
            },
        }
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
    pub fn stop_process(&mut self, name: &str) {
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
            .envs(self.extras.environment.iter().cloned())
            .envs(environment.iter().copied())
            .output();
        program.expect("the program runs")
    }

    /// Has a data provider deal once with what waits for it; how that ended.
    pub fn fulfill_once(&self, publisher: &str) -> Output {
        let index = self.publishers.iter().position(|known| known == publisher).expect("a data provider");
        let flags = self.data_provider_flags(publisher, index);
        self.command("edp", &flags).output().expect("the program runs")
    }

    /// Runs a command of a duchy's operator on its computations; how it ended.
    pub fn computations(&self, duchy: &str, command: &str, flags: &[&str]) -> Output {
        let mut all = vec![command.to_owned(), format!("--store=sqlite:{}", self.database(duchy).display())];
        if command == "fail" {
            all.extend(self.tls_flags(duchy));
            all.push(format!("--duchy-name={duchy}"));
            all.push(format!("--kingdom-system-api-target=127.0.0.1:{}", self.kingdom));
            all.push("--kingdom-system-api-cert-host=localhost".into());
        }
        let program = Command::new("timeout")
            .arg(PATIENCE.as_secs().to_string())
            .args([PROGRAM, "computations"])
            .args(all)
            .args(flags)
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

    /// A file among the keys.
    pub fn pki(&self, file: &str) -> PathBuf {
        self.folder.path().join("pki").join(file)
    }

    /// Runs a tool to its end, which must be a good one.
    fn tool(&self, subcommand: &str, flags: &[String]) -> Output {
        let output = self.command(subcommand, flags).output().expect("the program runs");
        let complaint = || format!("{}\n{}", String::from_utf8_lossy(&output.stderr), self.logs());
        assert!(output.status.success(), "{subcommand}: {}: {}", output.status, complaint());
        output
    }

    /// A tool that is ended if it takes too long.
    fn command(&self, subcommand: &str, flags: &[String]) -> Command {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE.as_secs().to_string()).args([PROGRAM, subcommand]).args(flags);
        command.envs(self.extras.environment.iter().cloned());
        command
    }

    fn spawn(&mut self, name: &str, subcommand: &'static str, flags: &[String]) {
        self.spawn_with(name, subcommand, flags, &[]);
    }

    fn spawn_with(
        &mut self,
        name: &str,
        subcommand: &'static str,
        flags: &[String],
        variables: &[(&str, &str)],
    ) {
        let program = self.programs.get(name).map_or(Path::new(PROGRAM), PathBuf::as_path);
        self.spawn_as(Command::new(program), name, subcommand, flags, variables);
    }

    /// Starts a process by `command`, which takes the program's arguments.
    fn spawn_as(
        &mut self,
        mut command: Command,
        name: &str,
        subcommand: &'static str,
        flags: &[String],
        variables: &[(&str, &str)],
    ) {
        let swap = |flag: &String| {
            let swap = self.extras.swaps.iter().find(|(end, _)| flag.ends_with(end));
            swap.map_or(flag, |(_, other)| other).clone()
        };
        let flags: Vec<_> = flags.iter().map(swap).collect();
        let log = self.folder.path().join(format!("{name}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        command.arg(subcommand).args(&flags).envs(self.extras.environment.iter().cloned());
        if self.extras.audit && Part::ALL.iter().any(|part| part.subcommand() == subcommand) {
            command.arg(format!("--audit-log={}", self.audit_file(name).display()));
        }
        if self.extras.points {
            command.env("HALO_FAIL_POINT_LOG", self.points_file(name));
        }
        command.envs(variables.iter().copied()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().expect("the program runs");
        self.processes.push(Process { name: name.to_owned(), child, log, subcommand, flags });
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
            flags.push(format!("--blob-directory={}", self.blobs(duchy).display()));
        }
        let more = self.extras.flags.iter().filter(|(whose, _)| *whose == part);
        flags.extend(more.map(|(_, flag)| flag.clone()));
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
            Part::Llv2Mill => {
                flags.extend(self.mill_flags(duchy, part));
                flags.push(self.key_encryption_flag(duchy));
            }
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
            format!("--blob-directory={}", self.blobs(duchy).display()),
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
        [format!("--protocols-setup-config={}", setup.display()), self.key_encryption_flag(duchy)]
    }

    fn key_encryption_flag(&self, duchy: &str) -> String {
        format!("--key-encryption-key-file={}", self.pki(&format!("{duchy}_kek.tink")).display())
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
        let status = self.status()?;
        Some(format!("{} ended: {status}", self.name))
    }

    /// How it ended, if it has.
    fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits until it has ended; whether in order.
    fn wait(&mut self) -> bool {
        let start = Instant::now();
        loop {
            if let Some(status) = self.status() {
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

pub fn part_name(duchy: &str, part: Part) -> String {
    format!("{duchy}-{}", part.subcommand())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Ports that nobody listens on, each handed out once. They are below those that the system gives to connections, which
/// would otherwise take one before its server starts.
pub fn free_ports(count: usize) -> Vec<u16> {
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
