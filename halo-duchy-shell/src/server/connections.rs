//! Who is connected: each connection has a slot, a client has only some of them, and handshakes that do not come to an end
//! make room for others.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::service::Routes;
use tonic::transport::server::Connected;

use super::calls::Calls;
use super::{Server, serve_connections};
use crate::audit::{Entry, Event, Outcome};
use crate::guarded::Guarded;
use crate::identity::PeerAuthority;
use crate::tls::standing::Standing;
use crate::x509::{self, TrustedRoots};

/// What each connection is served.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) server: Server,
    pub(super) calls: Option<Calls>,
    pub(super) routes: Routes,
}

/// Accepts connections, each with a task of its own for the handshake, so that a slow one holds up nobody, and another to
/// be served. One client has `of_one` of them at most. Each is served to its end, which `shutdown` asks for, holds
/// `open` until then, and ends when its receiver is gone.
pub(super) async fn accept(
    listener: TcpListener,
    served: Served,
    of_one: usize,
    shutdown: impl Future<Output = ()> + Clone + Send + 'static,
    open: mpsc::Sender<()>,
) {
    let limits = served.server.limits;
    let slots = Arc::new(Semaphore::new(limits.connections));
    let clients = Clients { of_one, of_strangers: limits.connections_of_one(), counts: Arc::default() };
    let mut handshakes = Handshakes { limit: limits.handshakes(), tasks: VecDeque::new() };
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly; accepting again at once would only spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (served, clients) = (served.clone(), clients.clone());
        let (shutdown, open) = (shutdown.clone(), open.clone());
        let task = tokio::spawn(async move {
            match served.server.handshake(stream, &clients, slot).await {
                // Whoever gives up handshakes must not end it.
                Ok((connection, standing)) => drop(tokio::spawn(async move {
                    let end = async {
                        tokio::select! {
                            () = shutdown => {}
                            () = standing.stale() => {}
                            // Nobody serves any more.
                            () = open.closed() => {}
                        }
                    };
                    served.serve(connection, end).await;
                })),
                Err(error) => {
                    tracing::info!(%peer, %error, "refused a connection");
                    Entry::new(Event::ConnectionRefused, Outcome::Refused)
                        .principal(&format!("ip:{}", peer.ip()))
                        .reason(&error.to_string())
                        .record();
                }
            }
        });
        handshakes.begin(task.abort_handle());
    }
}

impl Server {
    async fn handshake(
        &self,
        stream: TcpStream,
        clients: &Clients,
        slot: OwnedSemaphorePermit,
    ) -> io::Result<(Connection, Standing)> {
        stream.set_nodelay(true)?;
        let (config, roots, version) = self.tls.acceptor();
        let stream = timeout(self.limits.handshake, TlsAcceptor::from(config).accept(stream)).await??;
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let standing = Standing::new(&self.tls, version, leaf.map_or(&[], |leaf| leaf));
        let authority = leaf.and_then(|leaf| authority(leaf, &roots)).unwrap_or_default();
        let place = clients.enter(&authority, self.authenticate.admits(&authority))?;
        let revoked = self.authenticate.clone().until_revoked(standing.clone(), Arc::clone(&authority));
        let stream = Guarded::new(stream, revoked);
        let (ended, _) = watch::channel(());
        let authority = PeerAuthority(authority);
        Ok((Connection { stream, authority, ended, _place: place, _slot: slot }, standing))
    }
}

impl Served {
    /// Serves one connection until it ends, or `end` completes and its RPCs in progress have ended.
    async fn serve(self, connection: Connection, end: impl Future<Output = ()>) {
        let Self { server: Server { authenticate, limits, .. }, calls, routes } = self;
        let mut ended = connection.ended.subscribe();
        // tonic would end the connection if no other could come any more.
        let ended = async move { while ended.changed().await.is_ok() {} };
        let incoming = stream::once(async { Ok(connection) }).chain(stream::pending().take_until(ended));
        let served = serve_connections(incoming, authenticate, limits, calls, routes, end).await;
        if let Err(error) = served {
            tracing::debug!(%error, "a connection ended");
        }
    }
}

/// The root that signed `leaf`. That rustls accepted the chain is not enough: it may have taken another root than
/// the one that `leaf` names, or an intermediate certificate.
fn authority(leaf: &[u8], roots: &TrustedRoots) -> Option<Arc<[u8]>> {
    let leaf = x509::parse(leaf).ok()?;
    roots.issuer(&leaf).map(Arc::from).ok()
}

/// The handshakes in progress. An honest one takes a moment, so the oldest is the one to give up.
struct Handshakes {
    limit: usize,
    tasks: VecDeque<AbortHandle>,
}

impl Handshakes {
    fn begin(&mut self, task: AbortHandle) {
        self.tasks.retain(|task| !task.is_finished());
        while self.tasks.len() >= self.limit
            && let Some(oldest) = self.tasks.pop_front()
        {
            tracing::debug!("gave up the oldest handshake");
            oldest.abort();
        }
        self.tasks.push_back(task);
    }
}

/// A client by its authority; `None` for all strangers.
type Client = Option<Arc<[u8]>>;

/// How many connections each client has. Strangers, whose calls do not get through, count as one client:
/// there may be many of them, whatever their certificates are trusted for elsewhere.
#[derive(Clone)]
struct Clients {
    of_one: usize,
    of_strangers: usize,
    counts: Arc<Mutex<HashMap<Client, usize>>>,
}

/// One of a client's connections.
struct Place {
    clients: Clients,
    client: Client,
}

impl Clients {
    /// Gives whoever has this authority one more connection, unless it has as many as it may.
    fn enter(&self, authority: &Arc<[u8]>, admitted: bool) -> io::Result<Place> {
        let (client, limit) = match admitted {
            true => (Some(Arc::clone(authority)), self.of_one),
            false => (None, self.of_strangers),
        };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client.clone()).or_default();
        if *count >= limit {
            let akid = format!("akid:{}", hex::encode(authority));
            let whose = match admitted {
                true => akid,
                false => format!("parties that may not call, of whom {akid} is one,"),
            };
            return Err(io::Error::other(format!("{limit} connections of {whose} are open already")));
        }
        *count += 1;
        Ok(Place { clients: self.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.clients.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

/// A connection whose client is known. An empty authority belongs to nobody.
struct Connection {
    stream: Guarded<TlsStream<TcpStream>>,
    authority: PeerAuthority,
    /// Dropped with the connection, which is how others hear of it.
    ended: watch::Sender<()>,
    _place: Place,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_no_more_together_than_one_client() {
        let clients = Clients { of_one: 3, of_strangers: 2, counts: Arc::default() };
        let enter = |authority: u8, admitted| clients.enter(&Arc::from([authority]), admitted);
        let strangers = [1, 2].map(|stranger| enter(stranger, false).expect("the first two"));
        let Err(refused) = enter(3, false) else { panic!("a third stranger") };
        let whose = "2 connections of parties that may not call, of whom akid:03 is one, are open already";
        assert_eq!(refused.to_string(), whose);
        let client = [4, 4, 4].map(|client| enter(client, true).expect("a client"));
        let Err(refused) = enter(4, true) else { panic!("one more than a client may have") };
        assert_eq!(refused.to_string(), "3 connections of akid:04 are open already");
        drop((strangers, client));
        assert!(enter(3, false).is_ok() && enter(4, true).is_ok());
    }
}
