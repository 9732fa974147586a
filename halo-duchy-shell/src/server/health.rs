//! The health service: what Kubernetes asks whether a process is to live. Whoever reaches its port may ask, so a new
//! connection takes the place of the oldest where there are too many: a probe that finds none would end the process.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::ServingStatus;

use super::MAX_HEADER_BYTES;
use crate::guarded::Guarded;

/// Connections at once.
const CONNECTIONS: usize = 64;
/// RPCs at once on one connection.
const STREAMS: u32 = 8;
/// How often idle connections are probed, and how long the answer may take.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Serves the standard health service in plain text on `listener`: what Kubernetes probes. The process as a whole and each
/// of `services` are `SERVING` until shutdown, then `NOT_SERVING`.
///
/// # Errors
/// If the transport fails.
pub async fn serve_health(
    listener: TcpListener,
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
    let mut newest = Newest::default();
    let incoming =
        TcpListenerStream::new(listener).map(move |stream| stream.map(|stream| newest.admit(stream)));
    tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(service.max_decoding_message_size(4 << 10))
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}

/// The connections that are open, oldest first.
#[derive(Default)]
struct Newest(VecDeque<oneshot::Sender<()>>);

impl Newest {
    fn admit(&mut self, stream: TcpStream) -> Guarded<TcpStream> {
        self.0.retain(|open| !open.is_closed());
        while self.0.len() >= CONNECTIONS
            && let Some(oldest) = self.0.pop_front()
        {
            // It may have ended by itself.
            let _ = oldest.send(());
        }
        let (open, told) = oneshot::channel();
        self.0.push_back(open);
        Guarded::new(stream, async {
            if told.await.is_err() {
                // Nobody can cut it any more: the server accepts no others.
                std::future::pending().await
            }
        })
    }
}
