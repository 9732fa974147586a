//! Requisition fulfillment: data providers hand in what they computed for a measurement (upstream's
//! `duchy/service/api/v2alpha/RequisitionFulfillmentService.kt`).
//!
//! Everything that can be known from the header is checked before a byte of the body is read; the body is checked
//! while it is written under a key of its own, and counts only once its path is recorded. So an upload that is cut,
//! malformed or repeated changes nothing, and the data provider may try again.
//!
//! A call after a successful one answers as the first did, without reading the body: what was recorded first stays. The
//! bodies cannot be compared, because a data provider that encrypts its sketch again sends other bytes for the same data.

mod body;
mod deprecated;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod header;
mod registers;
mod shares;

use std::time::Duration;

use tonic::{Code, Request, Response, Status, Streaming, async_trait};

use self::body::{Body, Expected};
use self::header::Header;
use self::registers::Batch;
use super::uploads::{Uploads, next_that_brings};
use crate::audit::{Entry, Event, Outcome};
use crate::blob::{Blob, BlobError, BlobStore, BlobWriter, Place};
use crate::client::{CallPolicy, Channel};
use crate::consent::{KnownRequisition, verify_fulfillment};
use crate::fail_point::{around, stage_of};
use crate::identity::{Caller, caller};
use crate::platform;
use crate::proto::api::fulfill_requisition_request::Payload;
use crate::proto::api::requisition::State;
use crate::proto::api::requisition_fulfillment_server::RequisitionFulfillment;
use crate::proto::api::{FulfillRequisitionRequest, FulfillRequisitionResponse, MeasurementSpec};
use crate::proto::internal::computations_client::ComputationsClient;
use crate::proto::internal::get_computation_token_request::Key;
use crate::proto::internal::requisition_details::RequisitionProtocol;
use crate::proto::internal::{
    ComputationToken, ExternalRequisitionKey, GetComputationTokenRequest,
    RecordRequisitionFulfillmentRequest, RequisitionMetadata,
};
use crate::proto::system;
use crate::proto::system::computations_client::ComputationsClient as KingdomComputationsClient;
use crate::proto::system::requisitions_client::RequisitionsClient as KingdomRequisitionsClient;
use crate::protocol_stages::ProtocolStage;
use crate::telemetry::context::name_computation;
use crate::telemetry::instruments::{FULFILLMENT_BYTES, FULFILLMENT_REJECTS};
use crate::telemetry::rpc::code_name;

/// The only version of the public API there is.
const PUBLIC_API_VERSION: &str = "v2alpha";

/// What a data provider is told of a requisition that does not exist, and of another's: it must not learn which.
const NOT_YOURS: &str = "the requisition does not exist, or the caller may not fulfill it";

/// What one fulfillment may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FulfillmentLimits {
    /// Bytes of one body.
    pub bytes: u64,
    /// How long the next message may be waited for.
    pub idle: Duration,
}

impl Default for FulfillmentLimits {
    fn default() -> Self {
        Self { bytes: 1 << 30, idle: Duration::from_secs(60) }
    }
}

/// The service, in front of the duchy's internal API and the Kingdom.
#[derive(Clone, Debug)]
pub struct RequisitionFulfillmentService {
    computations: ComputationsClient<Channel>,
    kingdom_requisitions: KingdomRequisitionsClient<Channel>,
    kingdom_computations: KingdomComputationsClient<Channel>,
    blobs: BlobStore,
    duchy: String,
    limits: FulfillmentLimits,
    policy: CallPolicy,
    uploads: Uploads,
}

impl RequisitionFulfillmentService {
    /// The service of `duchy`, over channels to its internal API server and to the Kingdom's system API.
    pub fn new(
        computations: Channel,
        kingdom: Channel,
        blobs: BlobStore,
        duchy: impl Into<String>,
        limits: FulfillmentLimits,
    ) -> Self {
        Self {
            computations: ComputationsClient::new(computations),
            kingdom_requisitions: KingdomRequisitionsClient::new(kingdom.clone()),
            kingdom_computations: KingdomComputationsClient::new(kingdom),
            blobs,
            duchy: duchy.into(),
            limits,
            policy: CallPolicy::default(),
            uploads: Uploads::default(),
        }
    }

    /// The service with another deadline and other retries of its calls to the internal API and the Kingdom.
    pub fn with_policy(self, policy: CallPolicy) -> Self {
        Self { policy, ..self }
    }
}

#[async_trait]
impl RequisitionFulfillment for RequisitionFulfillmentService {
    async fn fulfill_requisition(
        &self,
        request: Request<Streaming<FulfillRequisitionRequest>>,
    ) -> Result<Response<FulfillRequisitionResponse>, Status> {
        let fulfilled = self.fulfill(request).await;
        if let Err(status) = &fulfilled {
            FULFILLMENT_REJECTS.add(1, [code_name(status.code())]);
        }
        fulfilled
    }
}

impl RequisitionFulfillmentService {
    async fn fulfill(
        &self,
        request: Request<Streaming<FulfillRequisitionRequest>>,
    ) -> Result<Response<FulfillRequisitionResponse>, Status> {
        let Caller::DataProvider(data_provider) = caller(&request)?.clone() else {
            return Err(Status::permission_denied("only data providers fulfill requisitions"));
        };
        let mut messages = request.into_inner();
        let first = self.next(&mut messages).await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the stream is empty"))?;
        deprecated::count(&first, &data_provider);
        let header = Header::parse(first)?;
        if header.data_provider != data_provider {
            return Err(Status::permission_denied(NOT_YOURS));
        }

        let token = self.token(&header).await?;
        name_computation(&token.global_computation_id);
        let requisition = requisition(&token, &header)?;
        verify(&token, requisition, &header)?;
        let Expected { body, details } = Expected::new(&token, requisition, &header, &self.duchy)?;
        if requisition.path.is_empty() {
            require_open(&token)?;
            let what = format!("{}/{}", token.global_computation_id, header.requisition);
            let _in_progress = self.uploads.begin(what, self.limits.idle).await?;
            let blob = self.receive(&mut messages, &token, &header, body).await?;
            FULFILLMENT_BYTES.add(blob.content.length, [""; 0]);
            self.record(&token, &header, blob, details).await?;
        }
        let requisition_id = header.requisition.clone();
        self.tell_kingdom(&token, header).await?;
        Entry::new(Event::RequisitionFulfilled, Outcome::Done)
            .duchy(&self.duchy)
            .principal(&data_provider)
            .computation(&token.global_computation_id)
            .detail("requisition", requisition_id)
            .record();
        tracing::info!(
            computation = token.global_computation_id,
            requisition = requisition.external_key.as_ref().map(|key| &key.external_requisition_id),
            data_provider,
            "requisition fulfilled"
        );
        Ok(Response::new(FulfillRequisitionResponse { state: State::Fulfilled.into() }))
    }

    /// The next message that is not an empty chunk; `None` at the end of the stream.
    async fn next(
        &self,
        messages: &mut Streaming<FulfillRequisitionRequest>,
    ) -> Result<Option<FulfillRequisitionRequest>, Status> {
        let brings_something = |message: &FulfillRequisitionRequest| match &message.payload {
            Some(Payload::BodyChunk(chunk)) => !chunk.data.is_empty(),
            _ => true,
        };
        next_that_brings(messages, self.limits.idle, brings_something).await
    }

    /// The computation that the requisition belongs to.
    async fn token(&self, header: &Header) -> Result<ComputationToken, Status> {
        let request = GetComputationTokenRequest { key: Some(Key::RequisitionKey(key(header))) };
        let response = self
            .policy
            .unary(|| {
                let (mut client, request) = (self.computations.clone(), request.clone());
                async move { client.get_computation_token(request).await }
            })
            .await;
        match response {
            Ok(response) => {
                response.token.ok_or_else(|| Status::internal("the internal API answered without a token"))
            }
            Err(status) if status.code() == Code::NotFound => Err(Status::not_found(NOT_YOURS)),
            Err(status) => Err(internal(&status)),
        }
    }

    /// Writes the body while checking it; what was written goes if the check fails.
    async fn receive(
        &self,
        messages: &mut Streaming<FulfillRequisitionRequest>,
        token: &ComputationToken,
        header: &Header,
        mut body: Body,
    ) -> Result<Blob, Status> {
        let place = Place::Requisition {
            computation: &token.global_computation_id,
            requisition: &header.requisition,
        };
        let mut writer =
            self.blobs.writer(place, self.limits.bytes).await.map_err(|error| storage(&error))?;
        let received = self.copy(messages, &mut writer, &mut body).await;
        let checked = match received {
            Ok(()) => match body.finish() {
                Ok(last) => check(last).await,
                Err(error) => Err(Status::invalid_argument(error.to_string())),
            },
            Err(status) => Err(status),
        };
        match checked {
            Ok(()) => {
                let written = around("blob.write", stage_of(Some(token)), writer.finish());
                written.await.map_err(|error| storage(&error))
            }
            Err(status) => {
                if let Err(error) = writer.abort().await {
                    tracing::warn!(%error, "a refused upload remains until it is swept");
                }
                Err(status)
            }
        }
    }

    async fn copy(
        &self,
        messages: &mut Streaming<FulfillRequisitionRequest>,
        writer: &mut BlobWriter,
        body: &mut Body,
    ) -> Result<(), Status> {
        while let Some(message) = self.next(messages).await? {
            let Some(Payload::BodyChunk(chunk)) = message.payload else {
                return Err(Status::invalid_argument("after the header only body chunks may come"));
            };
            let batch =
                body.push(&chunk.data).map_err(|error| Status::invalid_argument(error.to_string()))?;
            check(batch).await?;
            writer.write(chunk.data).await.map_err(|error| storage(&error))?;
        }
        Ok(())
    }

    /// Makes the body count. If another upload was recorded first, that one stays and this one goes.
    async fn record(
        &self,
        token: &ComputationToken,
        header: &Header,
        blob: Blob,
        details: Option<RequisitionProtocol>,
    ) -> Result<(), Status> {
        let request = RecordRequisitionFulfillmentRequest {
            token: Some(token.clone()),
            key: Some(key(header)),
            blob_path: blob.path.clone(),
            public_api_version: PUBLIC_API_VERSION.into(),
            protocol_details: details,
        };
        let recorded = self.policy.unary(|| {
            let (mut client, request) = (self.computations.clone(), request.clone());
            async move { client.record_requisition_fulfillment(request).await }
        });
        let recorded = around("database.fulfill", stage_of(Some(token)), recorded).await;
        let Err(status) = recorded else { return Ok(()) };
        // What else there is may come from a connection that broke: then it may have been recorded all the same, or be
        // recorded yet, so the blob must stay.
        let refusals = [Code::Aborted, Code::FailedPrecondition, Code::InvalidArgument, Code::NotFound];
        if !refusals.contains(&status.code()) {
            return Err(internal(&status));
        }
        let token = self.token(header).await?;
        let recorded = &requisition(&token, header)?.path;
        if *recorded != blob.path
            && let Err(error) = self.blobs.delete(&blob.path).await
        {
            tracing::warn!(%error, path = blob.path, "a blob that nothing refers to remains until it is swept");
        }
        if recorded.is_empty() { Err(internal(&status)) } else { Ok(()) }
    }

    /// Tells the Kingdom that the requisition is fulfilled here. That it knows already is as good.
    async fn tell_kingdom(&self, token: &ComputationToken, header: Header) -> Result<(), Status> {
        let computation = format!("computations/{}", token.global_computation_id);
        let request = system::FulfillRequisitionRequest {
            name: format!("{computation}/requisitions/{}", header.requisition),
            nonce: header.nonce,
            fulfillment_context: header.context,
            etag: header.etag,
        };
        let told = self.policy.unary(|| {
            let (mut client, request) = (self.kingdom_requisitions.clone(), request.clone());
            async move { client.fulfill_requisition(request).await }
        });
        let told = around("kingdom.fulfill", stage_of(Some(token)), told).await;
        let Err(status) = told else { return Ok(()) };
        // A repeated call has an outdated etag, or finds the requisition no longer unfulfilled.
        if matches!(status.code(), Code::FailedPrecondition | Code::Aborted)
            && self.kingdom_knows(computation, &request).await?
        {
            return Ok(());
        }
        Err(kingdom(&status))
    }

    /// Whether the Kingdom has the requisition as fulfilled by this data provider at this duchy.
    async fn kingdom_knows(
        &self,
        computation: String,
        fulfilled: &system::FulfillRequisitionRequest,
    ) -> Result<bool, Status> {
        let participant = format!("{computation}/participants/{}", self.duchy);
        let request = system::GetComputationRequest { name: computation };
        let found = self
            .policy
            .unary(|| {
                let (mut client, request) = (self.kingdom_computations.clone(), request.clone());
                async move { client.get_computation(request).await }
            })
            .await
            .map_err(|status| kingdom(&status))?;
        Ok(found.requisitions.iter().any(|requisition| {
            requisition.name == fulfilled.name
                && requisition.state() == system::requisition::State::Fulfilled
                && requisition.nonce == fulfilled.nonce
                && requisition.fulfilling_computation_participant == participant
        }))
    }
}

fn key(header: &Header) -> ExternalRequisitionKey {
    ExternalRequisitionKey {
        external_requisition_id: header.requisition.clone(),
        requisition_fingerprint: header.fingerprint.clone(),
    }
}

#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn requisition<'a>(token: &'a ComputationToken, header: &Header) -> Result<&'a RequisitionMetadata, Status> {
    let wanted = key(header);
    token
        .requisitions
        .iter()
        .find(|requisition| requisition.external_key.as_ref() == Some(&wanted))
        .ok_or_else(|| Status::internal("the internal API answered with another requisition's computation"))
}

/// Checks that the data provider means this measurement and consented to it.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn verify(
    token: &ComputationToken,
    requisition: &RequisitionMetadata,
    header: &Header,
) -> Result<(), Status> {
    let measurement =
        token.computation_details.as_ref().and_then(|details| details.kingdom_computation.as_ref());
    let measurement = measurement.ok_or_else(|| Status::internal("the computation has no specification"))?;
    if measurement.public_api_version != PUBLIC_API_VERSION {
        return Err(Status::failed_precondition(format!(
            "the measurement is of version {:?} of the public API",
            measurement.public_api_version
        )));
    }
    let spec = <MeasurementSpec as prost::Message>::decode(&measurement.measurement_spec[..])
        .map_err(|_| Status::internal("the computation's specification is malformed"))?;
    let known = KnownRequisition {
        fingerprint: requisition.external_key.as_ref().map_or(&[], |key| &key.requisition_fingerprint[..]),
        nonce_hash: requisition.details.as_ref().map_or(&[], |details| &details.nonce_hash[..]),
        listed_nonce_hashes: &spec.nonce_hashes,
    };
    verify_fulfillment(&header.fingerprint, header.nonce, &known)
        .map_err(|error| Status::failed_precondition(error.to_string()))
}

/// Checks that the computation still waits for data.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn require_open(token: &ComputationToken) -> Result<(), Status> {
    let open = ProtocolStage::of(token).is_ok_and(ProtocolStage::takes_requisitions);
    if open { Ok(()) } else { Err(Status::failed_precondition("the computation takes no more requisitions")) }
}

/// Decodes registers where a busy thread holds up no other call.
async fn check(batch: Option<Batch>) -> Result<(), Status> {
    let Some(batch) = batch else { return Ok(()) };
    platform::blocking(move || batch.check())
        .await
        .map_err(|_| Status::internal("the check of the body failed"))?
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

fn storage(error: &BlobError) -> Status {
    match error {
        BlobError::TooLarge { limit } => {
            Status::resource_exhausted(format!("the body is larger than {limit} bytes"))
        }
        error => {
            tracing::warn!(error = error as &dyn std::error::Error, "cannot store a requisition's data");
            if error.is_transient() {
                Status::unavailable("the data cannot be stored now")
            } else {
                Status::internal("the data cannot be stored")
            }
        }
    }
}

/// What a data provider is told of an error of the internal API.
fn internal(status: &Status) -> Status {
    tracing::warn!(%status, "the internal API failed");
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
            Status::unavailable("the duchy cannot take the data now")
        }
        _ => Status::internal("the duchy cannot take the data"),
    }
}

/// What a data provider is told of an error of the Kingdom.
fn kingdom(status: &Status) -> Status {
    let code = match status.code() {
        code @ (Code::Aborted | Code::FailedPrecondition | Code::NotFound | Code::Unavailable) => code,
        Code::DeadlineExceeded | Code::Cancelled => Code::Unavailable,
        _ => {
            tracing::warn!(%status, "the Kingdom failed");
            Code::Internal
        }
    };
    Status::new(code, format!("the Kingdom did not take the fulfillment: {}", status.message()))
}
