//! The store for duchies with a database server of their own: a PostgreSQL database, shared by all processes of one
//! duchy.
//!
//! Transactions have the effect of running one after the other, though PostgreSQL is not asked to see to that: one that
//! changes a computation locks the computation's own row before it reads anything else, so that nobody else changes what
//! belongs to it in between. One that creates a computation finds by the unique indexes whether another one was quicker,
//! and the continuation token is written under a lock of its table. Under PostgreSQL's own `SERIALIZABLE`, transactions
//! on different computations would be aborted as well: it watches pages, and in small tables the whole of them.

use std::sync::Arc;

use async_trait::async_trait;

use super::backend::{Backend, Work};
use super::contention::until_done;
use super::migrations::Schema;
use super::tables::{Sink, Source};
use super::transfer::TransferError;
use super::{Claim, Computation, MigrationError, StoreError, leases};
use crate::clock::Clock;

mod address;
#[cfg(test)]
pub(super) mod costs;
mod error;
mod migrations;
mod password;
mod pool;
mod read;
mod rows;
mod tables;
mod tls;
mod transaction;
mod value;

pub use address::{AddressError, PostgresAddress};
pub use error::PostgresError;
pub use password::{Password, PasswordError, PasswordSource};
use pool::{Connections, Pooled};
use rows::PostgresRows;
use transaction::{Access, Transaction};

/// A [`Store`](super::Store) in a PostgreSQL database.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: Connections,
    clock: Arc<dyn Clock>,
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// PostgreSQL cannot be reached, or has no such database.
    #[error("cannot open {address}")]
    Connect {
        /// The database.
        address: Box<PostgresAddress>,
        /// Why.
        #[source]
        source: PostgresError,
    },
    /// The schema is another one, or cannot be brought up to date.
    #[error(transparent)]
    Migration(#[from] MigrationError),
}

/// A pool with its first connection: what is wrong with the address shows at once.
async fn connect(address: &PostgresAddress) -> Result<(Connections, Pooled), OpenError> {
    let connected = async {
        let pool = pool::pool(address)?;
        let first = pool.get().await?;
        Ok((pool, first))
    };
    connected.await.map_err(|source| OpenError::Connect { address: Box::new(address.clone()), source })
}

/// As [`connect`], to a database that has the schema of this program.
async fn ready(address: &PostgresAddress) -> Result<(Connections, Pooled), OpenError> {
    let (pool, connection) = connect(address).await?;
    migrations::check(&connection.client).await?;
    Ok((pool, connection))
}

impl PostgresStore {
    /// Opens a database that has the schema of this program.
    ///
    /// # Errors
    /// [`OpenError`]; [`MigrationError::Older`] if the database has to be migrated first.
    pub async fn open(address: &PostgresAddress, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let (pool, _) = ready(address).await?;
        Ok(Self { pool, clock })
    }

    /// Brings the schema of a database up to date, be it empty, ours or upstream's.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn migrate(address: &PostgresAddress) -> Result<(), OpenError> {
        let (_, mut connection) = connect(address).await?;
        Ok(migrations::migrate(&mut connection.client).await?)
    }

    /// The schema of a database, which is not changed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn schema(address: &PostgresAddress) -> Result<Schema, OpenError> {
        let (_, connection) = connect(address).await?;
        Ok(migrations::schema(&connection.client).await?)
    }

    /// Gives all rows to `sink`, as one snapshot has them.
    pub(super) async fn export(address: &PostgresAddress, sink: &mut dyn Sink) -> Result<(), TransferError> {
        let (_pool, mut connection) = ready(address).await.map_err(super::OpenError::from)?;
        tables::export(&mut connection.client, sink).await
    }

    /// Writes all rows of `source` into a database that has none.
    pub(super) async fn import(
        address: &PostgresAddress,
        source: &mut dyn Source,
    ) -> Result<(), TransferError> {
        let (_pool, mut connection) = ready(address).await.map_err(super::OpenError::from)?;
        tables::import(&mut connection.client, source).await
    }

    /// Runs `work` once. `None` if PostgreSQL gave the transaction up.
    async fn try_run<T>(&self, access: Access, work: &impl Work<T>) -> Result<Option<T>, StoreError> {
        let mut rows = PostgresRows::new(Transaction::begin(&self.pool, access).await?, access);
        let result = work(&mut rows, self.clock.now()).await;
        let PostgresRows { transaction, aborted, changes, .. } = rows;
        if aborted {
            transaction.roll_back().await;
            return Ok(None);
        }
        match result {
            Ok(value) => match transaction.commit(changes).await {
                Ok(()) => Ok(Some(value)),
                Err(error) if error.is_aborted() => Ok(None),
                Err(error) => Err(error.into()),
            },
            // It may be the connection that is of no use: it goes with the transaction.
            Err(error @ StoreError::Unavailable(_)) => Err(error),
            Err(error) => {
                transaction.roll_back().await;
                Err(error)
            }
        }
    }

    async fn run<T: Send + 'static>(&self, access: Access, work: impl Work<T>) -> Result<T, StoreError> {
        let store = self.clone();
        // In a task of its own: if the caller goes away, the transaction still ends, and does not keep its locks.
        let transaction = tokio::spawn(async move { until_done(|| store.try_run(access, &work)).await });
        transaction.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into())))
    }
}

#[async_trait]
impl Backend for PostgresStore {
    async fn read<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, StoreError> {
        self.run(Access::Snapshot, work).await
    }

    async fn write<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, StoreError> {
        self.run(Access::Update, work).await
    }

    /// The rows that others are about to take are skipped: claimers do not wait for each other.
    async fn claim(&self, claim: Claim) -> Result<Option<Computation>, StoreError> {
        self.run(Access::Claim, move |rows, now| Box::pin(leases::claim(rows, now, claim.clone()))).await
    }
}
