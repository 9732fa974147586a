//! An API server of Kubernetes with etcd and the controllers of Jobs, one for a test process, and namespaces in it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

/// Seconds, on a machine that is not busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running cluster without nodes, which ends with the process.
pub struct Cluster {
    folder: tempfile::TempDir,
    namespaces: AtomicU32,
    output: BufReader<std::process::ChildStdout>,
    /// Open as long as this process lives, and no longer: that is what the script waits for.
    input: ChildStdin,
    _script: Child,
}

impl Cluster {
    /// Starts one; without its programs on the machine, `None`, told to `.ci/run`.
    pub async fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let key = rcgen::KeyPair::generate().expect("a key");
        fs::write(folder.path().join("sa.key"), key.serialize_pem()).expect("written");
        fs::write(folder.path().join("sa.pub"), key.public_key_pem()).expect("written");
        let listeners: [_; 3] =
            std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
        let ports = listeners.map(|listener| listener.local_addr().expect("an address").port().to_string());
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/kubernetes.sh"))
            .arg(folder.path())
            .args(ports)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the script that starts the cluster");
        let input = script.stdin.take().expect("a pipe");
        let mut output = BufReader::new(script.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("output");
        if line.is_empty() {
            let mut reason = String::new();
            script.stderr.take().expect("a pipe").read_to_string(&mut reason).expect("text");
            let status = script.wait().expect("an exit status");
            assert_eq!(status.code(), Some(77), "{reason}");
            skipped(&reason);
            return None;
        }
        let mut cluster = Self { folder, namespaces: AtomicU32::new(0), output, input, _script: script };
        cluster.start_api().await;
        cluster.command("controllers");
        Some(cluster)
    }

    /// Does what `kubernetes.sh` knows by that name.
    fn command(&mut self, command: &str) {
        writeln!(self.input, "{command}").expect("the script listens");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("output");
        assert_eq!(line, "done\n", "{command}");
    }

    /// Starts the API server and waits until it answers.
    pub async fn start_api(&mut self) {
        self.command("api");
        let begun = Instant::now();
        loop {
            let ready = tonic::codegen::http::Request::get("/readyz").body(Vec::new()).expect("a request");
            match self.client("default").await.request_text(ready).await {
                Ok(_) => return,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}\n{}", self.logs()),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends the API server without a word.
    pub fn kill_api(&mut self) {
        self.command("no-api");
    }

    /// A client whose namespace this is, and who may do anything.
    pub async fn client(&self, namespace: &str) -> Client {
        Client::try_from(self.config(namespace).await).expect("a client")
    }

    /// A client whose namespace this is, and who may do what the service account there may.
    pub async fn client_as(&self, namespace: &str, account: &str) -> Client {
        let mut config = self.config(namespace).await;
        config.auth_info.impersonate = Some(format!("system:serviceaccount:{namespace}:{account}"));
        Client::try_from(config).expect("a client")
    }

    async fn config(&self, namespace: &str) -> Config {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).expect("the configuration");
        let options = KubeConfigOptions::default();
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("the configuration");
        config.default_namespace = namespace.to_owned();
        config
    }

    /// A new namespace and a client of it.
    pub async fn namespace(&self) -> Client {
        let name = format!("test-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let all = Api::all(self.client("default").await);
        all.create(&PostParams::default(), &namespace).await.expect("a namespace");
        self.client(&name).await
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// How a program reaches it that works in a namespace.
    pub fn kubeconfig_of(&self, namespace: &str) -> PathBuf {
        let all = fs::read_to_string(self.kubeconfig()).expect("the configuration");
        let path = self.folder.path().join(format!("kubeconfig-{namespace}"));
        fs::write(&path, all.replace("namespace: default", &format!("namespace: {namespace}")))
            .expect("written");
        path
    }

    /// What its programs said last.
    pub fn logs(&self) -> String {
        let end = |name: &str| {
            let log = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(5).map(String::from).collect();
            format!("{name}:\n{}\n", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        ["etcd.log", "apiserver.log", "controllers.log"].map(end).concat()
    }
}

/// Not by `eprintln!`, which libtest swallows.
fn skipped(reason: &str) {
    let line = format!("SKIPPED kubernetes: {}\n", reason.lines().next().unwrap_or_default());
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}
