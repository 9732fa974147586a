//! A duchy's internal API over an empty database, in plain text on a loopback port, with computations to be done.

use std::sync::Arc;
use std::time::Duration;

use halo_duchy_shell::blob::BlobStore;
use halo_duchy_shell::client::{CallPolicy, Channel};
use halo_duchy_shell::clock::SystemClock;
use halo_duchy_shell::identity::Caller;
use halo_duchy_shell::internal_api::InternalApi;
use halo_duchy_shell::proto::internal::computation_details::CompletedReason;
use halo_duchy_shell::protocol_stages::Protocol;
use halo_duchy_shell::serve::routes_internal_api;
use halo_duchy_shell::store::{Computation, SqliteStore, Store};
use halo_protocols::proto::duchy::config::RoleInComputation;
use tokio::net::TcpListener;
use tonic::Request;
use tonic::service::InterceptorLayer;
use tonic::transport::{Endpoint, Server};

use crate::fixture::new_computation_of;

pub const DUCHY: &str = "worker1";

/// The work there is.
pub struct Queue {
    pub internal: InternalApi,
    store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
}

impl Queue {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("duchy.db"), Arc::new(SystemClock));
        let store: Arc<dyn Store> = Arc::new(store.expect("a database"));
        let blobs = BlobStore::local(folder.path(), DUCHY).expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let identify = InterceptorLayer::new(|mut request: Request<()>| {
            request.extensions_mut().insert(Caller::Duchy(DUCHY.to_owned()));
            Ok(request)
        });
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let routes = routes_internal_api(DUCHY, &store, &blobs, None, Duration::ZERO);
        tokio::spawn(Server::builder().layer(identify).add_routes(routes).serve_with_incoming(incoming));
        let policy = CallPolicy::with_deadline(Duration::from_secs(30));
        let internal = InternalApi::new(Channel::from(endpoint.connect_lazy()), policy);
        Self { internal, store, _folder: folder }
    }

    /// Adds `count` computations, each of which has work for a mill.
    pub async fn add(&self, protocol: Protocol, prefix: &str, count: usize) {
        let role = match protocol {
            Protocol::HonestMajorityShareShuffle => RoleInComputation::FirstNonAggregator,
            _ => RoleInComputation::NonAggregator,
        };
        for index in 0..count {
            let id = format!("{prefix}{index}");
            self.store.create(new_computation_of(protocol, &id, role)).await.expect("a computation");
        }
    }

    /// How many of the computations have ended.
    pub async fn ended(&self, ids: &[String]) -> usize {
        let mut ended = 0;
        for id in ids {
            let computation = self.computation(id).await;
            ended += usize::from(computation.stage == computation.stage.protocol().terminal_stage());
        }
        ended
    }

    pub async fn computation(&self, id: &str) -> Computation {
        self.store.get(id).await.expect("a computation")
    }

    /// What a mill called `owner` does that was given this claim: all of the computation. Whether the claim was its own.
    pub async fn mill(&self, owner: &str, id: &str, version: i64) -> bool {
        let token = self.internal.find(id).await.expect("the internal API").expect("a computation");
        if token.version != version || token.lock_owner != owner {
            return false;
        }
        let stage = self.computation(id).await.stage;
        let terminal = stage.protocol().terminal_stage();
        let finished = self.internal.finish(token, terminal, CompletedReason::Succeeded, "").await;
        finished.is_ok()
    }
}
