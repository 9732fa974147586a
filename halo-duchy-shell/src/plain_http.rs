//! Pages for reading over HTTP in plain text: the operator's console, and metrics for Prometheus.
//!
//! # Security
//! Whoever reaches the address sees everything on the pages, so it should be one that only operators reach; there is
//! nothing that a caller could change. Connections and their time are limited.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::shutdown::Shutdown;

/// Connections at once; further ones wait in the system's queue.
const CONNECTIONS: usize = 16;
/// How long a request may take to come.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last, which carries one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request's head.
const MOST_HEAD_BYTES: usize = 16 << 10;

/// What every answer says, to keep browsers from doing more with it than to show it.
const HEADERS: [(header::HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONNECTION, "close"),
];

/// An answer.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    /// The type of its content.
    pub(crate) kind: &'static str,
    pub(crate) body: String,
}

/// What there is to read.
pub(crate) trait Pages: Send + Sync + 'static {
    /// What they are called in logs.
    const NAME: &'static str;
    /// Whether a request must name an address or `localhost` as its host: a page of somebody else's, whose name is made to
    /// lead here, gets nothing then.
    const ONLY_BY_ADDRESS: bool;

    /// The page at a path.
    fn page(&self, path: &str, query: &str) -> impl Future<Output = Page> + Send;

    /// A page that says why there is no other.
    fn message(&self, status: StatusCode, title: &str, text: &str) -> Page;
}

/// Serves `pages` on `listener` until told to stop.
pub(crate) async fn serve<P: Pages>(pages: P, listener: TcpListener, shutdown: Shutdown) {
    let (pages, slots) = (Arc::new(pages), Arc::new(Semaphore::new(CONNECTIONS)));
    while let Some(Ok(slot)) = shutdown.unless_requested(Arc::clone(&slots).acquire_owned()).await {
        let Some(accepted) = shutdown.unless_requested(listener.accept()).await else { return };
        match accepted {
            Ok((stream, _)) => {
                let pages = Arc::clone(&pages);
                tokio::spawn(async move {
                    if timeout(CONNECTION_TIMEOUT, connection(&*pages, stream)).await.is_err() {
                        tracing::debug!("a connection to {} took too long", P::NAME);
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly; accepting again at once would only spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection<P: Pages>(pages: &P, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service =
        service_fn(async |request| Ok::<_, std::convert::Infallible>(answer(pages, &request).await));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .keep_alive(false)
        // Who has asked and closes its side, as `nc -N` does, gets its answer all the same.
        .half_close(true)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to {} failed", P::NAME);
    }
}

/// What is answered on a connection on which a client sends these bytes and no more.
#[cfg(feature = "fuzzing")]
pub(crate) async fn exchange<P: Pages>(pages: &P, sent: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    // Nobody waits for the other to read.
    let (mut client, server) = tokio::io::duplex(sent.len().max(1 << 20));
    let client = async move {
        let mut answer = Vec::new();
        // The server may close the connection before it has read all.
        let _ = client.write_all(sent).await;
        let _ = client.shutdown().await;
        let _ = client.read_to_end(&mut answer).await;
        answer
    };
    tokio::join!(client, connection(pages, server)).0
}

async fn answer<P: Pages>(pages: &P, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let page = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "There is nothing to be changed here.";
        pages.message(StatusCode::METHOD_NOT_ALLOWED, "not possible", text)
    } else if P::ONLY_BY_ADDRESS && !is_for_us(request) {
        let text = "Ask for an IP address or localhost, not for a name.";
        pages.message(StatusCode::MISDIRECTED_REQUEST, "another host", text)
    } else {
        pages.page(request.uri().path(), request.uri().query().unwrap_or_default()).await
    };
    let body = if request.method() == Method::HEAD { Bytes::new() } else { Bytes::from(page.body) };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = page.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(page.kind));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if page.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// Whether the host that the request names is an address or `localhost`.
fn is_for_us(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    is_address(host)
}

fn is_address(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn only_addresses_are_answered() {
        for host in ["127.0.0.1", "127.0.0.1:8081", "[::1]:8081", "localhost", "LocalHost:1", "10.0.0.7:80"] {
            assert!(is_address(host), "{host}");
        }
        for host in
            ["", "attacker.example", "attacker.example:8081", "127.0.0.1.attacker.example", "localhost.a"]
        {
            assert!(!is_address(host), "{host}");
        }
    }
}
