//! A duchy's services on a loopback port, in plaintext: a header stands for the certificate that TLS would show.

use std::fmt::Debug;
use std::sync::Arc;

use halo_duchy_shell::blob::BlobStore;
use halo_duchy_shell::client::Channel;
use halo_duchy_shell::clock::{Clock, ManualClock};
use halo_duchy_shell::identity::Caller;
use halo_duchy_shell::kingdom_log::{KingdomLog, KingdomLogSender};
use halo_duchy_shell::proto::internal::async_computation_control_client::AsyncComputationControlClient;
use halo_duchy_shell::proto::internal::async_computation_control_server::AsyncComputationControlServer;
use halo_duchy_shell::proto::internal::computation_stats_client::ComputationStatsClient;
use halo_duchy_shell::proto::internal::computation_stats_server::ComputationStatsServer;
use halo_duchy_shell::proto::internal::computations_client::ComputationsClient;
use halo_duchy_shell::proto::internal::computations_server::ComputationsServer;
use halo_duchy_shell::proto::internal::continuation_tokens_client::ContinuationTokensClient;
use halo_duchy_shell::proto::internal::continuation_tokens_server::ContinuationTokensServer;
use halo_duchy_shell::proto::system::computation_control_client::ComputationControlClient;
use halo_duchy_shell::proto::system::computation_control_server::ComputationControlServer;
use halo_duchy_shell::protocol_stages::ProtocolStage;
use halo_duchy_shell::service::{
    AdvanceLimits, AsyncComputationControlService, ComputationControlService, ComputationStatsService,
    ComputationsService, ContinuationTokensService,
};
use halo_duchy_shell::store::{Computation, SqliteStore};
use halo_protocols::proto::duchy::config::RoleInComputation;
use tokio::net::TcpListener;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use crate::fixture::{Harness, start_of_time};

const CALLER: &str = "test-caller";

/// A running duchy and clients to all that it serves.
pub struct Duchy {
    pub harness: Harness,
    pub blobs: BlobStore,
    pub kingdom_log: KingdomLogSender,
    pub computations: ComputationsClient<Channel>,
    pub stats: ComputationStatsClient<Channel>,
    pub tokens: ContinuationTokensClient<Channel>,
    pub bookkeeping: AsyncComputationControlClient<Channel>,
    pub control: ComputationControlClient<Channel>,
    /// To all of them.
    pub channel: Channel,
}

impl Duchy {
    /// Starts the aggregator.
    pub async fn aggregator() -> Self {
        Self::start("aggregator", AdvanceLimits::default()).await
    }

    pub async fn start(name: &str, limits: AdvanceLimits) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(ManualClock::new(start_of_time()));
        let handle = || {
            let clock = Arc::clone(&clock) as Arc<dyn Clock>;
            Arc::new(SqliteStore::open(&folder.path().join("duchy.db"), clock).expect("a database"))
        };
        let harness =
            Harness { store: handle(), other: handle(), clock: clock.clone(), faulty: false, folder };
        let blobs = BlobStore::local(harness.folder.path(), name).expect("a directory");
        let (log, kingdom_log) = KingdomLog::new(name, clock, 100);

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = Channel::from(endpoint.connect_lazy());
        let store = Arc::clone(&harness.store);
        let computations = ComputationsService::new(store.clone(), blobs.clone(), name, Some(log));
        let routes = Routes::default()
            .add_service(ComputationsServer::new(computations))
            .add_service(ComputationStatsServer::new(ComputationStatsService::new(store.clone(), name)))
            .add_service(ContinuationTokensServer::new(ContinuationTokensService::new(store, name)))
            .add_service(AsyncComputationControlServer::new(AsyncComputationControlService::new(
                channel.clone(),
                name,
                100,
            )))
            .add_service(ComputationControlServer::new(ComputationControlService::new(
                channel.clone(),
                channel.clone(),
                blobs.clone(),
                name,
                limits,
            )));
        let own = name.to_owned();
        let identify = InterceptorLayer::new(move |request: Request<()>| identify(request, &own));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(Server::builder().layer(identify).add_routes(routes).serve_with_incoming(incoming));
        Self {
            harness,
            blobs,
            kingdom_log,
            computations: ComputationsClient::new(channel.clone()),
            stats: ComputationStatsClient::new(channel.clone()),
            tokens: ContinuationTokensClient::new(channel.clone()),
            bookkeeping: AsyncComputationControlClient::new(channel.clone()),
            control: ComputationControlClient::new(channel.clone()),
            channel,
        }
    }

    /// Creates the only computation and takes it to a stage.
    pub async fn computation_in(
        &self,
        stage: impl Into<ProtocolStage>,
        role: RoleInComputation,
    ) -> Computation {
        self.harness.computation_in(stage, role).await
    }

    /// The only computation, as it is now.
    pub async fn computation(&self) -> Computation {
        self.harness.store.get("c1").await.expect("get")
    }

    /// The files under the blob root.
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.harness.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.to_string_lossy().contains("duchy.db") {
                    files.push(path.to_string_lossy().into_owned());
                }
            }
        }
        files
    }
}

/// A request as `caller` would send it; `None` has no certificate that anybody knows.
pub fn by<T>(caller: Option<&Caller>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let text = match caller {
        None => "nobody".to_owned(),
        Some(Caller::Duchy(id)) => format!("duchy:{id}"),
        Some(Caller::DataProvider(_)) => "provider".to_owned(),
        Some(Caller::Kingdom) => "kingdom".to_owned(),
        Some(Caller::MeasurementConsumer(_)) => "consumer".to_owned(),
    };
    request.metadata_mut().insert(CALLER, text.parse().expect("ASCII"));
    request
}

/// A request as another duchy would send it.
pub fn by_duchy<T>(id: &str, message: T) -> Request<T> {
    by(Some(&Caller::Duchy(id.into())), message)
}

/// Without a header, the caller is the duchy itself.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn identify(mut request: Request<()>, own: &str) -> Result<Request<()>, Status> {
    let header = request.metadata().get(CALLER).map(|value| value.to_str().expect("ASCII").to_owned());
    let caller = match header.as_deref() {
        None => Caller::Duchy(own.into()),
        Some("nobody") => return Ok(request),
        Some("provider") => Caller::DataProvider("dataProviders/1".into()),
        Some("kingdom") => Caller::Kingdom,
        Some("consumer") => Caller::MeasurementConsumer("measurementConsumers/1".into()),
        Some(duchy) => Caller::Duchy(duchy.trim_start_matches("duchy:").into()),
    };
    request.extensions_mut().insert(caller);
    Ok(request)
}

/// Checks that a call is refused with `code`, and returns the refusal.
#[track_caller]
pub fn refused<T: Debug>(result: Result<Response<T>, Status>, code: Code) -> Status {
    match result {
        Ok(response) => panic!("expected {code:?}, found {response:?}"),
        Err(status) => {
            assert_eq!(status.code(), code, "{}", status.message());
            status
        }
    }
}

/// The machine-readable reason of a refusal.
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}
