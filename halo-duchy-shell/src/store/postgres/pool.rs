//! Connections, of which there are never more than the address says.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Manager, Metrics, Object, Pool, RecycleError, RecycleResult, Timeouts};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{Encryption, Host, PostgresAddress};
use super::error::PostgresError;
use super::password::PasswordSource;
use super::tls;

/// How long to wait for a free connection, for a new one, and for a row that another transaction has locked.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long data may wait for the other machine to acknowledge it, or a quiet connection for a sign of life.
const SILENCE: Duration = Duration::from_secs(30);

/// The connections of one store.
pub(super) type Connections = Pool<Connector>;
/// A connection that goes back to the others when dropped.
pub(super) type Pooled = Object<Connector>;

/// Makes connections.
pub(super) struct Connector {
    config: Config,
    password: PasswordSource,
    tls: Option<MakeRustlsConnect>,
    /// What each session is told first.
    settings: String,
}

/// A connection to the server.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    /// What the server has been asked before, parsed.
    pub(super) statements: HashMap<&'static str, Statement>,
    /// Whether a transaction has begun and was not seen to end. Nobody can go on with such a connection.
    pub(super) in_transaction: bool,
}

/// A pool that has no connections yet.
pub(super) fn pool(address: &PostgresAddress) -> Result<Connections, PostgresError> {
    let timeouts = Timeouts { wait: Some(PATIENCE), create: Some(PATIENCE), recycle: None };
    let pool = Pool::builder(Connector::new(address)?)
        .max_size(address.connections.into())
        .timeouts(timeouts)
        .runtime(Runtime::Tokio1);
    pool.build().map_err(|error| PostgresError::Connection(error.into()))
}

impl Connector {
    fn new(address: &PostgresAddress) -> Result<Self, PostgresError> {
        let mut config = Config::new();
        config
            .user(&address.user)
            .dbname(&address.database)
            .application_name("halo-duchy")
            .keepalives_idle(SILENCE)
            .tcp_user_timeout(SILENCE)
            // After a failover, a name may lead to the server that no longer writes.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        match &address.host {
            Host::Tcp { name, port } => config.host(name).port(*port),
            Host::Socket { directory, port } => config.host_path(directory).port(*port),
        };
        let tls = match &address.encryption {
            Encryption::Off => None,
            Encryption::Verified { roots } => Some(tls::connector(roots.as_deref())?),
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        let settings = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}",
            address.statement_timeout.as_millis(),
            PATIENCE.as_millis(),
            SILENCE.as_millis(),
        );
        Ok(Self { config, password: address.password.clone(), tls, settings })
    }
}

impl Manager for Connector {
    type Type = Connection;
    type Error = PostgresError;

    async fn create(&self) -> Result<Connection, PostgresError> {
        let mut config = self.config.clone();
        if let Some(password) = self.password.read().await? {
            config.password(password.bytes());
        }
        let client = match &self.tls {
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                drive(connection);
                client
            }
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                drive(connection);
                client
            }
        };
        client.batch_execute(&self.settings).await?;
        Ok(Connection { client, statements: HashMap::new(), in_transaction: false })
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<PostgresError> {
        if connection.in_transaction || connection.client.is_closed() {
            return Err(RecycleError::message("over"));
        }
        Ok(())
    }
}

/// Carries what client and server say to each other, until one of them leaves.
fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        // Whoever waits for an answer is told too.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL has ended");
        }
    });
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}
