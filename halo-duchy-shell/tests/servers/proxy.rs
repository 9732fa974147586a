//! A proxy between a client and a TCP server that cuts connections, slows them, or is away for a while.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

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

struct Plan {
    /// Where the server is.
    target: Mutex<String>,
    to_server: Cuts,
    to_client: Cuts,
    /// Milliseconds that the first of three connections holds back what it reads; the second twice, the third thrice.
    pause: AtomicU64,
    /// Whether nobody is to be reached.
    away: watch::Sender<bool>,
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
        let plan = Arc::new(Plan {
            target: Mutex::new(target.to_owned()),
            to_server: Cuts::default(),
            to_client: Cuts::default(),
            pause: AtomicU64::new(0),
            away: watch::Sender::new(false),
        });
        let shared = Arc::clone(&plan);
        tokio::spawn(async move {
            for number in 0u64.. {
                let Ok((client, _)) = listener.accept().await else { return };
                tokio::spawn(carry(client, number % 3 + 1, Arc::clone(&shared)));
            }
        });
        Self { address, plan }
    }

    /// Where to reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Carries connections to another server from now on.
    #[allow(dead_code, reason = "not every test has its proxies before its servers")]
    pub fn lead_to(&self, target: &str) {
        target.clone_into(&mut self.plan.target.lock().expect("a target"));
    }

    /// Holds back all that is read: by `pause` on one connection of three, by twice and thrice as much on the others, so
    /// that what is sent later on another connection may arrive earlier.
    #[allow(dead_code, reason = "not every test slows connections")]
    pub fn slow(&self, pause: Duration) {
        self.plan.pause.store(pause.as_millis() as u64, Ordering::SeqCst);
    }

    /// Closes every connection, those to come at once; or takes them again.
    #[allow(dead_code, reason = "not every test has its servers away")]
    pub fn be_away(&self, away: bool) {
        self.plan.away.send_replace(away);
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

async fn carry(client: TcpStream, pauses: u64, plan: Arc<Plan>) {
    let mut away = plan.away.subscribe();
    if *away.borrow() {
        return;
    }
    let target = plan.target.lock().expect("a target").clone();
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whichever way ends first, both sockets close: a cut is seen by both.
    tokio::select! {
        () = copy(from_client, to_server, &plan, Way::ToServer, pauses) => {}
        () = copy(from_server, to_client, &plan, Way::ToClient, pauses) => {}
        _ = away.wait_for(|away| *away) => {}
    }
}

/// Copies until the end, or until it is time to cut.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    plan: &Plan,
    way: Way,
    pauses: u64,
) {
    let cuts = plan.of(way);
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
        let pause = plan.pause.load(Ordering::SeqCst);
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause * pauses)).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
