//! Where spans and metrics go: OTLP over gRPC, or to a Prometheus that gets the metrics, as OpenTelemetry's environment variables say.

use std::env;
use std::path::PathBuf;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::transport::{Certificate, ClientTlsConfig};
use tracing_subscriber::filter::FromEnvError;

use super::scrape;
use crate::shutdown::Trigger;

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
    /// The collector is reached by TLS, and no authority is given that would vouch for it.
    #[error(
        "{CERTIFICATE}: missing, but the collector is {0}: a PEM file of the authorities of its certificate"
    )]
    NoAuthority(String),
    /// The certificates of the collector's authority cannot be read.
    #[error("{CERTIFICATE}: cannot read {0}")]
    Certificate(PathBuf, #[source] std::io::Error),
    /// Nobody can get metrics at the address that the variables give.
    #[error(
        "metrics cannot be shown at {host}:{port}: each process needs OTEL_EXPORTER_PROMETHEUS_HOST and _PORT of its own"
    )]
    Address {
        /// Which host.
        host: String,
        /// Which port.
        port: u16,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The exporter for Prometheus cannot be made.
    #[error("the exporter of metrics for Prometheus")]
    Prometheus(#[source] OTelSdkError),
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
    /// Whether Prometheus may come for it.
    can_be_scraped: bool,
    /// Whether the common endpoint is enough to export. Upstream's duchies export metrics but no spans unless told to.
    by_common_endpoint: bool,
}

const TRACES: Signal = Signal {
    exporter: "OTEL_TRACES_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    can_be_scraped: false,
    by_common_endpoint: false,
};
const METRICS: Signal = Signal {
    exporter: "OTEL_METRICS_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    can_be_scraped: true,
    by_common_endpoint: true,
};

/// How one kind of telemetry leaves the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It does not.
    None,
    /// It is pushed to a collector.
    Otlp,
    /// Prometheus comes for it.
    Scraped,
}

impl Signal {
    fn way(&self, variable: &impl Fn(&str) -> Option<String>) -> Result<Way, TelemetryError> {
        if let Some(protocol) = variable(PROTOCOL).filter(|protocol| protocol != "grpc") {
            return Err(TelemetryError::Variable { variable: PROTOCOL, value: protocol, known: "grpc" });
        }
        match variable(self.exporter).as_deref() {
            Some("otlp") => Ok(Way::Otlp),
            Some("none") => Ok(Way::None),
            Some("prometheus") if self.can_be_scraped => Ok(Way::Scraped),
            Some(other) => Err(TelemetryError::Variable {
                variable: self.exporter,
                value: other.to_owned(),
                known: if self.can_be_scraped { "otlp, prometheus, none" } else { "otlp, none" },
            }),
            None => {
                let common = self.by_common_endpoint && variable(ENDPOINT).is_some();
                Ok(if common || variable(self.endpoint).is_some() { Way::Otlp } else { Way::None })
            }
        }
    }

    /// The collector's certificate must be by one of the authorities that `OTEL_EXPORTER_OTLP_CERTIFICATE` has.
    fn tls(&self) -> Result<Option<ClientTlsConfig>, TelemetryError> {
        let endpoint = variable(self.endpoint).or_else(|| variable(ENDPOINT)).unwrap_or_default();
        if !endpoint.starts_with("https:") {
            return Ok(None);
        }
        let path = variable(CERTIFICATE).ok_or(TelemetryError::NoAuthority(endpoint))?;
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
    if TRACES.way(&variable)? == Way::None {
        return Ok(builder.build());
    }
    let exporter = SpanExporter::builder().with_tonic();
    let exporter = match TRACES.tls()? {
        Some(tls) => exporter.with_tls_config(tls).build()?,
        None => exporter.build()?,
    };
    Ok(builder.with_batch_exporter(exporter).build())
}

/// What exports metrics, if asked to, and what keeps the address at which they are shown.
pub(super) fn meter(
    resource: Resource,
) -> Result<(Option<SdkMeterProvider>, Option<Trigger>), TelemetryError> {
    match METRICS.way(&variable)? {
        Way::None => return Ok((None, None)),
        Way::Scraped => {
            let (meter, shown) = scrape::meter(resource, variable)?;
            return Ok((Some(meter), Some(shown)));
        }
        Way::Otlp => {}
    }
    let exporter = MetricExporter::builder().with_tonic();
    let exporter = match METRICS.tls()? {
        Some(tls) => exporter.with_tls_config(tls).build()?,
        None => exporter.build()?,
    };
    let meter = SdkMeterProvider::builder().with_resource(resource).with_periodic_exporter(exporter).build();
    Ok((Some(meter), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How spans and metrics are exported with these variables.
    fn exported(variables: &[(&str, &str)]) -> Result<[Way; 2], TelemetryError> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| String::from(*value))
        };
        Ok([TRACES.way(&get)?, METRICS.way(&get)?])
    }

    #[test]
    fn nothing_is_exported_unless_asked_for() -> Result<(), TelemetryError> {
        assert_eq!(exported(&[])?, [Way::None, Way::None]);
        assert_eq!(exported(&[(ENDPOINT, "http://collector:4317")])?, [Way::None, Way::Otlp]);
        assert_eq!(exported(&[(TRACES.endpoint, "http://collector:4317")])?, [Way::Otlp, Way::None]);
        assert_eq!(exported(&[(METRICS.exporter, "prometheus")])?, [Way::None, Way::Scraped]);
        let asked =
            [(ENDPOINT, "http://collector:4317"), (TRACES.exporter, "otlp"), (METRICS.exporter, "none")];
        assert_eq!(exported(&asked)?, [Way::Otlp, Way::None]);
        Ok(())
    }

    #[test]
    fn what_there_is_not_is_refused() {
        for variables in
            [[(PROTOCOL, "http/protobuf")], [(TRACES.exporter, "zipkin")], [(TRACES.exporter, "prometheus")]]
        {
            let error = exported(&variables).expect_err("refused").to_string();
            assert!(error.contains(variables[0].0) && error.contains(variables[0].1), "{error}");
        }
    }
}
