//! Logs on standard error, as text or as JSON.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Directive;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::TelemetryError;

/// The crates that tell about gRPC on the level `DEBUG`, the shell's own RPC layer among them. They name frames, calls,
/// messages with their sizes and ids, never what else is in them.
const GRPC: [&str; 4] = ["tonic", "h2", "tower", "halo_duchy_shell::telemetry::rpc"];

/// The exporters log their own life on the level `INFO`; operators need to know only what fails.
const EXPORTERS: &str = "opentelemetry=warn";

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct Logs {
    /// The level logged unless `RUST_LOG` says otherwise.
    pub level: Level,
    /// Whether gRPC is logged in detail.
    pub verbose_grpc: bool,
    /// How a line looks.
    pub format: LogFormat,
}

impl Logs {
    pub(super) fn layer<S>(&self) -> Result<Box<dyn Layer<S> + Send + Sync>, TelemetryError>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let filter = EnvFilter::builder().with_default_directive(self.level.into()).from_env()?;
        let debug = GRPC.iter().filter(|_| self.verbose_grpc).map(|name| format!("{name}=debug"));
        let directives = debug.chain([EXPORTERS.to_owned()]).flat_map(|text| text.parse::<Directive>());
        let filter = directives.fold(filter, EnvFilter::add_directive);
        let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        Ok(match self.format {
            LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).with_filter(filter).boxed(),
            LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
        })
    }
}
