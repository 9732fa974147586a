//! What operations cost on Cloud Spanner: the calls that go by, and the rows that come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use gcloud_googleapis::spanner::v1::PartialResultSet;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};

use super::{Cost, Meter};

#[derive(Debug, Default)]
struct Counts {
    transactions: AtomicU64,
    statements: AtomicU64,
    rows: AtomicU64,
}

/// A proxy in front of an emulator that counts.
#[derive(Debug)]
pub(super) struct SpannerMeter {
    /// Where it listens.
    pub(super) address: String,
    counts: Arc<Counts>,
}

impl SpannerMeter {
    pub(super) async fn in_front_of(emulator: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let counts = Arc::new(Counts::default());
        let (emulator, shared) = (emulator.to_owned(), Arc::clone(&counts));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&emulator).await.expect("the emulator");
                tokio::spawn(carry(client, server, Arc::clone(&shared)));
            }
        });
        Self { address, counts }
    }
}

#[async_trait]
impl Meter for SpannerMeter {
    async fn read(&self) -> Cost {
        let Counts { transactions, statements, rows } = &*self.counts;
        let [transactions, statements, rows] =
            [transactions, statements, rows].map(|count| count.load(Ordering::SeqCst));
        Cost { transactions, statements, rows, steps: 0 }
    }
}

async fn carry(client: TcpStream, server: TcpStream, counts: Arc<Counts>) {
    let connected = client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(server)).await;
    let (sender, connection) = connected.expect("HTTP/2");
    tokio::spawn(connection);
    let serve = service_fn(move |request: Request<Incoming>| {
        let (mut sender, counts) = (sender.clone(), Arc::clone(&counts));
        async move {
            let queries = match request.uri().path().rsplit('/').next() {
                Some("BeginTransaction") => {
                    counts.transactions.fetch_add(1, Ordering::SeqCst);
                    false
                }
                Some("Commit") => {
                    counts.statements.fetch_add(1, Ordering::SeqCst);
                    false
                }
                Some("ExecuteStreamingSql") => {
                    counts.statements.fetch_add(1, Ordering::SeqCst);
                    true
                }
                _ => false,
            };
            let answer = sender.send_request(request).await?;
            let mut rows = Rows::default();
            Ok::<_, hyper::Error>(answer.map(|body| {
                body.map_frame(move |frame: Frame<Bytes>| {
                    if let (true, Some(data)) = (queries, frame.data_ref()) {
                        counts.rows.fetch_add(rows.take(data), Ordering::SeqCst);
                    }
                    frame
                })
            }))
        }
    });
    // A connection that ends is no concern of ours.
    let serving = server::conn::http2::Builder::new(TokioExecutor::new());
    drop(serving.serve_connection(TokioIo::new(client), serve).await);
}

/// The rows in an answer, of which parts come one by one, values cut in two among them.
#[derive(Default)]
struct Rows {
    received: BytesMut,
    columns: usize,
    values: usize,
    counted: usize,
}

impl Rows {
    /// How many rows have come to their end with these bytes.
    fn take(&mut self, bytes: &[u8]) -> u64 {
        const HEADER: usize = 5;
        self.received.extend_from_slice(bytes);
        while self.received.len() >= HEADER {
            let length = (&self.received[1..HEADER]).get_u32() as usize;
            if self.received.len() < HEADER + length {
                break;
            }
            let message = self.received.split_to(HEADER + length);
            let part = PartialResultSet::decode(&message[HEADER..]).expect("part of an answer");
            if let Some(kind) = part.metadata.and_then(|metadata| metadata.row_type) {
                self.columns = kind.fields.len();
            }
            self.values += part.values.len() - usize::from(part.chunked_value);
        }
        let rows = self.values / self.columns.max(1) - self.counted;
        self.counted += rows;
        rows as u64
    }
}
