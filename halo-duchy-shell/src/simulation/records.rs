//! A duchy's store as a process of its sees it, and blobs and the key encryption key likewise.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use zeroize::Zeroizing;

use super::checker::Checker;
use super::machine::Process;
use super::plan::Fault;
use crate::clock::Clock;
use crate::cloud::CloudError;
use crate::continuation_token::ContinuationToken;
use crate::key_encryption::{KeyEncryption, KeyEncryptionError, SharedKey};
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::{ComputationDetails, ExternalRequisitionKey, RequisitionEntry};
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::store::{
    Advance, Claim, Computation, Ended, Expired, Fulfillment, GivenBack, Guard, Lease, Listing,
    NewComputation, Queue, Record, Stat, Store, StoreError,
};

/// The store, watched, from within a process.
#[derive(Debug)]
pub struct WatchedStore {
    pub store: Arc<dyn Store>,
    pub duchy: String,
    pub clock: Arc<dyn Clock>,
    pub process: Process,
}

impl WatchedStore {
    /// One transaction that writes. `learn` is told what was committed.
    async fn write<T: Send>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
        learn: impl FnOnce(&mut Checker, &str, &T) + Send,
    ) -> Result<T, StoreError> {
        self.process.point().await;
        let machine = self.process.machine();
        if machine.strikes(Fault::Abort) {
            return Err(StoreError::Unavailable("the transaction was aborted".into()));
        }
        let done = work.await;
        match &done {
            Ok(written) => {
                learn(&mut machine.checker(), &self.duchy, written);
                machine.note(format_args!("{} commits {what}", self.process.name()));
            }
            Err(error) => {
                machine.note(format_args!("{} refuses {what}: {}", self.process.name(), kind(error)))
            }
        }
        self.process.point().await;
        if done.is_ok() && machine.strikes(Fault::CommitUnheard) {
            return Err(StoreError::Unavailable("the answer of the database was lost".into()));
        }
        done
    }

    /// One transaction that reads.
    async fn read<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.process.pass().await;
        if self.process.machine().strikes(Fault::Abort) {
            return Err(StoreError::Unavailable("the transaction was aborted".into()));
        }
        work.await
    }
}

/// What went wrong, without what differs from machine to machine.
fn kind(error: &StoreError) -> String {
    let debug = format!("{error:?}");
    debug.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

#[async_trait]
impl Store for WatchedStore {
    async fn create(&self, new: NewComputation) -> Result<Computation, StoreError> {
        self.write("create", self.store.create(new), |checker, duchy, created| {
            checker.created(duchy, created)
        })
        .await
    }

    async fn get(&self, global_id: &str) -> Result<Computation, StoreError> {
        self.read(self.store.get(global_id)).await
    }

    async fn get_by_requisition(&self, key: &ExternalRequisitionKey) -> Result<Computation, StoreError> {
        self.read(self.store.get_by_requisition(key)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Option<Computation>, StoreError> {
        let clock = &self.clock;
        self.write("claim", self.store.claim(claim), |checker, duchy, claimed| {
            if let Some(claimed) = claimed {
                checker.claimed(duchy, claimed, clock.now());
            }
        })
        .await
    }

    async fn extend(&self, lease: &Lease, duration: Duration) -> Result<Computation, StoreError> {
        let extend = self.store.extend(lease, duration);
        self.write("extend", extend, |checker, duchy, extended| checker.extended(duchy, extended)).await
    }

    async fn update_details(
        &self,
        guard: &Guard,
        details: ComputationDetails,
        requisitions: Vec<RequisitionEntry>,
    ) -> Result<Computation, StoreError> {
        let update = self.store.update_details(guard, details, requisitions);
        self.write("details", update, |checker, duchy, updated| checker.updated(duchy, guard, updated)).await
    }

    async fn record_output(
        &self,
        guard: &Guard,
        blob_id: i64,
        path: &str,
    ) -> Result<Computation, StoreError> {
        let record = self.store.record_output(guard, blob_id, path);
        self.write("output", record, |checker, duchy, updated| checker.updated(duchy, guard, updated)).await
    }

    async fn record_fulfillment(
        &self,
        local_id: i64,
        key: &ExternalRequisitionKey,
        fulfillment: Fulfillment,
    ) -> Result<Computation, StoreError> {
        let record = self.store.record_fulfillment(local_id, key, fulfillment);
        self.write("fulfillment", record, |_, _, _| ()).await
    }

    async fn advance(&self, guard: &Guard, advance: Advance) -> Result<Computation, StoreError> {
        let advance = self.store.advance(guard, advance);
        self.write("advance", advance, |checker, duchy, entered| checker.advanced(duchy, guard, entered))
            .await
    }

    async fn finish(
        &self,
        guard: &Guard,
        reason: CompletedReason,
        error: &str,
    ) -> Result<Computation, StoreError> {
        let finish = self.store.finish(guard, reason, error);
        self.write("finish", finish, |checker, duchy, ended| checker.advanced(duchy, guard, ended)).await
    }

    async fn enqueue(
        &self,
        guard: &Guard,
        expected_owner: &str,
        delay: Duration,
        given_back: GivenBack<'_>,
    ) -> Result<(), StoreError> {
        // What was written is not told.
        let enqueue = async {
            self.store.enqueue(guard, expected_owner, delay, given_back).await?;
            let id = self.process.machine().checker().global_id(&self.duchy, guard.local_id);
            self.store.get(&id).await
        };
        let written = self.write("enqueue", enqueue, |checker, duchy, enqueued| {
            checker.enqueued(duchy, guard, enqueued);
        });
        written.await.map(drop)
    }

    async fn blob_paths(&self, local_id: i64) -> Result<Vec<String>, StoreError> {
        self.read(self.store.blob_paths(local_id)).await
    }

    async fn delete(&self, local_id: i64) -> Result<bool, StoreError> {
        self.write("delete", self.store.delete(local_id), |checker, duchy, _| {
            checker.deleted(duchy, local_id)
        })
        .await
    }

    async fn expired(&self, expired: &Expired) -> Result<Vec<Ended>, StoreError> {
        self.read(self.store.expired(expired)).await
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        self.read(self.store.is_empty()).await
    }

    async fn queue(&self, protocol: Protocol) -> Result<Queue, StoreError> {
        self.read(self.store.queue(protocol)).await
    }

    async fn ids_in_stages(&self, stages: &[ProtocolStage]) -> Result<Vec<String>, StoreError> {
        self.read(self.store.ids_in_stages(stages)).await
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Record>, StoreError> {
        self.read(self.store.list(listing)).await
    }

    async fn record(&self, global_id: &str) -> Result<Record, StoreError> {
        self.read(self.store.record(global_id)).await
    }

    async fn record_stat(&self, stat: Stat) -> Result<(), StoreError> {
        self.write("stat", self.store.record_stat(stat), |_, _, ()| ()).await
    }

    async fn continuation_token(&self) -> Result<Option<ContinuationToken>, StoreError> {
        self.read(self.store.continuation_token()).await
    }

    async fn set_continuation_token(&self, token: &ContinuationToken) -> Result<(), StoreError> {
        self.write("position", self.store.set_continuation_token(token), |_, _, ()| ()).await
    }
}

/// The blobs, watched, from within a process.
#[derive(Debug)]
pub struct WatchedObjects {
    pub objects: Arc<dyn ObjectStore>,
    pub process: Process,
}

impl WatchedObjects {
    fn fails(&self, fault: Fault) -> Result<(), Error> {
        match self.process.machine().strikes(fault) {
            true => Err(Error::Generic { store: "simulated", source: "the storage is away".into() }),
            false => Ok(()),
        }
    }
}

impl fmt::Display for WatchedObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedObjects")
    }
}

#[async_trait]
impl ObjectStore for WatchedObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult, Error> {
        self.process.point().await;
        self.fails(Fault::BlobUnwritten)?;
        let put = self.objects.put_opts(location, payload.clone(), options).await?;
        let machine = self.process.machine();
        machine.checker().blob(location.as_ref(), Bytes::from(payload));
        machine.note(format_args!("{} writes {location}", self.process.name()));
        self.process.point().await;
        self.fails(Fault::BlobUnheard)?;
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>, Error> {
        Err(Error::NotImplemented { operation: "put_multipart".into(), implementer: "simulated".into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult, Error> {
        self.process.pass().await;
        self.fails(Fault::BlobUnread)?;
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path, Error>>,
    ) -> BoxStream<'static, Result<Path, Error>> {
        let process = self.process.clone();
        let locations = locations.then(move |location| {
            let process = process.clone();
            async move {
                process.point().await;
                if let Ok(location) = &location {
                    process.machine().note(format_args!("{} deletes {location}", process.name()));
                }
                location
            }
        });
        self.objects.delete_stream(locations.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta, Error>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult, Error> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<(), Error> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// The key encryption key, in a service that may be away.
#[derive(Debug)]
pub struct WatchedKey {
    pub key: SharedKey,
    pub process: Process,
}

impl WatchedKey {
    async fn call(&self) -> Result<(), KeyEncryptionError> {
        self.process.pass().await;
        if !self.process.machine().strikes(Fault::KeyServiceAway) {
            return Ok(());
        }
        let source = CloudError::Unreachable { service: "the key service", source: "it is away".into() };
        Err(KeyEncryptionError::Service { key: self.name().to_owned(), source })
    }
}

#[async_trait]
impl KeyEncryption for WatchedKey {
    fn name(&self) -> &str {
        self.key.name()
    }

    async fn encrypt(&self, key: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, KeyEncryptionError> {
        self.call().await?;
        self.key.encrypt(key, associated_data).await
    }

    async fn decrypt(
        &self,
        encrypted: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyEncryptionError> {
        self.call().await?;
        self.key.decrypt(encrypted, associated_data).await
    }
}
