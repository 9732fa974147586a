//! The servers that are attacked: what each is started with, who its clients are, and what it is asked.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use halo_duchy_shell::client::{Channel, channel};
use halo_duchy_shell::pki::{Pki, PkiSpec};
use halo_duchy_shell::proto::api::requisition_fulfillment_client::RequisitionFulfillmentClient;
use halo_duchy_shell::proto::internal::GetComputationTokenRequest;
use halo_duchy_shell::proto::internal::computations_client::ComputationsClient;
use halo_duchy_shell::proto::system::computation_control_client::ComputationControlClient;
use halo_duchy_shell::proto::system::computations_client::ComputationsClient as KingdomComputationsClient;
use halo_duchy_shell::proto::system::{GetComputationRequest, GetComputationStageRequest};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{Code, Status};

use super::attacker::Attacker;
use super::{CONNECTIONS, MOST_GROWTH_KIB, PATIENCE, STREAMS};
use crate::fleet::free_ports;
use crate::single::{Killed, internal_api_flags, part_flags};

/// What a server is asked, and answers with a refusal.
type Refusal = Pin<Box<dyn Future<Output = Option<Status>> + Send>>;

/// A server of the program.
pub struct Kind {
    subcommand: &'static str,
    /// Its flags beside those of every server.
    flags: fn(&Pki, &Path) -> Vec<String>,
    /// A call of its.
    path: &'static str,
    /// A client that attacks.
    pub client: &'static str,
    /// A client that is to be answered all the while: the same where there is only one.
    other: &'static str,
    /// Who opens many connections: a client that does nothing else, or several with certificates of trusted roots who are no
    /// clients.
    pub crowd: &'static [&'static str],
    /// Asks what is no sound question.
    ask: fn(Channel) -> Refusal,
}

pub const CONTROL: Kind = Kind {
    subcommand: "computation-control-server",
    flags: |pki, folder| {
        let mut flags = behind_internal_api(pki, folder);
        flags.push(format!("--duchy-info-config={}", pki.duchy_cert_config().display()));
        flags.push("--async-computation-control-service-target=127.0.0.1:9".into());
        flags.push("--async-computation-control-service-cert-host=localhost".into());
        flags
    },
    path: "/wfa.measurement.system.v1alpha.ComputationControl/AdvanceComputation",
    client: "aggregator",
    other: "worker2",
    crowd: &["edp1", "edp2", "mc"],
    ask: |channel| {
        Box::pin(async move {
            let mut control = ComputationControlClient::new(channel);
            control.get_computation_stage(GetComputationStageRequest::default()).await.err()
        })
    },
};

pub const FULFILLMENT: Kind = Kind {
    subcommand: "requisition-fulfillment-server",
    flags: |pki, folder| {
        let mut flags = behind_internal_api(pki, folder);
        let map = pki.principal_map();
        flags.push(format!("--authority-key-identifier-to-principal-map-file={}", map.display()));
        flags.push(NO_KINGDOM.into());
        flags
    },
    path: "/wfa.measurement.api.v2alpha.RequisitionFulfillment/FulfillRequisition",
    client: "edp1",
    other: "edp2",
    crowd: &["worker2", "aggregator", "worker1"],
    ask: |channel| {
        Box::pin(async move {
            let mut fulfillment = RequisitionFulfillmentClient::new(channel);
            fulfillment.fulfill_requisition(tokio_stream::empty()).await.err()
        })
    },
};

pub const INTERNAL_API: Kind = Kind {
    subcommand: "internal-api-server",
    flags: internal_api_flags,
    path: "/wfa.measurement.internal.duchy.Computations/GetComputationToken",
    client: "worker1",
    other: "worker1",
    crowd: &["worker2", "edp1", "mc"],
    ask: |channel| {
        Box::pin(async move {
            let mut computations = ComputationsClient::new(channel);
            computations.get_computation_token(GetComputationTokenRequest::default()).await.err()
        })
    },
};

pub const KINGDOM: Kind = Kind {
    subcommand: "kingdom",
    flags: |_, folder| vec![format!("--pki={}", folder.join("pki").display())],
    path: "/wfa.measurement.system.v1alpha.Computations/GetComputation",
    client: "aggregator",
    other: "worker2",
    crowd: &["edp1"],
    ask: |channel| {
        Box::pin(async move {
            let mut computations = KingdomComputationsClient::new(channel);
            computations.get_computation(GetComputationRequest::default()).await.err()
        })
    },
};

const NO_KINGDOM: &str = "--kingdom-system-api-target=127.0.0.1:9";

/// The flags of a server of worker1's that others may call.
fn behind_internal_api(pki: &Pki, folder: &Path) -> Vec<String> {
    let mut flags = part_flags(pki, "worker1");
    flags.push(format!("--blob-directory={}", folder.join("blobs").display()));
    flags.push("--computations-service-target=127.0.0.1:9".into());
    flags.push("--computations-service-cert-host=localhost".into());
    flags
}

/// A server, as a process of its own.
pub struct Server {
    pub kind: &'static Kind,
    _folder: tempfile::TempDir,
    pki: Pki,
    process: Killed,
    pub address: SocketAddr,
    pub health: SocketAddr,
    /// What it had in memory before it was attacked.
    rested_kib: u64,
}

impl Server {
    pub async fn start(kind: &'static Kind) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Pki::create(&PkiSpec::default(), &folder.path().join("pki")).expect("a sound spec");
        let ports = free_ports(2);
        let child = Command::new(env!("CARGO_BIN_EXE_halo-duchy"))
            .arg(kind.subcommand)
            .args((kind.flags)(&pki, folder.path()))
            .arg("--listen-address=127.0.0.1")
            .args([format!("--port={}", ports[0]), format!("--health-port={}", ports[1])])
            .args([format!("--max-connections={CONNECTIONS}"), format!("--max-concurrent-streams={STREAMS}")])
            .stderr(Stdio::null())
            .spawn();
        let [address, health] = [ports[0], ports[1]].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let process = Killed(child.expect("the program runs"));
        let mut server = Self { kind, _folder: folder, pki, process, address, health, rested_kib: 0 };
        let begun = Instant::now();
        while TcpStream::connect(server.address).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "{} does not listen", kind.subcommand);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.answers(kind.other, "nothing").await;
        server.rested_kib = server.resident_kib();
        server
    }

    /// Whether there are several clients, of whom each has its limits.
    pub fn has_several_clients(&self) -> bool {
        self.kind.client != self.kind.other
    }

    /// What the process has in memory.
    fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// What `party` is answered that asks no sound question; `None` if it waits for longer than that.
    pub async fn ask(&self, party: &str, patience: Duration) -> Option<Status> {
        let tls = self.pki.tls(party).load().expect("own files");
        let channel = channel(&tls, &self.address.to_string(), Some("localhost")).expect("a target");
        let asked = tokio::time::timeout(patience, (self.kind.ask)(channel)).await.ok()?;
        Some(asked.expect("there is nothing to answer"))
    }

    /// A client gets its answer.
    pub async fn answers(&self, party: &str, after: &str) {
        let status = self.ask(party, PATIENCE).await;
        let status = status.unwrap_or_else(|| panic!("{}: no answer after {after}", self.kind.subcommand));
        assert_eq!(status.code(), Code::InvalidArgument, "{} after {after}: {status}", self.kind.subcommand);
    }

    /// The other client gets its answer, and the process has not grown by much since it was attacked first.
    pub async fn bears(&self, attack: &str) {
        self.answers(self.kind.other, attack).await;
        let (subcommand, growth) =
            (self.kind.subcommand, self.resident_kib().saturating_sub(self.rested_kib));
        println!("{subcommand} after {attack}: {growth} KiB");
        assert!(growth < MOST_GROWTH_KIB, "{subcommand} after {attack}: {growth} KiB");
    }

    /// A connection of `party` on which HTTP/2 has begun.
    pub async fn connect(&self, party: &str) -> io::Result<Attacker> {
        let tls = self.pki.tls(party).load().expect("own files");
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(tls.client()).connect(name, stream).await?;
        Attacker::begin(stream, self.kind.path).await
    }

    /// A connection of the client that attacks.
    pub async fn attacker(&self) -> Attacker {
        self.connect(self.kind.client).await.expect("a connection")
    }
}
