//! Spans of work, and their context on its way from process to process.
//!
//! Nobody starts a computation's trace: each duchy hears of it from the Kingdom. So its trace id is the first half of the
//! SHA-256 digest of its global id, and all parties find themselves in one trace without being told of it. RPCs carry
//! the context as W3C's `traceparent`; `tracestate` is neither read nor sent, for it could make a caller's request
//! too large to pass on.

use std::sync::LazyLock;

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};
use sha2::{Digest, Sha256};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header that carries the context.
const TRACEPARENT: &str = "traceparent";

/// Decides which computations' traces are recorded: all, or the share that `OTEL_TRACES_SAMPLER` and its `_ARG` say. The
/// trace id decides, so that duchies with the same share record the same computations.
static SAMPLER: LazyLock<Sampler> = LazyLock::new(|| {
    let name = std::env::var("OTEL_TRACES_SAMPLER").unwrap_or_default();
    match name.strip_prefix("parentbased_").unwrap_or(&name) {
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => {
            let share = std::env::var("OTEL_TRACES_SAMPLER_ARG").ok().and_then(|share| share.parse().ok());
            Sampler::TraceIdRatioBased(share.unwrap_or(1.0))
        }
        _ => Sampler::AlwaysOn,
    }
});

/// What a span of work is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkSpan<'a> {
    /// What is done, such as `mill.stage`.
    pub name: &'static str,
    /// The global id of the computation.
    pub computation: &'a str,
    /// The name of the computation type, empty if it is not known.
    pub protocol: &'a str,
    /// The stage's name, or the Kingdom's state.
    pub stage: &'a str,
    /// The attempt at the stage; 0 where attempts are not counted.
    pub attempt: i32,
    /// Who does it: the mill's id, or the herald's.
    pub owner: &'a str,
    /// The duchy.
    pub duchy: &'a str,
}

impl WorkSpan<'_> {
    /// The span, in the computation's trace. It is there at every level of logs, so that each line names the work.
    pub fn start(&self) -> Span {
        let span = tracing::error_span!(
            parent: None,
            "work",
            otel.name = self.name,
            computation_id = self.computation,
            protocol = self.protocol,
            stage = self.stage,
            attempt = self.attempt,
            owner = self.owner,
            duchy = self.duchy,
            otel.status_code = field::Empty,
        );
        join_computation(&span, self.computation);
        span
    }
}

/// Puts a new span without a parent into the trace of a computation.
pub fn join_computation(span: &Span, computation: &str) {
    // Refused only where there are no contexts, or for a span that has begun: then it stays where it is.
    drop(span.set_parent(Context::new().with_remote_span_context(computation_context(computation))));
}

/// Tells that the current span, which an outsider began, belongs to a computation.
pub fn name_computation(computation: &str) {
    crate::audit::name_computation(computation);
    let span = Span::current();
    span.record("computation_id", computation);
    span.add_link(computation_context(computation));
}

/// The id of a computation's trace.
pub fn trace_id(computation: &str) -> TraceId {
    computation_context(computation).trace_id()
}

/// The beginning of a computation's trace, which nobody exports.
fn computation_context(computation: &str) -> SpanContext {
    let digest: [u8; 32] = Sha256::digest(computation.as_bytes()).into();
    let (trace, rest) = digest.split_at(16);
    let trace = TraceId::from_bytes(trace.try_into().unwrap_or_default());
    let span = SpanId::from_bytes(rest[..8].try_into().unwrap_or_default());
    let sampled = SAMPLER.should_sample(None, trace, "computation", &SpanKind::Internal, &[], &[]);
    let flags = TraceFlags::default().with_sampled(sampled.decision == SamplingDecision::RecordAndSample);
    SpanContext::new(trace, span, flags, true, TraceState::NONE)
}

/// Puts the context of `span` into the headers of a request.
pub(super) fn inject(span: &Span, headers: &mut HeaderMap) {
    struct Headers<'a>(&'a mut HeaderMap);
    impl Injector for Headers<'_> {
        fn set(&mut self, key: &str, value: String) {
            if key == TRACEPARENT
                && let Ok(value) = HeaderValue::try_from(value)
            {
                self.0.insert(HeaderName::from_static(TRACEPARENT), value);
            }
        }
    }
    TraceContextPropagator::new().inject_context(&span.context(), &mut Headers(headers));
}

/// Makes a new span the child of the one that a request's headers name, if they do.
pub(super) fn extract(headers: &HeaderMap, span: &Span) {
    struct Headers<'a>(&'a HeaderMap);
    impl Extractor for Headers<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            let value = self.0.get(key).filter(|_| key == TRACEPARENT)?;
            value.to_str().ok()
        }
        fn keys(&self) -> Vec<&str> {
            vec![TRACEPARENT]
        }
    }
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    if context.span().span_context().is_valid() {
        drop(span.set_parent(context));
    }
}

/// The trace that `span` is in, for people who look for it; empty if there is none.
pub(super) fn trace_of(span: &Span) -> String {
    let context = span.context();
    let context = context.span().span_context().clone();
    if context.is_valid() { context.trace_id().to_string() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computation_has_one_trace() {
        // The first 16 bytes of the SHA-256 digest of "abc" (FIPS 180-2, appendix B.1).
        assert_eq!(trace_id("abc").to_string(), "ba7816bf8f01cfea414140de5dae2223");
        assert_ne!(trace_id("abd"), trace_id("abc"));
        assert!(computation_context("abc").is_valid());
    }

    #[test]
    fn hostile_headers_are_no_context() {
        for value in [
            "",
            "00",
            "00-0-0-0",
            &"f".repeat(4096),
            "00-00000000000000000000000000000000-0000000000000000-01",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, HeaderValue::from_str(value).expect("a header"));
            // Without a subscriber the span has no context of its own either; nothing may panic.
            extract(&headers, &Span::none());
            assert_eq!(trace_of(&Span::none()), "");
        }
    }
}
