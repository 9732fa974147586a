//! A server that stands in for a service of a cloud in tests: the test says what it answers.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[cfg(any(feature = "aws-kms", feature = "aws-secrets"))]
pub(crate) mod aws;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let end = loop {
            stream.read_buf(&mut bytes).await.expect("a request");
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
        let mut lines = head.lines();
        let line = lines.next().expect("a request line").to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header");
            (name.to_lowercase(), value.trim().to_owned())
        };
        let mut received =
            Self { line, headers: lines.map(header).collect(), body: bytes[end + 4..].to_vec() };
        let length: usize = received.header("content-length").parse().expect("a length");
        while received.body.len() < length {
            stream.read_buf(&mut received.body).await.expect("a body");
        }
        received
    }

    /// A header's value; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// The body, which must be JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// A status and a body.
pub(crate) type Response = (u16, String);

/// The server. It stops when it is dropped.
pub(crate) struct FakeService {
    pub(crate) endpoint: String,
    received: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl FakeService {
    /// A server on this machine that answers so.
    pub(crate) async fn start(answer: impl Fn(&Received) -> Response + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let received = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&received);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let request = Received::read(&mut stream).await;
                let (status, body) = answer(&request);
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                let length = body.len();
                let response = format!(
                    "HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                // Whoever has asked may have gone.
                let _ = stream.write_all(response.as_bytes()).await;
            }
        });
        Self { endpoint, received, task }
    }

    /// What has come so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for FakeService {
    fn drop(&mut self) {
        self.task.abort();
    }
}
