//! A gRPC server over mutual TLS: who connects is found once per connection, what they cost is limited.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::server::Connected;
use tonic_health::ServingStatus;
use tower::layer::layer_fn;
use tower::util::MapRequestLayer;

use crate::identity::{Authenticate, PeerAuthority};
use crate::telemetry::rpc::Traced;
use crate::tls::TlsIdentity;
use crate::x509::{self, TrustedRoots};

mod uncut;

use uncut::uncut;

/// The largest message a service accepts, in bytes: tonic's own default, on which the services rely.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// What clients may cost a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at once; further ones wait in the system's queue.
    pub connections: usize,
    /// RPCs at once on one connection.
    pub streams_per_connection: u32,
    /// How long a client may take for the TLS handshake.
    pub handshake: Duration,
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
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            grace: Duration::from_secs(25),
        }
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
    /// # Errors
    /// If the transport fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        routes: Routes,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), tonic::transport::Error> {
        let Self { tls, authenticate, limits } = self;
        let shutdown = shutdown.boxed().shared();
        let (connections, incoming) = mpsc::channel(16);
        let accepting = tokio::spawn(accept(listener, tls, limits, connections));
        let serving = tonic::transport::Server::builder()
            .max_concurrent_streams(limits.streams_per_connection)
            .http2_keepalive_interval(Some(limits.keepalive_interval))
            .http2_keepalive_timeout(Some(limits.keepalive_timeout))
            .http2_max_header_list_size(16 << 10)
            .layer(layer_fn(Traced))
            .layer(InterceptorLayer::new(authenticate))
            .layer(MapRequestLayer::new(|request: http::Request<Body>| request.map(uncut)))
            .add_routes(routes)
            .serve_with_incoming_shutdown(ReceiverStream::new(incoming), shutdown.clone());
        let overdue = async {
            shutdown.await;
            tokio::time::sleep(limits.grace).await;
        };
        let served = tokio::select! {
            served = serving => served,
            () = overdue => {
                tracing::warn!(grace = ?limits.grace, "stopping with RPCs in progress");
                Ok(())
            }
        };
        accepting.abort();
        served
    }
}

/// Accepts connections, each with a task of its own for the handshake, so that a slow one holds up nobody.
async fn accept(
    listener: TcpListener,
    tls: TlsIdentity,
    limits: ServerLimits,
    connections: mpsc::Sender<io::Result<Connection>>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let (stream, peer) = tokio::select! {
            () = connections.closed() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly; accepting again at once would only spin.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (config, roots) = tls.acceptor();
        let acceptor = TlsAcceptor::from(config);
        let connections = connections.clone();
        tokio::spawn(async move {
            match handshake(acceptor, stream, &roots, limits.handshake, slot).await {
                Ok(connection) => drop(connections.send(Ok(connection)).await),
                Err(error) => tracing::info!(%peer, %error, "refused a connection"),
            }
        });
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    roots: &TrustedRoots,
    limit: Duration,
    slot: OwnedSemaphorePermit,
) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let stream = timeout(limit, acceptor.accept(stream)).await??;
    let authority = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(|leaf| authority(leaf, roots))
        .unwrap_or_default();
    Ok(Connection { stream, authority: PeerAuthority(authority), _slot: slot })
}

/// The root that signed `leaf`. That rustls accepted the chain is not enough: it may have taken another root than
/// the one that `leaf` names, or an intermediate certificate.
fn authority(leaf: &[u8], roots: &TrustedRoots) -> Option<Arc<[u8]>> {
    let leaf = x509::parse(leaf).ok()?;
    roots.issuer(&leaf).map(Arc::from).ok()
}

/// A connection whose client is known. An empty authority belongs to nobody.
struct Connection {
    stream: TlsStream<TcpStream>,
    authority: PeerAuthority,
    _slot: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = PeerAuthority;

    fn connect_info(&self) -> PeerAuthority {
        self.authority.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Serves the standard health service in plain text on `address`: what Kubernetes probes. The process as a whole and each
/// of `services` are `SERVING` until shutdown, then `NOT_SERVING`.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn serve_health(
    address: SocketAddr,
    services: &[&str],
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let (reporter, service) = tonic_health::server::health_reporter();
    let report = async |status| {
        for service in services.iter().chain([&""]) {
            reporter.set_service_status(*service, status).await;
        }
    };
    report(ServingStatus::Serving).await;
    let shutdown = async {
        shutdown.await;
        // Those who watch hear of it before the connection closes.
        report(ServingStatus::NotServing).await;
    };
    tonic::transport::Server::builder().add_service(service).serve_with_shutdown(address, shutdown).await
}

#[cfg(test)]
mod tests;
