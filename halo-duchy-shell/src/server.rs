//! A gRPC server over mutual TLS: who connects is found once per connection, what they cost is limited.

use std::io;
use std::time::Duration;

use futures::{FutureExt, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::service::{Interceptor, InterceptorLayer, Routes};
use tonic::transport::server::Connected;
use tower::layer::layer_fn;
use tower::util::MapRequestLayer;

use crate::identity::Authenticate;
use crate::retry::deadline::Deadlines;
use crate::telemetry::rpc::Traced;
use crate::tls::TlsIdentity;

mod body;
mod calls;
mod connections;
mod health;

use body::checked;
use calls::{Calls, Limited};
use connections::{Served, accept};
pub use health::serve_health;

/// The largest message a service accepts, in bytes: tonic's own default, on which the services rely.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// The most bytes of a request's headers.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Streams that a client may open and reset again before the server has looked at them; more end the connection.
const MAX_PENDING_RESETS: usize = 20;

/// What clients may cost a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at once; further ones wait in the system's queue. A client that is not the only one there may be has a
    /// quarter of them, all together who may not call have a quarter, and handshakes have another.
    pub connections: usize,
    /// RPCs at once on one connection, and of one such client on all of its; further ones wait.
    pub streams_per_connection: u32,
    /// How long a client may take for the TLS handshake.
    pub handshake: Duration,
    /// How long a client may keep an RPC waiting for the rest of its request, in all; and another second for each KiB.
    pub patience: Duration,
    /// How often idle connections are probed.
    pub keepalive_interval: Duration,
    /// How long the answer to a probe may take.
    pub keepalive_timeout: Duration,
    /// How long RPCs in progress may take once the server is told to stop.
    pub grace: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            streams_per_connection: 128,
            handshake: Duration::from_secs(10),
            patience: Duration::from_secs(5 * 60),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            grace: Duration::from_secs(25),
        }
    }
}

impl ServerLimits {
    /// The connections that one of several clients may have, and that all who are none may have together.
    fn connections_of_one(&self) -> usize {
        self.connections.div_ceil(4)
    }

    /// The handshakes that may be in progress.
    fn handshakes(&self) -> usize {
        self.connections_of_one().max(8)
    }
}

/// How a server proves who it is, whom it lets in, and what they may cost.
#[derive(Clone, Debug)]
pub struct Server {
    /// The server's certificate and trusted roots.
    pub tls: TlsIdentity,
    /// Which parties may call.
    pub authenticate: Authenticate,
    /// What they may cost.
    pub limits: ServerLimits,
}

impl Server {
    /// Serves `routes` on `listener` until `shutdown` completes, then lets RPCs in progress end within the grace
    /// period.
    ///
    /// Each connection is served by itself, so that each can be told to end: on `shutdown`, when the server's certificate,
    /// key or roots are replaced, and when the client's certificate expires. One whose client's root is not trusted any
    /// more is cut.
    pub async fn serve(
        self,
        listener: TcpListener,
        routes: Routes,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let shutdown = shutdown.boxed().shared();
        let limits = self.limits;
        // Where only its own processes call a duchy, they share all that there is.
        let (of_one, calls) = if self.authenticate.admits_one() {
            (limits.connections, None)
        } else {
            let calls = Calls::new(limits.streams_per_connection, limits.patience);
            (limits.connections_of_one(), Some(calls))
        };
        // Nobody sends: it is closed once the last connection has dropped its end.
        let (open, mut all_ended) = mpsc::channel::<()>(1);
        tokio::select! {
            () = shutdown.clone() => {}
            () = accept(listener, Served { server: self, calls, routes }, of_one, shutdown, open) => {}
        }
        if timeout(limits.grace, all_ended.recv()).await.is_err() {
            warn_of_grace(limits.grace);
        }
    }
}

/// As [`Server::serve`], but in plain text, to whoever `identify` says that the caller is: for a development Kingdom. Of
/// the limits those of connections do not count.
///
/// # Errors
/// If the transport fails.
pub(crate) async fn serve_plaintext(
    identify: impl Interceptor + Clone + Send + Sync + 'static,
    limits: ServerLimits,
    listener: TcpListener,
    routes: Routes,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), tonic::transport::Error> {
    let calls = Some(Calls::new(limits.streams_per_connection, limits.patience));
    let shutdown = shutdown.boxed().shared();
    let incoming = TcpListenerStream::new(listener);
    let serving = serve_connections(incoming, identify, limits, calls, routes, shutdown.clone());
    tokio::select! {
        served = serving => served,
        () = async { shutdown.await; tokio::time::sleep(limits.grace).await } => {
            warn_of_grace(limits.grace);
            Ok(())
        }
    }
}

fn warn_of_grace(grace: Duration) {
    tracing::warn!(?grace, "stopping with RPCs in progress");
}

/// Serves `routes` on what is `incoming` until `end` completes, and then RPCs in progress to their end.
async fn serve_connections<C>(
    incoming: impl Stream<Item = io::Result<C>>,
    identify: impl Interceptor + Clone + Send + Sync + 'static,
    limits: ServerLimits,
    calls: Option<Calls>,
    routes: Routes,
    end: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error>
where
    C: AsyncRead + AsyncWrite + Connected<ConnectInfo: Clone + Send + Sync> + Send + Unpin + 'static,
{
    tonic::transport::Server::builder()
        .max_concurrent_streams(limits.streams_per_connection)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .layer(layer_fn(Traced))
        .layer(InterceptorLayer::new(identify))
        .layer(layer_fn(move |service| Limited::new(service, calls.clone())))
        .layer(layer_fn(Deadlines))
        .layer(MapRequestLayer::new(move |request: http::Request<Body>| {
            request.map(|body| checked(body, limits.patience))
        }))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, end)
        .await
}

#[cfg(test)]
mod tests;
