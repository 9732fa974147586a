//! The embedded store: one SQLite file, shared by the processes of one duchy on one machine.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags};

use super::backend::{Backend, Work};
use super::migrations::Schema;
use super::tables::{Sink, Source};
use super::transfer::TransferError;
use super::{Claim, Computation, MigrationError, StoreError, leases};
use crate::clock::Clock;

#[cfg(test)]
pub(super) mod costs;
mod migrations;
mod read;
mod rows;
mod tables;
mod worker;

use worker::{Begin, Worker};

/// How long a transaction waits for other processes before it fails as unavailable.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Statements that are kept parsed: all that there are.
const STATEMENTS: usize = 64;

/// A [`Store`](super::Store) in an SQLite file. The file is made readable to its owner only: it holds key material.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    worker: Worker,
    clock: Arc<dyn Clock>,
}

/// Why the file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be created or the thread not started.
    #[error("cannot open the store")]
    Io(#[from] std::io::Error),
    /// SQLite refuses the file.
    #[error("cannot open the database")]
    Sqlite(#[from] rusqlite::Error),
    /// The schema cannot be brought up to date.
    #[error(transparent)]
    Migration(#[from] MigrationError),
}

impl SqliteStore {
    /// Opens the file at `path`, creates it if need be, and brings its schema up to date.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Ok(Self { worker: Worker::start(create(path)?)?, clock })
    }

    /// A store in memory, lost with its last handle. Callers block for the length of their transactions.
    ///
    /// # Errors
    /// [`OpenError`].
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn in_memory(clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let mut connection = Connection::open_in_memory()?;
        connection.pragma_update(None, "foreign_keys", true)?;
        migrations::migrate(&mut connection)?;
        Ok(Self { worker: Worker::on_callers(connection), clock })
    }

    /// Another store in memory, with the rows that this one has now.
    ///
    /// # Errors
    /// If either database fails.
    #[cfg(test)]
    pub(crate) fn copy(&self) -> Result<Self, TransferError> {
        let copy = Self::in_memory(Arc::clone(&self.clock));
        let copy = copy.map_err(super::OpenError::of_file(Path::new(":memory:")))?;
        let mut rows = tables::Copied::default();
        self.worker.with_connection(|from| tables::export(from, &mut rows))?;
        copy.worker.with_connection(|to| tables::import(to, &mut rows))?;
        Ok(copy)
    }

    /// Opens the file at `path`, which must exist, and brings its schema up to date.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_existing(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Ok(Self { worker: Worker::start(connect(path)?)?, clock })
    }

    /// The schema of the file at `path`, which is neither created nor changed; without a file, that of an empty one.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn schema(path: &Path) -> Result<Schema, OpenError> {
        if !path.try_exists()? {
            return Ok(migrations::schema(&Connection::open_in_memory()?)?);
        }
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(migrations::schema(&connection)?)
    }

    /// Brings the schema of the file at `path` up to date, which is created if need be.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn migrate(path: &Path) -> Result<(), OpenError> {
        create(path).map(drop)
    }

    /// Gives all rows of the file at `path` to `sink`. Blocks.
    pub(super) fn export(path: &Path, sink: &mut dyn Sink) -> Result<(), TransferError> {
        tables::export(&mut connect(path).map_err(super::OpenError::of_file(path))?, sink)
    }

    /// Writes all rows of `source` into the file at `path`, which is created if need be and must have none. Blocks.
    pub(super) fn import(path: &Path, source: &mut dyn Source) -> Result<(), TransferError> {
        tables::import(&mut create(path).map_err(super::OpenError::of_file(path))?, source)
    }
}

/// A connection to a file that need not exist before.
fn create(path: &Path) -> Result<Connection, OpenError> {
    create_private(path)?;
    connect(path)
}

/// A connection to a file that exists, with its schema brought up to date.
fn connect(path: &Path) -> Result<Connection, OpenError> {
    let mut connection =
        Connection::open_with_flags(path, OpenFlags::default() & !OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A committed transaction survives a power failure, and what is deleted is overwritten.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    migrations::migrate(&mut connection)?;
    Ok(connection)
}

fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path).map(drop)
}

#[async_trait]
impl Backend for SqliteStore {
    async fn read<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, StoreError> {
        self.worker.transact(Begin::Deferred, Arc::clone(&self.clock), work).await
    }

    async fn write<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, StoreError> {
        self.worker.transact(Begin::Immediate, Arc::clone(&self.clock), work).await
    }

    /// There is one writer at a time: nobody else can take what was read.
    async fn claim(&self, claim: Claim) -> Result<Option<Computation>, StoreError> {
        self.write(move |rows, now| Box::pin(leases::claim(rows, now, claim.clone()))).await
    }
}
