//! A collector of OpenTelemetry's: takes what processes export, and keeps it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, async_trait};

pub type Attributes = BTreeMap<String, String>;

/// A span as its process told of it.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub name: String,
    /// OpenTelemetry's number.
    pub kind: i32,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub attributes: Attributes,
}

/// One series of a metric.
#[derive(Clone, Debug)]
pub struct Series {
    pub service: String,
    pub name: String,
    pub unit: String,
    pub kind: &'static str,
    pub attributes: Attributes,
}

#[derive(Debug, Default)]
struct Taken {
    spans: Vec<Span>,
    series: Vec<Series>,
}

/// A collector in a thread of its own.
#[derive(Debug)]
pub struct Collector {
    endpoint: String,
    taken: Arc<Mutex<Taken>>,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    pub fn start() -> Self {
        Self::start_by(None)
    }

    /// One that is reached by TLS, with a certificate for `localhost`.
    pub fn start_by_tls(identity: Identity) -> Self {
        Self::start_by(Some(identity))
    }

    fn start_by(identity: Option<Identity>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let taken = Arc::<Mutex<Taken>>::default();
        let limit = 64 << 20;
        let server = Server::builder();
        let (endpoint, mut server) = match identity {
            Some(identity) => {
                let tls = ServerTlsConfig::new().identity(identity);
                (
                    format!("https://localhost:{}", address.port()),
                    server.tls_config(tls).expect("an identity"),
                )
            }
            None => (format!("http://{address}"), server),
        };
        let server = server
            .add_service(
                TraceServiceServer::new(Service(Arc::clone(&taken))).max_decoding_message_size(limit),
            )
            .add_service(
                MetricsServiceServer::new(Service(Arc::clone(&taken))).max_decoding_message_size(limit),
            );
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { endpoint, taken, _runtime: runtime }
    }

    /// What makes a process export here, and nothing before its end unless spans fill the queue.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.endpoint.clone()),
            ("OTEL_TRACES_EXPORTER", "otlp".into()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "3600000".into()),
            ("OTEL_BSP_SCHEDULE_DELAY", "3600000".into()),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100000".into()),
        ]
    }

    pub fn spans(&self) -> Vec<Span> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).spans.clone()
    }

    pub fn series(&self) -> Vec<Series> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).series.clone()
    }
}

struct Service(Arc<Mutex<Taken>>);

#[async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.into_inner().resource_spans {
            let service = service(resource.resource.map(|resource| resource.attributes));
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                taken.spans.push(Span {
                    service: service.clone(),
                    name: span.name,
                    kind: span.kind,
                    trace: hex::encode(span.trace_id),
                    id: hex::encode(span.span_id),
                    parent: hex::encode(span.parent_span_id),
                    attributes: attributes(span.attributes),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.into_inner().resource_metrics {
            let service = service(resource.resource.map(|resource| resource.attributes));
            for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                let (kind, all) = match metric.data {
                    Some(Data::Histogram(data)) => {
                        ("histogram", data.data_points.into_iter().map(|point| point.attributes).collect())
                    }
                    Some(Data::Sum(data)) => {
                        let kind = if data.is_monotonic { "counter" } else { "up-down counter" };
                        (kind, data.data_points.into_iter().map(|point| point.attributes).collect())
                    }
                    Some(Data::Gauge(data)) => {
                        ("gauge", data.data_points.into_iter().map(|point| point.attributes).collect())
                    }
                    _ => ("unknown", Vec::new()),
                };
                taken.series.extend(all.into_iter().map(|point| Series {
                    service: service.clone(),
                    name: metric.name.clone(),
                    unit: metric.unit.clone(),
                    kind,
                    attributes: attributes(point),
                }));
            }
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn service(resource: Option<Vec<KeyValue>>) -> String {
    attributes(resource.unwrap_or_default()).remove("service.name").unwrap_or_default()
}

fn attributes(attributes: Vec<KeyValue>) -> Attributes {
    let text = |value| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|value| value.value)))).collect()
}
