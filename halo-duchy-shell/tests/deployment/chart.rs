//! What the chart makes of values, those of the targets and others.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::guides::page;
use crate::manifests::{TARGETS, deploy, documents, manifests, name};
use crate::network::told;
use crate::{containers, flag, is_ours, items, pod, refusal, texts, tool};

/// The objects that the chart makes of a target's values and more, or why it makes none.
fn render(helm: &Path, target: &str, more: &Value) -> Result<BTreeMap<String, Value>, String> {
    // JSON is YAML.
    let mut values = tempfile::NamedTempFile::new().expect("a file");
    values.write_all(more.to_string().as_bytes()).expect("values");
    let rendered = Command::new(helm)
        // Built from its module, it believes in a version of Kubernetes that is long gone.
        .args(["template", "--kube-version", "1.35.4", "duchy"])
        .arg(deploy("helm/halo-duchy"))
        .arg("--values")
        .arg(deploy(&format!("helm/values-{target}.yaml")))
        .arg("--values")
        .arg(values.path())
        .output()
        .expect("helm");
    if !rendered.status.success() {
        return Err(String::from_utf8_lossy(&rendered.stderr).into_owned());
    }
    Ok(by_name(documents(&String::from_utf8(rendered.stdout).expect("text"))))
}

fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    objects
        .into_iter()
        .filter(|object| !object.is_null())
        .map(|object| (name(&object), without_nothing(object)))
        .collect()
}

/// The chart, with what CUE knows of a target as its values, is the target's manifests.
#[test]
fn the_chart_renders_the_same_objects() {
    let Some(helm) = tool("helm", "3.22.0") else { return };
    for target in TARGETS {
        let rendered = render(&helm, target, &json!({})).expect("it renders");
        let committed = by_name(manifests(target));
        assert_eq!(rendered.keys().collect::<Vec<_>>(), committed.keys().collect::<Vec<_>>());
        for (name, object) in &committed {
            assert_eq!(&rendered[name], object, "{target}: {name}");
        }
    }
}

/// Every process of the duchy, as values name it, and the objects by which it runs.
const PROCESSES: [(&str, &str); 10] = [
    ("async-computation-control-server", "Deployment/worker1-async-computation-control-server-deployment"),
    ("computation-control-server", "Deployment/worker1-computation-control-server-deployment"),
    ("computations-cleaner", "CronJob/worker1-computations-cleaner"),
    ("herald-daemon", "Deployment/worker1-herald-daemon-deployment"),
    ("hmss-mill", "PodTemplate/worker1-hmss-mill"),
    ("internal-api-server", "Deployment/worker1-internal-api-server-deployment"),
    ("llv2-mill", "PodTemplate/worker1-llv2-mill"),
    ("mill-job-scheduler", "Deployment/worker1-mill-job-scheduler-deployment"),
    ("requisition-fulfillment-server", "Deployment/worker1-requisition-fulfillment-server-deployment"),
    ("store", "CronJob/worker1-store"),
];

/// The container of a process, and not one of what is done before it.
fn container(object: &Value) -> &Value {
    &pod(object).expect("a Pod")["spec"]["containers"][0]
}

#[test]
fn a_process_gets_the_flags_and_volumes_that_are_asked_for_it_alone() {
    let Some(helm) = tool("helm", "3.22.0") else { return };
    let flags = |process: &str| match process {
        "store" => json!(["--statement-timeout=1m"]),
        "computations-cleaner" => json!(["--orphan-ttl=48h", "--audit-log=/extra/$(POD_NAME).jsonl"]),
        "computation-control-server" => json!(["--max-advance-bytes=1000000"]),
        "hmss-mill" | "llv2-mill" => json!(["--max-stage-attempts=5"]),
        _ => json!(["--audit-log=/extra/$(POD_NAME).jsonl"]),
    };
    let volume =
        |process: &str| json!({ "name": format!("extra-{process}"), "emptyDir": { "medium": "Memory" } });
    let mount = |process: &str| json!({ "name": format!("extra-{process}"), "mountPath": "/extra" });
    let of_each = |of: &dyn Fn(&str) -> Value| -> Value {
        PROCESSES.iter().map(|(process, _)| ((*process).to_owned(), of(process))).collect()
    };
    let values = json!({
        "extraFlags": of_each(&flags),
        "extraVolumes": of_each(&|process| json!([volume(process)])),
        "extraVolumeMounts": of_each(&|process| json!([mount(process)])),
    });
    let plain = render(&helm, "on-premises", &json!({})).expect("it renders");
    let rendered = render(&helm, "on-premises", &values).expect("it renders");
    // What a list has had, and has now besides.
    let grown = |before: &Value, by: Value| -> Vec<Value> {
        items(before).cloned().chain(by.as_array().cloned().unwrap_or_default()).collect()
    };
    for (process, object) in PROCESSES {
        let (before, after) = (container(&plain[object]), container(&rendered[object]));
        assert_eq!(after["args"], json!(grown(&before["args"], flags(process))), "{process}");
        let mounts = grown(&before["volumeMounts"], json!([mount(process)]));
        assert_eq!(after["volumeMounts"], json!(mounts), "{process}");
        let volumes = |object: &str, of: &BTreeMap<String, Value>| {
            pod(&of[object]).expect("a Pod")["spec"]["volumes"].clone()
        };
        let expected = grown(&volumes(object, &plain), json!([volume(process)]));
        assert_eq!(volumes(object, &rendered), json!(expected), "{process}");
        assert_eq!(refusal(&completed(process, after)), None, "{process}");
    }
    let changed: Vec<_> = plain.keys().filter(|name| plain[*name] != rendered[*name]).collect();
    let mut objects = PROCESSES.map(|(_, object)| object);
    objects.sort_unstable();
    assert_eq!(changed, objects);
}

/// The arguments of a process as it is started, which for a mill are more than the PodTemplate's.
fn completed(process: &str, container: &Value) -> Vec<String> {
    let id = process.ends_with("-mill").then(|| "--mill-id=a-mill".to_owned());
    texts(&container["args"]).into_iter().chain(id).collect()
}

/// What the page shows as values: flags for some, and an audit log for everyone.
#[test]
fn the_values_of_the_page_are_taken() {
    let Some(helm) = tool("helm", "3.22.0") else { return };
    let page = page("docs/kubernetes.md");
    let values: Vec<_> = page.code().into_iter().filter(|code| code.language == Some("yaml")).collect();
    assert!(values.len() >= 2, "{}", values.len());
    let mut audited = BTreeSet::new();
    for code in values {
        let rendered = render(&helm, "on-premises", &documents(&code.text).remove(0)).expect("it renders");
        for (process, object) in PROCESSES {
            let args = completed(process, container(&rendered[object]));
            assert_eq!(refusal(&args), None, "{}: {args:#?}", code.place());
            if let Some(path) = flag(&args, "audit-log") {
                let mount = path.strip_suffix("/$(POD_NAME).jsonl").expect("a file of the Pod's own");
                let mounts: Vec<_> = items(&container(&rendered[object])["volumeMounts"]).collect();
                let mount = mounts.iter().find(|one| one["mountPath"] == mount).expect("a volume");
                let volumes = &pod(&rendered[object]).expect("a Pod")["spec"]["volumes"];
                assert!(items(volumes).any(|volume| volume["name"] == mount["name"]), "{process}");
                audited.insert(process);
            }
        }
    }
    let all: BTreeSet<_> =
        PROCESSES.iter().map(|(process, _)| *process).filter(|one| *one != "store").collect();
    assert_eq!(audited, all);
}

/// The files of the Secret and of the ConfigMap that a Pod has.
fn files(object: &Value) -> BTreeSet<String> {
    let volumes = items(&pod(object).expect("a Pod")["spec"]["volumes"]);
    let listed = volumes
        .filter(|volume| ["certs-and-configs", "config-files"].iter().any(|name| volume["name"] == *name));
    listed
        .flat_map(|volume| {
            let lists = [&volume["secret"]["items"], &volume["configMap"]["items"]];
            let names: Vec<_> = lists.into_iter().flat_map(items).map(|item| &item["path"]).collect();
            // A volume without a list would have all files.
            assert!(!names.is_empty(), "{volume:#}");
            names
        })
        .map(|path| path.as_str().expect("a path").to_owned())
        .collect()
}

/// What flags of values name comes from the Secret, and what they do not name does not.
#[test]
fn pods_have_the_files_that_flags_of_values_name() {
    let Some(helm) = tool("helm", "3.22.0") else { return };
    let plain = render(&helm, "on-premises", &json!({})).expect("it renders");
    let changes = |values: &Value| {
        let rendered = render(&helm, "on-premises", values).expect("it renders");
        let mut changes = Vec::new();
        for (process, object) in PROCESSES {
            let (before, after) = (files(&plain[object]), files(&rendered[object]));
            changes.extend(before.difference(&after).map(|file| format!("{process} -{file}")));
            changes.extend(after.difference(&before).map(|file| format!("{process} +{file}")));
        }
        changes
    };
    let lost =
        ["herald-daemon -worker1_kek.tink", "hmss-mill -worker1_kek.tink", "llv2-mill -worker1_kek.tink"];
    let values = json!({ "keyEncryptionFlags": ["--key-encryption-key-uri=gcp-kms://projects/p"] });
    assert_eq!(changes(&values), lost);
    let values = json!({ "keyEncryptionFlags": [] });
    assert_eq!(changes(&values), lost);
    let values = json!({ "keyEncryptionFlags": [
        "--key-encryption-key-uri=pkcs11:token=t;object=k?module-path=/m.so&pin-source=file:/var/run/secrets/files/pin&x=y",
    ] });
    let mut gained: Vec<_> = lost.map(str::to_owned).into();
    gained.extend(["herald-daemon", "hmss-mill", "llv2-mill"].map(|process| format!("{process} +pin")));
    gained.sort_by_key(|change| change.split(' ').next().map(str::to_owned));
    assert_eq!(changes(&values), gained);
    // A Pod that had no such volume.
    let values = json!({ "databaseFlags": [
        "--store=postgres://u@h/d?password_file=/var/run/secrets/files/password&sslrootcert=/etc/halo-cmms/config-files/r.pem",
    ] });
    assert_eq!(
        changes(&values),
        ["internal-api-server +password", "internal-api-server +r.pem", "store +password", "store +r.pem"]
    );
}

/// Where the metrics of every process of a duchy go.
fn endpoints(objects: &BTreeMap<String, Value>) -> BTreeSet<Option<String>> {
    let ours = objects.values().flat_map(containers).filter(|container| is_ours(container));
    let of = |container: &Value| {
        let named = items(&container["env"]).find(|one| one["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT");
        named.and_then(|one| one["value"].as_str()).map(str::to_owned)
    };
    ours.map(of).collect()
}

#[test]
fn metrics_go_to_the_duchys_own_collector() {
    let Some(helm) = tool("helm", "3.22.0") else { return };
    for target in TARGETS {
        let values = json!({ "duchy": "worker2", "monitoring": {
            "enabled": true,
            "serviceMonitorLabels": { "release": "kube-prometheus-stack", "on": "true" },
        } });
        let rendered = render(&helm, target, &values).expect("it renders");
        let service = &rendered["Service/worker2-default-collector"];
        assert!(items(&service["spec"]["ports"]).any(|port| port["port"] == 4317), "{target}");
        let collector = "http://worker2-default-collector:4317".to_owned();
        assert_eq!(endpoints(&rendered), BTreeSet::from([Some(collector)]), "{target}");
        for container in rendered.values().flat_map(containers) {
            assert!(!told(container).iter().any(|text| text.contains("worker1-default")), "{target}");
        }
        let labels = &rendered["ServiceMonitor/worker2-default-collector"]["metadata"]["labels"];
        assert_eq!(
            (&labels["release"], &labels["on"], &labels["app.kubernetes.io/instance"]),
            (&json!("kube-prometheus-stack"), &json!("true"), &json!("worker2")),
            "{target}"
        );
        let rendered =
            render(&helm, target, &json!({ "monitoring": { "enabled": false } })).expect("it renders");
        assert_eq!(endpoints(&rendered), BTreeSet::from([None]), "{target}");
    }
}

/// Values with which a process would not start, or that nobody reads.
#[test]
fn the_chart_refuses_what_the_program_would() {
    let Some(helm) = tool("helm", "3.22.0") else { return };
    let refused = |values: Value| {
        let error = render(&helm, "on-premises", &values).err();
        error.unwrap_or_else(|| panic!("the chart takes {values}"))
    };
    for mill in ["llv2", "hmss"] {
        let why = refused(json!({ "mills": { mill: { "maximumConcurrency": 0 } } }));
        assert!(why.contains("maximumConcurrency"), "{why}");
    }
    let why = refused(json!({ "mills": { "llv2Parallelism": 0 } }));
    assert!(why.contains("llv2Parallelism"), "{why}");
    for of in ["extraFlags", "extraVolumes", "extraVolumeMounts"] {
        let why = refused(json!({ of: { "herald": [] } }));
        assert!(why.contains("herald"), "{why}");
    }
    // None of the servers is a way to take a duchy out of service.
    render(&helm, "on-premises", &json!({ "serverReplicas": 0, "internalApiReplicas": 0 })).expect("taken");
}

/// The same of the source, from which manifests without Helm are made.
#[test]
fn the_source_refuses_what_the_program_would() {
    let Some(cue) = tool("cue", "0.17.1") else { return };
    let takes = |parameter: &str, number: u32| {
        let nested = parameter.replace('.', ": ");
        let expression = format!("(#Parameters & {{mills: {nested}: {number}}}).mills.{parameter}");
        let tried = Command::new(&cue)
            .args(["eval", ".", "--expression", &expression])
            .current_dir(deploy("cue"))
            .output();
        tried.expect("cue").status.success()
    };
    for parameter in ["llv2.maximumConcurrency", "hmss.maximumConcurrency", "llv2Parallelism"] {
        assert!(takes(parameter, 1) && !takes(parameter, 0), "{parameter}");
    }
}

/// Without what is empty: a list without items is nothing in one text and `[]` in the other, and the same to Kubernetes.
fn without_nothing(value: Value) -> Value {
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().map(|(key, value)| (key, without_nothing(value)));
            Value::Object(kept.filter(|(_, value)| !is_nothing(value)).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_nothing).collect()),
        value => value,
    }
}
