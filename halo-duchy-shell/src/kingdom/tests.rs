//! The Kingdom over gRPC on a loopback port, with duchies, data providers and a measurement consumer played by the
//! tests. A caller names itself, as to a Kingdom in plain text: mutual TLS is tested where it lives.

use std::time::Duration;

use prost::Message;
use prost_types::Any;
use rand_core::SeedableRng;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use super::config::{LiquidLegionsSettings, Protocol, StreamSettings};
use super::plaintext::{Introduce, believe};
use super::*;
use crate::client::Channel;
use crate::clock::SystemClock;
use crate::identity::Caller;
use crate::proto::api::measurement::{DataProviderEntry, data_provider_entry};
use crate::proto::api::measurement_spec::{MeasurementType, ReachAndFrequency, VidSamplingInterval};
use crate::proto::api::measurements_client::MeasurementsClient;
use crate::proto::api::requisitions_client::RequisitionsClient as PublicRequisitionsClient;
use crate::proto::api::{
    CreateMeasurementRequest, DifferentialPrivacyParams, EncryptedMessage, Measurement, MeasurementSpec,
    SignedMessage,
};
use crate::proto::dev_kingdom::dev_kingdom_client::DevKingdomClient;
use crate::proto::system::computation::State as ComputationState;
use crate::proto::system::computation_participant::{
    RequisitionParams, State as ParticipantState, requisition_params,
};
use crate::proto::system::computation_participants_client::ComputationParticipantsClient;
use crate::proto::system::computations_client::ComputationsClient;
use crate::proto::system::requisitions_client::RequisitionsClient;
use crate::proto::system::{
    ComputationParticipant, ConfirmComputationParticipantRequest, FulfillRequisitionRequest,
    GetComputationParticipantRequest, SetParticipantRequisitionParamsRequest,
};
use crate::server::{ServerLimits, serve_plaintext};

mod admin;
mod faults;
mod life_cycle;
mod persistence;
mod plans;
mod public_api;
mod refusals;
mod results;
mod share_shuffle;
mod stream;

const DUCHIES: [&str; 3] = ["aggregator", "worker1", "worker2"];
const DATA_PROVIDERS: [&str; 2] = ["news", "video"];
const CONSUMER: &str = "measurementConsumers/shop";
type Stub = InterceptedService<Channel, Introduce>;

/// A Kingdom and the way to it.
struct Trial {
    kingdom: Kingdom,
    channel: Channel,
}

impl Trial {
    async fn start() -> Self {
        let timeout = Duration::from_secs(20);
        Self::with_stream(StreamSettings { timeout, throttle: Duration::ZERO, limit: 50 }).await
    }

    async fn with_stream(stream: StreamSettings) -> Self {
        Self::of(Protocol::LiquidLegionsV2(LiquidLegionsSettings::default()), stream).await
    }

    async fn of(protocol: Protocol, stream: StreamSettings) -> Self {
        let config = config(vec![protocol], stream);
        Self::around(Kingdom::new(config, Arc::new(SystemClock), ChaCha20Rng::seed_from_u64(1))).await
    }

    /// Tells `kingdom` the certificates of everyone and serves it.
    async fn around(kingdom: Kingdom) -> Self {
        let owners = DUCHIES.map(|id| format!("duchies/{id}")).into_iter();
        let owners =
            owners.chain(DATA_PROVIDERS.map(|id| format!("dataProviders/{id}"))).chain([CONSUMER.to_owned()]);
        for owner in owners {
            let der = format!("certificate of {owner}").into_bytes();
            kingdom.register_certificate(&format!("{owner}/certificates/1"), der).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (routes, limits) = (kingdom.routes(), ServerLimits::default());
        tokio::spawn(serve_plaintext(believe, limits, listener, routes, std::future::pending()));
        let channel = Endpoint::try_from(format!("http://{address}")).unwrap().connect_lazy();
        Self { kingdom, channel: channel.into() }
    }

    fn as_caller<T>(&self, caller: &str, client: impl FnOnce(Channel, Introduce) -> T) -> T {
        client(self.channel.clone(), Introduce(Caller::of_name(caller).unwrap()))
    }

    fn computations(&self, duchy: &str) -> ComputationsClient<Stub> {
        self.as_caller(&format!("duchies/{duchy}"), ComputationsClient::with_interceptor)
    }

    fn participants(&self, duchy: &str) -> ComputationParticipantsClient<Stub> {
        self.as_caller(&format!("duchies/{duchy}"), ComputationParticipantsClient::with_interceptor)
    }

    fn requisitions(&self, duchy: &str) -> RequisitionsClient<Stub> {
        self.as_caller(&format!("duchies/{duchy}"), RequisitionsClient::with_interceptor)
    }

    fn data_provider(&self, id: &str) -> PublicRequisitionsClient<Stub> {
        self.as_caller(&format!("dataProviders/{id}"), PublicRequisitionsClient::with_interceptor)
    }

    fn admin(&self) -> DevKingdomClient<Stub> {
        self.as_caller("kingdom", DevKingdomClient::with_interceptor)
    }

    fn consumer(&self) -> MeasurementsClient<Stub> {
        self.as_caller(CONSUMER, MeasurementsClient::with_interceptor)
    }

    /// Creates a measurement; the names of it and of its computation.
    async fn create(&self) -> (Measurement, String) {
        let before = self.kingdom.computations();
        let request = create_request();
        let created = self.consumer().create_measurement(request).await.unwrap().into_inner();
        let mut after = self.kingdom.computations();
        after.retain(|name| !before.contains(name));
        (created, after.remove(0))
    }

    fn state(&self, computation: &str) -> ComputationState {
        self.kingdom.computation(computation).unwrap().state()
    }

    async fn participant(&self, computation: &str, duchy: &str) -> ComputationParticipant {
        let name = participant_name(computation, duchy);
        let request = GetComputationParticipantRequest { name };
        self.participants(duchy).get_computation_participant(request).await.unwrap().into_inner()
    }

    async fn set_params(
        &self,
        computation: &str,
        duchy: &str,
        etag: &str,
    ) -> Result<ComputationParticipant, Status> {
        let request = params_request(computation, duchy, etag);
        Ok(self.participants(duchy).set_participant_requisition_params(request).await?.into_inner())
    }

    async fn set_all_params(&self, computation: &str) {
        for duchy in DUCHIES {
            self.set_params(computation, duchy, "").await.unwrap();
        }
    }

    async fn fulfill(&self, computation: &str, data_provider: &str, duchy: &str) -> Result<(), Status> {
        let request = self.fulfill_request(computation, data_provider);
        self.requisitions(duchy).fulfill_requisition(request).await.map(|_| ())
    }

    fn fulfill_request(&self, computation: &str, data_provider: &str) -> FulfillRequisitionRequest {
        let wanted = nonce(data_provider);
        let requisitions = self.kingdom.computation(computation).unwrap().requisitions;
        let hash = Sha256::digest(wanted.to_be_bytes()).to_vec();
        let name = requisitions.into_iter().find(|found| found.nonce_hash == hash).unwrap().name;
        FulfillRequisitionRequest { name, nonce: wanted, ..Default::default() }
    }

    async fn confirm(
        &self,
        computation: &str,
        duchy: &str,
        etag: &str,
    ) -> Result<ComputationParticipant, Status> {
        let name = participant_name(computation, duchy);
        let request = ConfirmComputationParticipantRequest { name, etag: etag.to_owned() };
        Ok(self.participants(duchy).confirm_computation_participant(request).await?.into_inner())
    }

    /// Brings a computation to PENDING_COMPUTATION.
    async fn start_computation(&self, computation: &str) {
        self.set_all_params(computation).await;
        for data_provider in DATA_PROVIDERS {
            self.fulfill(computation, data_provider, "worker1").await.unwrap();
        }
        for duchy in DUCHIES {
            self.confirm(computation, duchy, "").await.unwrap();
        }
    }
}

fn config(protocols: Vec<Protocol>, stream: StreamSettings) -> KingdomConfig {
    KingdomConfig { stream, allow_faults: true, ..KingdomConfig::new(DUCHIES.map(str::to_owned), protocols) }
}

fn participant_name(computation: &str, duchy: &str) -> String {
    format!("{computation}/participants/{duchy}")
}

fn params_request(computation: &str, duchy: &str, etag: &str) -> SetParticipantRequisitionParamsRequest {
    SetParticipantRequisitionParamsRequest {
        name: participant_name(computation, duchy),
        requisition_params: Some(RequisitionParams {
            duchy_certificate: format!("duchies/{duchy}/certificates/1"),
            protocol: Some(requisition_params::Protocol::LiquidLegionsV2(
                requisition_params::LiquidLegionsV2 {
                    el_gamal_public_key: format!("key of {duchy}").into_bytes(),
                    el_gamal_public_key_signature: format!("signature of {duchy}").into_bytes(),
                    el_gamal_public_key_signature_algorithm_oid: "1.2.840.10045.4.3.2".into(),
                },
            )),
            ..Default::default()
        }),
        etag: etag.to_owned(),
    }
}

fn nonce(data_provider: &str) -> u64 {
    1 + data_provider.len() as u64
}

fn spec() -> MeasurementSpec {
    let privacy = Some(DifferentialPrivacyParams { epsilon: 0.1, delta: 1e-9 });
    MeasurementSpec {
        measurement_public_key: Some(Any { type_url: "key".into(), value: b"keyset".to_vec() }),
        nonce_hashes: DATA_PROVIDERS.map(|id| Sha256::digest(nonce(id).to_be_bytes()).to_vec()).into(),
        vid_sampling_interval: Some(VidSamplingInterval { start: 0.0, width: 1.0 }),
        measurement_type: Some(MeasurementType::ReachAndFrequency(ReachAndFrequency {
            reach_privacy_params: privacy,
            frequency_privacy_params: privacy,
            maximum_frequency: 10,
        })),
        ..Default::default()
    }
}

fn measurement(spec: &MeasurementSpec) -> Measurement {
    let message = Any { type_url: "spec".into(), value: spec.encode_to_vec() };
    let entry = |id: &str| DataProviderEntry {
        key: format!("dataProviders/{id}"),
        value: Some(data_provider_entry::Value {
            data_provider_certificate: format!("dataProviders/{id}/certificates/1"),
            nonce_hash: Sha256::digest(nonce(id).to_be_bytes()).to_vec(),
            encrypted_requisition_spec: Some(EncryptedMessage {
                ciphertext: format!("spec for {id}").into_bytes(),
                type_url: "spec".into(),
            }),
            data_provider_public_key: None,
        }),
    };
    Measurement {
        measurement_consumer_certificate: format!("{CONSUMER}/certificates/1"),
        measurement_spec: Some(SignedMessage {
            message: Some(message),
            signature: b"signature".to_vec(),
            ..Default::default()
        }),
        data_providers: DATA_PROVIDERS.map(entry).into(),
        measurement_reference_id: "trial".into(),
        ..Default::default()
    }
}

fn create_request() -> CreateMeasurementRequest {
    CreateMeasurementRequest {
        parent: CONSUMER.into(),
        measurement: Some(measurement(&spec())),
        request_id: String::new(),
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.unwrap_err().code()
}
