//! What clients may cost a server: the table of `docs/limits.md`, tried on the servers as they are run, whose memory must
//! not grow by much, and which must answer others all the while.

mod attacker;
mod server;

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use attacker::{Attacker, CONTINUATION, PING, PREFACE, SETTINGS, frame};
use server::{Kind, Server};

const PATIENCE: Duration = Duration::from_secs(60);
/// Connections that the server takes: a client gets a quarter of them.
const CONNECTIONS: usize = 64;
const OF_ONE: usize = 16;
const STREAMS: u32 = 32;
/// What all attacks together may add to the memory of the process.
const MOST_GROWTH_KIB: u64 = 64 << 10;

/// HTTP/2 rapid reset: calls that are taken back as soon as they are made end the connection.
async fn rapid_resets(server: &Server) {
    let mut attacker = server.attacker().await;
    let mut sent = 0;
    for stream in (1..40_000).step_by(2) {
        if attacker.reset(stream).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(attacker.is_ended().await, "after {sent} resets");
    server.bears("resets").await;
}

/// Pings and settings are answered one after the other, and none is read while the answer is not.
async fn floods(server: &Server) {
    for (what, kind, payload) in [("pings", PING, &[7; 8][..]), ("settings", SETTINGS, &[0, 4, 0, 1, 0, 0])] {
        let mut attacker = server.attacker().await;
        attacker.flood(&frame(kind, 0, 0, payload).repeat(1000), 200).await;
        server.bears(what).await;
    }
}

async fn headers_without_end(server: &Server) {
    let mut attacker = server.attacker().await;
    let more = [vec![0x00, 1, b'a', 100], vec![b'x'; 100]].concat().repeat(100);
    // It may have ended the connection before all is sent.
    let _ = attacker.begin_headers(1).await;
    attacker.flood(&frame(CONTINUATION, 0, 1, &more), 10_000).await;
    assert!(attacker.is_ended().await, "a megabyte of headers and more");
    server.bears("headers without end").await;
}

/// One client has a quarter of the connections, whatever it does with them, and so have all together who are none.
async fn connections(server: &Server) {
    let mut crowd = server.kind.crowd.iter().cycle();
    let mut held = Vec::new();
    for party in crowd.by_ref().take(OF_ONE) {
        held.push(server.connect(party).await.expect("a connection"));
    }
    for party in crowd.take(OF_ONE) {
        if let Ok(mut attacker) = server.connect(party).await {
            assert!(attacker.is_ended().await, "a connection more than {party} may have");
        }
    }
    server.bears("connections").await;
}

/// On each connection as much as it may send without being asked for more, of messages of which the end does not come.
async fn calls_that_do_not_end(server: &Server) {
    let mut held: Vec<Attacker> = Vec::new();
    for _ in 0..OF_ONE / 2 {
        let mut attacker = server.attacker().await;
        attacker.meet().await.expect("the header of a frame");
        for stream in (1..STREAMS).step_by(2) {
            let begun = attacker.begin_call(stream, 60 << 10);
            let begun = tokio::time::timeout(Duration::from_secs(1), begun).await;
            assert!(matches!(begun, Ok(Ok(()))), "stream {stream}: {begun:?}");
        }
        held.push(attacker);
    }
    server.bears("calls that do not end").await;
    if server.has_several_clients() {
        // They are as many as the client may have on all of its connections.
        let more = server.ask(server.kind.client, Duration::from_secs(2)).await;
        assert!(more.is_none(), "one call more: {more:?}");
    }
    drop(held);
    server.answers(server.kind.client, "calls that ended").await;
}

/// Handshakes that do not begin make room for those that do.
async fn silent_handshakes(server: &Server) {
    let mut silent = Vec::new();
    for _ in 0..4 * CONNECTIONS {
        silent.push(TcpStream::connect(server.address).await.expect("it listens"));
    }
    let begun = Instant::now();
    server.bears("handshakes that do not begin").await;
    println!("answered after {:?} beside {} silent connections", begun.elapsed(), silent.len());
}

/// The probe of a health port that others keep busy.
async fn busy_health_port(server: &Server) {
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.health).await.expect("it listens");
        // The port may have given it up already.
        let _ = stream.write_all(PREFACE).await;
        idle.push(stream);
    }
    let endpoint = Endpoint::try_from(format!("http://{}", server.health)).expect("an address");
    let probe = async {
        let mut client = HealthClient::new(endpoint.connect().await.expect("it takes one more"));
        client.check(HealthCheckRequest::default()).await.expect("healthy")
    };
    tokio::time::timeout(PATIENCE, probe).await.expect("an answer to the probe");
    server.bears("health").await;
}

async fn withstand(kind: &'static Kind) {
    let server = Server::start(kind).await;
    rapid_resets(&server).await;
    floods(&server).await;
    headers_without_end(&server).await;
    connections(&server).await;
    calls_that_do_not_end(&server).await;
    silent_handshakes(&server).await;
    busy_health_port(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_costs_the_control_server_more_than_its_limits() {
    withstand(&server::CONTROL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_costs_the_fulfillment_server_more_than_its_limits() {
    withstand(&server::FULFILLMENT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_costs_the_internal_api_server_more_than_its_limits() {
    withstand(&server::INTERNAL_API).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_costs_a_development_kingdom_more_than_its_limits() {
    withstand(&server::KINGDOM).await;
}
