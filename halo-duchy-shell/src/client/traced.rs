//! [`Channel`]: tonic's, with a span, a `traceparent` header and a measurement for each call, and with gRPC's status for
//! connections that break. What is left of a deadline goes with each call, and whoever tries again keeps to the budget of
//! the server ([`retry`](crate::retry)).

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status, TimeoutExpired, transport};

use super::line::Line;
use crate::retry::{Budget, deadline};
use crate::telemetry::rpc;

/// A channel to a server. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Channel {
    way: Way,
    /// Of retries to the server.
    budget: Budget,
}

/// How calls get to the server.
#[derive(Clone, Debug)]
enum Way {
    /// With TLS.
    Secured(Line),
    /// In plain text.
    Plain(transport::Channel),
    #[cfg(test)]
    Simulated(crate::simulation::Link),
}

impl From<Line> for Channel {
    fn from(line: Line) -> Self {
        Self { way: Way::Secured(line), budget: Budget::default() }
    }
}

impl From<transport::Channel> for Channel {
    fn from(channel: transport::Channel) -> Self {
        Self { way: Way::Plain(channel), budget: Budget::default() }
    }
}

#[cfg(test)]
impl From<crate::simulation::Link> for Channel {
    fn from(link: crate::simulation::Link) -> Self {
        Self { way: Way::Simulated(link), budget: Budget::default() }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match &mut self.way {
            Way::Secured(line) => line.poll_ready(context).map_err(failure),
            Way::Plain(channel) => channel.poll_ready(context).map_err(failure),
            #[cfg(test)]
            Way::Simulated(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        deadline::pass_on(request.headers_mut());
        let answer = match &mut self.way {
            Way::Secured(line) => over_network(line.ready(), request),
            Way::Plain(channel) => over_network(channel, request),
            #[cfg(test)]
            Way::Simulated(link) => link.call(request),
        };
        let budget = self.budget.clone();
        let stop_retrying = deadline::spend_budget();
        Box::pin(async move {
            let answer = answer.await;
            if is_unavailable(&answer) {
                budget.failed();
                if budget.is_spent() {
                    stop_retrying();
                }
            } else {
                budget.succeeded();
            }
            answer
        })
    }
}

type Answer = Result<Response<Body>, Status>;

fn over_network(
    channel: &mut transport::Channel,
    request: Request<Body>,
) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
    let answer = rpc::call(channel, request);
    Box::pin(async move {
        let response = answer.await.map_err(failure)?;
        Ok(response.map(|body| Body::new(body.map_err(unless_broken))))
    })
}

/// Whether the server was not there, or says that it is not. A status without a message comes in the headers.
fn is_unavailable(answer: &Answer) -> bool {
    match answer {
        Ok(response) => response
            .headers()
            .get("grpc-status")
            .is_some_and(|status| Code::from_bytes(status.as_bytes()) == Code::Unavailable),
        Err(status) => status.code() == Code::Unavailable,
    }
}

/// The status of a call that got no answer. A connection that is closed before it cancels its calls, to tonic.
fn failure(error: transport::Error) -> Status {
    let status = unless_broken(Status::from_error(Box::new(error)));
    match status.source() {
        // Its own time, or what it was given, is over: tonic says that it is cancelled.
        Some(cause)
            if status.code() == Code::Cancelled && chain(cause).any(|cause| cause.is::<TimeoutExpired>()) =>
        {
            Status::deadline_exceeded("no answer in time")
        }
        Some(cause) if status.code() == Code::Cancelled => broken(cause),
        _ => status,
    }
}

/// `status`, or `UNAVAILABLE` if the connection broke: that is gRPC's status for it and what other implementations give,
/// so that whoever tries again on it does; tonic says `UNKNOWN`. A server's own `UNKNOWN` has no cause on this side.
fn unless_broken(status: Status) -> Status {
    match status.source() {
        Some(cause) if status.code() == Code::Unknown => broken(cause),
        _ => status,
    }
}

fn broken(cause: &(dyn Error + 'static)) -> Status {
    let root = chain(cause).last().map(ToString::to_string).unwrap_or_default();
    Status::unavailable(format!("the connection failed: {root}"))
}

/// An error and its causes, the root last.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tonic::transport::Endpoint;

    use super::*;
    use crate::proto::internal::GetComputationTokenRequest;
    use crate::proto::internal::computations_client::ComputationsClient;

    /// The status of a call to a server that closes connections: at once, or after what the client says first.
    async fn status(greets: bool) -> Status {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if greets {
                    // An empty SETTINGS frame of HTTP/2.
                    let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
                    let _ = stream.read(&mut [0; 1024]).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
        let channel = Endpoint::try_from(format!("http://{address}")).expect("an address").connect_lazy();
        let mut client = ComputationsClient::new(Channel::from(channel));
        client.get_computation_token(GetComputationTokenRequest::default()).await.expect_err("nobody answers")
    }

    #[tokio::test]
    async fn a_broken_connection_is_unavailable() {
        for greets in [false, true] {
            let status = status(greets).await;
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        }
    }

    #[test]
    fn what_the_server_says_stays() {
        for code in [Code::Unknown, Code::Internal, Code::Cancelled] {
            assert_eq!(unless_broken(Status::new(code, "said")).code(), code);
        }
    }
}
