//! A proxy between a client and a TCP server that cuts connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "not every test cuts both")]
pub enum Way {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// A proxy on a port of its own. It cuts a connection after so many bytes one way, as often as it was told to.
pub struct Proxy {
    address: SocketAddr,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    to_server: Cuts,
    to_client: Cuts,
}

#[derive(Default)]
struct Cuts {
    /// Connections yet to cut.
    left: AtomicU64,
    after: AtomicU64,
    done: AtomicU64,
}

impl Cuts {
    /// The bytes after which to cut, or `None`.
    fn after(&self) -> Option<u64> {
        (self.left.load(Ordering::SeqCst) > 0).then(|| self.after.load(Ordering::SeqCst))
    }

    /// Takes one of the cuts, if any is left.
    fn take(&self) -> bool {
        let taken = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if taken.is_ok() {
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        taken.is_ok()
    }
}

impl Proxy {
    /// A proxy to the server at `target`, which cuts nothing yet.
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (plan, target) = (Arc::new(Plan::default()), target.to_owned());
        let shared = Arc::clone(&plan);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target.clone(), Arc::clone(&shared)));
            }
        });
        Self { address, plan }
    }

    /// Where to reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the next `times` connections that carry more than `after` bytes this way from now on.
    pub fn cut(&self, way: Way, after: u64, times: u64) {
        let cuts = self.cuts(way);
        cuts.after.store(after, Ordering::SeqCst);
        cuts.left.store(times, Ordering::SeqCst);
    }

    /// How many connections have been cut this way.
    pub fn cut_so_far(&self, way: Way) -> u64 {
        self.cuts(way).done.load(Ordering::SeqCst)
    }

    fn cuts(&self, way: Way) -> &Cuts {
        self.plan.of(way)
    }
}

impl Plan {
    fn of(&self, way: Way) -> &Cuts {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        }
    }
}

async fn carry(client: TcpStream, target: String, plan: Arc<Plan>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whichever way ends first, both sockets close: a cut is seen by both.
    tokio::select! {
        () = copy(from_client, to_server, plan.of(Way::ToServer)) => {}
        () = copy(from_server, to_client, plan.of(Way::ToClient)) => {}
    }
}

/// Copies until the end, or until it is time to cut.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, cuts: &Cuts) {
    let mut buffer = vec![0; 16 << 10];
    // Bytes since the plan last said to cut: a connection that is kept open for many requests is cut too.
    let mut carried = 0;
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        match cuts.after() {
            None => carried = 0,
            Some(after) => {
                carried += read as u64;
                if carried > after && cuts.take() {
                    return;
                }
            }
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
