//! Metrics for a Prometheus that comes to get them, as OpenTelemetry's variables ask for it
//! (`OTEL_METRICS_EXPORTER=prometheus`). Names are those that docs/operating.md has for the way over a collector.

use std::net::TcpListener;

use hyper::StatusCode;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};

use super::TelemetryError;
use crate::plain_http::{self, Page, Pages};
use crate::shutdown::{self, Trigger};

/// Variables of OpenTelemetry's specification, with its defaults.
const HOST: &str = "OTEL_EXPORTER_PROMETHEUS_HOST";
const PORT: &str = "OTEL_EXPORTER_PROMETHEUS_PORT";
const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 9464;

const PATH: &str = "/metrics";

/// What is told at [`PATH`].
#[derive(Debug)]
struct Metrics(Registry);

/// Collects metrics, and shows them until the trigger is dropped.
///
/// Must be called within the tokio runtime that serves them.
pub(super) fn meter(
    resource: Resource,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(SdkMeterProvider, Trigger), TelemetryError> {
    let host = variable(HOST).unwrap_or_else(|| DEFAULT_HOST.to_owned());
    let port = variable(PORT).map_or(Ok(DEFAULT_PORT), |text| {
        let malformed =
            |_| TelemetryError::Variable { variable: PORT, value: text.clone(), known: "0 to 65535" };
        text.parse().map_err(malformed)
    })?;
    let unavailable = |source| TelemetryError::Address { host: host.clone(), port, source };
    let listener = TcpListener::bind((host.as_str(), port)).map_err(unavailable)?;
    listener.set_nonblocking(true).map_err(unavailable)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(unavailable)?;
    let registry = Registry::new();
    let reader = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()
        .map_err(TelemetryError::Prometheus)?;
    let (trigger, stopped) = shutdown::channel();
    tokio::spawn(plain_http::serve(Metrics(registry), listener, stopped));
    Ok((SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build(), trigger))
}

impl Pages for Metrics {
    const NAME: &'static str = "the metrics";
    // A service has a name within a cluster, and metrics tell nothing of anybody.
    const ONLY_BY_ADDRESS: bool = false;

    async fn page(&self, path: &str, _query: &str) -> Page {
        if path != PATH {
            return self.message(StatusCode::NOT_FOUND, "not found", "Metrics are at /metrics.");
        }
        match TextEncoder::new().encode_to_string(&self.0.gather()) {
            Ok(body) => Page { status: StatusCode::OK, kind: TEXT_FORMAT, body },
            Err(error) => {
                tracing::warn!(%error, "metrics cannot be written");
                self.message(StatusCode::INTERNAL_SERVER_ERROR, "not now", "Metrics cannot be written.")
            }
        }
    }

    fn message(&self, status: StatusCode, title: &str, text: &str) -> Page {
        Page { status, kind: "text/plain; charset=utf-8", body: format!("{title}: {text}\n") }
    }
}
