//! What faults do to calls, in front of the Kingdom's services.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Body as HttpBody, Service, StdError};
use tonic::{Code, Status};
use tower::Layer;

use super::{FaultKind, METHODS};
use crate::identity::Caller;
use crate::kingdom::Kingdom;

/// Puts the Kingdom's faults in front of a service.
#[derive(Clone)]
pub struct FaultLayer(pub Kingdom);

/// A service that misbehaves as the Kingdom says.
#[derive(Clone)]
pub struct Faulty<S> {
    inner: S,
    kingdom: Kingdom,
}

impl<S> Layer<S> for FaultLayer {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner, kingdom: self.0.clone() }
    }
}

impl<S, B, R> Service<Request<B>> for Faulty<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<StdError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method =
            request.uri().path().rsplit('/').next().and_then(|name| METHODS.iter().find(|m| **m == name));
        let faults = match (method, request.extensions().get::<Caller>()) {
            (Some(method), Some(caller)) => self.kingdom.take_faults(method, &caller.to_string(), false),
            _ => Ok(Vec::new()),
        };
        // The clone is ready at another time: what is ready now takes the call.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let faults = match faults {
                Ok(faults) => faults,
                Err(error) => return Ok(Status::from(error).into_http()),
            };
            let mut lost = None;
            for fault in faults {
                match fault {
                    FaultKind::Refuse(code) => return Ok(refusal(code)),
                    FaultKind::LoseAnswer(code) => lost = Some(code),
                    FaultKind::Delay(duration) => tokio::time::sleep(duration).await,
                    // The stream looks after these.
                    FaultKind::CutStream { .. }
                    | FaultKind::RepeatItems
                    | FaultKind::ReverseItems
                    | FaultKind::WrongState(_)
                    | FaultKind::StaleTokens => {}
                }
            }
            let answer = inner.call(request).await?;
            Ok(match lost {
                Some(code) => refusal(code),
                None => answer.map(Body::new),
            })
        })
    }
}

fn refusal(code: Code) -> Response<Body> {
    Status::new(code, "a fault that the Kingdom was told to have").into_http()
}
