//! Every metric of the shell: its name, kind, unit, description and attributes, in one place. Names without `duchy` are
//! upstream's, which dashboards query (docs/metrics.md#metrics).
//!
//! The values of attributes are chosen by the shell, never by a caller: there are as many series as stages, RPCs, parties
//! or reasons that the shell knows. Where they are few they are written down here, for whoever asks for series by value
//! (`prometheus`); builds with debug assertions hold instruments to them.

use std::sync::OnceLock;

use opentelemetry::metrics::Meter;
use opentelemetry::{KeyValue, Value, global, metrics};

/// How a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// A sum that grows and shrinks.
    UpDownCounter,
    /// A distribution.
    Histogram,
    /// The last value.
    Gauge,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// How it counts.
    pub kind: Kind,
    /// Its unit, in the Unified Code for Units of Measure.
    pub unit: &'static str,
    /// What it measures.
    pub description: &'static str,
    /// The names of its attributes.
    pub attributes: &'static [&'static str],
    /// The values that each of them takes, where they are written down here; none for stages, RPCs and the like.
    pub values: &'static [&'static [&'static str]],
    /// The upper bounds of a histogram's buckets.
    buckets: &'static [f64],
}

/// A metric of `N` attributes, made when it is first used.
#[derive(Debug)]
pub struct Instrument<T, const N: usize> {
    definition: Definition,
    made: OnceLock<T>,
}

/// A sum that only grows.
pub type Counter<const N: usize> = Instrument<metrics::Counter<u64>, N>;
/// A sum that grows and shrinks.
pub type UpDownCounter<const N: usize> = Instrument<metrics::UpDownCounter<i64>, N>;
/// A distribution.
pub type Histogram<const N: usize> = Instrument<metrics::Histogram<f64>, N>;
/// The last value.
pub type Gauge<const N: usize> = Instrument<metrics::Gauge<f64>, N>;

/// From a millisecond to a day.
const SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
    10800.0, 86400.0,
];
/// OpenTelemetry's own for durations of RPCs in milliseconds.
const MILLISECONDS: &[f64] =
    &[5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0];

impl<T, const N: usize> Instrument<T, N> {
    const fn new(definition: Definition) -> Self {
        Self { definition, made: OnceLock::new() }
    }

    fn get(&self, make: impl FnOnce(&Meter, &Definition) -> T) -> &T {
        self.made.get_or_init(|| make(&global::meter(env!("CARGO_CRATE_NAME")), &self.definition))
    }

    fn attributes<V: Into<Value>>(&self, values: [V; N]) -> [KeyValue; N] {
        let Definition { name: metric, attributes, values: written, .. } = self.definition;
        let mut names = attributes.iter().copied().zip(written.iter().copied());
        values.map(|value| {
            let (name, written) = names.next().unwrap_or_default();
            let attribute = KeyValue::new(name, value);
            debug_assert!(
                written.is_empty() || written.contains(&&*attribute.value.as_str()),
                "{metric}: {attribute:?} is none of {written:?}"
            );
            attribute
        })
    }
}

impl<const N: usize> Counter<N> {
    /// Adds `value`; `attributes` are in the order of the definition.
    pub fn add<V: Into<Value>>(&self, value: u64, attributes: [V; N]) {
        let counter = self.get(|meter, definition| {
            let builder = meter.u64_counter(definition.name).with_unit(definition.unit);
            builder.with_description(definition.description).build()
        });
        counter.add(value, &self.attributes(attributes));
    }
}

impl<const N: usize> UpDownCounter<N> {
    /// Adds `value`; `attributes` are in the order of the definition.
    pub fn add<V: Into<Value>>(&self, value: i64, attributes: [V; N]) {
        let counter = self.get(|meter, definition| {
            let builder = meter.i64_up_down_counter(definition.name).with_unit(definition.unit);
            builder.with_description(definition.description).build()
        });
        counter.add(value, &self.attributes(attributes));
    }
}

impl<const N: usize> Histogram<N> {
    /// Records `value`; `attributes` are in the order of the definition.
    pub fn record<V: Into<Value>>(&self, value: f64, attributes: [V; N]) {
        let histogram = self.get(|meter, definition| {
            let builder = meter.f64_histogram(definition.name).with_unit(definition.unit);
            let builder = builder.with_boundaries(definition.buckets.to_vec());
            builder.with_description(definition.description).build()
        });
        histogram.record(value, &self.attributes(attributes));
    }
}

impl<const N: usize> Gauge<N> {
    /// Sets the value; `attributes` are in the order of the definition.
    pub fn set<V: Into<Value>>(&self, value: f64, attributes: [V; N]) {
        let gauge = self.get(|meter, definition| {
            let builder = meter.f64_gauge(definition.name).with_unit(definition.unit);
            builder.with_description(definition.description).build()
        });
        gauge.record(value, &self.attributes(attributes));
    }
}

/// Defines each metric as a static and lists them all.
macro_rules! metrics {
    ($($static:ident: $kind:ident[$($attribute:literal $(in [$($value:literal),*])?),*], $name:literal, $unit:literal, $buckets:expr, $description:literal;)*) => {
        $(
            #[doc = $description]
            pub static $static: $kind<{ <[&str]>::len(&[$($attribute),*]) }> = Instrument::new(Definition {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                description: $description,
                attributes: &[$($attribute),*],
                values: &[$(&[$($($value),*)?]),*],
                buckets: $buckets,
            });
        )*

        /// What every metric is.
        pub fn definitions() -> Vec<Definition> {
            vec![$($static.definition),*]
        }
    };
}

metrics! {
    STAGE_TIME: Histogram["halo_cmm.computation.type", "halo_cmm.computation.stage"],
        "halo_cmm.computation.stage.time", "s", SECONDS,
        "Time from the claim of a stage to its end, if it was committed";
    STAGE_CRYPTO_TIME: Histogram["halo_cmm.computation.type", "halo_cmm.computation.stage"],
        "halo_cmm.computation.stage.crypto.time", "s", SECONDS,
        "Time of a stage's cryptographic computing";
    STAGE_CRYPTO_CPU_TIME: Histogram["halo_cmm.computation.type", "halo_cmm.computation.stage"],
        "halo_cmm.computation.stage.crypto.cpu.time", "s", SECONDS,
        "Processor time of the threads that did it";
    STAGE_TRANSMISSION_TIME: Histogram["halo_cmm.computation.type", "halo_cmm.computation.stage"],
        "halo_cmm.computation.stage.transmission.time", "s", SECONDS,
        "Time to hand a shuffle phase's data to the aggregator, waiting for it included";
    THREAD_POOL_SIZE: UpDownCounter["halo_cmm.thread_pool.name"],
        "halo_cmm.thread_pool.size", "{thread}", &[],
        "Threads that serve RPCs";
    THREAD_POOL_ACTIVE_COUNT: UpDownCounter["halo_cmm.thread_pool.name"],
        "halo_cmm.thread_pool.active_count", "{thread}", &[],
        "RPCs being served, each of which keeps a thread of upstream's busy; here it can be more than there are threads";
    DEPRECATED_FIELD_SET: Counter["rpc.service", "rpc.method", "halo_cmm.grpc.request_field_path", "halo_cmm.grpc.principal"],
        "halo_cmm.grpc.deprecated_field_set", "", &[],
        "Requests that set a deprecated field";
    FUTURE_DEPRECATED_FIELD_SET: Counter["rpc.service", "rpc.method", "halo_cmm.grpc.request_field_path", "halo_cmm.grpc.principal"],
        "halo_cmm.grpc.future_deprecated_field_set", "", &[],
        "Requests that set a field which is going to be deprecated";
    RPC_SERVER_DURATION: Histogram["rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code"],
        "rpc.server.duration", "ms", MILLISECONDS,
        "Time from an RPC's arrival to the end of its response";
    RPC_CLIENT_DURATION: Histogram["rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code"],
        "rpc.client.duration", "ms", MILLISECONDS,
        "Time from a call, each attempt at which counts, to the end of its response";
    CLAIMS: Counter["halo_cmm.computation.type", "result" in ["work", "none", "error"]],
        "halo_cmm.duchy.claims", "{claim}", &[],
        "A mill's claims: `work`, `none` or `error`";
    MILL_JOBS: Counter["mill_type" in ["LIQUID_LEGIONS_V2", "HONEST_MAJORITY_SHARE_SHUFFLE"],
        "event" in ["created", "refused", "adopted", "deleted", "succeeded", "failed"]],
        "halo_cmm.duchy.mill_jobs", "{job}", &[],
        "Jobs of the scheduler: `created`, `refused`, `adopted`, `deleted`, or found `succeeded` or `failed`";
    LOCK_LOST: Counter["halo_cmm.computation.type", "halo_cmm.computation.stage"],
        "halo_cmm.duchy.lock_lost", "{lock}", &[],
        "Stages left because the work was no longer the mill's";
    LOCK_RENEWALS: Counter["result" in ["extended", "failed", "lost"]],
        "halo_cmm.duchy.lock_renewals", "{renewal}", &[],
        "Tries to extend a lock: `extended`, `failed` or `lost`";
    STAGE_ATTEMPTS: Counter["halo_cmm.computation.type", "halo_cmm.computation.stage",
        "outcome" in ["succeeded", "transient", "peer_not_ready", "permanent", "lost_lock", "stopped"]],
        "halo_cmm.duchy.stage_attempts", "{attempt}", &[],
        "Attempts at stages that ended: `succeeded`, `transient`, `peer_not_ready`, `permanent`, `lost_lock` or `stopped`";
    ERRORS: Counter["class" in ["transient", "permanent"], "operation"],
        "halo_cmm.duchy.errors", "{error}", &[],
        "A mill's errors: `transient` or `permanent`, by what was tried";
    PEER_NOT_READY_SECONDS: Histogram["halo_cmm.computation.type", "halo_cmm.computation.stage"],
        "halo_cmm.duchy.peer_not_ready_seconds", "s", SECONDS,
        "Time that ready data waited for another duchy to await it";
    BLOB_BYTES: Counter["operation" in ["read", "write"]],
        "halo_cmm.duchy.blob.bytes", "By", &[],
        "Bytes of blobs: `read` or `write`";
    BLOB_DURATION: Histogram["operation" in ["read", "write", "delete"], "result" in ["ok", "error"]],
        "halo_cmm.duchy.blob.duration", "s", SECONDS,
        "Time of an operation on a blob: `read`, `write` or `delete`, with `ok` or `error`";
    HERALD_ITEMS: Counter["state", "result" in ["done", "failed"]],
        "halo_cmm.duchy.herald.items", "{item}", &[],
        "Computations that the Kingdom's stream told of, by their state there: `done` or `failed`";
    HERALD_LAG_SECONDS: Gauge[],
        "halo_cmm.duchy.herald_lag_seconds", "s", &[],
        "Age of the newest change at the Kingdom before which the herald has done everything, when it was done";
    HERALD_LAST_CONTACT: Gauge[],
        "halo_cmm.duchy.herald.last_contact_timestamp", "s", &[],
        "Unix time at which the Kingdom's stream last told the herald something, or ended as it should";
    FULFILLMENT_BYTES: Counter[],
        "halo_cmm.duchy.fulfillment.bytes", "By", &[],
        "Bytes of requisitions taken from data providers";
    FULFILLMENT_REJECTS: Counter["reason"],
        "halo_cmm.duchy.fulfillment.rejects", "{call}", &[],
        "Calls of data providers that were refused, by the name of the status code";
    KINGDOM_LOG_ENTRIES_DROPPED: Counter[],
        "halo_cmm.duchy.kingdom_log_entries_dropped", "{entry}", &[],
        "Log entries dropped because the Kingdom did not keep up";
    PURGED: Counter["result" in ["deleted", "kept"]],
        "halo_cmm.duchy.purged", "{computation}", &[],
        "Ended computations that a purge was to delete: `deleted` or `kept`";
    SWEPT: Counter["kind" in ["intermediate", "orphaned", "private_key"]],
        "halo_cmm.duchy.swept", "{object}", &[],
        "Blobs deleted because nothing needs them: `intermediate`, `orphaned` or `private_key`";
    CLEANED: Gauge[],
        "halo_cmm.duchy.cleaned_timestamp", "s", &[],
        "Unix time at which the last sweep of blobs, which ends a cleaning, came to its end";
    CERTIFICATE_EXPIRATION: Gauge["certificate" in ["tls", "roots", "consent_signaling"]],
        "halo_cmm.duchy.certificate.expiration_timestamp", "s", &[],
        "Unix time at which the first of the certificates in use expires: `tls` and its chain, trusted `roots`, `consent_signaling`";
    QUEUE_DEPTH: Gauge["halo_cmm.computation.type"],
        "halo_cmm.duchy.queue.depth", "{computation}", &[],
        "Computations in stages that mills work on, claimed or not";
    QUEUE_OLDEST_AGE: Gauge["halo_cmm.computation.type"],
        "halo_cmm.duchy.queue.oldest_age", "s", &[],
        "The longest time for which one of them has not changed";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;
    use std::path::Path;

    use super::*;

    const MARK: &str = "<!-- from here on: halo-duchy-shell/src/telemetry/instruments.rs -->";

    fn table() -> String {
        let mut text = String::from(
            "\n\n| metric | kind | unit | attributes | what it measures |\n|---|---|---|---|---|\n",
        );
        for Definition { name, kind, unit, description, attributes, .. } in definitions() {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::UpDownCounter => "up-down counter",
                Kind::Histogram => "histogram",
                Kind::Gauge => "gauge",
            };
            let attributes: Vec<_> = attributes.iter().map(|name| format!("`{name}`")).collect();
            let attributes = attributes.join(", ");
            writeln!(text, "| `{name}` | {kind} | {unit} | {attributes} | {description} |").expect("text");
        }
        text
    }

    #[test]
    fn the_page_has_every_metric() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let found = std::fs::read_to_string(&page).expect("the page");
        let (introduction, written) = found.split_once(MARK).expect("the mark");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&page, format!("{introduction}{MARK}{}", table())).expect("writable");
        } else {
            let command = "UPDATE_DOCS=1 cargo test -p halo-duchy-shell --lib the_page_has_every_metric";
            assert!(written == table(), "docs/metrics.md is not what the code defines: {command}");
        }
    }

    #[test]
    fn names_are_distinct_and_ours_have_the_prefix() {
        let definitions = definitions();
        let names: BTreeSet<_> = definitions.iter().map(|definition| definition.name).collect();
        assert_eq!(names.len(), definitions.len());
        for name in names {
            let upstreams = ["halo_cmm.computation.", "halo_cmm.thread_pool.", "halo_cmm.grpc.", "rpc."];
            assert!(
                name.starts_with("halo_cmm.duchy.")
                    || upstreams.iter().any(|prefix| name.starts_with(prefix))
            );
        }
    }
}
