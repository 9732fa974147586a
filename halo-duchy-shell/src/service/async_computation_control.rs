//! `wfa.measurement.internal.duchy.AsyncComputationControl`: bookkeeping of data received from peers.
//!
//! The control server stores what a peer sends and tells this service, which records it in the slot where the waiting
//! stage expects it and, once all slots are filled, moves the computation on. Two peers that send at once race for the
//! version of the computation; the loser begins anew.

use std::time::Duration;

use tonic::{Code, Request, Response, Status, async_trait};

use super::{not_blank, require_own, required};
use crate::client::{CallPolicy, Channel};
use crate::error::ShellError;
use crate::fail_point::{around, stage_of};
use crate::proto::internal::async_computation_control_server::AsyncComputationControl;
use crate::proto::internal::computations_client::ComputationsClient;
use crate::proto::internal::get_computation_token_request::Key;
use crate::proto::internal::{
    AdvanceComputationRequest, AdvanceComputationResponse, ComputationBlobDependency,
    ComputationStageBlobMetadata, ComputationToken, GetComputationTokenRequest, GetOutputBlobMetadataRequest,
    RecordOutputBlobPathRequest,
};
use crate::protocol_stages::{ProtocolStage, advance_request, received, slot_of};
use crate::retry::{Backoff, Class, Retries};
use halo_protocols::llv2::StageKind;

/// The pauses between attempts at recording what others get in the way of.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), 1.5, Duration::from_secs(30));

/// The service over the internal API.
#[derive(Clone, Debug)]
pub struct AsyncComputationControlService {
    computations: ComputationsClient<Channel>,
    duchy: String,
    max_attempts: u32,
}

impl AsyncComputationControlService {
    /// The service of `duchy`, which begins anew at most `max_attempts` times when others change the computation.
    pub fn new(channel: Channel, duchy: impl Into<String>, max_attempts: u32) -> Self {
        Self { computations: ComputationsClient::new(channel), duchy: duchy.into(), max_attempts }
    }

    async fn token(&self, global_id: &str) -> Result<(ComputationToken, ProtocolStage), ShellError> {
        let request = GetComputationTokenRequest { key: Some(Key::GlobalComputationId(global_id.into())) };
        let response = CallPolicy::default()
            .unary(|| {
                let (mut client, request) = (self.computations.clone(), request.clone());
                async move { client.get_computation_token(request).await }
            })
            .await?;
        let token = required(response.token, "token")?;
        let stage = ProtocolStage::try_from(&token.computation_stage.unwrap_or_default())?;
        Ok((token, stage))
    }

    /// Records the blob, again and again while others get in between.
    async fn advance(&self, request: AdvanceComputationRequest) -> Result<(), ShellError> {
        let stage = required(request.computation_stage, "computation_stage")?;
        let stage = ProtocolStage::try_from(&stage)?;
        let path = not_blank(request.blob_path, "blob_path")?;
        let retries = Retries { attempts: self.max_attempts.max(1), limited: 1, backoff: BACKOFF };
        let class = |error: &ShellError| {
            let codes = [Code::Aborted, Code::Unavailable];
            Class::transient_if(matches!(error, ShellError::Rpc(status) if codes.contains(&status.code())))
        };
        let id = &request.global_computation_id;
        retries.run(class, || self.try_advance(id, stage, request.blob_id, &path)).await
    }

    async fn try_advance(
        &self,
        global_id: &str,
        stage: ProtocolStage,
        blob_id: i64,
        path: &str,
    ) -> Result<(), ShellError> {
        let (token, current) = self.token(global_id).await?;
        if current == stage {
            let token = self.record(token, blob_id, path).await?;
            return self.leave(token, stage).await;
        }
        // It was recorded before the computation went on: this is the same message, sent once more because the answer to the
        // first was lost, and it may be late by more than a stage.
        if current.protocol() == stage.protocol() && current.number() > stage.number() {
            return Ok(());
        }
        let message = format!("the computation is in {}, not in {}", current.name(), stage.name());
        Err(ShellError::Aborted(message))
    }

    /// Fills the slot, unless it holds this very blob.
    async fn record(
        &self,
        token: ComputationToken,
        blob_id: i64,
        path: &str,
    ) -> Result<ComputationToken, ShellError> {
        let slot = outputs(&token).find(|blob| blob.blob_id == blob_id);
        let slot =
            slot.ok_or_else(|| ShellError::FailedPrecondition(format!("there is no output {blob_id}")))?;
        if slot.path == path {
            return Ok(token);
        }
        if !slot.path.is_empty() {
            let message = format!("output {blob_id} is already at {}", slot.path);
            return Err(ShellError::FailedPrecondition(message));
        }
        let stage = stage_of(Some(&token));
        let request = RecordOutputBlobPathRequest {
            token: Some(token),
            output_blob_id: blob_id,
            blob_path: path.to_owned(),
        };
        let mut computations = self.computations.clone();
        let recorded = computations.record_output_blob_path(request);
        let response = around("database.record", stage, recorded).await?;
        required(response.into_inner().token, "token")
    }

    /// Moves the computation out of the waiting stage if all has arrived.
    async fn leave(&self, token: ComputationToken, stage: ProtocolStage) -> Result<(), ShellError> {
        let Some(received) = received(&token) else { return Ok(()) };
        let details = token.computation_details.clone().unwrap_or_default();
        let next = stage.next(&details)?.ok_or_else(|| {
            ShellError::FailedPrecondition(format!("{} leads nowhere for this role", stage.name()))
        })?;
        let request = advance_request(token, next, received)?;
        let mut computations = self.computations.clone();
        around("database.advance", stage.name(), computations.advance_computation_stage(request)).await?;
        Ok(())
    }

    async fn slot(
        &self,
        request: GetOutputBlobMetadataRequest,
    ) -> Result<ComputationStageBlobMetadata, ShellError> {
        let (token, stage) = self.token(&request.global_computation_id).await?;
        if stage.kind() != StageKind::Wait {
            return Err(ShellError::FailedPrecondition(format!("{} waits for no data", stage.name())));
        }
        let details = token.computation_details.clone().unwrap_or_default();
        let sender = &request.data_origin;
        if !stage.awaits(&details, &self.duchy, sender)? {
            let message = format!("{} does not wait for data from {sender}", stage.name());
            return Err(ShellError::PermissionDenied(message));
        }
        let slot = slot_of(&token, sender).cloned();
        slot.ok_or_else(|| {
            ShellError::FailedPrecondition(format!("{} has no slot for {sender}", stage.name()))
        })
    }
}

fn outputs(token: &ComputationToken) -> impl Iterator<Item = &ComputationStageBlobMetadata> {
    token.blobs.iter().filter(|blob| blob.dependency_type() == ComputationBlobDependency::Output)
}

#[async_trait]
impl AsyncComputationControl for AsyncComputationControlService {
    async fn advance_computation(
        &self,
        request: Request<AdvanceComputationRequest>,
    ) -> Result<Response<AdvanceComputationResponse>, Status> {
        require_own(&request, &self.duchy)?;
        self.advance(request.into_inner()).await?;
        Ok(Response::new(AdvanceComputationResponse {}))
    }

    async fn get_output_blob_metadata(
        &self,
        request: Request<GetOutputBlobMetadataRequest>,
    ) -> Result<Response<ComputationStageBlobMetadata>, Status> {
        require_own(&request, &self.duchy)?;
        Ok(Response::new(self.slot(request.into_inner()).await?))
    }
}
