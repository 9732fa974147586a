//! What the pages about Kubernetes say is so.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::manifests::{TARGETS, manifests, name};
use crate::{containers, items, pages, pod, refusal, texts};

/// Kinds of which objects of `deploy` are named in commands.
const KINDS: [&str; 4] = ["cronjob", "deployment", "podtemplate", "service"];

pub fn page(path: &str) -> pages::Page {
    pages::all().into_iter().find(|page| page.path == path).unwrap_or_else(|| panic!("no page {path}"))
}

/// The commands of kubectl in the pages about Kubernetes, as words, each with its place.
fn commands() -> Vec<(String, Vec<String>)> {
    let guides = TARGETS.map(|target| format!("docs/deployment/{target}.md"));
    let mut found = Vec::new();
    for page in guides.iter().map(String::as_str).chain(["docs/kubernetes.md"]).map(page) {
        for code in page.code() {
            let all = code.commands().into_iter().filter(|words| words[0] == "kubectl");
            found.extend(all.map(|words| (code.place(), words)));
        }
    }
    found
}

/// The objects that a command of kubectl names, `KIND/NAME`.
fn objects_named(words: &[String]) -> BTreeSet<String> {
    let apart = words.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str()));
    let joined = words.iter().filter_map(|word| word.trim_start_matches("--from=").split_once('/'));
    let of = |(kind, name): (&str, &str)| {
        (KINDS.contains(&kind) && !name.starts_with('-')).then(|| format!("{kind}/{name}"))
    };
    apart.chain(joined).filter_map(of).collect()
}

#[test]
fn commands_of_the_pages_name_objects_that_there_are() {
    let known: BTreeSet<_> = manifests("gke").iter().map(|object| name(object).to_lowercase()).collect();
    let mut named = BTreeSet::new();
    for (place, words) in commands() {
        for object in objects_named(&words) {
            assert!(known.contains(&object), "{place}: there is no {object}");
            named.insert(object);
        }
    }
    for object in [
        "cronjob/worker1-computations-cleaner",
        "cronjob/worker1-store",
        "deployment/worker1-internal-api-server-deployment",
        "podtemplate/worker1-llv2-mill",
    ] {
        assert!(named.contains(object), "no command names {object}: {named:?}");
    }
}

/// What is run in a Pod is understood by the program, with the flags of each target's database.
#[test]
fn the_program_understands_what_the_pages_run_in_pods() {
    let all: Vec<_> = commands().into_iter().filter(|(_, words)| words.contains(&"exec".into())).collect();
    let mut subcommands = BTreeSet::new();
    for target in TARGETS {
        let objects = manifests(target);
        let migrate = objects.iter().flat_map(containers).find(|one| one["name"] == "store-migrate");
        // As `{.args[2:]}` has it.
        let database = texts(&migrate.expect("it migrates")["args"]).split_off(2);
        for (place, words) in &all {
            let program = words.iter().position(|word| word == "/halo-duchy");
            let program =
                program.unwrap_or_else(|| panic!("{place}: the image has no other program: {words:?}"));
            let args = words[program + 1..].iter().flat_map(|word| match word.as_str() {
                "$database" => database.clone(),
                word => vec![word.to_owned()],
            });
            let args: Vec<_> = args.collect();
            assert_eq!(refusal(&args), None, "{place}: {args:?}");
            subcommands.insert(args[..2].join(" ").split(" --").next().unwrap_or_default().to_owned());
        }
    }
    let expected = ["computations list", "computations-cleaner", "store export"];
    assert_eq!(subcommands.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

/// The Secrets and ConfigMaps that the objects of a target refer to.
fn referred_to(value: &Value, found: &mut BTreeSet<(&'static str, String)>) {
    match value {
        Value::Object(map) => {
            for (key, of) in map {
                let (kind, name) = match key.as_str() {
                    "secret" => ("secret generic", &of["secretName"]),
                    "secretKeyRef" => ("secret generic", &of["name"]),
                    "configMap" | "configMapKeyRef" => ("configmap", &of["name"]),
                    _ => ("", &Value::Null),
                };
                found.extend(name.as_str().map(|name| (kind, name.to_owned())));
                referred_to(of, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| referred_to(value, found)),
        _ => {}
    }
}

#[test]
fn the_guides_make_what_objects_refer_to() {
    // The others lead to it.
    let shared = page("docs/deployment/gke.md").text;
    for target in TARGETS {
        let guide = page(&format!("docs/deployment/{target}.md")).text;
        let objects = manifests(target);
        let mut found = BTreeSet::new();
        objects.iter().for_each(|object| referred_to(object, &mut found));
        let own: BTreeSet<_> = objects.iter().map(name).collect();
        found.retain(|(_, name)| !own.contains(&format!("ConfigMap/{name}")));
        assert!(found.len() >= 2, "{target}: {found:?}");
        for (kind, name) in found {
            let command = format!("kubectl create {kind} {name} ");
            assert!(
                guide.contains(&command) || shared.contains(&command),
                "{target}: no guide says {command}"
            );
        }
    }
}

/// Not every cluster knows the kinds of Prometheus' operator: one that does not refuses the whole chart.
#[test]
fn the_guides_name_what_a_cluster_has_to_know_besides_its_own_kinds() {
    for target in TARGETS {
        let guide = page(&format!("docs/deployment/{target}.md")).text;
        let first = guide.split("\n2. ").next().expect("a first step");
        for object in manifests(target) {
            let version = object["apiVersion"].as_str().expect("a version");
            if version.contains('.') && !version.contains(".k8s.io/") {
                let kind = object["kind"].as_str().expect("a kind");
                assert!(first.contains(kind), "{target}: the first step does not name {kind}");
            }
        }
    }
}

/// What becomes of the Job that `store` is: commands of the page replace its arguments by their places.
#[test]
fn the_arguments_of_the_store_job_are_where_the_page_says() {
    let page = page("docs/kubernetes.md").text;
    for target in TARGETS {
        let objects = manifests(target);
        let store = objects.iter().find(|object| name(object) == "CronJob/worker1-store").expect("a CronJob");
        assert_eq!(store["spec"]["suspend"], true, "it begins nothing by itself");
        let spec = &pod(store).expect("a Pod")["spec"];
        let mut args = texts(&items(&spec["containers"]).next().expect("a container")["args"]);
        assert_eq!(args[..3], ["store", "migrate", "--dry-run"]);
        for (place, value) in [(1, "import"), (2, "--input=/backup/worker1.jsonl")] {
            let operation = format!(
                r#"{{"op": "replace", "path": "/spec/template/spec/containers/0/args/{place}", "value": "{value}"}}"#
            );
            assert!(page.contains(&operation), "the page does not say {operation}");
            value.clone_into(&mut args[place]);
        }
        assert_eq!(refusal(&args), None, "{target}");
    }
}
