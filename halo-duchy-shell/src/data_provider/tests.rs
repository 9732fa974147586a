//! A trial over mutual TLS: the development Kingdom, a measurement consumer and data providers as they are; the
//! duchies are played: their state machines run in memory, their servers here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_protocols::proto::any_sketch::crypto as any_sketch;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Streaming};

use super::*;
use crate::clock::SystemClock;
use crate::config::{DuchyDirectory, load_principals};
use crate::consent::Signer;
use crate::hybrid_encryption::{PublicKeyset, Scheme};
use crate::identity::{Authenticate, Identities, Principals};
use crate::kingdom::Kingdom;
use crate::kingdom::config::{KingdomConfig, LiquidLegionsSettings, Protocol};
use crate::measurement_consumer::{MeasurementConsumer, MeasurementRequest, Metric, Recipient};
use crate::pki::{KINGDOM, Pki, PkiSpec};
use crate::proto::api;
use crate::proto::api::measurement_spec::VidSamplingInterval;
use crate::proto::api::requisition_fulfillment_server::{
    RequisitionFulfillment, RequisitionFulfillmentServer,
};
use crate::proto::api::{
    DifferentialPrivacyParams, FulfillRequisitionRequest, FulfillRequisitionResponse,
    fulfill_requisition_request,
};
use crate::proto::system::computation_participant::{RequisitionParams, requisition_params};
use crate::proto::system::computation_participants_client::ComputationParticipantsClient;
use crate::proto::system::requisitions_client::RequisitionsClient as SystemRequisitionsClient;
use crate::proto::system::{
    ConfirmComputationParticipantRequest, FulfillRequisitionRequest as SystemFulfillRequest,
    SetParticipantRequisitionParamsRequest, computation,
};
use crate::server::{Server, ServerLimits};
use crate::tls::TlsIdentity;
use crate::{client, consent};

mod checks;
mod delivery;
mod reach_only;
mod share_shuffle;

pub(crate) const DUCHIES: [&str; 2] = ["worker0", "aggregator"];
const PRIVACY: DifferentialPrivacyParams = DifferentialPrivacyParams { epsilon: 0.1, delta: 1e-9 };
pub(crate) const CONSUMER_CERTIFICATE: &str = "measurementConsumers/mc/certificates/1";

/// Everybody's keys, a running Kingdom, and a duchy that takes data.
pub(crate) struct World {
    pki: Pki,
    protocol: Protocol,
    pub(crate) kingdom: Kingdom,
    kingdom_target: String,
    duchy_target: String,
    principals: Arc<Principals>,
    pub(crate) duchy: TakingDuchy,
    _dir: tempfile::TempDir,
}

/// The fulfillment server of worker0, which keeps what it is sent.
#[derive(Clone)]
pub(crate) struct TakingDuchy {
    kingdom: Kingdom,
    system: SystemRequisitionsClient<Channel>,
    /// What it is sent, one list of messages for every call.
    pub(crate) received: Arc<Mutex<Vec<Vec<FulfillRequisitionRequest>>>>,
    /// Calls it refuses before it takes one.
    refusals: Arc<AtomicUsize>,
    refusal: Code,
}

#[tonic::async_trait]
impl RequisitionFulfillment for TakingDuchy {
    async fn fulfill_requisition(
        &self,
        request: Request<Streaming<FulfillRequisitionRequest>>,
    ) -> Result<Response<FulfillRequisitionResponse>, Status> {
        let mut stream = request.into_inner();
        let mut messages = Vec::new();
        while let Some(message) = stream.message().await? {
            messages.push(message);
        }
        self.received.lock().unwrap().push(messages.clone());
        let left = |left: usize| left.checked_sub(1);
        if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return Err(Status::new(self.refusal, "not now"));
        }
        let Some(fulfill_requisition_request::Payload::Header(header)) = messages[0].payload.clone() else {
            return Err(Status::invalid_argument("no header"));
        };
        let (_, id) = header.name.rsplit_once('/').unwrap();
        let computation = self.kingdom.computations().remove(0);
        let request = SystemFulfillRequest {
            name: format!("{computation}/requisitions/{id}"),
            nonce: header.nonce,
            etag: header.etag,
            ..Default::default()
        };
        self.system.clone().fulfill_requisition(request).await?;
        Ok(Response::new(FulfillRequisitionResponse { state: State::Fulfilled.into() }))
    }
}

pub(crate) fn body(messages: &[FulfillRequisitionRequest]) -> Vec<u8> {
    let chunks = messages.iter().filter_map(|message| match &message.payload {
        Some(fulfill_requisition_request::Payload::BodyChunk(chunk)) => Some(chunk.data.as_ref()),
        _ => None,
    });
    chunks.collect::<Vec<_>>().concat()
}

async fn serve(pki: &Pki, party: &str, principals: &Arc<Principals>, routes: Routes) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("localhost:{}", listener.local_addr().unwrap().port());
    serve_on(listener, pki, party, principals, routes);
    target
}

fn serve_on(listener: TcpListener, pki: &Pki, party: &str, principals: &Arc<Principals>, routes: Routes) {
    let authenticate = Authenticate::new(Identities::new(Principals::clone(principals)));
    let tls = pki.tls(party).load().unwrap();
    let server = Server { tls, authenticate, limits: ServerLimits::default() };
    tokio::spawn(server.serve(listener, routes, std::future::pending()));
}

pub(crate) fn settings() -> LiquidLegionsSettings {
    LiquidLegionsSettings {
        decay_rate: 12.0,
        sketch_size: 100_000,
        noise_mechanism: computation::mpc_protocol_config::NoiseMechanism::None,
        ..LiquidLegionsSettings::default()
    }
}

impl World {
    /// A world of Liquid Legions v2 whose duchy answers its first `refusals` uploads with `refusal`.
    pub(crate) async fn start(data_providers: &[&str], refusals: usize, refusal: Code) -> Self {
        Self::of(Protocol::LiquidLegionsV2(settings()), &DUCHIES, data_providers, refusals, refusal).await
    }

    /// The same of any protocol and any duchies, worker0 being one.
    pub(crate) async fn of(
        protocol: Protocol,
        duchies: &[&str],
        data_providers: &[&str],
        refusals: usize,
        refusal: Code,
    ) -> Self {
        let spec = PkiSpec {
            duchies: duchies.iter().map(|id| String::from(*id)).collect(),
            data_providers: data_providers.iter().map(|id| String::from(*id)).collect(),
            ..PkiSpec::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::create(&spec, dir.path()).unwrap();
        let directory = DuchyDirectory::load(&pki.duchy_cert_config()).unwrap();
        let principals = Arc::new(load_principals(&directory, Some(&pki.principal_map())).unwrap());

        let known = duchies.iter().map(|id| String::from(*id));
        let config =
            KingdomConfig { allow_faults: true, ..KingdomConfig::new(known, vec![protocol.clone()]) };
        let kingdom = Kingdom::new(config, Arc::new(SystemClock), ChaCha20Rng::seed_from_u64(7));
        let duchies = duchies.iter().map(|id| (format!("duchies/{id}"), *id));
        let providers = data_providers.iter().map(|id| (format!("dataProviders/{id}"), *id));
        for (owner, party) in duchies.chain(providers).chain([("measurementConsumers/mc".into(), "mc")]) {
            let der = std::fs::read(pki.consent_certificate(party)).unwrap();
            kingdom.register_certificate(&format!("{owner}/certificates/1"), der).unwrap();
        }
        let kingdom_target = serve(&pki, KINGDOM, &principals, kingdom.routes()).await;
        let worker = pki.tls("worker0").load().unwrap();
        let duchy = TakingDuchy {
            kingdom: kingdom.clone(),
            system: SystemRequisitionsClient::new(client::channel(&worker, &kingdom_target, None).unwrap()),
            received: Arc::default(),
            refusals: Arc::new(AtomicUsize::new(refusals)),
            refusal,
        };
        let routes = Routes::new(RequisitionFulfillmentServer::new(duchy.clone()));
        let duchy_target = serve(&pki, "worker0", &principals, routes).await;
        Self { pki, protocol, kingdom, kingdom_target, duchy_target, principals, duchy, _dir: dir }
    }

    fn tls(&self, party: &str) -> TlsIdentity {
        self.pki.tls(party).load().unwrap()
    }

    pub(crate) fn to_kingdom(&self, party: &str) -> Channel {
        client::channel(&self.tls(party), &self.kingdom_target, None).unwrap()
    }

    fn certificates(&self, party: &str) -> PartyCertificates {
        let principals = Identities::new(Principals::clone(&self.principals));
        PartyCertificates::new(self.to_kingdom(party), self.tls(party), principals)
    }

    pub(crate) fn signer(&self, party: &str) -> Signer {
        Signer::load(&self.pki.consent_certificate(party), &self.pki.consent_private_key(party)).unwrap()
    }

    fn keyset(&self, party: &str) -> PrivateKeyset {
        let file = self.pki.encryption_private(party, Scheme::Hpke);
        PrivateKeyset::parse(&std::fs::read(file).unwrap()).unwrap()
    }

    pub(crate) fn public_keyset(&self, party: &str) -> PublicKeyset {
        self.keyset(party).public()
    }

    pub(crate) fn data_provider(&self, id: &str, impressions: &[Vid]) -> DataProvider {
        let connections = Connections {
            kingdom: self.to_kingdom(id),
            duchy: client::channel(&self.tls(id), &self.duchy_target, None).unwrap(),
            certificates: self.certificates(id),
        };
        let seed = StreamSeed::random(&mut UnwrapErr(SysRng));
        let name = format!("dataProviders/{id}");
        let impressions = impressions.iter().copied();
        DataProvider::new(&name, impressions, self.keyset(id), connections, Executor::serial(), seed)
    }

    pub(crate) fn consumer(&self) -> MeasurementConsumer {
        let (signer, keyset) = (self.signer("mc"), self.keyset("mc"));
        MeasurementConsumer::new(
            CONSUMER_CERTIFICATE,
            signer,
            keyset,
            self.to_kingdom("mc"),
            self.certificates("mc"),
        )
        .unwrap()
    }

    /// Asks for reach and frequency up to 5; the measurement's and the computation's name.
    pub(crate) async fn create_measurement(&self, data_providers: &[&str]) -> (String, String) {
        let metric = Metric::ReachAndFrequency { frequency_privacy: PRIVACY, maximum_frequency: 5 };
        self.create(data_providers, metric).await
    }

    pub(crate) async fn create(&self, data_providers: &[&str], metric: Metric) -> (String, String) {
        let recipient = |id: &&str| Recipient {
            name: format!("dataProviders/{id}"),
            certificate: format!("dataProviders/{id}/certificates/1"),
            public_key: self.public_keyset(id),
        };
        let known = self.kingdom.computations();
        let request = MeasurementRequest {
            data_providers: data_providers.iter().map(recipient).collect(),
            metric,
            reach_privacy: PRIVACY,
            vid_sampling_interval: VidSamplingInterval { start: 0.0, width: 1.0 },
            reference_id: "trial".into(),
            request_id: known.len().to_string(),
        };
        let name = self.consumer().create(request, &mut UnwrapErr(SysRng)).await.unwrap();
        let mut computations = self.kingdom.computations().into_iter();
        (name, computations.find(|computation| !known.contains(computation)).unwrap())
    }

    /// Lets `duchy` publish `key`, signed by `signer`.
    pub(crate) async fn set_key(
        &self,
        computation: &str,
        duchy: &str,
        key: &any_sketch::ElGamalPublicKey,
        signer: &str,
    ) {
        let any_sketch::ElGamalPublicKey { generator, element } = key.clone();
        let key = api::ElGamalPublicKey { generator, element, ..Default::default() };
        let key = prost::Message::encode_to_vec(&key);
        let signature = self.signer(signer).sign(&key).unwrap();
        let params = requisition_params::LiquidLegionsV2 {
            el_gamal_public_key: key,
            el_gamal_public_key_signature: signature.bytes,
            el_gamal_public_key_signature_algorithm_oid: signature.algorithm_oid,
        };
        let params = match self.protocol {
            Protocol::ReachOnlyLiquidLegionsV2(_) => {
                requisition_params::Protocol::ReachOnlyLiquidLegionsV2(params)
            }
            _ => requisition_params::Protocol::LiquidLegionsV2(params),
        };
        self.set_params(computation, duchy, params).await;
    }

    /// Lets `duchy` publish what the protocol wants of it.
    pub(crate) async fn set_params(
        &self,
        computation: &str,
        duchy: &str,
        protocol: requisition_params::Protocol,
    ) {
        let request = SetParticipantRequisitionParamsRequest {
            name: format!("{computation}/participants/{duchy}"),
            requisition_params: Some(RequisitionParams {
                duchy_certificate: format!("duchies/{duchy}/certificates/1"),
                protocol: Some(protocol),
                ..Default::default()
            }),
            etag: String::new(),
        };
        let mut client = ComputationParticipantsClient::new(self.to_kingdom(duchy));
        client.set_participant_requisition_params(request).await.unwrap();
    }

    pub(crate) async fn confirm(&self, computation: &str) {
        for duchy in DUCHIES {
            let name = format!("{computation}/participants/{duchy}");
            let request = ConfirmComputationParticipantRequest { name, etag: String::new() };
            let mut client = ComputationParticipantsClient::new(self.to_kingdom(duchy));
            client.confirm_computation_participant(request).await.unwrap();
        }
    }
}

/// The keys of two duchies, without the duchies.
pub(crate) fn keys() -> [any_sketch::ElGamalPublicKey; 2] {
    use halo_crypto::P256;
    use halo_crypto::elgamal::{KeyPair, PublicKey};
    [1, 2].map(|seed| any_sketch::ElGamalPublicKey {
        generator: PublicKey::<P256>::generator_bytes(),
        element: KeyPair::<P256>::random(&mut ChaCha20Rng::seed_from_u64(seed)).public.to_bytes(),
    })
}
