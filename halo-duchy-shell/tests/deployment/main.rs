//! What is in `deploy` is what its source says, and what the program understands.

#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod chart;
mod files;
mod guides;
mod manifests;
mod network;
#[path = "../documentation/pages.rs"]
#[allow(dead_code, reason = "shared with the tests of the documentation, which use all of it")]
mod pages;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use clap::{CommandFactory as _, Parser as _};
use halo_duchy_shell::cli::Cli;
use manifests::{TARGETS, deploy, documents, manifests, name};
use serde_json::{Value, json};

/// Not by `eprintln!`, which libtest swallows.
fn skipped(tool: &str, reason: &str) {
    let line = format!("SKIPPED {tool}: {}\n", reason.lines().next().unwrap_or_default());
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}

/// What a claim adds to the flags of a mill.
fn claim(mill: &str) -> [String; 4] {
    let protocol = match mill {
        "hmss-mill" => "HONEST_MAJORITY_SHARE_SHUFFLE",
        _ => "LIQUID_LEGIONS_SKETCH_AGGREGATION_V2",
    };
    [
        "--mill-id=worker1-llv2-mill-job-bcdfg".to_owned(),
        format!("--claimed-computation-type={protocol}"),
        "--claimed-computation-id=abc".to_owned(),
        "--claimed-computation-version=1700000000000".to_owned(),
    ]
}

fn texts(list: &Value) -> Vec<String> {
    items(list).map(|text| text.as_str().expect("text").to_owned()).collect()
}

/// What Pods are made of by an object, if any are.
fn pod(object: &Value) -> Option<&Value> {
    match object["kind"].as_str() {
        Some("Deployment") => Some(&object["spec"]["template"]),
        Some("PodTemplate") => Some(&object["template"]),
        Some("CronJob") => Some(&object["spec"]["jobTemplate"]["spec"]["template"]),
        _ => None,
    }
}

/// The items of a list, which may not be there.
fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The containers of an object that run our program, or would.
fn containers(object: &Value) -> Vec<&Value> {
    let lists = pod(object).map(|pod| [&pod["spec"]["initContainers"], &pod["spec"]["containers"]]);
    lists.into_iter().flatten().flat_map(items).collect()
}

fn is_ours(container: &Value) -> bool {
    container["image"].as_str().is_some_and(|image| image.contains("halo-duchy:"))
}

/// The value of a flag among arguments.
fn flag<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    args.iter().find_map(|arg| arg.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('='))
}

/// What the program takes for a flag of a subcommand if nobody says otherwise.
fn default_of(subcommand: &str, name: &str) -> String {
    let command = Cli::command();
    let process = command.find_subcommand(subcommand).expect("the program has it");
    let argument = process.get_arguments().find(|argument| argument.get_long() == Some(name));
    let values = argument.expect("the subcommand has it").get_default_values();
    values.first().expect("a default").to_str().expect("text").to_owned()
}

/// Why the program refuses a command line.
fn refusal(args: &[String]) -> Option<String> {
    let parsed = Cli::try_parse_from(["halo-duchy".to_owned()].iter().chain(args));
    parsed.err().map(|error| error.to_string())
}

/// The features of the package as `cargo` builds it when nothing is tested.
fn features_of_a_build() -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges=no-dev",
            "--depth=0",
            "--prefix=none",
            "--format={f}",
        ])
        .args(["--package", env!("CARGO_PKG_NAME")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let features = String::from_utf8(tree.stdout).expect("text");
    features.lines().next().unwrap_or_default().split(',').map(str::to_owned).collect()
}

#[test]
fn no_program_but_those_of_tests_has_fail_points() {
    let features = features_of_a_build();
    assert!(features.contains("default") && !features.contains("fail-points"), "{features:?}");
    let dockerfile = std::fs::read_to_string(deploy("Dockerfile")).expect("the Dockerfile");
    assert!(!dockerfile.contains("features"), "the image is made of what cargo builds by default");
    assert!(dockerfile.contains("RUN ! grep --quiet --text HALO_FAIL_POINT /halo-duchy"), "and it looks");
}

/// Without one of its members cargo refuses the whole workspace.
#[test]
fn every_member_of_the_workspace_comes_into_the_image() {
    let manifest = std::fs::read_to_string(deploy("../Cargo.toml")).expect("the workspace");
    let members =
        manifest.lines().find_map(|line| line.strip_prefix("members = ")).expect("members on one line");
    let members: Vec<String> = serde_json::from_str(members).expect("a list of names");
    assert!(members.len() > 3, "{members:?}");
    let ignored = std::fs::read_to_string(deploy("Dockerfile.dockerignore")).expect("the list");
    for member in members {
        assert!(ignored.lines().any(|line| line == format!("!{member}")), "{member}");
    }
}

#[test]
fn the_program_takes_the_flags_of_every_container() {
    for target in TARGETS {
        let mut subcommands = BTreeSet::new();
        for object in manifests(target) {
            for container in containers(&object).into_iter().filter(|container| is_ours(container)) {
                let mut args = texts(&container["args"]);
                subcommands.insert(args[0].clone());
                if object["kind"] == "PodTemplate" {
                    args.extend(claim(&args[0]));
                }
                assert_eq!(refusal(&args), None, "{target}: {} with {args:#?}", name(&object));
            }
        }
        let expected = [
            "async-computation-control-server",
            "computation-control-server",
            "computations-cleaner",
            "herald",
            "hmss-mill",
            "internal-api-server",
            "llv2-mill",
            "mill-job-scheduler",
            "requisition-fulfillment-server",
            "store",
        ];
        assert_eq!(subcommands.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn the_program_takes_the_flags_of_docker_compose() {
    let compose = std::fs::read_to_string(deploy("docker-compose.yaml")).expect("docker-compose.yaml");
    let compose = documents(&compose).remove(0);
    let services = compose["services"].as_object().expect("services");
    let ours = |service: &&Value| service["image"].as_str().is_some_and(|image| image.contains("halo-duchy"));
    let mut subcommands = Vec::new();
    for service in services.values().filter(ours) {
        let args = texts(&service["command"]);
        assert_eq!(refusal(&args), None, "{args:#?}");
        assert_eq!((&service["read_only"], &service["user"]), (&json!(true), &json!("65532:65532")));
        subcommands.push(args[0].clone());
    }
    subcommands.sort();
    assert_eq!(subcommands, ["kingdom", "pki", "serve", "serve", "serve"]);
}

/// What docker-compose starts comes back after a crash or a restart of the machine, and may end what it has begun.
#[test]
fn services_of_docker_compose_are_kept_running_and_stopped_in_time() {
    let compose = std::fs::read_to_string(deploy("docker-compose.yaml")).expect("docker-compose.yaml");
    let compose = documents(&compose).remove(0);
    for (name, service) in compose["services"].as_object().expect("services") {
        let args = texts(&service["command"]);
        if !service["profiles"].is_null() {
            assert!(service["restart"].is_null(), "{name} runs once");
            continue;
        }
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        let grace = service["stop_grace_period"].as_str().and_then(|text| text.strip_suffix('s'));
        let grace: u64 = grace.expect("seconds").parse().expect("a number");
        let own: u64 = default_of(&args[0], "shutdown-grace-period-seconds").parse().expect("a number");
        assert!(grace > own, "{name}: killed after {grace} s, {own} of which its calls may take");
    }
}

/// While a root is replaced the duchy is known by two, and by those alone who read the file.
#[test]
fn whoever_can_be_told_the_duchies_is() {
    const FLAG: &str = "duchy-info-config";
    let command = Cli::command();
    for target in TARGETS {
        let mut told = BTreeSet::new();
        for args in manifests(target).iter().flat_map(containers).filter(|one| is_ours(one)) {
            let args = texts(&args["args"]);
            let process = command.find_subcommand(&args[0]).expect("the program has it");
            if process.get_arguments().any(|argument| argument.get_long() == Some(FLAG)) {
                assert!(flag(&args, FLAG).is_some(), "{target}: no --{FLAG} in {args:#?}");
                told.insert(args[0].clone());
            }
        }
        assert!(told.contains("internal-api-server") && told.len() == 6, "{target}: {told:?}");
    }
}

#[test]
fn ended_computations_are_kept_as_long_as_by_default() {
    const FLAG: &str = "computations-time-to-live";
    for target in TARGETS {
        let objects = manifests(target);
        let cleaner = objects.iter().flat_map(containers).find(|one| one["name"] == "computations-cleaner");
        let args = texts(&cleaner.expect("the cleaner")["args"]);
        assert_eq!(flag(&args, FLAG), Some(default_of(&args[0], FLAG).as_str()), "{target}");
    }
}

/// An amount of memory as manifests write it.
fn mebibytes(amount: &Value) -> f64 {
    let text = amount.as_str().expect("an amount of memory");
    let number = |text: &str| text.parse::<f64>().expect("a number");
    match (text.strip_suffix("Mi"), text.strip_suffix("Gi")) {
        (Some(mebi), _) => number(mebi),
        (_, Some(gibi)) => number(gibi) * 1024.0,
        _ => panic!("{text}: neither Mi nor Gi"),
    }
}

/// The address at which a container shows the console, which asks nobody who they are; `None` if it has none to show.
fn console(container: &Value) -> Option<SocketAddr> {
    const FLAG: &str = "admin-address";
    let args = texts(&container["args"]);
    let command = Cli::command();
    let process = command.find_subcommand(&args[0]).expect("the program has it");
    if !process.get_arguments().any(|argument| argument.get_long() == Some(FLAG)) {
        return None;
    }
    let address = args.iter().find_map(|arg| arg.strip_prefix(&format!("--{FLAG}=")));
    Some(address.unwrap_or_else(|| panic!("no --{FLAG} in {args:#?}")).parse().expect("an address"))
}

#[test]
fn the_console_is_shown_to_who_may_forward_ports_and_nobody_else() {
    let page = std::fs::read_to_string(deploy("../docs/console.md")).expect("docs/console.md");
    for target in TARGETS {
        let mut shown = Vec::new();
        for object in manifests(target) {
            for container in containers(&object).into_iter().filter(|container| is_ours(container)) {
                let Some(address) = console(container) else { continue };
                assert!(address.ip().is_loopback(), "{target}: {} shows it at {address}", name(&object));
                let command =
                    format!("kubectl port-forward {} {}", name(&object).to_lowercase(), address.port());
                assert!(page.contains(&command), "docs/console.md does not say: {command}");
                shown.push(name(&object));
            }
        }
        assert_eq!(shown, ["Deployment/worker1-internal-api-server-deployment"], "{target}");
    }
}

/// What every container is denied, and asks for.
#[test]
fn containers_are_confined() {
    for target in TARGETS {
        for object in manifests(target) {
            for container in containers(&object) {
                let of = format!("{target}: {}", name(&object));
                let security = &container["securityContext"];
                assert_eq!(security["readOnlyRootFilesystem"], true, "{of}");
                assert_eq!(security["allowPrivilegeEscalation"], false, "{of}");
                assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }), "{of}");
                let resources = &container["resources"];
                assert!(
                    mebibytes(&resources["requests"]["memory"]) <= mebibytes(&resources["limits"]["memory"]),
                    "{of}"
                );
                assert!(
                    resources["requests"]["cpu"].is_string() && resources["limits"]["cpu"].is_null(),
                    "{of}"
                );
            }
        }
    }
}

/// Names and labels that objects have of one another.
#[test]
fn objects_find_one_another() {
    for target in TARGETS {
        let objects = manifests(target);
        let names: BTreeSet<_> = objects.iter().map(name).collect();
        assert_eq!(names.len(), objects.len(), "{target}: two objects have one name");
        let mut apps = BTreeSet::new();
        for object in &objects {
            let Some(template) = pod(object) else { continue };
            apps.insert(template["metadata"]["labels"]["app"].as_str().expect("a label"));
            if let Some(account) = template["spec"]["serviceAccountName"].as_str() {
                assert!(names.contains(&format!("ServiceAccount/{account}")), "{target}: {account}");
            }
        }
        for object in &objects {
            let selectors = match object["kind"].as_str() {
                Some("Service") => vec![&object["spec"]["selector"]["app"]],
                Some("PodDisruptionBudget") => vec![&object["spec"]["selector"]["matchLabels"]["app"]],
                Some("NetworkPolicy") => selectors(&object["spec"]),
                _ => continue,
            };
            for app in selectors.into_iter().filter_map(Value::as_str) {
                assert!(apps.contains(app), "{target}: {} selects {app}", name(object));
            }
        }
        let scheduler =
            objects.iter().find(|object| name(object) == "Deployment/worker1-mill-job-scheduler-deployment");
        let args = texts(&containers(scheduler.expect("the scheduler"))[0]["args"]);
        for (flag, kind) in [
            ("--deployment-name=", "Deployment"),
            ("--llv2-pod-template-name=", "PodTemplate"),
            ("--hmss-pod-template-name=", "PodTemplate"),
        ] {
            let value = args.iter().find_map(|arg| arg.strip_prefix(flag)).expect(flag);
            assert!(names.contains(&format!("{kind}/{value}")), "{target}: {flag}{value}");
        }
    }
}

/// All that a network policy says of labels `app`.
fn selectors(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(map) => {
            let of = map.get("matchLabels").and_then(|labels| labels.get("app"));
            of.into_iter().chain(map.values().flat_map(selectors)).collect()
        }
        Value::Array(list) => list.iter().flat_map(selectors).collect(),
        _ => Vec::new(),
    }
}

/// A tool that `.ci/run deployment` installs.
fn tool(name: &str, version: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let path = std::env::var_os(name.to_uppercase()).map(PathBuf::from);
    let path = path.unwrap_or_else(|| cache.join(format!("halo-duchy/{name}-{version}/bin/{name}")));
    if !path.exists() {
        skipped(name, &format!("no {}, which `.ci/run deployment` installs", path.display()));
        return None;
    }
    Some(path)
}

#[test]
fn what_is_committed_is_what_is_rendered() {
    let rendered = Command::new(deploy("render")).arg("--check").output().expect("deploy/render");
    let complaint = String::from_utf8_lossy(&rendered.stderr);
    if rendered.status.code() == Some(77) {
        skipped("cue", &complaint);
    } else {
        assert!(rendered.status.success(), "{complaint}");
    }
}

#[test]
fn alerts_fire_for_what_they_should() {
    let alerts = deploy("observability/alerts.test.yaml");
    let tried = match Command::new("promtool").args(["test", "rules"]).arg(alerts).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return skipped("promtool", "it is not installed");
        }
        tried => tried.expect("promtool"),
    };
    let said = [tried.stdout, tried.stderr].concat();
    assert!(tried.status.success(), "{}", String::from_utf8_lossy(&said));
}
