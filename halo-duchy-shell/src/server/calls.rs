//! How many RPCs a client has in progress, on all of its connections: as many as on one, so that it gains nothing by more.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};

use crate::identity::Caller;

/// What each client may have in progress.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    limit: usize,
    /// How long a call waits for others of its client.
    patience: Duration,
    /// Callers are known parties, so there are only so many.
    callers: Arc<Mutex<HashMap<Caller, Arc<Semaphore>>>>,
}

impl Calls {
    pub(super) fn new(limit: u32, patience: Duration) -> Self {
        let limit = usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self { limit, patience, callers: Arc::default() }
    }

    fn of(&self, caller: &Caller) -> Arc<Semaphore> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = callers.entry(caller.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.limit)));
        Arc::clone(calls)
    }

    /// Waits until the client has fewer in progress.
    async fn begin(&self, caller: &Caller) -> Result<OwnedSemaphorePermit, Status> {
        let begun = timeout(self.patience, self.of(caller).acquire_owned()).await;
        begun.ok().and_then(Result::ok).ok_or_else(|| {
            Status::resource_exhausted(format!("{} calls of {caller} are in progress already", self.limit))
        })
    }
}

/// A server's services, of each of whose clients only so many calls are in progress. Who calls is known to whoever stands in
/// front of this.
#[derive(Clone, Debug)]
pub(super) struct Limited<S> {
    service: S,
    /// `None` for no limit.
    calls: Option<Calls>,
}

impl<S> Limited<S> {
    pub(super) fn new(service: S, calls: Option<Calls>) -> Self {
        Self { service, calls }
    }
}

impl<S, B> Service<Request<B>> for Limited<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let caller = request.extensions().get::<Caller>().cloned();
        let (Some(calls), Some(caller)) = (self.calls.clone(), caller) else {
            return Box::pin(self.service.call(request));
        };
        // The one that is ready.
        let clone = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, clone);
        Box::pin(async move {
            let permit = match calls.begin(&caller).await {
                Ok(permit) => permit,
                Err(status) => return Ok(status.into_http()),
            };
            let response = service.call(request).await?;
            Ok(response.map(|body| Body::new(InProgress { body, _permit: permit })))
        })
    }
}

/// A response's body, at whose end the call is over.
struct InProgress {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl HttpBody for InProgress {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clients_calls_wait_for_one_another_and_for_nobody_else() {
        let calls = Calls::new(2, Duration::from_secs(60));
        let [one, other] = ["1", "2"].map(|id| Caller::Duchy(id.to_owned()));
        let first = calls.begin(&one).await.expect("the first");
        let _second = calls.begin(&one).await.expect("the second");
        let refused = calls.begin(&one).await.expect_err("a third");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(calls.begin(&other).await.is_ok());
        let waiting = tokio::spawn({
            let (calls, one) = (calls.clone(), one.clone());
            async move { calls.begin(&one).await.is_ok() }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(first);
        assert!(waiting.await.expect("no panic"));
    }
}
