//! Where spans and metrics go: OTLP over gRPC, as OpenTelemetry's environment variables say.

use std::env;
use std::path::PathBuf;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::transport::{Certificate, ClientTlsConfig};
use tracing_subscriber::filter::FromEnvError;

const DISABLED: &str = "OTEL_SDK_DISABLED";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// An environment variable has a value that is not known here.
    #[error("{variable}: `{value}` is not one of {known}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// The values that there are.
        known: &'static str,
    },
    /// `RUST_LOG` is malformed.
    #[error("RUST_LOG")]
    Filter(#[from] FromEnvError),
    /// The certificates of the collector's authority cannot be read.
    #[error("{CERTIFICATE}: cannot read {0}")]
    Certificate(PathBuf, #[source] std::io::Error),
    /// The endpoint or another setting of an exporter is malformed.
    #[error("the exporter of telemetry")]
    Exporter(#[from] ExporterBuildError),
}

/// What one kind of telemetry is asked to do.
struct Signal {
    /// The variable that names the exporter.
    exporter: &'static str,
    /// The variable of an endpoint of its own.
    endpoint: &'static str,
    /// Whether the common endpoint is enough to export. Upstream's duchies export metrics but no spans unless told to.
    by_common_endpoint: bool,
}

const TRACES: Signal = Signal {
    exporter: "OTEL_TRACES_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    by_common_endpoint: false,
};
const METRICS: Signal = Signal {
    exporter: "OTEL_METRICS_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    by_common_endpoint: true,
};

impl Signal {
    fn is_on(&self, variable: &impl Fn(&str) -> Option<String>) -> Result<bool, TelemetryError> {
        if let Some(protocol) = variable(PROTOCOL).filter(|protocol| protocol != "grpc") {
            return Err(TelemetryError::Variable { variable: PROTOCOL, value: protocol, known: "grpc" });
        }
        match variable(self.exporter).as_deref() {
            Some("otlp") => Ok(true),
            Some("none") => Ok(false),
            Some(other) => Err(TelemetryError::Variable {
                variable: self.exporter,
                value: other.to_owned(),
                known: "otlp, none",
            }),
            None => {
                let common = self.by_common_endpoint && variable(ENDPOINT).is_some();
                Ok(common || variable(self.endpoint).is_some())
            }
        }
    }

    /// The collector's certificate must be by one of the authorities that `OTEL_EXPORTER_OTLP_CERTIFICATE` has.
    fn tls(&self) -> Result<Option<ClientTlsConfig>, TelemetryError> {
        let endpoint = variable(self.endpoint).or_else(|| variable(ENDPOINT)).unwrap_or_default();
        let Some(path) = variable(CERTIFICATE).filter(|_| endpoint.starts_with("https:")) else {
            return Ok(None);
        };
        let path = PathBuf::from(path);
        let pem = std::fs::read(&path).map_err(|error| TelemetryError::Certificate(path, error))?;
        Ok(Some(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))))
    }
}

/// The value of an environment variable that says something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Whether telemetry is switched off as a whole.
pub(super) fn is_disabled() -> bool {
    variable(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Who exports. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come first.
pub(super) fn resource(service: &str) -> Resource {
    let builder =
        Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let named = variable("OTEL_SERVICE_NAME").is_some()
        || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|text| text.contains("service.name="));
    if named { builder.build() } else { builder.with_service_name(service.to_owned()).build() }
}

/// What makes the contexts of spans, and exports them if asked to.
pub(super) fn tracer(resource: Resource) -> Result<SdkTracerProvider, TelemetryError> {
    let builder = SdkTracerProvider::builder().with_resource(resource);
    if !TRACES.is_on(&variable)? {
        return Ok(builder.build());
    }
    let exporter = SpanExporter::builder().with_tonic();
    let exporter = match TRACES.tls()? {
        Some(tls) => exporter.with_tls_config(tls).build()?,
        None => exporter.build()?,
    };
    Ok(builder.with_batch_exporter(exporter).build())
}

/// What exports metrics, if asked to.
pub(super) fn meter(resource: Resource) -> Result<Option<SdkMeterProvider>, TelemetryError> {
    if !METRICS.is_on(&variable)? {
        return Ok(None);
    }
    let exporter = MetricExporter::builder().with_tonic();
    let exporter = match METRICS.tls()? {
        Some(tls) => exporter.with_tls_config(tls).build()?,
        None => exporter.build()?,
    };
    Ok(Some(SdkMeterProvider::builder().with_resource(resource).with_periodic_exporter(exporter).build()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether spans and metrics are exported with these variables.
    fn exported(variables: &[(&str, &str)]) -> Result<[bool; 2], TelemetryError> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| String::from(*value))
        };
        Ok([TRACES.is_on(&get)?, METRICS.is_on(&get)?])
    }

    #[test]
    fn nothing_is_exported_unless_asked_for() -> Result<(), TelemetryError> {
        assert_eq!(exported(&[])?, [false, false]);
        assert_eq!(exported(&[(ENDPOINT, "http://collector:4317")])?, [false, true]);
        assert_eq!(exported(&[(TRACES.endpoint, "http://collector:4317")])?, [true, false]);
        let asked =
            [(ENDPOINT, "http://collector:4317"), (TRACES.exporter, "otlp"), (METRICS.exporter, "none")];
        assert_eq!(exported(&asked)?, [true, false]);
        Ok(())
    }

    #[test]
    fn what_there_is_not_is_refused() {
        for variables in [[(PROTOCOL, "http/protobuf")], [(TRACES.exporter, "zipkin")]] {
            let error = exported(&variables).expect_err("refused").to_string();
            assert!(error.contains(variables[0].0) && error.contains(variables[0].1), "{error}");
        }
    }
}
