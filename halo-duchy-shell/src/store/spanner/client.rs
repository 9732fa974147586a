//! Spanner's client library, behind calls of our own: nothing outside this module names it, so that another one can take
//! its place.

use std::fmt;
use std::time::Duration;

use gcloud_gax::conn::Environment;
use gcloud_gax::grpc::{Code, Status};
use gcloud_gax::retry::RetrySetting;
use gcloud_googleapis::spanner::admin::database::v1::{CreateDatabaseRequest, UpdateDatabaseDdlRequest};
use gcloud_googleapis::spanner::admin::instance::v1::{CreateInstanceRequest, Instance};
use gcloud_googleapis::spanner::v1::mutation::{Delete, Operation, Write};
use gcloud_googleapis::spanner::v1::{KeySet, Mutation};
use gcloud_spanner::admin::AdminClientConfig;
use gcloud_spanner::client::{Client, ClientConfig, Error};
use gcloud_spanner::row::{self, TryFromValue};
use gcloud_spanner::statement::Statement;
use gcloud_spanner::transaction::{CallOptions, QueryOptions, Transaction};
use gcloud_spanner::transaction_ro::ReadOnlyTransaction;
use gcloud_spanner::transaction_rw::{CommitOptions, ReadWriteTransaction};
use prost_types::ListValue;

use super::address::SpannerAddress;
use super::credentials::Credentials;
use super::value::{Cells, Value};
use crate::store::contention::Contention;

/// Connections; each carries up to 100 sessions.
const CHANNELS: usize = 2;
/// Sessions kept when nothing happens. A transaction takes one, more are made when needed.
const IDLE_SESSIONS: usize = 4;
/// How long a transaction waits for a session, or for Spanner to begin it.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often to ask whether a change of the schema is done: an index over much data takes its time.
const SCHEMA_POLLS: usize = 1_000;
/// How often, and how long after, a change of the schema that another one stands in the way of is tried again.
const SCHEMA_TRIES: usize = 100;
const SCHEMA_PAUSE: Duration = Duration::from_millis(100);

/// Why Spanner did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpannerError {
    /// Google's credentials cannot be found.
    #[error("no credentials for Google's services")]
    Credentials(#[source] Box<object_store::Error>),
    /// Spanner cannot be reached.
    #[error("cannot reach Spanner: {0}")]
    Connection(String),
    /// Other transactions were in the way of this one.
    #[error(transparent)]
    Contention(#[from] Contention),
    /// Spanner refused or failed.
    #[error("Spanner says {code:?}: {message}")]
    Refused {
        /// gRPC's code.
        code: Code,
        /// Spanner's words.
        message: String,
    },
}

impl SpannerError {
    /// Whether the transaction stood in the way of another one, and may be tried again.
    pub(super) fn is_aborted(&self) -> bool {
        matches!(self, Self::Refused { code: Code::Aborted, .. })
    }
}

impl From<Status> for SpannerError {
    fn from(status: Status) -> Self {
        Self::Refused { code: status.code(), message: status.message().to_owned() }
    }
}

impl From<Error> for SpannerError {
    fn from(error: Error) -> Self {
        match error {
            Error::GRPC(status) => status.into(),
            other => Self::Connection(other.to_string()),
        }
    }
}

impl From<gcloud_gax::conn::Error> for SpannerError {
    fn from(error: gcloud_gax::conn::Error) -> Self {
        Self::Connection(error.to_string())
    }
}

/// Where Spanner is reached: Google's service, or an emulator at a host and port.
fn environment(emulator: Option<&str>) -> Result<Environment, SpannerError> {
    if let Some(address) = emulator {
        return Ok(Environment::Emulator(address.to_owned()));
    }
    let credentials = Credentials::find().map_err(|error| SpannerError::Credentials(error.into()))?;
    Ok(Environment::GoogleCloud(Box::new(credentials)))
}

/// What is done again when a call does not get through; Spanner does nothing twice within a transaction.
fn call_options() -> CallOptions {
    let codes = vec![Code::Unavailable];
    let max_delay = Some(Duration::from_secs(2));
    let retry = RetrySetting { from_millis: 2, factor: 50, max_delay, take: 5, codes };
    CallOptions { retry: Some(retry), ..CallOptions::default() }
}

/// Sessions on one database.
#[derive(Clone)]
pub(super) struct Database(Client);

impl Database {
    /// Opens sessions on a database that exists.
    pub(super) async fn connect(
        address: &SpannerAddress,
        emulator: Option<&str>,
    ) -> Result<Self, SpannerError> {
        let mut config = ClientConfig { environment: environment(emulator)?, ..ClientConfig::default() };
        config.channel_config.num_channels = CHANNELS;
        config.session_config.min_opened = IDLE_SESSIONS;
        config.session_config.max_idle = IDLE_SESSIONS;
        config.session_config.max_opened = CHANNELS * 100;
        config.session_config.session_get_timeout = BEGIN_TIMEOUT;
        let client = limit(Client::new(address.resource_name(), config)).await?;
        Ok(Self(client))
    }

    /// One state of the database, which contains all that was committed before.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, SpannerError> {
        Ok(Snapshot(limit(self.0.read_only_transaction()).await?))
    }

    /// Begins a transaction that can write.
    pub(super) async fn begin(&self) -> Result<Update, SpannerError> {
        Ok(Update(limit(self.0.begin_read_write_transaction()).await?))
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Database")
    }
}

/// The library tries for minutes to get a session.
async fn limit<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, SpannerError> {
    match tokio::time::timeout(BEGIN_TIMEOUT, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(SpannerError::Connection(format!("no answer within {BEGIN_TIMEOUT:?}"))),
    }
}

/// Changes the schema, statement by statement. Spanner keeps those that succeeded before one that failed.
pub(super) async fn change_schema(
    address: &SpannerAddress,
    emulator: Option<&str>,
    statements: Vec<String>,
) -> Result<(), SpannerError> {
    let config = AdminClientConfig { environment: environment(emulator)?, ..AdminClientConfig::default() };
    let admin = gcloud_spanner::admin::client::Client::new(config).await?;
    let request = UpdateDatabaseDdlRequest {
        database: address.resource_name(),
        statements,
        ..UpdateDatabaseDdlRequest::default()
    };
    let mut tries = 0;
    let mut change = loop {
        match admin.database().update_database_ddl(request.clone(), call_options().retry).await {
            // Spanner puts a change behind the one in progress; the emulator refuses it.
            Err(status) if status.message().contains("concurrent schema change") && tries < SCHEMA_TRIES => {
                tries += 1;
                tokio::time::sleep(SCHEMA_PAUSE).await;
            }
            change => break change?,
        }
    };
    let poll = RetrySetting {
        from_millis: 2,
        factor: 5,
        max_delay: Some(Duration::from_secs(5)),
        take: SCHEMA_POLLS,
        codes: vec![Code::DeadlineExceeded],
    };
    change.wait(Some(poll)).await?;
    Ok(())
}

/// Makes an instance and a database, unless they are there. An emulator's instances have one configuration.
pub(super) async fn create_on_emulator(address: &SpannerAddress, emulator: &str) -> Result<(), SpannerError> {
    let config =
        AdminClientConfig { environment: environment(Some(emulator))?, ..AdminClientConfig::default() };
    let admin = gcloud_spanner::admin::client::Client::new(config).await?;
    let (project, instance) = (address.project_name(), address.instance_name());
    let request = CreateInstanceRequest {
        parent: project.clone(),
        instance_id: address.instance().to_owned(),
        instance: Some(Instance {
            name: instance.clone(),
            config: format!("{project}/instanceConfigs/emulator-config"),
            display_name: address.instance().to_owned(),
            node_count: 1,
            ..Instance::default()
        }),
    };
    match admin.instance().create_instance(request, None).await {
        Ok(mut created) => drop(created.wait(None).await?),
        Err(status) => unless_exists(status)?,
    }
    let request = CreateDatabaseRequest {
        parent: instance,
        create_statement: format!("CREATE DATABASE `{}`", address.database()),
        ..CreateDatabaseRequest::default()
    };
    match admin.database().create_database(request, None).await {
        Ok(mut created) => drop(created.wait(None).await?),
        Err(status) => unless_exists(status)?,
    }
    Ok(())
}

fn unless_exists(status: Status) -> Result<(), SpannerError> {
    match status.code() {
        Code::AlreadyExists => Ok(()),
        _ => Err(status.into()),
    }
}

/// A question in SQL with its parameters.
pub(super) struct Query(Statement);

impl Query {
    pub(super) fn new(sql: &str) -> Self {
        Self(Statement::new(sql))
    }

    /// Gives the parameter `@name` a value.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let statement = &mut self.0;
        match value.into() {
            // What is compared with is never null: this one only needs some type.
            Value::Null => statement.add_param(name, &None::<i64>),
            Value::Bool(value) => statement.add_param(name, &value),
            Value::Int(value) => statement.add_param(name, &value),
            Value::Text(value) => statement.add_param(name, &value),
            Value::Bytes(value) => statement.add_param(name, &*value),
            Value::Time(value) => statement.add_param(name, &prost_types::Timestamp::from(value)),
            Value::Ints(values) => statement.add_param(name, &values),
            Value::Texts(values) => statement.add_param(name, &values),
        }
        self
    }
}

/// A change of one row, made when the transaction commits.
pub(super) struct Change(Mutation);

/// The columns that a change writes, keys first, with their values.
pub(super) type Columns<'a> = Vec<(&'a str, Value)>;

impl Change {
    /// A new row. The commit fails if there is one with this key.
    pub(super) fn insert(table: &str, columns: Columns<'_>) -> Self {
        Self::of(Operation::Insert(write(table, columns)))
    }

    /// Some columns of a row that exists.
    pub(super) fn update(table: &str, columns: Columns<'_>) -> Self {
        Self::of(Operation::Update(write(table, columns)))
    }

    /// A row, new or not.
    pub(super) fn insert_or_update(table: &str, columns: Columns<'_>) -> Self {
        Self::of(Operation::InsertOrUpdate(write(table, columns)))
    }

    /// No row, and none of the rows interleaved in it.
    pub(super) fn delete(table: &str, key: Vec<Value>) -> Self {
        let keys = vec![list(key)];
        let key_set = Some(KeySet { keys, ..KeySet::default() });
        Self::of(Operation::Delete(Delete { table: table.into(), key_set }))
    }

    fn of(operation: Operation) -> Self {
        Self(Mutation { operation: Some(operation) })
    }
}

fn write(table: &str, columns: Columns<'_>) -> Write {
    let (columns, values) = columns.into_iter().map(|(name, value)| (name.to_owned(), value)).unzip();
    Write { table: table.into(), columns, values: vec![list(values)] }
}

fn list(values: Vec<Value>) -> ListValue {
    ListValue { values: values.into_iter().map(Into::into).collect() }
}

/// What can be asked for rows.
pub(super) trait Read: Send {
    /// The library's transaction.
    fn transaction(&mut self) -> &mut Transaction;

    /// Asks, and waits for the whole answer.
    fn query(&mut self, query: Query) -> impl Future<Output = Result<Vec<Cells>, SpannerError>> + Send {
        async move {
            let mut rows = Vec::new();
            self.for_each(query, |row| {
                rows.push(row);
                Ok::<_, SpannerError>(())
            })
            .await?;
            Ok(rows)
        }
    }

    /// Asks, and hands each row of the answer on as it comes.
    fn for_each<E: From<SpannerError> + Send>(
        &mut self,
        query: Query,
        mut row: impl FnMut(Cells) -> Result<(), E> + Send,
    ) -> impl Future<Output = Result<(), E>> + Send {
        async move {
            let options = QueryOptions { call_options: call_options(), ..QueryOptions::default() };
            let answer = self.transaction().query_with_option(query.0, options).await;
            let mut answer = answer.map_err(SpannerError::from)?;
            while let Some(next) = answer.next().await.map_err(SpannerError::from)? {
                let cells = (0..).map_while(|column| next.column::<Raw>(column).ok()).map(|cell| cell.0);
                row(Cells::new(cells.collect()))?;
            }
            Ok(())
        }
    }
}

/// A cell as it came.
struct Raw(prost_types::Value);

impl TryFromValue for Raw {
    fn try_from(
        value: &prost_types::Value,
        _: &gcloud_googleapis::spanner::v1::struct_type::Field,
    ) -> Result<Self, row::Error> {
        Ok(Self(value.clone()))
    }
}

/// A transaction that reads.
pub(super) struct Snapshot(ReadOnlyTransaction);

impl Read for Snapshot {
    fn transaction(&mut self) -> &mut Transaction {
        &mut self.0
    }
}

/// A transaction that reads and writes. What it has read, nobody changes before it ends.
pub(super) struct Update(ReadWriteTransaction);

impl Read for Update {
    fn transaction(&mut self) -> &mut Transaction {
        &mut self.0
    }
}

impl Update {
    /// Makes the changes, all or none. `None` if Spanner gave the transaction up.
    pub(super) async fn commit(mut self, changes: Vec<Change>) -> Result<Option<()>, SpannerError> {
        self.0.buffer_write(changes.into_iter().map(|change| change.0).collect());
        match self.end(Ok(())).await {
            Err(error) if error.is_aborted() => Ok(None),
            ended => ended.map(Some),
        }
    }

    /// Changes nothing, and lets others have what was read.
    pub(super) async fn roll_back(mut self) {
        // One that cannot be rolled back is forgotten in time.
        let _ = self.end(Err(Status::cancelled("rolled back"))).await;
    }

    async fn end(&mut self, result: Result<(), Status>) -> Result<(), SpannerError> {
        let options = CommitOptions { call_options: call_options(), ..CommitOptions::default() };
        self.0.end(result, Some(options)).await?;
        Ok(())
    }
}
