//! The duchy's own internal API, as its daemons call it: unary calls with the deadline and the retries of a
//! [`CallPolicy`], replies unwrapped.

use std::time::Duration;

use tokio::time::timeout;
use tonic::{Code, Status};

use crate::client::{CallPolicy, Channel};
use crate::clock::Timestamp;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::computation_stats_client::ComputationStatsClient;
use crate::proto::internal::computations_client::ComputationsClient;
use crate::proto::internal::continuation_tokens_client::ContinuationTokensClient;
use crate::proto::internal::get_computation_token_request::Key;
use crate::proto::internal::purge_computations_request::Ended;
use crate::proto::internal::{
    AdvanceComputationStageRequest, AwaitWorkRequest, ClaimWorkRequest, ComputationDetails, ComputationStage,
    ComputationToken, CreateComputationRequest, CreateComputationStatRequest, DeleteComputationRequest,
    EnqueueComputationRequest, ExtendWorkLockRequest, FinishComputationRequest, GetComputationIdsRequest,
    GetComputationTokenRequest, GetContinuationTokenRequest, PurgeComputationsRequest,
    RecordOutputBlobPathRequest, RequisitionEntry, SetContinuationTokenRequest, SweepBlobsRequest,
    UpdateComputationDetailsRequest,
};
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::retry::deadline;
use crate::store::GivenBack;
use crate::sweep::{SweepOptions, Swept};

/// A client of the internal API.
#[derive(Clone, Debug)]
pub struct InternalApi {
    computations: ComputationsClient<Channel>,
    stats: ComputationStatsClient<Channel>,
    continuation_tokens: ContinuationTokensClient<Channel>,
    policy: CallPolicy,
}

/// One unary call, repeated as the policy says.
macro_rules! unary {
    ($api:ident.$client:ident.$method:ident($request:expr)) => {{
        let request = $request;
        $api.policy
            .unary(|| {
                let (mut client, request) = ($api.$client.clone(), request.clone());
                async move { client.$method(request).await }
            })
            .await
    }};
}

impl InternalApi {
    /// A client over `channel`.
    pub fn new(channel: Channel, policy: CallPolicy) -> Self {
        Self {
            computations: ComputationsClient::new(channel.clone()),
            stats: ComputationStatsClient::new(channel.clone()),
            continuation_tokens: ContinuationTokensClient::new(channel),
            policy,
        }
    }

    /// The computation with this global id; `None` if there is none.
    ///
    /// # Errors
    /// The server's status, other than `NOT_FOUND`.
    pub async fn find(&self, global_id: &str) -> Result<Option<ComputationToken>, Status> {
        let request =
            GetComputationTokenRequest { key: Some(Key::GlobalComputationId(global_id.to_owned())) };
        match unary!(self.computations.get_computation_token(request)) {
            Ok(reply) => present(reply.token).map(Some),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// The global ids of the computations in any of `stages`, which are of one protocol.
    ///
    /// # Errors
    /// The server's status.
    pub async fn ids_in(&self, stages: &[ProtocolStage]) -> Result<Vec<String>, Status> {
        let stages = stages.iter().map(|stage| ComputationStage::from(*stage)).collect();
        Ok(unary!(self.computations.get_computation_ids(GetComputationIdsRequest { stages }))?.global_ids)
    }

    /// Creates a computation.
    ///
    /// # Errors
    /// The server's status; `ALREADY_EXISTS` if it exists.
    pub async fn create(&self, request: CreateComputationRequest) -> Result<ComputationToken, Status> {
        present(unary!(self.computations.create_computation(request))?.token)
    }

    /// Claims work of `protocol` for `owner`; `None` if there is none.
    ///
    /// # Errors
    /// The server's status.
    pub async fn claim(
        &self,
        protocol: Protocol,
        owner: &str,
        lock_duration: Duration,
    ) -> Result<Option<ComputationToken>, Status> {
        let request = ClaimWorkRequest {
            computation_type: protocol.number(),
            owner: owner.to_owned(),
            lock_duration: prost_types::Duration::try_from(lock_duration).ok(),
            prioritized_stages: vec![protocol.initial_stage().into()],
        };
        Ok(unary!(self.computations.claim_work(request))?.token)
    }

    /// Waits for up to `patience` for a change of the server's count of work from `seen`; the count then, which differs
    /// if there may be work. The server may answer earlier without news.
    ///
    /// # Errors
    /// The server's status; `UNIMPLEMENTED` from upstream's.
    pub async fn await_work(&self, seen: i64, patience: Duration) -> Result<i64, Status> {
        let request = AwaitWorkRequest { seen, timeout: prost_types::Duration::try_from(patience).ok() };
        let limit = patience.saturating_add(self.policy.deadline);
        let answer = deadline::within(limit, self.computations.clone().await_work(request)).await;
        let answer = answer.map_err(|_| Status::deadline_exceeded("no answer about work"))?;
        Ok(answer?.into_inner().seen)
    }

    /// Extends the lease on the work that `token` claimed. Its version stays.
    ///
    /// # Errors
    /// The server's status; `ABORTED` if the lease is lost.
    pub async fn extend_lease(
        &self,
        token: &ComputationToken,
        lock_duration: Duration,
    ) -> Result<(), Status> {
        let request = ExtendWorkLockRequest {
            token: Some(token.clone()),
            lock_duration: prost_types::Duration::try_from(lock_duration).ok(),
        };
        unary!(self.computations.extend_work_lock(request)).map(drop)
    }

    /// Replaces the details of the computation and of the requisitions named.
    ///
    /// # Errors
    /// The server's status; `ABORTED` if the computation has changed.
    pub async fn update_details(
        &self,
        token: ComputationToken,
        details: ComputationDetails,
        requisitions: Vec<RequisitionEntry>,
    ) -> Result<ComputationToken, Status> {
        let request =
            UpdateComputationDetailsRequest { token: Some(token), details: Some(details), requisitions };
        present(unary!(self.computations.update_computation_details(request))?.token)
    }

    /// Records where an output of the stage is.
    ///
    /// # Errors
    /// The server's status; `ABORTED` if the computation has changed.
    pub async fn record_output(
        &self,
        token: ComputationToken,
        output_blob_id: i64,
        blob_path: String,
    ) -> Result<ComputationToken, Status> {
        let request = RecordOutputBlobPathRequest { token: Some(token), output_blob_id, blob_path };
        present(unary!(self.computations.record_output_blob_path(request))?.token)
    }

    /// Enters the next stage.
    ///
    /// # Errors
    /// The server's status; `ABORTED` if the computation has changed.
    pub async fn advance(&self, request: AdvanceComputationStageRequest) -> Result<ComputationToken, Status> {
        present(unary!(self.computations.advance_computation_stage(request))?.token)
    }

    /// Ends the computation in `terminal`. `error` says why it does not succeed, if anybody knows: upstream's server does
    /// not keep it.
    ///
    /// # Errors
    /// The server's status; `ABORTED` if the computation has changed.
    pub async fn finish(
        &self,
        token: ComputationToken,
        terminal: ProtocolStage,
        reason: CompletedReason,
        error: &str,
    ) -> Result<ComputationToken, Status> {
        let request = FinishComputationRequest {
            token: Some(token),
            ending_computation_stage: Some(terminal.into()),
            reason: reason as i32,
            error_message: error.to_owned(),
        };
        present(unary!(self.computations.finish_computation(request))?.token)
    }

    /// Gives work back, for anybody to claim after `delay` (rounded up to seconds).
    ///
    /// # Errors
    /// The server's status; `ABORTED` if the computation has changed.
    pub async fn enqueue(
        &self,
        token: ComputationToken,
        owner: &str,
        delay: Duration,
        given_back: GivenBack<'_>,
    ) -> Result<(), Status> {
        let (interrupted, why) = match given_back {
            GivenBack::Failed(error) => (false, error),
            GivenBack::Interrupted(why) => (true, why),
        };
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        let request = EnqueueComputationRequest {
            token: Some(token),
            delay_second: i32::try_from(seconds).unwrap_or(i32::MAX),
            expected_owner: owner.to_owned(),
            error_message: why.to_owned(),
            interrupted,
        };
        unary!(self.computations.enqueue_computation(request)).map(drop)
    }

    /// Forgets a computation and deletes its blobs.
    ///
    /// # Errors
    /// The server's status.
    pub async fn delete(&self, local_computation_id: i64) -> Result<(), Status> {
        unary!(self.computations.delete_computation(DeleteComputationRequest { local_computation_id }))
            .map(drop)
    }

    /// Deletes the ended computations of `protocol` that last changed before, with their blobs: those that ended for one of
    /// `reasons`, or all if there are none. Only counts them unless `force` is set.
    ///
    /// # Errors
    /// The server's status; `DEADLINE_EXCEEDED` if that takes longer than `limit`, when some may be deleted.
    pub async fn purge(
        &self,
        protocol: Protocol,
        updated_before: Timestamp,
        reasons: &[CompletedReason],
        force: bool,
        limit: Duration,
    ) -> Result<u64, Status> {
        let stage = ComputationStage::from(protocol.terminal_stage());
        let updated_before = Some(updated_before.into());
        let request = if reasons.is_empty() {
            PurgeComputationsRequest { updated_before, stages: vec![stage], force, ended: None }
        } else {
            let reasons = reasons.iter().map(|reason| *reason as i32).collect();
            let ended = Some(Ended { stage: Some(stage), reasons });
            PurgeComputationsRequest { updated_before, stages: Vec::new(), force, ended }
        };
        let purged = deadline::within(limit, self.computations.clone().purge_computations(request)).await;
        let purged = purged.map_err(|_| Status::deadline_exceeded("no answer about a purge"))?;
        Ok(u64::try_from(purged?.into_inner().purge_count).unwrap_or_default())
    }

    /// Sweeps the duchy's blobs. `progress` hears from time to time what there has been so far.
    ///
    /// # Errors
    /// The server's status; `UNIMPLEMENTED` from upstream's, `DEADLINE_EXCEEDED` if it is silent for longer than
    /// `silence`.
    pub async fn sweep(
        &self,
        options: SweepOptions,
        silence: Duration,
        mut progress: impl FnMut(Swept),
    ) -> Result<Swept, Status> {
        let silent = |_| Status::deadline_exceeded("no news of a sweep");
        let request = SweepBlobsRequest::from(options);
        let begun = timeout(silence, self.computations.clone().sweep_blobs(request)).await;
        let mut news = begun.map_err(silent)??.into_inner();
        let mut swept = Swept::default();
        while let Some(so_far) = timeout(silence, news.message()).await.map_err(silent)?? {
            swept = so_far.into();
            progress(swept);
        }
        Ok(swept)
    }

    /// Records a measurement of the attempt that `token` names.
    ///
    /// # Errors
    /// The server's status.
    pub async fn record_stat(
        &self,
        token: &ComputationToken,
        metric_name: &str,
        metric_value: i64,
    ) -> Result<(), Status> {
        let request = CreateComputationStatRequest {
            local_computation_id: token.local_computation_id,
            computation_stage: token.computation_stage,
            attempt: token.attempt,
            metric_name: metric_name.to_owned(),
            metric_value,
        };
        unary!(self.stats.create_computation_stat(request)).map(drop)
    }

    /// Where the herald was in the Kingdom's stream; empty for its beginning.
    ///
    /// # Errors
    /// The server's status.
    pub async fn continuation_token(&self) -> Result<String, Status> {
        Ok(unary!(self.continuation_tokens.get_continuation_token(GetContinuationTokenRequest {}))?.token)
    }

    /// Remembers where the herald is.
    ///
    /// # Errors
    /// The server's status; `FAILED_PRECONDITION` if a later token is remembered.
    pub async fn set_continuation_token(&self, token: String) -> Result<(), Status> {
        unary!(self.continuation_tokens.set_continuation_token(SetContinuationTokenRequest { token }))
            .map(drop)
    }
}

fn present(token: Option<ComputationToken>) -> Result<ComputationToken, Status> {
    token.ok_or_else(|| Status::internal("the internal API's reply has no token"))
}
