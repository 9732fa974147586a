//! Who is let to whom.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::manifests::{TARGETS, manifests, name};
use crate::{containers, items, pod, texts};

/// Whether a rule of a policy lets `labels` of the same namespace be at its other end, at `port`.
fn lets(rule: &Value, end: &str, labels: &Value, port: &Value) -> bool {
    let ports = &rule["ports"];
    // What is not there restricts nothing.
    let at_port = ports.is_null() || items(ports).any(|one| one["port"] == *port);
    let peers = &rule[end];
    at_port && (peers.is_null() || items(peers).any(|peer| selects(&peer["podSelector"], labels)))
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object();
    wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
}

/// Whether the policies of `labels` let it to or from the `other`, by their rules of the direction.
fn allowed(objects: &[Value], labels: &Value, rules: &str, end: &str, other: &Value, port: &Value) -> bool {
    let policies = objects.iter().filter(|object| object["kind"] == "NetworkPolicy");
    let mut own = policies.filter(|policy| selects(&policy["spec"]["podSelector"], labels));
    own.any(|policy| items(&policy["spec"][rules]).any(|rule| lets(rule, end, other, port)))
}

/// All that a container is told: its arguments and the variables of its environment.
pub fn told(container: &Value) -> Vec<String> {
    let variables = items(&container["env"]).filter_map(|variable| variable["value"].as_str());
    texts(&container["args"]).into_iter().chain(variables.map(str::to_owned)).collect()
}

/// The Services of `objects` that a container is told the addresses of.
fn called<'a>(objects: &'a [Value], container: &Value) -> Vec<&'a Value> {
    let told = told(container);
    let services = objects.iter().filter(|object| object["kind"] == "Service");
    let named = |service: &&Value| {
        let address = format!("{}:", service["metadata"]["name"].as_str().expect("a name"));
        told.iter().any(|text| text.split(['=', '/']).any(|part| part.starts_with(&address)))
    };
    services.filter(named).collect()
}

#[test]
fn who_has_the_address_of_a_server_is_let_out_to_it_and_in_by_it() {
    for target in TARGETS {
        let objects = manifests(target);
        let (mut calls, mut wrong) = (BTreeSet::new(), Vec::new());
        for object in &objects {
            for service in containers(object).into_iter().flat_map(|container| called(&objects, container)) {
                let caller = &pod(object).expect("it has containers")["metadata"]["labels"];
                let server = objects.iter().filter_map(pod).map(|pod| &pod["metadata"]["labels"]);
                let mut server = server.filter(|labels| labels["app"] == service["spec"]["selector"]["app"]);
                let server = server.next().expect("a Service is of Pods");
                for port in items(&service["spec"]["ports"]).filter(|port| port["name"] != "metrics") {
                    let port = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
                    let of = format!("{target}: {} calls {} at {port}", name(object), name(service));
                    if !allowed(&objects, caller, "egress", "to", server, port) {
                        wrong.push(format!("{of}, and is not let out"));
                    }
                    if !allowed(&objects, server, "ingress", "from", caller, port) {
                        wrong.push(format!("{of}, and is not let in"));
                    }
                }
                calls.insert((name(object), name(service)));
            }
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
        let of = |service: &str| calls.iter().filter(|(_, called)| called.ends_with(service)).count();
        // Everybody but itself and `store`; the control server; and all of them.
        assert_eq!(of("/worker1-internal-api-server"), 8, "{target}: {calls:#?}");
        assert_eq!(of("/worker1-async-computation-control-server"), 1, "{target}: {calls:#?}");
        assert_eq!(of("-collector"), if target == "on-premises" { 0 } else { 10 }, "{target}: {calls:#?}");
    }
}
