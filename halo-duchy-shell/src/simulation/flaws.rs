//! Flaws put in on purpose, to see that they are found.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::world::Flaw;
use crate::continuation_token::ContinuationToken;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::{ComputationDetails, ExternalRequisitionKey, RequisitionEntry};
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::store::{
    Advance, Claim, Computation, Expired, Fulfillment, GivenBack, Guard, Lease, Listing, NewComputation,
    Queue, Record, Stat, Store, StoreError,
};

/// Stores without fencing: whoever has lost a lease writes all the same.
pub struct Unfenced;

impl Flaw for Unfenced {
    fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(UnfencedStore { store, global_ids: Mutex::default() })
    }
}

#[derive(Debug)]
struct UnfencedStore {
    store: Arc<dyn Store>,
    global_ids: Mutex<BTreeMap<i64, String>>,
}

impl UnfencedStore {
    fn learn(&self, computation: Computation) -> Computation {
        let mut ids = self.global_ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.insert(computation.local_id, computation.global_id.clone());
        computation
    }

    async fn latest(&self, local_id: i64) -> Result<Computation, StoreError> {
        let ids = self.global_ids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.store.get(ids.get(&local_id).map_or("", String::as_str)).await
    }

    /// Writes under `guard`, or under one that is in order.
    async fn anyhow<T, Write>(
        &self,
        guard: &Guard,
        write: impl Fn(Guard) -> Write + Sync,
    ) -> Result<T, StoreError>
    where
        Write: Future<Output = Result<T, StoreError>> + Send,
    {
        match write(guard.clone()).await {
            Err(StoreError::VersionMismatch { .. } | StoreError::LockOwnerMismatch { .. }) => {
                write(self.latest(guard.local_id).await?.guard()).await
            }
            done => done,
        }
    }
}

#[async_trait]
impl Store for UnfencedStore {
    async fn create(&self, new: NewComputation) -> Result<Computation, StoreError> {
        self.store.create(new).await.map(|created| self.learn(created))
    }

    async fn get(&self, global_id: &str) -> Result<Computation, StoreError> {
        self.store.get(global_id).await
    }

    async fn get_by_requisition(&self, key: &ExternalRequisitionKey) -> Result<Computation, StoreError> {
        self.store.get_by_requisition(key).await
    }

    async fn claim(&self, claim: Claim) -> Result<Option<Computation>, StoreError> {
        self.store.claim(claim).await
    }

    async fn extend(&self, lease: &Lease, duration: Duration) -> Result<Computation, StoreError> {
        match self.store.extend(lease, duration).await {
            Err(StoreError::LeaseLost { local_id, .. }) => self.latest(local_id).await,
            done => done,
        }
    }

    async fn update_details(
        &self,
        guard: &Guard,
        details: ComputationDetails,
        requisitions: Vec<RequisitionEntry>,
    ) -> Result<Computation, StoreError> {
        self.anyhow(guard, |guard| {
            let (details, requisitions) = (details.clone(), requisitions.clone());
            async move { self.store.update_details(&guard, details, requisitions).await }
        })
        .await
    }

    async fn record_output(
        &self,
        guard: &Guard,
        blob_id: i64,
        path: &str,
    ) -> Result<Computation, StoreError> {
        self.store.record_output(guard, blob_id, path).await
    }

    async fn record_fulfillment(
        &self,
        local_id: i64,
        key: &ExternalRequisitionKey,
        fulfillment: Fulfillment,
    ) -> Result<Computation, StoreError> {
        self.store.record_fulfillment(local_id, key, fulfillment).await
    }

    async fn advance(&self, guard: &Guard, advance: Advance) -> Result<Computation, StoreError> {
        let done = self.store.advance(guard, advance.clone()).await;
        match done {
            Err(StoreError::VersionMismatch { .. } | StoreError::LockOwnerMismatch { .. }) => {
                let latest = self.latest(guard.local_id).await?;
                match self.store.advance(&latest.guard(), advance).await {
                    // It has gone on: then there is nothing to complain about, this store thinks.
                    Err(StoreError::IllegalTransition { .. }) => Ok(latest),
                    done => done,
                }
            }
            done => done,
        }
    }

    async fn finish(
        &self,
        guard: &Guard,
        reason: CompletedReason,
        error: &str,
    ) -> Result<Computation, StoreError> {
        self.store.finish(guard, reason, error).await
    }

    async fn enqueue(
        &self,
        guard: &Guard,
        expected_owner: &str,
        delay: Duration,
        given_back: GivenBack<'_>,
    ) -> Result<(), StoreError> {
        self.store.enqueue(guard, expected_owner, delay, given_back).await
    }

    async fn blob_paths(&self, local_id: i64) -> Result<Vec<String>, StoreError> {
        self.store.blob_paths(local_id).await
    }

    async fn delete(&self, local_id: i64) -> Result<bool, StoreError> {
        self.store.delete(local_id).await
    }

    async fn expired(&self, expired: &Expired) -> Result<Vec<(i64, String)>, StoreError> {
        self.store.expired(expired).await
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        self.store.is_empty().await
    }

    async fn queue(&self, protocol: Protocol) -> Result<Queue, StoreError> {
        self.store.queue(protocol).await
    }

    async fn ids_in_stages(&self, stages: &[ProtocolStage]) -> Result<Vec<String>, StoreError> {
        self.store.ids_in_stages(stages).await
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Record>, StoreError> {
        self.store.list(listing).await
    }

    async fn record(&self, global_id: &str) -> Result<Record, StoreError> {
        self.store.record(global_id).await
    }

    async fn record_stat(&self, stat: Stat) -> Result<(), StoreError> {
        self.store.record_stat(stat).await
    }

    async fn continuation_token(&self) -> Result<Option<ContinuationToken>, StoreError> {
        self.store.continuation_token().await
    }

    async fn set_continuation_token(&self, token: &ContinuationToken) -> Result<(), StoreError> {
        self.store.set_continuation_token(token).await
    }
}
