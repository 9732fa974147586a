//! A database that runs transactions is a store.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::rows::{Key, Rows};
use super::{
    Advance, Claim, Computation, Ended, Expired, Fulfillment, GivenBack, Guard, Lease, Listing,
    NewComputation, Queue, Record, Stat, Store, StoreError, inspection, leases, lifecycle, requisitions,
    retention, rules,
};
use crate::clock::Timestamp;
use crate::continuation_token::ContinuationToken;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::{ComputationDetails, ExternalRequisitionKey, RequisitionEntry};
use crate::protocol_stages::{Protocol, ProtocolStage};

/// What runs in a transaction, given its rows and its time. A database that asks for the transaction to be tried again
/// calls it again, with the rows and the time of the new one.
pub(super) trait Work<T>:
    for<'t> Fn(&'t mut dyn Rows, Timestamp) -> BoxFuture<'t, Result<T, StoreError>> + Send + Sync + 'static
{
}

impl<T, F> Work<T> for F where
    F: for<'t> Fn(&'t mut dyn Rows, Timestamp) -> BoxFuture<'t, Result<T, StoreError>>
        + Send
        + Sync
        + 'static
{
}

/// A database.
#[async_trait]
pub(super) trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Runs `work`, which only reads, on one state of the database.
    async fn read<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, StoreError>;

    /// Runs `work` and commits what it wrote if it succeeds. Transactions have the effect of running one after the
    /// other.
    async fn write<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, StoreError>;

    /// Takes the lease on the most urgent work: in transactions that each look at one computation, unless the backend
    /// can do it in one that leaves the rest of the queue to others ([`leases::claim`]).
    async fn claim(&self, claim: Claim) -> Result<Option<Computation>, StoreError> {
        leases::claim_by_candidates(self, claim).await
    }
}

#[async_trait]
impl<B: Backend> Store for B {
    async fn create(&self, new: NewComputation) -> Result<Computation, StoreError> {
        self.write(move |rows, now| Box::pin(lifecycle::create(rows, now, new.clone()))).await
    }

    async fn get(&self, global_id: &str) -> Result<Computation, StoreError> {
        let id = global_id.to_owned();
        self.read(move |rows, _| {
            let id = id.clone();
            Box::pin(async move { lifecycle::computation(rows, Key::Global(&id)).await })
        })
        .await
    }

    async fn get_by_requisition(&self, key: &ExternalRequisitionKey) -> Result<Computation, StoreError> {
        let key = key.clone();
        self.read(move |rows, _| Box::pin(requisitions::computation(rows, key.clone()))).await
    }

    async fn claim(&self, claim: Claim) -> Result<Option<Computation>, StoreError> {
        Backend::claim(self, claim).await
    }

    async fn extend(&self, lease: &Lease, duration: Duration) -> Result<Computation, StoreError> {
        let lease = lease.clone();
        self.write(move |rows, now| Box::pin(leases::extend(rows, lease.clone(), now + duration))).await
    }

    async fn update_details(
        &self,
        guard: &Guard,
        details: ComputationDetails,
        requisitions: Vec<RequisitionEntry>,
    ) -> Result<Computation, StoreError> {
        let guard = guard.clone();
        self.write(move |rows, now| {
            let (details, requisitions) = (details.clone(), requisitions.clone());
            Box::pin(lifecycle::update_details(rows, now, guard.clone(), details, requisitions))
        })
        .await
    }

    async fn record_output(
        &self,
        guard: &Guard,
        blob_id: i64,
        path: &str,
    ) -> Result<Computation, StoreError> {
        let (guard, path) = (guard.clone(), path.to_owned());
        self.write(move |rows, now| {
            Box::pin(lifecycle::record_output(rows, now, guard.clone(), blob_id, path.clone()))
        })
        .await
    }

    async fn record_fulfillment(
        &self,
        local_id: i64,
        key: &ExternalRequisitionKey,
        fulfillment: Fulfillment,
    ) -> Result<Computation, StoreError> {
        let key = key.clone();
        self.write(move |rows, now| {
            Box::pin(requisitions::fulfill(rows, now, local_id, key.clone(), fulfillment.clone()))
        })
        .await
    }

    async fn advance(&self, guard: &Guard, advance: Advance) -> Result<Computation, StoreError> {
        let guard = guard.clone();
        self.write(move |rows, now| Box::pin(lifecycle::advance(rows, now, guard.clone(), advance.clone())))
            .await
    }

    async fn finish(
        &self,
        guard: &Guard,
        reason: CompletedReason,
        error: &str,
    ) -> Result<Computation, StoreError> {
        let (guard, error) = (guard.clone(), error.to_owned());
        self.write(move |rows, now| {
            Box::pin(lifecycle::finish(rows, now, guard.clone(), reason, error.clone()))
        })
        .await
    }

    async fn enqueue(
        &self,
        guard: &Guard,
        expected_owner: &str,
        delay: Duration,
        given_back: GivenBack<'_>,
    ) -> Result<(), StoreError> {
        let (guard, owner, ending) =
            (guard.clone(), expected_owner.to_owned(), rules::given_back(given_back));
        self.write(move |rows, now| {
            Box::pin(leases::enqueue(rows, now, guard.clone(), owner.clone(), delay, ending.clone()))
        })
        .await
    }

    async fn blob_paths(&self, local_id: i64) -> Result<Vec<String>, StoreError> {
        self.read(move |rows, _| rows.blob_paths(local_id)).await
    }

    async fn delete(&self, local_id: i64) -> Result<bool, StoreError> {
        self.write(move |rows, _| rows.delete_computation(local_id)).await
    }

    async fn expired(&self, expired: &Expired) -> Result<Vec<Ended>, StoreError> {
        let expired = expired.clone();
        self.read(move |rows, _| {
            let expired = expired.clone();
            Box::pin(async move { rows.expired(&expired).await })
        })
        .await
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        self.read(|rows, _| rows.is_empty()).await
    }

    async fn queue(&self, protocol: Protocol) -> Result<Queue, StoreError> {
        self.read(move |rows, _| rows.queue(protocol)).await
    }

    async fn ids_in_stages(&self, stages: &[ProtocolStage]) -> Result<Vec<String>, StoreError> {
        let stages = stages.to_vec();
        self.read(move |rows, _| {
            let stages = stages.clone();
            Box::pin(async move { rows.ids_in_stages(&stages).await })
        })
        .await
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Record>, StoreError> {
        let listing = listing.clone();
        self.read(move |rows, _| Box::pin(inspection::list(rows, listing.clone()))).await
    }

    async fn record(&self, global_id: &str) -> Result<Record, StoreError> {
        let id = global_id.to_owned();
        self.read(move |rows, _| Box::pin(inspection::record(rows, id.clone()))).await
    }

    async fn record_stat(&self, stat: Stat) -> Result<(), StoreError> {
        self.write(move |rows, now| Box::pin(retention::record_stat(rows, now, stat.clone()))).await
    }

    async fn continuation_token(&self) -> Result<Option<ContinuationToken>, StoreError> {
        self.read(|rows, _| Box::pin(retention::continuation_token(rows))).await
    }

    async fn set_continuation_token(&self, token: &ContinuationToken) -> Result<(), StoreError> {
        let token = token.clone();
        self.write(move |rows, now| Box::pin(retention::set_continuation_token(rows, now, token.clone())))
            .await
    }
}
