//! A duchy with its internal API and its fulfillment server, a Kingdom of two RPCs, and data providers, on loopback over
//! mutual TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use halo_crypto::{Group, P256};
use halo_duchy_shell::blob::BlobStore;
use halo_duchy_shell::client::{CallPolicy, Channel, channel};
use halo_duchy_shell::clock::SystemClock;
use halo_duchy_shell::config::{DuchyDirectory, load_principals};
use halo_duchy_shell::consent::{nonce_hash, requisition_fingerprint};
use halo_duchy_shell::identity::{Authenticate, Caller, Identities, caller};
use halo_duchy_shell::pki::{Pki, PkiSpec};
use halo_duchy_shell::proto::api::fulfill_requisition_request::{BodyChunk, Header, Payload};
use halo_duchy_shell::proto::api::requisition_fulfillment_client::RequisitionFulfillmentClient;
use halo_duchy_shell::proto::api::requisition_fulfillment_server::RequisitionFulfillmentServer;
use halo_duchy_shell::proto::api::{FulfillRequisitionRequest, FulfillRequisitionResponse, MeasurementSpec};
use halo_duchy_shell::proto::internal::computation_details::{
    KingdomComputationDetails, Protocol as Details,
};
use halo_duchy_shell::proto::internal::computations_server::ComputationsServer;
use halo_duchy_shell::proto::internal::{
    ComputationDetails, ExternalRequisitionKey, RequisitionDetails, RequisitionEntry,
};
use halo_duchy_shell::proto::system;
use halo_duchy_shell::proto::system::computations_server as kingdom_computations;
use halo_duchy_shell::proto::system::requisitions_server as kingdom_requisitions;
use halo_duchy_shell::protocol_stages::Protocol;
use halo_duchy_shell::server::{Server, ServerLimits};
use halo_duchy_shell::service::{ComputationsService, FulfillmentLimits, RequisitionFulfillmentService};
use halo_duchy_shell::store::sqlite::SqliteStore;
use halo_duchy_shell::store::{Computation, NewComputation, Store};
use halo_duchy_shell::tls::TlsIdentity;
use halo_protocols::proto::protocol::{
    LiquidLegionsSketchParameters, liquid_legions_sketch_aggregation_v2 as llv2,
};
use prost::Message;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

pub const DUCHY: &str = "worker1";
pub const COMPUTATION: &str = "c1";
pub const NONCE: u64 = 7;
pub const MAX_BYTES: u64 = 100 << 10;
pub const IDLE: Duration = Duration::from_millis(300);

/// What the Kingdom knows of the requisition, and how it misbehaves.
#[derive(Debug, Default)]
pub struct KingdomState {
    pub requisition: system::Requisition,
    pub etag: String,
    /// Answers of FulfillRequisition before it does what it should.
    pub failures: Vec<Code>,
    /// The requests that FulfillRequisition saw.
    pub requests: Vec<system::FulfillRequisitionRequest>,
}

#[derive(Clone, Debug)]
pub struct Kingdom(pub Arc<Mutex<KingdomState>>);

#[tonic::async_trait]
impl kingdom_requisitions::Requisitions for Kingdom {
    async fn fulfill_requisition(
        &self,
        request: Request<system::FulfillRequisitionRequest>,
    ) -> Result<Response<system::Requisition>, Status> {
        let Caller::Duchy(duchy) = caller(&request)?.clone() else {
            return Err(Status::permission_denied("not a duchy"));
        };
        let request = request.into_inner();
        let mut state = self.0.lock().expect("no panic elsewhere");
        state.requests.push(request.clone());
        if let Some(code) = state.failures.pop() {
            return Err(Status::new(code, "as told"));
        }
        if request.name != state.requisition.name {
            return Err(Status::not_found("no such requisition"));
        }
        if !request.etag.is_empty() && request.etag != state.etag {
            return Err(Status::aborted("etag mismatch"));
        }
        if state.requisition.state() != system::requisition::State::Unfulfilled {
            return Err(Status::failed_precondition("not unfulfilled"));
        }
        state.requisition.set_state(system::requisition::State::Fulfilled);
        state.requisition.nonce = request.nonce;
        state.requisition.fulfilling_computation_participant =
            format!("computations/{COMPUTATION}/participants/{duchy}");
        Ok(Response::new(state.requisition.clone()))
    }
}

#[tonic::async_trait]
impl kingdom_computations::Computations for Kingdom {
    type StreamActiveComputationsStream =
        tokio_stream::Empty<Result<system::StreamActiveComputationsResponse, Status>>;

    async fn get_computation(
        &self,
        request: Request<system::GetComputationRequest>,
    ) -> Result<Response<system::Computation>, Status> {
        let requisition = self.0.lock().expect("no panic elsewhere").requisition.clone();
        let name = request.into_inner().name;
        Ok(Response::new(system::Computation { name, requisitions: vec![requisition], ..Default::default() }))
    }

    async fn set_computation_result(
        &self,
        _: Request<system::SetComputationResultRequest>,
    ) -> Result<Response<system::Computation>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn stream_active_computations(
        &self,
        _: Request<system::StreamActiveComputationsRequest>,
    ) -> Result<Response<Self::StreamActiveComputationsStream>, Status> {
        Err(Status::unimplemented("not used"))
    }
}

pub struct World {
    dir: tempfile::TempDir,
    pki: Pki,
    pub store: SqliteStore,
    pub blobs: BlobStore,
    pub kingdom: Kingdom,
    address: SocketAddr,
}

impl World {
    /// With a computation in the group of the curve 415.
    pub async fn new() -> Self {
        Self::of_curve(P256::CURVE_ID).await
    }

    /// With a computation that has one requisition, `r1`, of the data provider edp1.
    pub async fn of_curve(curve_id: i64) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let pki = Pki::create(&PkiSpec::default(), &dir.path().join("pki")).expect("sound spec");
        let directory = DuchyDirectory::load(&pki.duchy_cert_config()).expect("own configuration");
        let principals = load_principals(&directory, Some(&pki.principal_map())).expect("own map");
        let identities = Identities::new(principals);
        let tls = |party: &str| pki.tls(party).load().expect("own files");

        let store = SqliteStore::open(&dir.path().join("store"), Arc::new(SystemClock)).expect("a new store");
        store.create(computation(curve_id)).await.expect("a new computation");
        std::fs::create_dir(dir.path().join("blobs")).expect("temporary folder");
        let blobs = BlobStore::local(&dir.path().join("blobs"), DUCHY).expect("a folder");

        let internal = ComputationsService::new(Arc::new(store.clone()), blobs.clone(), DUCHY, None);
        let only_us = Authenticate::only(identities.clone(), Caller::Duchy(DUCHY.into()));
        let internal = serve(tls(DUCHY), only_us, Routes::new(ComputationsServer::new(internal))).await;

        let kingdom = Kingdom(Arc::new(Mutex::new(KingdomState {
            requisition: system::Requisition {
                name: format!("computations/{COMPUTATION}/requisitions/r1"),
                state: system::requisition::State::Unfulfilled.into(),
                ..Default::default()
            },
            etag: "etag".into(),
            ..KingdomState::default()
        })));
        let routes = Routes::new(kingdom_requisitions::RequisitionsServer::new(kingdom.clone()))
            .add_service(kingdom_computations::ComputationsServer::new(kingdom.clone()));
        let system = serve(tls("kingdom"), Authenticate::new(identities.clone()), routes).await;

        let service = RequisitionFulfillmentService::new(
            connect(&tls(DUCHY), internal),
            connect(&tls(DUCHY), system),
            blobs.clone(),
            DUCHY,
            FulfillmentLimits { bytes: MAX_BYTES, idle: IDLE },
        );
        let service = service.with_policy(CallPolicy::once(Duration::from_secs(5)));
        let routes = Routes::new(RequisitionFulfillmentServer::new(service));
        let address = serve(tls(DUCHY), Authenticate::new(identities), routes).await;
        Self { dir, pki, store, blobs, kingdom, address }
    }

    pub fn client(&self, party: &str) -> RequisitionFulfillmentClient<Channel> {
        let tls = self.pki.tls(party).load().expect("own files");
        RequisitionFulfillmentClient::new(connect(&tls, self.address))
    }

    /// Sends `messages` as edp1.
    pub async fn send(&self, messages: Vec<FulfillRequisitionRequest>) -> Result<(), Status> {
        self.stream("edp1", futures::stream::iter(messages)).await
    }

    /// Sends a stream of messages as `party`.
    pub async fn stream(
        &self,
        party: &str,
        messages: impl Stream<Item = FulfillRequisitionRequest> + Send + 'static,
    ) -> Result<(), Status> {
        let mut client = self.client(party);
        let call = tokio::time::timeout(Duration::from_secs(10), client.fulfill_requisition(messages));
        let response: FulfillRequisitionResponse = call.await.expect("an answer")?.into_inner();
        assert_eq!(response.state(), halo_duchy_shell::proto::api::requisition::State::Fulfilled);
        Ok(())
    }

    pub async fn computation(&self) -> Computation {
        self.store.get(COMPUTATION).await.expect("created")
    }

    /// Where the requisition's data is recorded; empty if it is not.
    pub async fn path(&self) -> String {
        self.computation().await.requisitions[0].path.clone()
    }

    /// The files that the blob store holds, of uploads in progress too.
    pub fn files(&self) -> usize {
        fn count(folder: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(folder).expect("readable");
            entries
                .map(|entry| entry.expect("readable").path())
                .map(|path| if path.is_dir() { count(&path) } else { 1 })
                .sum()
        }
        count(&self.dir.path().join("blobs"))
    }

    pub fn with_kingdom<T>(&self, edit: impl FnOnce(&mut KingdomState) -> T) -> T {
        edit(&mut self.kingdom.0.lock().expect("no panic elsewhere"))
    }
}

async fn serve(tls: TlsIdentity, authenticate: Authenticate, routes: Routes) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = Server { tls, authenticate, limits: ServerLimits::default() };
    tokio::spawn(server.serve(listener, routes, std::future::pending()));
    address
}

fn connect(tls: &TlsIdentity, address: SocketAddr) -> Channel {
    channel(tls, &address.to_string(), Some("localhost")).expect("a target")
}

fn spec() -> Vec<u8> {
    let nonce_hashes = vec![nonce_hash(1).to_vec(), nonce_hash(NONCE).to_vec()];
    MeasurementSpec { nonce_hashes, ..MeasurementSpec::default() }.encode_to_vec()
}

pub fn fingerprint() -> Vec<u8> {
    requisition_fingerprint(&spec(), b"requisition spec hash").to_vec()
}

fn computation(curve_id: i64) -> NewComputation {
    let elliptic_curve_id = i32::try_from(curve_id).expect("small");
    NewComputation {
        protocol: Protocol::LiquidLegionsV2,
        global_id: COMPUTATION.into(),
        details: ComputationDetails {
            kingdom_computation: Some(KingdomComputationDetails {
                public_api_version: "v2alpha".into(),
                measurement_spec: spec(),
                ..KingdomComputationDetails::default()
            }),
            protocol: Some(Details::LiquidLegionsV2(llv2::ComputationDetails {
                role: 2,
                parameters: Some(llv2::computation_details::Parameters {
                    elliptic_curve_id,
                    sketch_parameters: Some(LiquidLegionsSketchParameters { decay_rate: 12.0, size: 1000 }),
                    ..Default::default()
                }),
                ..Default::default()
            })),
            ..ComputationDetails::default()
        },
        requisitions: vec![RequisitionEntry {
            key: Some(ExternalRequisitionKey {
                external_requisition_id: "r1".into(),
                requisition_fingerprint: fingerprint(),
            }),
            value: Some(RequisitionDetails {
                nonce_hash: nonce_hash(NONCE).to_vec(),
                ..RequisitionDetails::default()
            }),
        }],
    }
}

/// A good header of edp1 for its requisition.
pub fn header() -> Header {
    Header {
        name: "dataProviders/edp1/requisitions/r1".into(),
        requisition_fingerprint: fingerprint(),
        nonce: NONCE,
        ..Header::default()
    }
}

pub fn message(header: Header) -> FulfillRequisitionRequest {
    FulfillRequisitionRequest { payload: Some(Payload::Header(header)) }
}

pub fn chunk(data: &[u8]) -> FulfillRequisitionRequest {
    let data = Bytes::copy_from_slice(data);
    FulfillRequisitionRequest { payload: Some(Payload::BodyChunk(BodyChunk { data })) }
}

/// `header`, then `body` in chunks that do not respect registers.
pub fn upload(header: Header, body: &[u8]) -> Vec<FulfillRequisitionRequest> {
    std::iter::once(message(header)).chain(body.chunks(1000).map(chunk)).collect()
}

/// An encrypted sketch, as far as anybody without the key can tell.
pub fn sketch<G: Group>(registers: usize) -> Vec<u8> {
    let mut rng = ChaCha20Rng::seed_from_u64(registers as u64);
    let scalars: Vec<_> = (0..registers * 6).map(|_| G::random_scalar(&mut rng)).collect();
    let points = G::fixed_base_multiples(G::fixed_generator(), &scalars);
    let mut bytes = vec![0; points.len() * G::POINT_LENGTH];
    G::encode(&points, &mut bytes).expect("not the identity");
    bytes
}
