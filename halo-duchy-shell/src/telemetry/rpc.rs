//! RPCs, as a client and as a server: their spans, their context in `traceparent`, their durations with OpenTelemetry's
//! attributes for gRPC, and what a verbose log tells of them (`messages`).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use opentelemetry::Value;
use prost_reflect::MethodDescriptor;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{Body as HttpBody, Service, StdError};
use tonic::{Code, Status};
use tracing::{Instrument as _, Span, field};

use super::context;
use super::instruments::{RPC_CLIENT_DURATION, RPC_SERVER_DURATION, THREAD_POOL_ACTIVE_COUNT};
use crate::audit::AuditedCall;
use crate::proto::POOL;

mod messages;

use messages::Watched;

/// What upstream calls the threads that serve RPCs.
pub(crate) const THREAD_POOL: &str = "grpc-services";

/// What RPCs are called that are not ours: callers choose names, and there must not be a series for each.
pub(super) const OTHER: (&str, &str) = ("_OTHER", "_OTHER");

/// All methods that the shell knows, by the names of their services and their own.
pub(super) static METHODS: LazyLock<BTreeMap<(String, String), MethodDescriptor>> = LazyLock::new(|| {
    let methods = POOL.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let named = methods
        .map(|method| ((method.parent_service().full_name().to_owned(), method.name().to_owned()), method));
    named.collect()
});

/// The names of the service and the method that a request's path stands for, and the method if it is known.
fn method(path: &str) -> ((&'static str, &'static str), Option<&'static MethodDescriptor>) {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
        return (OTHER, None);
    };
    // A map by pairs cannot be asked for a pair of borrowed texts without making one.
    let known: &'static BTreeMap<_, _> = &METHODS;
    match known.get_key_value(&(service.to_owned(), method.to_owned())) {
        Some(((service, method), descriptor)) => ((service, method), Some(descriptor)),
        None => (OTHER, None),
    }
}

/// The name of a status code, as gRPC's documentation writes it.
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl Side {
    /// What OpenTelemetry calls the kind of its spans.
    const fn kind(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// An RPC in progress. Dropped before it has a status, it was cancelled.
struct Call {
    side: Side,
    names: (&'static str, &'static str),
    method: Option<&'static MethodDescriptor>,
    begun: Instant,
    span: Span,
    status: Option<Code>,
    message: String,
    /// Bytes of the response's body.
    bytes: usize,
    /// What the audit log is told of it.
    audited: AuditedCall,
}

impl Call {
    fn client(path: &str, headers: &mut HeaderMap) -> Self {
        let call = Self::new(Side::Client, method(path), Span::current().id());
        context::inject(&call.span, headers);
        call
    }

    fn server(path: &str, headers: &HeaderMap) -> Self {
        let call = Self::new(Side::Server, method(path), None);
        context::extract(headers, &call.span);
        THREAD_POOL_ACTIVE_COUNT.add(1, [THREAD_POOL]);
        call
    }

    fn new(
        side: Side,
        (names, descriptor): ((&'static str, &'static str), Option<&'static MethodDescriptor>),
        parent: Option<tracing::Id>,
    ) -> Self {
        let (service, method) = names;
        let span = tracing::info_span!(
            parent: parent,
            "rpc",
            otel.name = format!("{service}/{method}"),
            otel.kind = side.kind(),
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
            rpc.grpc.status_code = field::Empty,
            otel.status_code = field::Empty,
            computation_id = field::Empty,
        );
        Self {
            side,
            names,
            method: descriptor,
            begun: Instant::now(),
            span,
            status: None,
            message: String::new(),
            bytes: 0,
            audited: AuditedCall::default(),
        }
    }

    /// The request, with its messages told of.
    fn watch(&self, request: Request<Body>) -> Request<Body> {
        let kind = self.method.map(MethodDescriptor::input);
        request.map(|body| Body::new(Watched::new(body, "request", kind.as_ref(), &self.span)))
    }

    /// Takes in headers or trailers, which may bring the status.
    fn hear(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.status = Some(status.code());
            status.message().clone_into(&mut self.message);
        }
    }

    fn fail(&mut self, code: Code, message: String) {
        (self.status, self.message) = (Some(code), message);
    }

    /// Whether OpenTelemetry's conventions call the status an error.
    fn is_error(&self, code: Code) -> bool {
        match self.side {
            Side::Client => code != Code::Ok,
            Side::Server => matches!(
                code,
                Code::Unknown
                    | Code::DeadlineExceeded
                    | Code::Unimplemented
                    | Code::Internal
                    | Code::Unavailable
                    | Code::DataLoss
            ),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.status.unwrap_or(Code::Cancelled);
        let (service, method) = self.names;
        let elapsed = self.begun.elapsed();
        self.span.record("rpc.grpc.status_code", code as i32);
        if self.is_error(code) {
            self.span.record("otel.status_code", "ERROR");
        }
        let attributes = [Value::from("grpc"), service.into(), method.into(), i64::from(code as i32).into()];
        let milliseconds = elapsed.as_secs_f64() * 1000.0;
        let _entered = self.span.enter();
        tracing::debug!(service, method, ?code, bytes = self.bytes, ?elapsed, "RPC");
        match self.side {
            Side::Client => RPC_CLIENT_DURATION.record(milliseconds, attributes),
            Side::Server => {
                RPC_SERVER_DURATION.record(milliseconds, attributes);
                THREAD_POOL_ACTIVE_COUNT.add(-1, [THREAD_POOL]);
                self.audited.ended(self.names, code, &self.message);
                // Other statuses are the caller's business.
                if matches!(code, Code::Unknown | Code::Internal) {
                    let trace_id = context::trace_of(&self.span);
                    tracing::error!(service, method, ?code, reason = self.message, trace_id, "an RPC failed");
                }
            }
        }
    }
}

/// A response's body, at whose end the call ends.
struct Tracked<B> {
    body: B,
    call: Call,
}

impl<B> HttpBody for Tracked<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let call = &mut self.call;
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    call.hear(trailers);
                }
                call.bytes += frame.data_ref().map_or(0, Buf::remaining);
            }
            Poll::Ready(Some(Err(_))) => call.fail(Code::Unknown, "the response broke off".to_owned()),
            Poll::Ready(None) if call.status.is_none() => {
                call.fail(Code::Unknown, "the response has no status".to_owned());
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

fn track<B>(mut call: Call, response: Response<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError>,
{
    call.hear(response.headers());
    let kind = call.method.map(MethodDescriptor::output);
    let response = response.map(|body| Watched::new(body, "response", kind.as_ref(), &call.span));
    response.map(|body| Body::new(Tracked { body, call }.map_err(|error| Status::from_error(error.into()))))
}

type Boxed<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Makes one call of `service`, in a span of its own whose context goes with it.
pub(crate) fn call<S, B>(service: &mut S, mut request: Request<Body>) -> Boxed<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: std::fmt::Display,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError>,
{
    let path = request.uri().path().to_owned();
    let mut call = Call::client(&path, request.headers_mut());
    let span = call.span.clone();
    let answer = service.call(call.watch(request));
    Box::pin(
        async move {
            match answer.await {
                Ok(response) => Ok(track(call, response)),
                Err(error) => {
                    call.fail(Code::Unavailable, error.to_string());
                    Err(error)
                }
            }
        }
        .instrument(span),
    )
}

/// A server's services, each call of which is in a span that continues the caller's.
#[derive(Clone, Debug)]
pub(crate) struct Traced<S>(pub S);

impl<S, B> Service<Request<Body>> for Traced<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Boxed<Response<Body>, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = Call::server(request.uri().path(), request.headers());
        let span = call.span.clone();
        let request = call.watch(request);
        let audited = call.audited.clone();
        let answer = audited.enter(|| span.in_scope(|| self.0.call(request)));
        let answered = async move { answer.await.map(|response| track(call, response)) };
        Box::pin(audited.scope(answered).instrument(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_rpcs_have_names() {
        let service = "wfa.measurement.internal.duchy.Computations";
        let (names, known) = method(&format!("/{service}/ClaimWork"));
        assert_eq!(names, (service, "ClaimWork"));
        let known = known.expect("known");
        assert_eq!(known.input().full_name(), "wfa.measurement.internal.duchy.ClaimWorkRequest");
        for path in ["", "/", "/a/b", "/wfa.measurement.internal.duchy.Computations/Claim", "ClaimWork"] {
            assert_eq!(method(path), (OTHER, None), "{path}");
        }
    }

    #[test]
    fn refusals_are_the_callers_errors_only() {
        let on = |side| Call::new(side, (OTHER, None), None);
        for (code, server) in [(Code::Ok, false), (Code::NotFound, false), (Code::Internal, true)] {
            assert_eq!(on(Side::Server).is_error(code), server);
            assert_eq!(on(Side::Client).is_error(code), code != Code::Ok);
        }
    }
}
