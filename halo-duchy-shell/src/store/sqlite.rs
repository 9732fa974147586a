//! The embedded store: one SQLite file, shared by the processes of one duchy on one machine.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{
    Advance, Claim, Computation, Expired, Fulfillment, Guard, Lease, NewComputation, Stat, Store, StoreError,
};
use crate::clock::{Clock, Timestamp};
use crate::continuation_token::ContinuationToken;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::{ComputationDetails, ExternalRequisitionKey, RequisitionEntry};
use crate::protocol_stages::ProtocolStage;

mod leases;
mod lifecycle;
mod migrations;
mod requisitions;
mod retention;
mod rows;
mod worker;

pub use migrations::MigrationError;
use worker::Worker;

/// How long a transaction waits for other processes before it fails as unavailable.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A [`Store`] in an SQLite file. The file is made readable to its owner only: it holds key material.
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

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.worker.transact(TransactionBehavior::Deferred, work).await
    }

    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>, Timestamp) -> Result<T, StoreError> + Send + 'static,
    {
        let clock = Arc::clone(&self.clock);
        // The time is read once the write lock is held: transactions get their times in the order they commit.
        self.worker.transact(TransactionBehavior::Immediate, move |tx| work(tx, clock.now())).await
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
impl Store for SqliteStore {
    async fn create(&self, new: NewComputation) -> Result<Computation, StoreError> {
        self.write(move |tx, now| lifecycle::create(tx, now, new)).await
    }

    async fn get(&self, global_id: &str) -> Result<Computation, StoreError> {
        let id = global_id.to_owned();
        self.read(move |tx| rows::by_global_id(tx, &id)).await
    }

    async fn get_by_requisition(&self, key: &ExternalRequisitionKey) -> Result<Computation, StoreError> {
        let key = key.clone();
        self.read(move |tx| requisitions::computation(tx, &key)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Option<Computation>, StoreError> {
        self.write(move |tx, now| leases::claim(tx, now, &claim)).await
    }

    async fn extend(&self, lease: &Lease, duration: Duration) -> Result<Computation, StoreError> {
        let lease = lease.clone();
        self.write(move |tx, now| leases::extend(tx, &lease, now + duration)).await
    }

    async fn update_details(
        &self,
        guard: &Guard,
        details: ComputationDetails,
        requisitions: Vec<RequisitionEntry>,
    ) -> Result<Computation, StoreError> {
        let guard = guard.clone();
        self.write(move |tx, now| lifecycle::update_details(tx, now, &guard, details, requisitions)).await
    }

    async fn record_output(
        &self,
        guard: &Guard,
        blob_id: i64,
        path: &str,
    ) -> Result<Computation, StoreError> {
        let (guard, path) = (guard.clone(), path.to_owned());
        self.write(move |tx, now| lifecycle::record_output(tx, now, &guard, blob_id, &path)).await
    }

    async fn record_fulfillment(
        &self,
        local_id: i64,
        key: &ExternalRequisitionKey,
        fulfillment: Fulfillment,
    ) -> Result<Computation, StoreError> {
        let key = key.clone();
        self.write(move |tx, now| requisitions::fulfill(tx, now, local_id, &key, fulfillment)).await
    }

    async fn advance(&self, guard: &Guard, advance: Advance) -> Result<Computation, StoreError> {
        let guard = guard.clone();
        self.write(move |tx, now| lifecycle::advance(tx, now, &guard, advance)).await
    }

    async fn finish(&self, guard: &Guard, reason: CompletedReason) -> Result<Computation, StoreError> {
        let guard = guard.clone();
        self.write(move |tx, now| lifecycle::finish(tx, now, &guard, reason)).await
    }

    async fn enqueue(&self, guard: &Guard, expected_owner: &str, delay: Duration) -> Result<(), StoreError> {
        let (guard, owner) = (guard.clone(), expected_owner.to_owned());
        self.write(move |tx, now| leases::enqueue(tx, now, &guard, &owner, delay)).await
    }

    async fn blob_paths(&self, local_id: i64) -> Result<Vec<String>, StoreError> {
        self.read(move |tx| retention::blob_paths(tx, local_id)).await
    }

    async fn delete(&self, local_id: i64) -> Result<bool, StoreError> {
        self.write(move |tx, _| retention::delete(tx, local_id)).await
    }

    async fn expired(&self, expired: &Expired) -> Result<Vec<(i64, String)>, StoreError> {
        let expired = expired.clone();
        self.read(move |tx| retention::expired(tx, &expired)).await
    }

    async fn ids_in_stages(&self, stages: &[ProtocolStage]) -> Result<Vec<String>, StoreError> {
        let stages = stages.to_vec();
        self.read(move |tx| retention::ids_in_stages(tx, &stages)).await
    }

    async fn record_stat(&self, stat: Stat) -> Result<(), StoreError> {
        self.write(move |tx, now| retention::record_stat(tx, now, &stat)).await
    }

    async fn continuation_token(&self) -> Result<Option<ContinuationToken>, StoreError> {
        self.read(retention::continuation_token).await
    }

    async fn set_continuation_token(&self, token: &ContinuationToken) -> Result<(), StoreError> {
        let token = token.clone();
        self.write(move |tx, now| retention::set_continuation_token(tx, now, &token)).await
    }
}
