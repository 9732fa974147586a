//! The embedded store: one SQLite file, shared by the processes of one duchy on one machine.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;

use super::backend::{Backend, Work};
use super::{Claim, Computation, MigrationError, StoreError, leases};
use crate::clock::Clock;

mod migrations;
mod read;
mod rows;
mod worker;

use worker::{Begin, Worker};

/// How long a transaction waits for other processes before it fails as unavailable.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

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
        create_private(path)?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // A committed transaction survives a power failure, and what is deleted is overwritten.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "secure_delete", true)?;
        migrations::migrate(&mut connection)?;
        Ok(Self { worker: Worker::start(connection)?, clock })
    }
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
