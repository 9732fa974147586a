//! Deadlines that pass on, from a call to the calls that are made for it, and over the wire by `grpc-timeout`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request};

/// The header that tells a server how long its client will wait.
const HEADER: &str = "grpc-timeout";

/// The most digits that the header's number may have.
const DIGITS: u32 = 8;

/// What is being done: a call, and everything that is done for it.
#[derive(Clone)]
struct Current {
    deadline: Instant,
    /// Whether a peer's budget is found to be spent in the course of it.
    spent: Arc<AtomicBool>,
}

tokio::task_local! {
    static CURRENT: Current;
}

/// The deadline is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overdue;

/// When the call that is being worked for ends, if there is one with a deadline.
pub(crate) fn current() -> Option<Instant> {
    CURRENT.try_with(|current| current.deadline).ok()
}

/// Does `work` within `limit`, or within what is left of the call that it is done for.
///
/// # Errors
/// [`Overdue`].
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Overdue> {
    let now = Instant::now();
    let own = now.checked_add(limit);
    let deadline = match (own, current()) {
        (Some(own), Some(outer)) => own.min(outer),
        (Some(deadline), None) | (None, Some(deadline)) => deadline,
        // So far away that it cannot be told.
        (None, None) => return Ok(work.await),
    };
    let scope = CURRENT.scope(Current { deadline, spent: Arc::default() }, work);
    timeout_at(deadline, scope).await.map_err(|_| Overdue)
}

/// Notes that calls to a peer are not to be made again for now.
pub(crate) fn spend_budget() -> impl FnOnce() + Send + 'static {
    let spent = CURRENT.try_with(|current| Arc::clone(&current.spent)).ok();
    move || {
        if let Some(spent) = spent {
            spent.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether a peer of the current call is not to be called again for now.
pub(crate) fn is_budget_spent() -> bool {
    CURRENT.try_with(|current| current.spent.load(Ordering::Relaxed)).unwrap_or(false)
}

/// Tells the server how long its client will wait, unless the request says it already.
pub(crate) fn pass_on(headers: &mut HeaderMap) {
    if let Some(deadline) = current()
        && !headers.contains_key(HEADER)
    {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Ok(value) = HeaderValue::from_str(&encode(left)) {
            headers.insert(HEADER, value);
        }
    }
}

/// A duration as the header has it: a number of up to eight digits and its unit, not longer than it is.
fn encode(duration: Duration) -> String {
    let fits = |number: u128| number < 10_u128.pow(DIGITS);
    let micros = duration.as_micros();
    let (number, unit) = match (micros, duration.as_millis(), u128::from(duration.as_secs())) {
        (micros, ..) if fits(micros) => (micros, 'u'),
        (_, millis, _) if fits(millis) => (millis, 'm'),
        (.., seconds) => (seconds.min(10_u128.pow(DIGITS) - 1), 'S'),
    };
    format!("{number}{unit}")
}

/// The duration in a header; `None` if it is malformed.
fn decode(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > DIGITS as usize || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "n" => Duration::from_nanos(number),
        "u" => Duration::from_micros(number),
        "m" => Duration::from_millis(number),
        "S" => Duration::from_secs(number),
        "M" => Duration::from_secs(number * 60),
        "H" => Duration::from_secs(number * 3600),
        _ => return None,
    })
}

/// A server's services, each call of which has the deadline that its client told. Whoever ends overdue calls stands in
/// front of this.
#[derive(Clone, Debug)]
pub(crate) struct Deadlines<S>(pub S);

impl<S, B> Service<Request<B>> for Deadlines<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limit = request.headers().get(HEADER).and_then(decode);
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let answer = self.0.call(request);
        match deadline {
            Some(deadline) => Box::pin(CURRENT.scope(Current { deadline, spent: Arc::default() }, answer)),
            None => Box::pin(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_survive_the_header() {
        for (millis, expected) in
            [(0, "0u"), (1500, "1500000u"), (99_999, "99999000u"), (1_800_000, "1800000m")]
        {
            let duration = Duration::from_millis(millis);
            assert_eq!(encode(duration), expected);
            assert_eq!(decode(&HeaderValue::from_static(expected)), Some(duration));
        }
        assert_eq!(encode(Duration::MAX), "99999999S");
        for malformed in ["", "u", "1", "1x", "-1u", "+1u", "123456789u", "1 u", "ü"] {
            let value = HeaderValue::from_bytes(malformed.as_bytes()).expect("a header's value");
            assert_eq!(decode(&value), None, "{malformed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_passed_on() {
        let mut headers = HeaderMap::new();
        pass_on(&mut headers);
        assert!(headers.is_empty(), "there is no deadline");
        let second = Duration::from_secs(1);
        let passed = within(second * 60, async {
            tokio::time::sleep(second).await;
            // Inner limits only tighten.
            within(second * 100, async {
                pass_on(&mut headers);
                pass_on(&mut headers);
            })
            .await
        });
        assert_eq!(passed.await, Ok(Ok(())));
        assert_eq!(headers[HEADER], "59000000u");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_works_within_its_clients_deadline() {
        let second = Duration::from_secs(1);
        let service = tower::service_fn(|_: Request<()>| async {
            let begun = Instant::now();
            // Longer than the client waits.
            let done = within(Duration::from_secs(30), std::future::pending::<()>()).await;
            Ok::<_, std::convert::Infallible>((done, begun.elapsed()))
        });
        let mut request = Request::new(());
        request.headers_mut().insert(HEADER, HeaderValue::from_static("5S"));
        assert_eq!(Deadlines(service).call(request).await, Ok((Err(Overdue), second * 5)));
        assert_eq!(Deadlines(service).call(Request::new(())).await, Ok((Err(Overdue), second * 30)));
    }
}
