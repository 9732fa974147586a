//! `wfa.measurement.internal.duchy.Computations`: the store for all processes of the duchy.
//!
//! The requests are checked here, the state in the store's transactions.

use std::sync::Arc;
use std::time::Duration;

use halo_protocols::llv2::StageKind;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use super::require_own;
use crate::blob::BlobStore;
use crate::clock::{Clock, SystemClock};
use crate::error::ShellError;
use crate::fail_point::{Side, around, pass, stage_of};
use crate::kingdom_log::KingdomLog;
use crate::private_key_store::delete_private_key;
use crate::proto::internal::computations_server::Computations;
use crate::proto::internal::get_computation_token_request::Key;
use crate::proto::internal::{
    AdvanceComputationStageRequest, AdvanceComputationStageResponse, AwaitWorkRequest, AwaitWorkResponse,
    ClaimWorkRequest, ClaimWorkResponse, ComputationToken, CreateComputationRequest,
    CreateComputationResponse, DeleteComputationRequest, EnqueueComputationRequest,
    EnqueueComputationResponse, ExtendWorkLockRequest, ExtendWorkLockResponse, FinishComputationRequest,
    FinishComputationResponse, GetComputationIdsRequest, GetComputationIdsResponse,
    GetComputationTokenRequest, GetComputationTokenResponse, PurgeComputationsRequest,
    PurgeComputationsResponse, RecordOutputBlobPathRequest, RecordOutputBlobPathResponse,
    RecordRequisitionFulfillmentRequest, RecordRequisitionFulfillmentResponse, SweepBlobsRequest,
    SweepBlobsResponse, UpdateComputationDetailsRequest, UpdateComputationDetailsResponse,
};
use crate::store::{Computation, Ended, Expired, GivenBack, Store};
use crate::sweep::{SweepError, Sweeper};
use crate::telemetry::instruments::{CLEANED, PURGED, SWEPT};

mod parse;
pub(crate) mod queue;
mod work;

use work::WorkNotices;

/// Computations that one page of a purge deletes.
const PURGE_PAGE: u32 = 100;
/// How many of those that a dry run finds are named: a message holds so many names.
const PURGE_SAMPLE: usize = 1000;

/// How long the end of a computation may wait for the deletion of its intermediate blobs.
const INTERMEDIATE_PATIENCE: Duration = Duration::from_secs(10);

/// The service over a store and the blobs that it refers to.
#[derive(Clone, Debug)]
pub struct ComputationsService {
    store: Arc<dyn Store>,
    blobs: BlobStore,
    duchy: String,
    kingdom_log: Option<KingdomLog>,
    work: WorkNotices,
    intermediate_ttl: Duration,
}

impl ComputationsService {
    /// The service of `duchy`. With a log, the Kingdom hears of every step.
    pub fn new(
        store: Arc<dyn Store>,
        blobs: BlobStore,
        duchy: impl Into<String>,
        kingdom_log: Option<KingdomLog>,
    ) -> Self {
        Self {
            store,
            blobs,
            duchy: duchy.into(),
            kingdom_log,
            work: WorkNotices::new(),
            intermediate_ttl: Duration::ZERO,
        }
    }

    /// Keeps the blobs of stages for a while after their computation has ended, until a sweep; otherwise they are
    /// deleted at its end.
    pub fn keeping_intermediate(self, ttl: Duration) -> Self {
        Self { intermediate_ttl: ttl, ..self }
    }

    /// The message of a request, if the duchy itself sent it.
    fn admit<T>(&self, request: Request<T>) -> Result<T, ShellError> {
        require_own(&request, &self.duchy)?;
        Ok(request.into_inner())
    }

    fn log(&self, computation: &Computation, reference: Option<&str>, what: &str) {
        if let Some(log) = &self.kingdom_log {
            log.record(computation, reference, what);
        }
    }

    async fn get(&self, request: GetComputationTokenRequest) -> Result<Computation, ShellError> {
        match request.key {
            Some(Key::GlobalComputationId(id)) => Ok(self.store.get(&id).await?),
            Some(Key::RequisitionKey(key)) => Ok(self.store.get_by_requisition(&key).await?),
            None => Err(ShellError::invalid("key", "is missing")),
        }
    }

    async fn create(&self, request: CreateComputationRequest) -> Result<Computation, ShellError> {
        let created =
            around("commit.create", "", self.store.create(parse::new_computation(request)?)).await?;
        self.work.announce();
        self.log(&created, None, "is created in");
        Ok(created)
    }

    async fn claim(&self, request: ClaimWorkRequest) -> Result<Option<Computation>, ShellError> {
        let claimed = self.store.claim(parse::claim(request)?).await?;
        if let Some(claimed) = &claimed {
            pass(Side::After, "commit.claim", claimed.stage.name());
            self.log(claimed, claimed.lock_owner.as_deref(), "is claimed in");
        }
        Ok(claimed)
    }

    async fn extend(&self, request: ExtendWorkLockRequest) -> Result<Computation, ShellError> {
        let (lease, duration) = parse::lease(request)?;
        Ok(self.store.extend(&lease, duration).await?)
    }

    async fn update_details(
        &self,
        request: UpdateComputationDetailsRequest,
    ) -> Result<Computation, ShellError> {
        let stage = stage_of(request.token.as_ref());
        let guard = parse::guard(request.token)?;
        let details = super::required(request.details, "details")?;
        parse::check_requisitions(&request.requisitions)?;
        let updated = self.store.update_details(&guard, details, request.requisitions);
        Ok(around("commit.update", stage, updated).await?)
    }

    async fn record_output(&self, request: RecordOutputBlobPathRequest) -> Result<Computation, ShellError> {
        let stage = stage_of(request.token.as_ref());
        let guard = parse::guard(request.token)?;
        let path = super::not_blank(request.blob_path, "blob_path")?;
        let recorded = self.store.record_output(&guard, request.output_blob_id, &path);
        Ok(around("commit.record", stage, recorded).await?)
    }

    async fn record_fulfillment(
        &self,
        request: RecordRequisitionFulfillmentRequest,
    ) -> Result<Computation, ShellError> {
        let stage = stage_of(request.token.as_ref());
        let (local_id, key, fulfillment) = parse::fulfillment(request)?;
        let recorded = self.store.record_fulfillment(local_id, &key, fulfillment);
        Ok(around("commit.fulfill", stage, recorded).await?)
    }

    async fn advance(&self, request: AdvanceComputationStageRequest) -> Result<Computation, ShellError> {
        let stage = stage_of(request.token.as_ref());
        let (guard, advance) = parse::advance(request)?;
        let advanced = around("commit.advance", stage, self.store.advance(&guard, advance)).await?;
        if advanced.stage.kind() == StageKind::Compute {
            self.work.announce();
        }
        self.log(&advanced, guard.owner.as_deref(), "enters");
        Ok(advanced)
    }

    async fn finish(&self, request: FinishComputationRequest) -> Result<Computation, ShellError> {
        let stage = stage_of(request.token.as_ref());
        let (guard, reason, error) = parse::finish(request)?;
        let finished = around("commit.finish", stage, self.store.finish(&guard, reason, &error)).await?;
        if let Err(error) = delete_private_key(&self.blobs, &finished.details).await {
            tracing::warn!(computation = finished.global_id, %error, "a private key of no more use remains");
        }
        if self.intermediate_ttl.is_zero() {
            self.delete_intermediate(&finished.global_id).await;
        }
        self.log(&finished, guard.owner.as_deref(), &format!("ends as {} in", reason.as_str_name()));
        Ok(finished)
    }

    /// Deletes the blobs of the stages of an ended computation. What a storage in trouble keeps is left to a sweep.
    async fn delete_intermediate(&self, global_id: &str) {
        let deleted = around("blob.delete", "", self.blobs.delete_stages(global_id));
        match timeout(INTERMEDIATE_PATIENCE, deleted).await {
            Ok(Ok(count)) => SWEPT.add(count as u64, ["intermediate"]),
            Ok(Err(error)) => tracing::warn!(global_id, %error, "blobs of no more use remain"),
            Err(_) => tracing::warn!(global_id, "blobs of no more use remain: the storage is too slow"),
        }
    }

    async fn enqueue(&self, request: EnqueueComputationRequest) -> Result<(), ShellError> {
        let delay = u64::try_from(request.delay_second)
            .map_err(|_| ShellError::invalid("delay_second", "is negative"))?;
        let delay = Duration::from_secs(delay);
        let stage = stage_of(request.token.as_ref());
        let guard = parse::guard(request.token)?;
        let why = &request.error_message;
        let given_back =
            if request.interrupted { GivenBack::Interrupted(why) } else { GivenBack::Failed(why) };
        let enqueued = self.store.enqueue(&guard, &request.expected_owner, delay, given_back);
        around("commit.enqueue", stage, enqueued).await?;
        self.work.announce_after(delay);
        Ok(())
    }

    /// Deletes the blobs, then the row: if a blob stays, so does the row that knows it.
    async fn delete(&self, local_id: i64) -> Result<bool, ShellError> {
        for path in self.store.blob_paths(local_id).await? {
            self.blobs.delete(&path).await?;
        }
        Ok(self.store.delete(local_id).await?)
    }

    async fn purge(
        &self,
        request: PurgeComputationsRequest,
    ) -> Result<PurgeComputationsResponse, ShellError> {
        let force = request.force;
        let (mut page, reasons) = parse::expired(request, PURGE_PAGE)?;
        let mut response = PurgeComputationsResponse::default();
        loop {
            let computations = self.store.expired(&page).await?;
            let Some(last) = computations.last().map(|ended| ended.local_id) else { return Ok(response) };
            for Ended { local_id, global_id, reason } in computations {
                if !reasons.is_empty() && !reasons.contains(&reason) {
                    continue;
                }
                if !force {
                    response.purge_count += 1;
                    if response.purge_sample.len() < PURGE_SAMPLE {
                        response.purge_sample.push(global_id);
                    }
                } else {
                    let deleted = self.purge_one(local_id, &global_id).await;
                    PURGED.add(1, [if deleted { "deleted" } else { "kept" }]);
                    response.purge_count += i32::from(deleted);
                }
            }
            page = Expired { after: last, ..page };
        }
    }

    /// Deletes an ended computation; one that cannot be deleted is left for the next purge.
    async fn purge_one(&self, local_id: i64, global_id: &str) -> bool {
        match self.delete(local_id).await {
            Ok(deleted) => deleted,
            Err(error) => {
                tracing::warn!(global_id, %error, "cannot purge a computation");
                false
            }
        }
    }
}

impl From<SweepError> for ShellError {
    fn from(error: SweepError) -> Self {
        match error {
            SweepError::Blobs(error) => error.into(),
            SweepError::Store(error) => error.into(),
        }
    }
}

fn token(computation: Computation) -> Option<ComputationToken> {
    Some(computation.into())
}

#[async_trait]
impl Computations for ComputationsService {
    async fn create_computation(
        &self,
        request: Request<CreateComputationRequest>,
    ) -> Result<Response<CreateComputationResponse>, Status> {
        let created = self.create(self.admit(request)?).await?;
        Ok(Response::new(CreateComputationResponse { token: token(created) }))
    }

    async fn get_computation_token(
        &self,
        request: Request<GetComputationTokenRequest>,
    ) -> Result<Response<GetComputationTokenResponse>, Status> {
        let found = self.get(self.admit(request)?).await?;
        Ok(Response::new(GetComputationTokenResponse { token: token(found) }))
    }

    async fn claim_work(
        &self,
        request: Request<ClaimWorkRequest>,
    ) -> Result<Response<ClaimWorkResponse>, Status> {
        let claimed = self.claim(self.admit(request)?).await?;
        Ok(Response::new(ClaimWorkResponse { token: claimed.and_then(token) }))
    }

    async fn await_work(
        &self,
        request: Request<AwaitWorkRequest>,
    ) -> Result<Response<AwaitWorkResponse>, Status> {
        let request = self.admit(request)?;
        let patience = Duration::try_from(request.timeout.unwrap_or_default());
        let patience = patience.map_err(|_| ShellError::invalid("timeout", "is negative"))?;
        let seen = self.work.wait(request.seen, patience).await;
        Ok(Response::new(AwaitWorkResponse { seen }))
    }

    async fn extend_work_lock(
        &self,
        request: Request<ExtendWorkLockRequest>,
    ) -> Result<Response<ExtendWorkLockResponse>, Status> {
        let extended = self.extend(self.admit(request)?).await?;
        Ok(Response::new(ExtendWorkLockResponse { token: token(extended) }))
    }

    async fn update_computation_details(
        &self,
        request: Request<UpdateComputationDetailsRequest>,
    ) -> Result<Response<UpdateComputationDetailsResponse>, Status> {
        let updated = self.update_details(self.admit(request)?).await?;
        Ok(Response::new(UpdateComputationDetailsResponse { token: token(updated) }))
    }

    async fn record_output_blob_path(
        &self,
        request: Request<RecordOutputBlobPathRequest>,
    ) -> Result<Response<RecordOutputBlobPathResponse>, Status> {
        let recorded = self.record_output(self.admit(request)?).await?;
        Ok(Response::new(RecordOutputBlobPathResponse { token: token(recorded) }))
    }

    async fn record_requisition_fulfillment(
        &self,
        request: Request<RecordRequisitionFulfillmentRequest>,
    ) -> Result<Response<RecordRequisitionFulfillmentResponse>, Status> {
        let recorded = self.record_fulfillment(self.admit(request)?).await?;
        Ok(Response::new(RecordRequisitionFulfillmentResponse { token: token(recorded) }))
    }

    async fn advance_computation_stage(
        &self,
        request: Request<AdvanceComputationStageRequest>,
    ) -> Result<Response<AdvanceComputationStageResponse>, Status> {
        let advanced = self.advance(self.admit(request)?).await?;
        Ok(Response::new(AdvanceComputationStageResponse { token: token(advanced) }))
    }

    async fn finish_computation(
        &self,
        request: Request<FinishComputationRequest>,
    ) -> Result<Response<FinishComputationResponse>, Status> {
        let finished = self.finish(self.admit(request)?).await?;
        Ok(Response::new(FinishComputationResponse { token: token(finished) }))
    }

    async fn enqueue_computation(
        &self,
        request: Request<EnqueueComputationRequest>,
    ) -> Result<Response<EnqueueComputationResponse>, Status> {
        self.enqueue(self.admit(request)?).await?;
        Ok(Response::new(EnqueueComputationResponse {}))
    }

    async fn get_computation_ids(
        &self,
        request: Request<GetComputationIdsRequest>,
    ) -> Result<Response<GetComputationIdsResponse>, Status> {
        let stages = parse::stages(&self.admit(request)?.stages)?;
        let global_ids = self.store.ids_in_stages(&stages).await.map_err(ShellError::from)?;
        Ok(Response::new(GetComputationIdsResponse { global_ids }))
    }

    async fn delete_computation(
        &self,
        request: Request<DeleteComputationRequest>,
    ) -> Result<Response<()>, Status> {
        self.delete(self.admit(request)?.local_computation_id).await?;
        Ok(Response::new(()))
    }

    async fn purge_computations(
        &self,
        request: Request<PurgeComputationsRequest>,
    ) -> Result<Response<PurgeComputationsResponse>, Status> {
        Ok(Response::new(self.purge(self.admit(request)?).await?))
    }

    type SweepBlobsStream = ReceiverStream<Result<SweepBlobsResponse, Status>>;

    async fn sweep_blobs(
        &self,
        request: Request<SweepBlobsRequest>,
    ) -> Result<Response<Self::SweepBlobsStream>, Status> {
        let options = parse::sweep(self.admit(request)?)?;
        let sweeper = Sweeper {
            store: Arc::clone(&self.store),
            blobs: self.blobs.clone(),
            clock: Arc::new(SystemClock),
        };
        let (news, told) = mpsc::channel(1);
        tokio::spawn(async move {
            // A listener who is slow hears of some batches only.
            let sweep = sweeper.sweep(options, |swept| drop(news.try_send(Ok(swept.into()))));
            let swept = tokio::select! {
                () = news.closed() => return,
                swept = sweep => swept,
            };
            if swept.is_ok() && options.force {
                CLEANED.set(SystemClock.now().millis() as f64 / 1e3, [""; 0]);
            }
            let last = swept.map(Into::into).map_err(|error| Status::from(ShellError::from(error)));
            // The listener may have gone away.
            let _ = news.send(last).await;
        });
        Ok(Response::new(ReceiverStream::new(told)))
    }
}
