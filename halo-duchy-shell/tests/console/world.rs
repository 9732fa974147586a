//! A duchy with computations in every state, and its pages.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use halo_duchy_shell::clock::{Clock, ManualClock};
use halo_duchy_shell::console::Console;
use halo_duchy_shell::proto::internal::computation_details::CompletedReason;
use halo_duchy_shell::protocol_stages::Protocol;
use halo_duchy_shell::shutdown::{self, Trigger};
use halo_duchy_shell::store::{Claim, GivenBack, SqliteStore, Stat};
use halo_protocols::llv2::Stage;
use halo_protocols::proto::duchy::config::RoleInComputation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{Harness, LOCK, start_of_time};

const NON_AGGREGATOR: RoleInComputation = RoleInComputation::NonAggregator;
pub const MINUTE: Duration = Duration::from_secs(60);
/// A lease that lasts beyond the time of the commands' clock.
const FOR_YEARS: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What is in an error, and must not be in a page as it is.
pub const HOSTILE: &str = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>";

/// A duchy, `worker1`.
pub struct World {
    pub harness: Harness,
    pub file: PathBuf,
}

/// The pages of a duchy, until it is dropped.
pub struct Shown {
    pub address: SocketAddr,
    _stop: Trigger,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    /// With names in lower case.
    pub head: String,
    pub body: String,
}

impl World {
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("duchy.db");
        let clock = Arc::new(ManualClock::new(start_of_time()));
        let handle = || {
            let clock = Arc::clone(&clock) as Arc<dyn Clock>;
            Arc::new(SqliteStore::open(&file, clock).expect("a database"))
        };
        let harness = Harness { store: handle(), other: handle(), clock, faulty: false, folder };
        Self { harness, file }
    }

    /// A computation of each name in the state that it names; by the clock of commands, all leases but one are over.
    pub async fn full() -> Self {
        let world = Self::empty();
        let h = &world.harness;
        let claim = async |owner: &str, duration| {
            let claim = Claim { duration, ..crate::fixture::claim_by(owner) };
            h.store.claim(claim).await.expect("claim").expect("work")
        };
        // The only computation at first.
        let waiting = h.computation_in(Stage::WaitExecutionPhaseOneInputs, NON_AGGREGATOR).await;
        let stat = |value| Stat {
            local_id: waiting.local_id,
            stage: Stage::SetupPhase.into(),
            attempt: 1,
            name: "crypto_wall_clock_duration_ms".into(),
            value,
        };
        h.store.record_stat(stat(1234)).await.expect("a stat");
        h.clock.advance(MINUTE);
        h.create("running", NON_AGGREGATOR).await;
        h.clock.advance(MINUTE);
        let running = claim("mill-1", FOR_YEARS).await;
        for (name, value) in
            [("progress_step", 2), ("progress_done_records", 310_000), ("progress_total_records", 1_000_000)]
        {
            let stat = Stat {
                local_id: running.local_id,
                stage: running.stage,
                attempt: running.attempt,
                name: name.into(),
                value,
            };
            h.store.record_stat(stat).await.expect("a stat");
        }
        h.create("failed", NON_AGGREGATOR).await;
        let failing = claim("mill-2", LOCK).await;
        h.clock.advance(MINUTE);
        h.store
            .enqueue(&failing.guard(), "mill-2", Duration::ZERO, GivenBack::Failed(HOSTILE))
            .await
            .expect("enqueue");
        let failing = claim("mill-2", LOCK).await;
        let failed = h.store.finish(&failing.guard(), CompletedReason::Failed, "no key fits").await;
        failed.expect("finish");
        h.create("delayed", NON_AGGREGATOR).await;
        let delayed = claim("mill-2", LOCK).await;
        h.clock.advance(MINUTE);
        let error = "reading the stage's input: the storage is away";
        h.store
            .enqueue(&delayed.guard(), "mill-2", FOR_YEARS, GivenBack::Failed(error))
            .await
            .expect("enqueue");
        h.create("expired", NON_AGGREGATOR).await;
        claim("mill-3", MINUTE).await;
        h.clock.advance(2 * MINUTE);
        h.create_of(Protocol::HonestMajorityShareShuffle, "queued", RoleInComputation::Aggregator).await;
        world
    }

    /// Shows its pages.
    pub async fn show(&self) -> Shown {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = shutdown::channel();
        let console = Console {
            duchy: "worker1".into(),
            store: Arc::clone(&self.harness.store),
            clock: Arc::clone(&self.harness.clock) as Arc<dyn Clock>,
        };
        tokio::spawn(console.serve(listener, stopped));
        Shown { address, _stop: stop }
    }
}

impl Shown {
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "127.0.0.1").await
    }

    pub async fn ask(&self, method: &str, path: &str, host: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        Self::answer(stream).await
    }

    /// Sends a request and says that there will be no more, as `nc -N` does.
    pub async fn ask_and_close(&self, path: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        stream.shutdown().await.expect("its end");
        Self::answer(stream).await
    }

    async fn answer(mut stream: TcpStream) -> Answer {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        let text = String::from_utf8(answer).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }
}
