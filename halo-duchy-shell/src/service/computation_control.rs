//! `wfa.measurement.system.v1alpha.ComputationControl`: what other duchies ask of this one.
//!
//! A peer may send its message more often than once, before we are ready for it, or after we have gone on; only the
//! peer whose message the stage awaits may send at all. Every upload is a blob of its own, and only the first that is
//! recorded counts: so a repetition is recognised by its content, and nothing that a stage may be reading is touched.

use std::time::Duration;

use halo_protocols::kernel::MAXIMUM_MESSAGE_BYTES;
use halo_protocols::llv2::StageKind;
use sha2::{Digest, Sha256};
use tonic::{Code, Request, Response, Status, Streaming, async_trait};

use super::required;
use super::uploads::Uploads;
use crate::blob::{Blob, BlobStore, Content, Place};
use crate::client::{CallPolicy, Channel};
use crate::error::ShellError;
use crate::fail_point::around;
use crate::identity::calling_duchy;
use crate::proto::internal::async_computation_control_client::AsyncComputationControlClient;
use crate::proto::internal::computations_client::ComputationsClient;
use crate::proto::internal::get_computation_token_request::Key;
use crate::proto::internal::{
    AdvanceComputationRequest as RecordRequest, ComputationStageBlobMetadata, ComputationToken,
    GetComputationTokenRequest, GetOutputBlobMetadataRequest,
};
use crate::proto::system::computation_control_server::ComputationControl;
use crate::proto::system::{
    AdvanceComputationRequest, AdvanceComputationResponse, ComputationStage, GetComputationStageRequest,
};
use crate::protocol_stages::{Protocol, ProtocolStage, participants};
use crate::telemetry::context::name_computation;

mod upload;

use upload::Upload;

/// What a peer's message may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvanceLimits {
    /// The most bytes of one message.
    pub max_bytes: u64,
    /// The longest pause between two chunks.
    pub idle: Duration,
}

impl Default for AdvanceLimits {
    /// What a mill reads, it takes: more would be acknowledged, and then fail the computation.
    fn default() -> Self {
        Self { max_bytes: MAXIMUM_MESSAGE_BYTES, idle: Duration::from_secs(60) }
    }
}

/// The service over the duchy's internal services and its blobs.
#[derive(Clone, Debug)]
pub struct ComputationControlService {
    computations: ComputationsClient<Channel>,
    bookkeeping: AsyncComputationControlClient<Channel>,
    blobs: BlobStore,
    duchy: String,
    limits: AdvanceLimits,
    uploads: Uploads,
}

/// A message that is awaited now.
struct Awaited<'a> {
    global_id: &'a str,
    stage: ProtocolStage,
    attempt: i32,
    sender: &'a str,
}

impl ComputationControlService {
    /// The service of `duchy`, over channels to its internal API server and to its asynchronous control server.
    pub fn new(
        computations: Channel,
        bookkeeping: Channel,
        blobs: BlobStore,
        duchy: impl Into<String>,
        limits: AdvanceLimits,
    ) -> Self {
        Self {
            computations: ComputationsClient::new(computations),
            bookkeeping: AsyncComputationControlClient::new(bookkeeping),
            blobs,
            duchy: duchy.into(),
            limits,
            uploads: Uploads::default(),
        }
    }

    async fn token(&self, global_id: &str) -> Result<(ComputationToken, ProtocolStage), ShellError> {
        let request = GetComputationTokenRequest { key: Some(Key::GlobalComputationId(global_id.into())) };
        let response = CallPolicy::default()
            .unary(|| {
                let (mut client, request) = (self.computations.clone(), request.clone());
                async move { client.get_computation_token(request).await }
            })
            .await
            .map_err(pass_on)?;
        let token = required(response.token, "token")?;
        let stage = ProtocolStage::try_from(&token.computation_stage.unwrap_or_default())?;
        Ok((token, stage))
    }

    async fn advance(
        &self,
        request: Request<Streaming<AdvanceComputationRequest>>,
    ) -> Result<(), ShellError> {
        let sender = calling_duchy(&request)?.to_owned();
        let (upload, header) = Upload::begin(request.into_inner(), self.limits).await?;
        let global_id = upload::computation_id(&header)?;
        name_computation(global_id);
        let stage = upload::awaiting_stage(&header)?;

        let (token, current) = self.token(global_id).await?;
        if current.protocol() != stage.protocol() {
            return Err(ShellError::invalid("header.protocol", "is not the computation's"));
        }
        let details = token.computation_details.unwrap_or_default();
        if participants(&details).is_empty() && current.kind() != StageKind::Terminal {
            return Err(ShellError::NotYet("the participants are not known yet".into()));
        }
        if !stage.awaits(&details, &self.duchy, &sender)? {
            let message = format!("{} does not wait for data from {sender}", stage.name());
            return Err(ShellError::PermissionDenied(message));
        }
        match current.number().cmp(&stage.number()) {
            std::cmp::Ordering::Less => {
                Err(ShellError::NotYet(format!("still in {}, before {}", current.name(), stage.name())))
            }
            std::cmp::Ordering::Greater => Ok(()),
            std::cmp::Ordering::Equal => {
                let awaited = Awaited { global_id, stage, attempt: token.attempt, sender: &sender };
                self.receive(&awaited, upload).await
            }
        }
    }

    /// Takes in a message that is awaited, or recognises that it has been received.
    async fn receive(&self, awaited: &Awaited<'_>, upload: Upload) -> Result<(), ShellError> {
        let Awaited { global_id, stage, sender, .. } = awaited;
        let what = format!("{global_id}/{}/{sender}", stage.name());
        let _in_progress = self.uploads.begin(what, self.limits.idle).await?;
        let slot = self.slot(awaited).await?;
        if !slot.path.is_empty() {
            let content = digest(upload).await?;
            same_content(&slot.path, content)?;
            // If we stopped between recording it and moving on, this moves on.
            return self.record(awaited, slot.blob_id, &slot.path).await.map_err(pass_on);
        }
        let blob = self.store(awaited, upload).await?;
        match self.record(awaited, slot.blob_id, &blob.path).await {
            Err(status) if status.code() == Code::FailedPrecondition => self.lost_race(awaited, blob).await,
            recorded => recorded.map_err(pass_on),
        }
    }

    /// Another upload of the same message was recorded first: ours goes.
    async fn lost_race(&self, awaited: &Awaited<'_>, blob: Blob) -> Result<(), ShellError> {
        let recorded = self.slot(awaited).await?.path;
        if recorded == blob.path {
            return Ok(());
        }
        self.blobs.delete(&blob.path).await?;
        if recorded.is_empty() {
            return Err(ShellError::NotYet("the message could not be recorded".into()));
        }
        same_content(&recorded, blob.content)
    }

    async fn slot(&self, awaited: &Awaited<'_>) -> Result<ComputationStageBlobMetadata, ShellError> {
        let request = GetOutputBlobMetadataRequest {
            global_computation_id: awaited.global_id.to_owned(),
            data_origin: awaited.sender.to_owned(),
        };
        match self.bookkeeping.clone().get_output_blob_metadata(request).await {
            Ok(slot) => Ok(slot.into_inner()),
            // The stage has ended since we looked: the next attempt will find that it is past.
            Err(status) if status.code() == Code::FailedPrecondition => {
                Err(ShellError::NotYet(status.message().to_owned()))
            }
            Err(status) => Err(status.into()),
        }
    }

    async fn store(&self, awaited: &Awaited<'_>, mut upload: Upload) -> Result<Blob, ShellError> {
        let place = Place::Stage {
            computation: awaited.global_id,
            stage: awaited.stage.name(),
            attempt: awaited.attempt,
        };
        let mut writer = self.blobs.writer(place, self.limits.max_bytes).await?;
        let received = async {
            // A duchy may have nothing to send: that is an empty chunk. No chunk is a stream that was cut off.
            while let Some(chunk) = upload.next().await? {
                writer.write(chunk).await?;
            }
            if !upload.has_body {
                return Err(ShellError::invalid("body_chunk", "is missing"));
            }
            Ok(())
        };
        match received.await {
            Ok(()) => Ok(around("blob.write", awaited.stage.name(), writer.finish()).await?),
            Err(error) => {
                if let Err(error) = writer.abort().await {
                    tracing::warn!(%error, "a temporary object stays");
                }
                Err(error)
            }
        }
    }

    async fn record(&self, awaited: &Awaited<'_>, blob_id: i64, path: &str) -> Result<(), Status> {
        let request = RecordRequest {
            global_computation_id: awaited.global_id.to_owned(),
            computation_stage: Some(awaited.stage.into()),
            blob_id,
            blob_path: path.to_owned(),
        };
        let mut bookkeeping = self.bookkeeping.clone();
        let recorded = bookkeeping.advance_computation(request);
        around("async.record", awaited.stage.name(), recorded).await.map(drop)
    }

    async fn stage(
        &self,
        request: Request<GetComputationStageRequest>,
    ) -> Result<ComputationStage, ShellError> {
        let caller = calling_duchy(&request)?;
        let name = &request.get_ref().name;
        let global_id = upload::stage_name(name, &self.duchy)?;
        let (token, stage) = self.token(global_id).await?;
        let details = token.computation_details.unwrap_or_default();
        let participants = participants(&details);
        if participants.is_empty() && stage.kind() != StageKind::Terminal {
            return Err(ShellError::NotYet("the participants are not known yet".into()));
        }
        // A share shuffle's aggregator may ask, too; the workers' rows do not name it.
        let names_all = stage.protocol() != Protocol::HonestMajorityShareShuffle;
        if names_all && !participants.contains(&caller) {
            return Err(Status::not_found(format!("there is no {name}")).into());
        }
        let etag = format!("W/\"{}\"", hex::encode_upper(Sha256::digest(token.version.to_be_bytes())));
        Ok(ComputationStage { name: name.clone(), etag, stage: Some(stage.into()) })
    }
}

/// The content of a message that is not kept.
async fn digest(mut upload: Upload) -> Result<Content, ShellError> {
    let (mut hash, mut length) = (Sha256::new(), 0);
    while let Some(chunk) = upload.next().await? {
        hash.update(&chunk);
        length += chunk.len() as u64;
    }
    Ok(Content { digest: hash.finalize().into(), length })
}

fn same_content(recorded: &str, received: Content) -> Result<(), ShellError> {
    if Content::in_path(recorded) == Some(received) {
        return Ok(());
    }
    Err(ShellError::AlreadyExists("another message was received before".into()))
}

/// What a peer is told of an internal failure: only what it can act on.
fn pass_on(status: Status) -> ShellError {
    match status.code() {
        Code::Unavailable | Code::Aborted | Code::DeadlineExceeded | Code::NotFound => status.into(),
        code => {
            tracing::error!(?code, message = status.message(), "an internal service failed");
            Status::unknown("an internal service failed").into()
        }
    }
}

#[async_trait]
impl ComputationControl for ComputationControlService {
    async fn advance_computation(
        &self,
        request: Request<Streaming<AdvanceComputationRequest>>,
    ) -> Result<Response<AdvanceComputationResponse>, Status> {
        self.advance(request).await?;
        Ok(Response::new(AdvanceComputationResponse {}))
    }

    async fn get_computation_stage(
        &self,
        request: Request<GetComputationStageRequest>,
    ) -> Result<Response<ComputationStage>, Status> {
        Ok(Response::new(self.stage(request).await?))
    }
}
