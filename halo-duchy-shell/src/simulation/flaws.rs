//! Flaws put in on purpose, to see that they are found.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use halo_protocols::llv2::StageKind;

use super::machine::locked;
use super::world::Flaw;
use crate::continuation_token::ContinuationToken;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::{ComputationDetails, ExternalRequisitionKey, RequisitionEntry};
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::store::{
    Advance, Claim, Computation, Ended, Expired, Fulfillment, GivenBack, Guard, Lease, Listing,
    NewComputation, Queue, Record, Stat, Store, StoreError,
};

/// Stores without fencing: whoever has lost a lease writes all the same.
pub struct Unfenced;

impl Flaw for Unfenced {
    fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        FlawedStore::over(store, WithoutFencing)
    }
}

/// Stores that say that a mill's commit is done and lose it, once.
pub struct Forgetful;

impl Flaw for Forgetful {
    fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        FlawedStore::over(store, LosesCommit::default())
    }
}

/// Stores that give the work of their first computation to nobody.
pub struct Unfair;

impl Flaw for Unfair {
    fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        FlawedStore::over(store, PassesOver::default())
    }
}

/// A process that is never there.
pub struct Without(pub &'static str);

impl Flaw for Without {
    fn starts(&self, process: &str) -> bool {
        process != self.0
    }
}

/// What a store does that it must not. What is not said here it does as it should.
#[async_trait]
trait Misconduct: fmt::Debug + Send + Sync + 'static {
    fn created(&self, _: &Computation) {}

    async fn claim(&self, sound: &Sound, claim: Claim) -> Result<Option<Computation>, StoreError> {
        sound.store.claim(claim).await
    }

    async fn extend(
        &self,
        sound: &Sound,
        lease: &Lease,
        duration: Duration,
    ) -> Result<Computation, StoreError> {
        sound.store.extend(lease, duration).await
    }

    async fn update_details(
        &self,
        sound: &Sound,
        guard: &Guard,
        details: ComputationDetails,
        requisitions: Vec<RequisitionEntry>,
    ) -> Result<Computation, StoreError> {
        sound.store.update_details(guard, details, requisitions).await
    }

    async fn advance(
        &self,
        sound: &Sound,
        guard: &Guard,
        advance: Advance,
    ) -> Result<Computation, StoreError> {
        sound.store.advance(guard, advance).await
    }
}

/// The store behind a flawed one, which is in order.
#[derive(Debug)]
struct Sound {
    store: Arc<dyn Store>,
    global_ids: Mutex<BTreeMap<i64, String>>,
}

impl Sound {
    fn learn(&self, computation: &Computation) {
        locked(&self.global_ids).insert(computation.local_id, computation.global_id.clone());
    }

    async fn latest(&self, local_id: i64) -> Result<Computation, StoreError> {
        let id = locked(&self.global_ids).get(&local_id).cloned().unwrap_or_default();
        self.store.get(&id).await
    }
}

#[derive(Debug)]
struct WithoutFencing;

impl WithoutFencing {
    /// Writes under `guard`, or under one that is in order.
    async fn anyhow<T, Write>(
        sound: &Sound,
        guard: &Guard,
        write: impl Fn(Guard) -> Write + Sync,
    ) -> Result<T, StoreError>
    where
        Write: Future<Output = Result<T, StoreError>> + Send,
    {
        match write(guard.clone()).await {
            Err(StoreError::VersionMismatch { .. } | StoreError::LockOwnerMismatch { .. }) => {
                write(sound.latest(guard.local_id).await?.guard()).await
            }
            done => done,
        }
    }
}

#[async_trait]
impl Misconduct for WithoutFencing {
    async fn extend(
        &self,
        sound: &Sound,
        lease: &Lease,
        duration: Duration,
    ) -> Result<Computation, StoreError> {
        match sound.store.extend(lease, duration).await {
            Err(StoreError::LeaseLost { local_id, .. }) => sound.latest(local_id).await,
            done => done,
        }
    }

    async fn update_details(
        &self,
        sound: &Sound,
        guard: &Guard,
        details: ComputationDetails,
        requisitions: Vec<RequisitionEntry>,
    ) -> Result<Computation, StoreError> {
        Self::anyhow(sound, guard, |guard| {
            let (details, requisitions) = (details.clone(), requisitions.clone());
            async move { sound.store.update_details(&guard, details, requisitions).await }
        })
        .await
    }

    async fn advance(
        &self,
        sound: &Sound,
        guard: &Guard,
        advance: Advance,
    ) -> Result<Computation, StoreError> {
        match sound.store.advance(guard, advance.clone()).await {
            Err(StoreError::VersionMismatch { .. } | StoreError::LockOwnerMismatch { .. }) => {
                let latest = sound.latest(guard.local_id).await?;
                match sound.store.advance(&latest.guard(), advance).await {
                    // It has gone on: then there is nothing to complain about, this store thinks.
                    Err(StoreError::IllegalTransition { .. }) => Ok(latest),
                    done => done,
                }
            }
            done => done,
        }
    }
}

#[derive(Debug, Default)]
struct LosesCommit(AtomicBool);

#[async_trait]
impl Misconduct for LosesCommit {
    async fn advance(
        &self,
        sound: &Sound,
        guard: &Guard,
        advance: Advance,
    ) -> Result<Computation, StoreError> {
        let latest = sound.latest(guard.local_id).await?;
        // What a herald or a peer has moved on nobody would move on again.
        if latest.stage.kind() != StageKind::Compute || self.0.swap(true, Ordering::Relaxed) {
            return sound.store.advance(guard, advance).await;
        }
        let version = latest.version + 1;
        Ok(Computation { stage: advance.next, version, lock_owner: None, lock_expiration: None, ..latest })
    }
}

#[derive(Debug, Default)]
struct PassesOver(OnceLock<i64>);

#[async_trait]
impl Misconduct for PassesOver {
    fn created(&self, computation: &Computation) {
        // Only the first: whoever comes later changes nothing.
        let _ = self.0.set(computation.local_id);
    }

    async fn claim(&self, sound: &Sound, claim: Claim) -> Result<Option<Computation>, StoreError> {
        match sound.store.claim(claim.clone()).await? {
            // It is leased to somebody who does not hear of it, so the next is another.
            Some(claimed) if self.0.get() == Some(&claimed.local_id) => sound.store.claim(claim).await,
            claimed => Ok(claimed),
        }
    }
}

#[derive(Debug)]
struct FlawedStore<M> {
    sound: Sound,
    flaw: M,
}

impl<M: Misconduct> FlawedStore<M> {
    fn over(store: Arc<dyn Store>, flaw: M) -> Arc<dyn Store> {
        Arc::new(Self { sound: Sound { store, global_ids: Mutex::default() }, flaw })
    }
}

#[async_trait]
impl<M: Misconduct> Store for FlawedStore<M> {
    async fn create(&self, new: NewComputation) -> Result<Computation, StoreError> {
        let created = self.sound.store.create(new).await?;
        self.sound.learn(&created);
        self.flaw.created(&created);
        Ok(created)
    }

    async fn get(&self, global_id: &str) -> Result<Computation, StoreError> {
        self.sound.store.get(global_id).await
    }

    async fn get_by_requisition(&self, key: &ExternalRequisitionKey) -> Result<Computation, StoreError> {
        self.sound.store.get_by_requisition(key).await
    }

    async fn claim(&self, claim: Claim) -> Result<Option<Computation>, StoreError> {
        self.flaw.claim(&self.sound, claim).await
    }

    async fn extend(&self, lease: &Lease, duration: Duration) -> Result<Computation, StoreError> {
        self.flaw.extend(&self.sound, lease, duration).await
    }

    async fn update_details(
        &self,
        guard: &Guard,
        details: ComputationDetails,
        requisitions: Vec<RequisitionEntry>,
    ) -> Result<Computation, StoreError> {
        self.flaw.update_details(&self.sound, guard, details, requisitions).await
    }

    async fn record_output(
        &self,
        guard: &Guard,
        blob_id: i64,
        path: &str,
    ) -> Result<Computation, StoreError> {
        self.sound.store.record_output(guard, blob_id, path).await
    }

    async fn record_fulfillment(
        &self,
        local_id: i64,
        key: &ExternalRequisitionKey,
        fulfillment: Fulfillment,
    ) -> Result<Computation, StoreError> {
        self.sound.store.record_fulfillment(local_id, key, fulfillment).await
    }

    async fn advance(&self, guard: &Guard, advance: Advance) -> Result<Computation, StoreError> {
        self.flaw.advance(&self.sound, guard, advance).await
    }

    async fn finish(
        &self,
        guard: &Guard,
        reason: CompletedReason,
        error: &str,
    ) -> Result<Computation, StoreError> {
        self.sound.store.finish(guard, reason, error).await
    }

    async fn enqueue(
        &self,
        guard: &Guard,
        expected_owner: &str,
        delay: Duration,
        given_back: GivenBack<'_>,
    ) -> Result<(), StoreError> {
        self.sound.store.enqueue(guard, expected_owner, delay, given_back).await
    }

    async fn blob_paths(&self, local_id: i64) -> Result<Vec<String>, StoreError> {
        self.sound.store.blob_paths(local_id).await
    }

    async fn delete(&self, local_id: i64) -> Result<bool, StoreError> {
        self.sound.store.delete(local_id).await
    }

    async fn expired(&self, expired: &Expired) -> Result<Vec<Ended>, StoreError> {
        self.sound.store.expired(expired).await
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        self.sound.store.is_empty().await
    }

    async fn queue(&self, protocol: Protocol) -> Result<Queue, StoreError> {
        self.sound.store.queue(protocol).await
    }

    async fn ids_in_stages(&self, stages: &[ProtocolStage]) -> Result<Vec<String>, StoreError> {
        self.sound.store.ids_in_stages(stages).await
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Record>, StoreError> {
        self.sound.store.list(listing).await
    }

    async fn record(&self, global_id: &str) -> Result<Record, StoreError> {
        self.sound.store.record(global_id).await
    }

    async fn record_stat(&self, stat: Stat) -> Result<(), StoreError> {
        self.sound.store.record_stat(stat).await
    }

    async fn continuation_token(&self) -> Result<Option<ContinuationToken>, StoreError> {
        self.sound.store.continuation_token().await
    }

    async fn set_continuation_token(&self, token: &ContinuationToken) -> Result<(), StoreError> {
        self.sound.store.set_continuation_token(token).await
    }
}
