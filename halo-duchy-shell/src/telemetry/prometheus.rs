//! The metrics as Prometheus names them, and a check that the dashboard and the alerts of `deploy/observability` ask for no
//! others, nor for labels and values of labels that these do not have.

mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tonic::Code;

use super::instruments::{Definition, Kind, definitions};
use super::rpc::{METHODS, OTHER, THREAD_POOL, code_name};
use crate::proto::system::computation::State;
use crate::protocol_stages::{Protocol, ProtocolStage};
use promql::{Known, labels, word};

/// Labels that the collector and Prometheus add.
const TARGET_LABELS: [&str; 3] = ["instance", "job", "namespace"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(rename = "name")]
    _name: String,
    rules: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    alert: String,
    expr: String,
    #[serde(rename = "for", default)]
    _pending: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn file(path: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let text = std::fs::read_to_string(&path).expect("a file of the repository");
    (path, text)
}

fn alerts() -> Vec<Alert> {
    let (path, text) = file("deploy/observability/alerts.yaml");
    let rules: Rules = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

fn dashboard() -> Value {
    let (path, text) = file("deploy/observability/dashboard.json");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// An OTLP name as Prometheus has it (OpenTelemetry's "Prometheus and OpenMetrics Compatibility", metric metadata).
fn underscored(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// The series that a metric becomes: the unit's name follows unless the name has it, then `total` for what only grows.
fn series(definition: &Definition) -> Vec<String> {
    let mut name = underscored(definition.name);
    let unit = match definition.unit {
        "s" => "seconds",
        "ms" => "milliseconds",
        "By" => "bytes",
        // No unit, or an annotation, which is none.
        unit => {
            assert!(unit.is_empty() || unit.starts_with('{'), "the name of the unit {unit:?}");
            ""
        }
    };
    if !unit.is_empty() && !name.split('_').any(|word| word == unit) {
        name = format!("{name}_{unit}");
    }
    match definition.kind {
        Kind::Counter => vec![format!("{name}_total")],
        Kind::UpDownCounter | Kind::Gauge => vec![name],
        Kind::Histogram => ["bucket", "count", "sum"].map(|part| format!("{name}_{part}")).into(),
    }
}

/// The values of an attribute, if there is a list of them.
fn values(attribute: &str, written: &[&str]) -> Option<BTreeSet<String>> {
    fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<BTreeSet<String>> {
        Some(names.into_iter().map(str::to_owned).collect())
    }
    // From success on, which is no reason to refuse anything.
    let codes = (Code::Ok as i32..=Code::Unauthenticated as i32).map(Code::from_i32);
    let stages = Protocol::ALL.into_iter().flat_map(Protocol::stages);
    let states = State::Unspecified as i32..=State::Cancelled as i32;
    let states = states.filter_map(|number| State::try_from(number).ok());
    match attribute {
        _ if !written.is_empty() => named(written.iter().copied()),
        "halo_cmm.computation.stage" => named(stages.map(ProtocolStage::name)),
        "halo_cmm.computation.type" => named(Protocol::ALL.map(Protocol::type_name)),
        "halo_cmm.thread_pool.name" => named([THREAD_POOL]),
        "reason" => named(codes.skip(1).map(code_name)),
        "rpc.grpc.status_code" => Some(codes.map(|code| (code as i32).to_string()).collect()),
        "rpc.method" => named(METHODS.keys().map(|(_, method)| &method[..]).chain([OTHER.1])),
        "rpc.service" => named(METHODS.keys().map(|(service, _)| &service[..]).chain([OTHER.0])),
        "rpc.system" => named(["grpc"]),
        "state" => named(states.map(|state| state.as_str_name())),
        // Fields and principals are everybody's, and a mill's errors say in words what was tried.
        "halo_cmm.grpc.principal" | "halo_cmm.grpc.request_field_path" | "operation" => None,
        _ => panic!("which values {attribute} takes is written nowhere"),
    }
}

fn known() -> Known {
    let mut known = Known::new();
    for definition in definitions() {
        for series in series(&definition) {
            let attributes = definition.attributes.iter().zip(definition.values);
            let mut labels: BTreeMap<_, _> =
                attributes.map(|(name, written)| (underscored(name), values(name, written))).collect();
            labels.extend(TARGET_LABELS.map(|label| (label.to_owned(), None)));
            if series.ends_with("_bucket") {
                labels.insert("le".to_owned(), None);
            }
            known.insert(series, labels);
        }
    }
    known
}

/// What is wrong with an expression and the labels that a text beside it names.
fn faults(known: &Known, expression: &str, beside: &[String]) -> Vec<String> {
    match labels(known, expression) {
        Ok(labels) => {
            let missing = beside.iter().filter(|label| !labels.contains(*label));
            missing.map(|label| format!("what it gives has no label {label}: {expression}")).collect()
        }
        Err(fault) => vec![fault],
    }
}

/// The words that follow `mark` in a template.
fn placeholders(template: &str, mark: &str) -> Vec<String> {
    template.split(mark).skip(1).map(|after| word(after.trim_start()).0.to_owned()).collect()
}

/// Every object in `value` that has an expression.
fn targets<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("expr") {
                found.push(value);
            }
            fields.values().for_each(|value| targets(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| targets(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_names_only_metrics_that_are_exported() {
    let (known, dashboard) = (known(), dashboard());
    let mut found = Vec::new();
    targets(&dashboard, &mut found);
    let mut all: Vec<String> = Vec::new();
    for target in &found {
        let text = |key: &str| target[key].as_str().expect("text");
        all.extend(faults(&known, text("expr"), &placeholders(text("legendFormat"), "{{")));
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if variable["type"] == "query" {
            let query = variable["query"]["query"].as_str().expect("a query");
            assert_eq!(variable["definition"], query);
            let query = query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')'));
            let (series, label) = query.and_then(|query| query.split_once(", ")).expect("label_values");
            all.extend(faults(&known, series, &[label.to_owned()]));
        }
    }
    assert!(all.is_empty(), "{all:#?}");
    let panels = dashboard["panels"].as_array().expect("panels");
    let without =
        panels.iter().filter(|panel| panel["type"] != "row" && panel["targets"][0]["expr"].is_null());
    assert_eq!(without.count(), 0, "panels without an expression");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
}

#[test]
fn alerts_name_only_metrics_that_are_exported() {
    let known = known();
    let mut all = Vec::new();
    for Alert { expr, annotations, labels, .. } in alerts() {
        let beside: Vec<_> = annotations.values().flat_map(|text| placeholders(text, "$labels.")).collect();
        all.extend(faults(&known, &expr, &beside));
        assert!(["info", "warning", "critical"].contains(&labels["severity"].as_str()), "{expr}");
        assert!(annotations.contains_key("summary") && annotations.contains_key("description"), "{expr}");
    }
    assert!(all.is_empty(), "{all:#?}");
}

#[test]
fn the_page_says_of_every_alert_what_to_do() {
    let (_, page) = file("docs/operating.md");
    let explained: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("### Halo")).collect();
    let alerts: Vec<_> = alerts().into_iter().map(|alert| alert.alert).collect();
    let alerts: Vec<_> = alerts.iter().filter_map(|name| name.strip_prefix("Halo")).collect();
    assert_eq!(explained, alerts, "the headings of docs/operating.md, and the alerts in their order");
}

#[test]
fn metrics_become_what_prometheus_own_translator_makes_of_them() {
    // By github.com/prometheus/otlptranslator v1.0.0, one of each kind and unit.
    for (name, expected) in [
        ("halo_cmm.computation.stage.time", "halo_cmm_computation_stage_time_seconds_bucket"),
        ("halo_cmm.duchy.peer_not_ready_seconds", "halo_cmm_duchy_peer_not_ready_seconds_bucket"),
        ("rpc.server.duration", "rpc_server_duration_milliseconds_bucket"),
        ("halo_cmm.grpc.deprecated_field_set", "halo_cmm_grpc_deprecated_field_set_total"),
        ("halo_cmm.duchy.claims", "halo_cmm_duchy_claims_total"),
        ("halo_cmm.duchy.blob.bytes", "halo_cmm_duchy_blob_bytes_total"),
        ("halo_cmm.thread_pool.size", "halo_cmm_thread_pool_size"),
        ("halo_cmm.duchy.herald_lag_seconds", "halo_cmm_duchy_herald_lag_seconds"),
        ("halo_cmm.duchy.queue.oldest_age", "halo_cmm_duchy_queue_oldest_age_seconds"),
    ] {
        let definition = definitions().into_iter().find(|definition| definition.name == name);
        assert_eq!(series(&definition.expect(name))[0], expected);
    }
}

#[test]
fn what_an_expression_gives_is_known() {
    let known = known();
    let (depth, claims) = ("halo_cmm_duchy_queue_depth", "halo_cmm_duchy_claims_total");
    let (buckets, calls) =
        ("rpc_server_duration_milliseconds_bucket", "rpc_client_duration_milliseconds_count");
    for (expression, expected) in [
        (format!("sum({depth}) or vector(0)"), ""),
        (
            format!("{depth} unless {depth} offset $__range"),
            "halo_cmm_computation_type instance job namespace",
        ),
        (
            format!("sum by (job, result) (rate({claims}{{result!=\"none\", job=~\"$job\"}}[5m])) / 2 > 0.5"),
            "job result",
        ),
        (format!("time() - max by (job) (last_over_time({depth}[2d])) > 3 * 3600"), "job"),
        (
            format!("histogram_quantile(0.9, sum by (le, rpc_method) (rate({buckets}[$__range])))"),
            "rpc_method",
        ),
        (format!("group by (job) ({depth}) or sum by (namespace, job) ({claims})"), "job"),
        (format!("sum by (job, result) ({claims}) unless on (job) sum by (job) ({depth})"), "job result"),
        (format!("sum by (job, result) ({claims}) / on (job) sum by (job) ({depth})"), "job"),
        (format!("absent({depth})"), ""),
        (
            format!(
                "sum({calls}{{rpc_service=~\"wfa[.]measurement[.].*\", rpc_grpc_status_code=~\"2|16\"}})"
            ),
            "",
        ),
    ] {
        let expected = expected.split_whitespace().map(str::to_owned).collect();
        assert_eq!(labels(&known, &expression), Ok(expected));
    }
    for (expression, expected) in [
        ("halo_cmm_duchy_queue_depth_total".to_owned(), "no metric becomes"),
        ("rpc_server_duration_milliseconds".to_owned(), "no metric becomes"),
        ("vector(1)".to_owned(), "no metric is named"),
        (format!("{depth}{{stage=\"x\"}}"), "no label stage"),
        (format!("{depth}{{le!=\"1\"}}"), "no label le"),
        (format!("{claims}{{result=\"errors\"}}"), "is never errors"),
        (format!("{claims}{{result!~\"none|nothing\"}}"), "is never nothing"),
        (format!("{calls}{{rpc_grpc_status_code=\"17\"}}"), "is never 17"),
        (format!("{calls}{{rpc_service=~\"wfa[.]measurements[.].*\"}}"), "is never wfa[.]measurements"),
        (format!("sum by (result) ({depth})"), "label result"),
        (format!("sum by (job) ({claims}) / sum by (job, result) ({claims})"), "compares"),
        (format!("sum by (job) ({claims}) unless on (result) {claims}"), "not both sides"),
        (format!("histogram_quantile(0.9, {calls})"), "histogram_quantile"),
        (format!("deriv({depth}[1h])"), "deriv"),
        (format!("sum({depth}"), "missing at the end"),
        (format!("{depth}) > 1"), "not expected"),
    ] {
        let fault = labels(&known, &expression).expect_err(&expression);
        assert!(fault.contains(expected), "{fault}");
    }
    assert_eq!(faults(&known, depth, &placeholders("{{result}} of {{ job }}", "{{")).len(), 1);
    let summed = format!("sum by (namespace) ({claims})");
    assert_eq!(
        faults(&known, &summed, &placeholders("$labels.result of $labels.namespace", "$labels.")).len(),
        1
    );
}
