//! The store for duchies on Google Cloud: a Cloud Spanner database, shared by all processes of one duchy.

use std::sync::Arc;

use async_trait::async_trait;

use super::backend::{Backend, Work};
use super::contention::until_done;
use super::migrations::Schema;
use super::tables::{Sink, Source};
use super::transfer::TransferError;
use super::{MigrationError, StoreError};
use crate::clock::Clock;

mod address;
mod client;
mod credentials;
mod migrations;
mod read;
mod rows;
mod tables;
mod value;

pub use address::{AddressError, SpannerAddress};
pub use client::SpannerError;
use client::{Database, Update};
use rows::SpannerRows;

/// A [`Store`](super::Store) in a Cloud Spanner database.
#[derive(Clone, Debug)]
pub struct SpannerStore {
    database: Database,
    clock: Arc<dyn Clock>,
}

/// Where Spanner is and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpannerOptions {
    /// The database, which exists.
    pub address: SpannerAddress,
    /// Host and port of an emulator, instead of Google's service.
    pub emulator_host: Option<String>,
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Spanner cannot be reached, or has no such database.
    #[error("cannot open {address}")]
    Connect {
        /// The database.
        address: SpannerAddress,
        /// Why.
        #[source]
        source: SpannerError,
    },
    /// The schema is another one, or cannot be brought up to date.
    #[error(transparent)]
    Migration(#[from] MigrationError),
}

impl SpannerOptions {
    async fn connect(&self) -> Result<Database, OpenError> {
        let Self { address, emulator_host } = self;
        let connected = Database::connect(address, emulator_host.as_deref()).await;
        connected.map_err(|source| OpenError::Connect { address: address.clone(), source })
    }

    /// The database, which must have the schema of this program.
    async fn ready(&self) -> Result<Database, OpenError> {
        let database = self.connect().await?;
        migrations::check(&database).await?;
        Ok(database)
    }
}

impl SpannerStore {
    /// Opens a database that has the schema of this program.
    ///
    /// # Errors
    /// [`OpenError`]; [`MigrationError::Older`] if the database has to be migrated first.
    pub async fn open(options: &SpannerOptions, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Ok(Self { database: options.ready().await?, clock })
    }

    /// Brings the schema of a database up to date, be it empty, ours or upstream's.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn migrate(options: &SpannerOptions) -> Result<(), OpenError> {
        let database = options.connect().await?;
        Ok(migrations::migrate(&database, &options.address, options.emulator_host.as_deref()).await?)
    }

    /// The schema of a database, which is not changed.
    ///
    /// # Errors
    /// [`OpenError`]; [`MigrationError::Unfinished`].
    pub async fn schema(options: &SpannerOptions) -> Result<Schema, OpenError> {
        Ok(migrations::schema(&options.connect().await?).await?)
    }

    /// As [`Self::migrate`]; but on an emulator, which starts without, instance and database are made first where there
    /// are none.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn set_up(options: &SpannerOptions) -> Result<(), OpenError> {
        if let SpannerOptions { address, emulator_host: Some(emulator) } = options {
            let created = client::create_on_emulator(address, emulator).await;
            created.map_err(|source| OpenError::Connect { address: address.clone(), source })?;
        }
        Self::migrate(options).await
    }

    /// Gives all rows to `sink`, as one snapshot has them.
    pub(super) async fn export(options: &SpannerOptions, sink: &mut dyn Sink) -> Result<(), TransferError> {
        tables::export(&options.ready().await.map_err(super::OpenError::from)?, sink).await
    }

    /// Writes all rows of `source` into a database that has none.
    pub(super) async fn import(
        options: &SpannerOptions,
        source: &mut dyn Source,
    ) -> Result<(), TransferError> {
        tables::import(&options.ready().await.map_err(super::OpenError::from)?, source).await
    }

    /// Runs `work` once. `None` if Spanner gave the transaction up.
    async fn try_write<T>(&self, work: &impl Work<T>) -> Result<Option<T>, StoreError> {
        let mut rows = SpannerRows::<Update>::new(self.database.begin().await?);
        let result = work(&mut rows, self.clock.now()).await;
        let SpannerRows { transaction, aborted, changes } = rows;
        if aborted {
            return Ok(None);
        }
        match result {
            Ok(value) => Ok(transaction.commit(changes).await?.map(|()| value)),
            Err(error) => {
                transaction.roll_back().await;
                Err(error)
            }
        }
    }

    async fn write_with_patience<T>(&self, work: impl Work<T>) -> Result<T, StoreError> {
        until_done(|| self.try_write(&work)).await
    }
}

impl From<SpannerError> for StoreError {
    fn from(error: SpannerError) -> Self {
        Self::Unavailable(error.into())
    }
}

#[async_trait]
impl Backend for SpannerStore {
    async fn read<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, StoreError> {
        let mut rows = SpannerRows::new(self.database.snapshot().await?);
        work(&mut rows, self.clock.now()).await
    }

    async fn write<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, StoreError> {
        let store = self.clone();
        // In a task of its own: if the caller goes away, the transaction still ends, and does not keep its locks.
        let transaction = tokio::spawn(async move { store.write_with_patience(work).await });
        transaction.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into())))
    }
}
