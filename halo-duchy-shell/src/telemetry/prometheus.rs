//! The metrics as Prometheus names them, and a check that the dashboard and the alerts of `deploy/observability` name no
//! others, nor labels that these do not have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::instruments::{Definition, Kind, definitions};

/// Labels that the collector and Prometheus add.
const TARGET_LABELS: [&str; 3] = ["instance", "job", "namespace"];

/// Words of PromQL that stand where a metric might.
const OPERATORS: [&str; 5] = ["and", "bool", "offset", "or", "unless"];

/// Words of PromQL that a list of labels follows.
const LABEL_LISTS: [&str; 6] = ["by", "group_left", "group_right", "ignoring", "on", "without"];

/// The series of every metric, with their labels.
type Known = BTreeMap<String, BTreeSet<String>>;

/// What one expression names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    series: BTreeSet<String>,
    labels: BTreeSet<String>,
}

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

fn known() -> Known {
    let mut known = Known::new();
    for definition in definitions() {
        for series in series(&definition) {
            let mut labels: BTreeSet<_> =
                definition.attributes.iter().map(|name| underscored(name)).collect();
            labels.extend(TARGET_LABELS.map(str::to_owned));
            if series.ends_with("_bucket") {
                labels.insert("le".to_owned());
            }
            known.insert(series, labels);
        }
    }
    known
}

/// The first word of `text`, which may be empty, and the rest.
fn word(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len()),
    )
}

/// What an expression in PromQL names. Grafana's variables (`$name`) may stand for values and durations.
fn names(expression: &str) -> Names {
    let mut names = Names::default();
    let mut rest = expression;
    let mut in_labels = false;
    while let Some(first) = rest.chars().next() {
        match first {
            '"' => {
                assert!(!rest.contains('\\'), "{expression}: escapes in strings are not read");
                rest = rest[1..].split_once('"').expect("an end of the string").1;
            }
            '[' => rest = rest.split_once(']').expect("an end of the range").1,
            '$' => rest = word(&rest[1..]).1,
            '0'..='9' => rest = word(rest).1,
            'a'..='z' | 'A'..='Z' | '_' => {
                let (found, after) = word(rest);
                rest = after;
                let next = after.trim_start();
                let calls = next.starts_with('(') || LABEL_LISTS.contains(&word(next).0);
                if in_labels {
                    names.labels.insert(found.to_owned());
                } else if LABEL_LISTS.contains(&found) {
                    in_labels = true;
                } else if !OPERATORS.contains(&found) && !calls {
                    names.series.insert(found.to_owned());
                }
            }
            _ => {
                match first {
                    '{' => in_labels = true,
                    '}' | ')' => in_labels = false,
                    _ => {}
                }
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    names
}

/// What is wrong with an expression and the labels that a text beside it names.
fn faults(known: &Known, expression: &str, beside: &[String]) -> Vec<String> {
    let Names { series, labels } = names(expression);
    let mut faults = Vec::new();
    let mut has = BTreeSet::new();
    for series in &series {
        match known.get(series) {
            Some(labels) => has.extend(labels),
            None => faults.push(format!("no metric becomes {series}: {expression}")),
        }
    }
    if series.is_empty() {
        faults.push(format!("no metric is named: {expression}"));
    }
    for label in labels.iter().chain(beside).filter(|label| !has.contains(label)) {
        faults.push(format!("no metric in it has the label {label}: {expression}"));
    }
    faults
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
fn what_an_expression_names_is_found() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let found = names(
        r#"sum by (le, a) (rate(x_total{b=~"c|$d", e!="f"}[$__range])) / 2 * on (g) group_left (h) y
           unless z offset 1h > bool 0.5 or histogram_quantile(0.9, w) and sum(v) without (i) or vector(0)"#,
    );
    let labels = set(&["le", "a", "b", "e", "g", "h", "i"]);
    assert_eq!(found, Names { series: set(&["x_total", "y", "z", "w", "v"]), labels });

    let known = known();
    let depth = "halo_cmm_duchy_queue_depth";
    assert_eq!(faults(&known, depth, &[]), [""; 0]);
    for wrong in ["halo_cmm_duchy_queue_depth_total", "rpc_server_duration_milliseconds", "vector(1)"] {
        assert_eq!(faults(&known, wrong, &[]).len(), 1, "{wrong}");
    }
    for wrong in [r#"{stage="x"}"#, "{le!=\"1\"}"] {
        assert_eq!(faults(&known, &format!("{depth}{wrong}"), &[]).len(), 1, "{wrong}");
    }
    assert_eq!(faults(&known, depth, &placeholders("{{result}} of {{ job }}", "{{")).len(), 1);
}
