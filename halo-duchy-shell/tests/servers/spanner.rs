//! Google's Spanner emulator, one for a test process, and databases in it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use gcloud_gax::conn::Environment;
use gcloud_googleapis::spanner::admin::database::v1::CreateDatabaseRequest;
use gcloud_googleapis::spanner::admin::instance::v1::{CreateInstanceRequest, Instance};
use gcloud_spanner::admin::AdminClientConfig;
use gcloud_spanner::admin::client::Client;
use halo_duchy_shell::store::spanner::{SpannerAddress, SpannerOptions};

const PROJECT: &str = "halo-test";
const INSTANCE: &str = "duchy";

/// A running emulator, which ends with the process.
pub struct Emulator {
    address: String,
    databases: AtomicU32,
    /// Its standard input is open as long as this process lives, and no longer: that is what it waits for.
    server: Child,
}

impl Emulator {
    /// Starts one; without an emulator on the machine, `None`, told to `.ci/run`.
    pub fn start(flags: &[&str]) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/spanner.sh");
        let mut server = Command::new(script)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the script that starts the emulator");
        let mut address = String::new();
        let output = server.stdout.as_mut().expect("a pipe");
        BufReader::new(output).read_line(&mut address).expect("output");
        if address.is_empty() {
            let mut reason = String::new();
            server.stderr.take().expect("a pipe").read_to_string(&mut reason).expect("text");
            let status = server.wait().expect("an exit status");
            assert_eq!(status.code(), Some(77), "{reason}");
            skipped(&reason);
            return None;
        }
        Some(Self { address: address.trim().into(), databases: AtomicU32::new(0), server })
    }

    /// Creates an empty database.
    pub async fn database(&self) -> SpannerOptions {
        self.database_with(Vec::new()).await
    }

    /// Creates a database by statements that change its schema.
    pub async fn database_with(&self, schema: Vec<String>) -> SpannerOptions {
        let id = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed) + 10);
        let admin = self.administration().await;
        let (parent, instance) = (format!("projects/{PROJECT}"), INSTANCE.to_owned());
        let request = CreateInstanceRequest {
            instance: Some(Instance {
                name: format!("{parent}/instances/{INSTANCE}"),
                config: format!("{parent}/instanceConfigs/emulator-config"),
                display_name: instance.clone(),
                node_count: 1,
                ..Instance::default()
            }),
            instance_id: instance,
            parent: parent.clone(),
        };
        // Each test tries; one succeeds.
        let _ = admin.instance().create_instance(request, None).await;
        let request = CreateDatabaseRequest {
            parent: format!("{parent}/instances/{INSTANCE}"),
            create_statement: format!("CREATE DATABASE `{id}`"),
            extra_statements: schema,
            ..CreateDatabaseRequest::default()
        };
        let mut created = admin.database().create_database(request, None).await.expect("a database");
        created.wait(None).await.expect("a database");
        let address = SpannerAddress::new(PROJECT, INSTANCE, &id).expect("good names");
        SpannerOptions { address, emulator_host: Some(self.address.clone()) }
    }

    /// What is asked for instances, databases and their schemas.
    pub async fn administration(&self) -> Client {
        let config = AdminClientConfig { environment: self.environment(), ..AdminClientConfig::default() };
        Client::new(config).await.expect("the emulator")
    }

    /// Ends it before the process ends.
    #[allow(dead_code, reason = "for those who test what happens then")]
    pub fn stop(mut self) {
        drop(self.server.stdin.take());
        self.server.wait().expect("an exit status");
    }

    /// How the client library reaches it.
    pub fn environment(&self) -> Environment {
        Environment::Emulator(self.address.clone())
    }
}

/// Not by `eprintln!`, which libtest swallows.
fn skipped(reason: &str) {
    let line = format!("SKIPPED spanner-emulator: {}\n", reason.lines().next().unwrap_or_default());
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}
