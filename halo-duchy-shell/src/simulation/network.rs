//! The network: calls that are carried to the services of another process, or are not.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::request::Parts;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};

use super::machine::{Machine, Process, Server};
use super::plan::Fault;
use crate::identity::Caller;
use crate::retry::deadline::Deadlines;

/// The name of the Kingdom and of its address.
pub const KINGDOM: &str = "kingdom";

/// How long a message usually takes at most.
const LATENCY: Duration = Duration::from_millis(5);
const LONG_DELAY: Duration = Duration::from_secs(60);
/// After so long keepalives find out that nobody answers.
const SILENCE: Duration = Duration::from_secs(50);

/// What a channel leads through: from a process, in somebody's name, to an address.
#[derive(Clone)]
pub(crate) struct Link {
    from: Process,
    caller: Caller,
    to: String,
    perfect: bool,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} to {})", self.from.name(), self.to)
    }
}

/// A request with all of its body.
#[derive(Clone)]
struct Message {
    parts: Parts,
    body: Bytes,
}

type Answer = Result<Response<Body>, Status>;

impl Link {
    /// A link on which anything may happen.
    pub(super) fn new(from: &Process, caller: Caller, to: impl Into<String>) -> Self {
        Self { from: from.clone(), caller, to: to.into(), perfect: false }
    }

    /// The same link, on which nothing happens.
    pub(super) fn perfect(self) -> Self {
        Self { perfect: true, ..self }
    }

    /// Makes a call.
    pub(crate) fn call(&self, request: Request<Body>) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let link = self.clone();
        Box::pin(async move {
            link.from.point().await;
            let message = Message::read(request).await?;
            let method = message.method().to_owned();
            let machine = link.from.machine();
            machine.note(format_args!("{} calls {method} of {}", link.from.name(), link.to));
            let answer = link.carry(message).await;
            link.from.point().await;
            let code = match &answer {
                Ok(response) => Status::from_header_map(response.headers()).map_or(Code::Ok, |s| s.code()),
                Err(status) => status.code(),
            };
            machine.note(format_args!("{} hears {code:?} of {method} of {}", link.from.name(), link.to));
            answer
        })
    }

    fn machine(&self) -> &Machine {
        self.from.machine()
    }

    fn strikes(&self, fault: Fault) -> bool {
        !self.perfect && self.machine().strikes(fault)
    }

    async fn carry(&self, message: Message) -> Answer {
        let machine = self.machine();
        if let Some(payload) = message.payload() {
            machine.checker().sent(self.from.name(), &self.to, payload);
        }
        if self.strikes(Fault::RequestLost) {
            sleep(machine.moment(LATENCY)).await;
            return Err(broken());
        }
        if self.strikes(Fault::Silence) {
            sleep(SILENCE).await;
            return Err(broken());
        }
        self.travel().await;
        if self.strikes(Fault::Duplicate) {
            let (link, message) = (self.clone(), message.clone());
            tokio::spawn(async move {
                link.travel().await;
                drop(link.serve(message, false).await);
            });
        }
        let cut = message.is_upload() && self.strikes(Fault::CutShort);
        let streams = message.is_answered_by_stream();
        let response = self.serve(message, cut).await?;
        if self.strikes(Fault::ReplyLost) {
            return Err(broken());
        }
        self.travel().await;
        Ok(if streams { response.map(|body| self.stream(body)) } else { response })
    }

    async fn travel(&self) {
        let longest = if self.strikes(Fault::Delay) { LONG_DELAY } else { LATENCY };
        sleep(self.machine().moment(longest)).await;
    }

    /// Has the server at the address answer, as long as it lives.
    async fn serve(&self, message: Message, cut: bool) -> Answer {
        let away = !self.perfect && self.to == KINGDOM && !self.machine().kingdom_is_there();
        let server = self.machine().server(&self.to).filter(|_| !away);
        let Some(Server { process, routes }) = server else {
            return Err(Status::unavailable("connection refused"));
        };
        let mut request = message.into_request(cut);
        request.extensions_mut().insert(self.caller.clone());
        let server = process.clone();
        let serving = process.spawn(async move {
            server.pass().await;
            Deadlines(routes).call(request).await
        });
        // Some servers notice that their client has gone away.
        let mut serving = Serving { task: serving, notices: self.machine().below(2) == 0 };
        match (&mut serving.task).await {
            Ok(Ok(response)) => Ok(response),
            Err(error) if error.is_panic() => {
                let what = format!("{} panicked: {error}", process.name());
                self.machine().checker().broken(what);
                Err(broken())
            }
            _ => Err(broken()),
        }
    }

    /// A stream that ends with its server, with its connection, or when the Kingdom goes away.
    fn stream(&self, body: Body) -> Body {
        let server = self.machine().server(&self.to).map(|server| server.process);
        let frames = stream::unfold(Some((body, server, self.clone())), |state| async move {
            let (mut body, server, link) = state?;
            let gone = async {
                match &server {
                    Some(server) => server.death().await,
                    None => std::future::pending().await,
                }
            };
            let frame = tokio::select! {
                biased;
                () = gone => None,
                () = link.machine().kingdom_leaves(), if link.to == KINGDOM => None,
                frame = body.frame() => Some(frame),
            };
            link.from.pass().await;
            let cut = match &frame {
                None => true,
                Some(Some(Ok(_))) => link.strikes(Fault::CutShort),
                Some(_) => false,
            };
            if cut {
                return Some((Err(broken()), None));
            }
            Some((frame.flatten()?, Some((body, server, link))))
        });
        Body::new(StreamBody::new(frames.boxed()))
    }
}

fn broken() -> Status {
    Status::unavailable("the connection failed")
}

/// A call that a server is busy with.
struct Serving<T> {
    task: JoinHandle<T>,
    /// Whether the server stops when nobody waits for the answer any more.
    notices: bool,
}

impl<T> Drop for Serving<T> {
    fn drop(&mut self) {
        if self.notices {
            self.task.abort();
        }
    }
}

impl Message {
    async fn read(request: Request<Body>) -> Result<Self, Status> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Self { parts, body })
    }

    fn method(&self) -> &str {
        self.parts.uri.path().rsplit('/').next().unwrap_or_default()
    }

    /// The body of a message to a peer's control service.
    fn payload(&self) -> Option<&Bytes> {
        let advance = "/wfa.measurement.system.v1alpha.ComputationControl/AdvanceComputation";
        (self.parts.uri.path() == advance).then_some(&self.body)
    }

    fn is_upload(&self) -> bool {
        self.payload().is_some() || self.method() == "FulfillRequisition" && self.body.len() > 1024
    }

    fn is_answered_by_stream(&self) -> bool {
        self.method() == "StreamActiveComputations"
    }

    fn into_request(self, cut: bool) -> Request<Body> {
        let body = if cut {
            let half = self.body.slice(..self.body.len() / 2);
            let frames = [Ok(http_body::Frame::data(half)), Err(broken())];
            Body::new(StreamBody::new(stream::iter(frames)))
        } else {
            Body::new(Full::new(self.body))
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method;
        *request.uri_mut() = self.parts.uri;
        *request.version_mut() = self.parts.version;
        *request.headers_mut() = self.parts.headers;
        request
    }
}
