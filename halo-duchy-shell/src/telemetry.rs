//! What a process tells of itself: logs, spans and metrics (docs/metrics.md).
//!
//! [`instruments`] defines every metric in one place; `docs/metrics.md` is written from it. [`context`] makes the spans
//! of work and carries their context from process to process, [`rpc`] those of RPCs. [`Telemetry::start`] sets up a
//! process: logs to standard error; spans and metrics over OTLP, or metrics for Prometheus to get, if OpenTelemetry's variables ask for it. Until then, as
//! in tests and in programs that use the library, instruments and spans cost next to nothing and go nowhere.

pub mod context;
pub mod cpu;
pub mod exporters;
pub mod instruments;
pub mod logs;
pub mod memory;
#[cfg(test)]
mod prometheus;
pub mod rpc;
mod scrape;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::shutdown::Trigger;

pub use exporters::TelemetryError;
pub use logs::{LogFormat, Logs};

/// Spans come from the crate itself; those of other crates tell about gRPC frames.
const CRATE: &str = env!("CARGO_CRATE_NAME");

/// How often metrics are exported unless `OTEL_METRIC_EXPORT_INTERVAL` says otherwise: the SDK's default.
const METRICS_INTERVAL: Duration = Duration::from_secs(60);

static HAS_METRICS: AtomicBool = AtomicBool::new(false);

/// How often metrics are exported; `None` if they go nowhere.
pub fn metrics_interval() -> Option<Duration> {
    let interval = || {
        let milliseconds = std::env::var("OTEL_METRIC_EXPORT_INTERVAL").ok()?.parse().ok()?;
        Some(Duration::from_millis(milliseconds)).filter(|interval| !interval.is_zero())
    };
    HAS_METRICS.load(Ordering::Relaxed).then(|| interval().unwrap_or(METRICS_INTERVAL))
}

/// The telemetry of this process. What has not been exported yet is when this is dropped.
#[derive(Debug)]
pub struct Telemetry {
    tracer: Option<SdkTracerProvider>,
    meter: Option<SdkMeterProvider>,
    /// Keeps the address at which metrics are shown.
    _shown: Option<Trigger>,
}

impl Telemetry {
    /// Sets up the process, which must not have been before. `service` is its name unless `OTEL_SERVICE_NAME` gives one.
    ///
    /// Must be called within the tokio runtime that exports, which must outlive the result.
    ///
    /// # Errors
    /// [`TelemetryError`].
    pub fn start(logs: &Logs, service: &str) -> Result<Self, TelemetryError> {
        let resource = exporters::resource(service);
        let (tracer, meter, shown) = match exporters::is_disabled() {
            true => (None, None, None),
            // Without an exporter spans still have contexts, which requests carry and logs name.
            false => {
                let tracer = exporters::tracer(resource.clone())?;
                let (meter, shown) = exporters::meter(resource)?;
                (Some(tracer), meter, shown)
            }
        };
        let spans = tracer.as_ref().map(|tracer| {
            tracing_opentelemetry::layer()
                .with_tracer(tracer.tracer(CRATE))
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with(CRATE)))
        });
        tracing_subscriber::registry().with(spans).with(logs.layer()?).init();
        if let Some(meter) = &meter {
            opentelemetry::global::set_meter_provider(meter.clone());
            HAS_METRICS.store(true, Ordering::Relaxed);
        }
        Ok(Self { tracer, meter, _shown: shown })
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(tracer) = &self.tracer
            && let Err(error) = tracer.shutdown()
        {
            tracing::warn!(%error, "the last spans are not exported");
        }
        if let Some(meter) = &self.meter
            && let Err(error) = meter.shutdown()
        {
            tracing::warn!(%error, "the last metrics are not exported");
        }
    }
}
