//! Google's Spanner emulator, one for a test process, and databases in it.

#[allow(clippy::duplicate_mod, reason = "each server of the tests brings what runs its script")]
mod script;

use std::sync::atomic::{AtomicU32, Ordering};

use gcloud_gax::conn::Environment;
use gcloud_googleapis::spanner::admin::database::v1::CreateDatabaseRequest;
use gcloud_googleapis::spanner::admin::instance::v1::{CreateInstanceRequest, Instance};
use gcloud_spanner::admin::AdminClientConfig;
use gcloud_spanner::admin::client::Client;
use halo_duchy_shell::store::spanner::{SpannerAddress, SpannerOptions};
use script::Script;

const PROJECT: &str = "halo-test";
const INSTANCE: &str = "duchy";

/// A running emulator, which ends with the process.
pub struct Emulator {
    server: Script,
    databases: AtomicU32,
}

impl Emulator {
    /// Starts one; without an emulator on the machine, `None`, told to `.ci/run`.
    pub fn start(flags: &[&str]) -> Option<Self> {
        let server = Script::start("spanner.sh", flags, "spanner-emulator")?;
        Some(Self { server, databases: AtomicU32::new(0) })
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
        SpannerOptions { address, emulator_host: Some(self.server.address.clone()) }
    }

    /// What is asked for instances, databases and their schemas.
    pub async fn administration(&self) -> Client {
        let config = AdminClientConfig { environment: self.environment(), ..AdminClientConfig::default() };
        Client::new(config).await.expect("the emulator")
    }

    /// Ends it before the process ends.
    #[allow(dead_code, reason = "for those who test what happens then")]
    pub fn stop(self) {
        self.server.stop();
    }

    /// How the client library reaches it.
    pub fn environment(&self) -> Environment {
        Environment::Emulator(self.server.address.clone())
    }
}
