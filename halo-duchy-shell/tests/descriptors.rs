//! Our interfaces against upstream's: numbers, types, labels and streaming of everything that both have, and nothing
//! missing that upstream's processes need (`tests/vectors/descriptors.json`).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind};
use serde::Deserialize;

#[derive(Deserialize)]
struct Upstream {
    services: BTreeMap<String, Service>,
    messages: BTreeMap<String, Message>,
    enums: BTreeMap<String, Enum>,
}

#[derive(Deserialize)]
struct Service {
    required: BTreeSet<String>,
    methods: BTreeMap<String, Method>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Method {
    request: String,
    response: String,
    client_streaming: bool,
    server_streaming: bool,
}

#[derive(Deserialize)]
struct Message {
    required: bool,
    #[serde(default)]
    map_entry: bool,
    fields: Vec<Field>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Field {
    name: String,
    number: u32,
    r#type: String,
    label: String,
    oneof: Option<String>,
}

#[derive(Deserialize)]
struct Enum {
    required: bool,
    values: BTreeMap<String, i32>,
}

fn upstream() -> Upstream {
    serde_json::from_str(include_str!("vectors/descriptors.json")).expect("the vectors are well-formed")
}

/// What `halo-duchy descriptors` writes.
fn ours() -> DescriptorPool {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ours.binpb");
    let run = Command::new(env!("CARGO_BIN_EXE_halo-duchy")).arg("descriptors").arg(&path).status();
    assert!(run.expect("the program runs").success());
    let written = std::fs::read(&path).expect("written");
    DescriptorPool::decode(written.as_slice()).expect("our descriptors are well-formed")
}

/// A field as the vectors describe one.
fn describe(field: &FieldDescriptor) -> Field {
    let r#type = match field.kind() {
        Kind::Message(message) => format!("message {}", message.full_name()),
        Kind::Enum(enumeration) => format!("enum {}", enumeration.full_name()),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    let synthetic = field.field_descriptor_proto().proto3_optional();
    let label = match field.cardinality() {
        Cardinality::Repeated => "repeated",
        Cardinality::Required => "required",
        Cardinality::Optional if synthetic => "optional",
        Cardinality::Optional => "singular",
    };
    Field {
        name: field.name().to_owned(),
        number: field.number(),
        r#type,
        label: label.to_owned(),
        oneof: field.containing_oneof().filter(|_| !synthetic).map(|oneof| oneof.name().to_owned()),
    }
}

/// Whether the vectors ask for the type of a field: one whose message is not required may be left out.
fn is_type_required(upstream: &Upstream, r#type: &str) -> bool {
    match r#type.split_once(' ') {
        Some(("message", name)) => upstream.messages.get(name).is_none_or(|message| message.required),
        Some((_, name)) => upstream.enums.get(name).is_none_or(|enumeration| enumeration.required),
        None => true,
    }
}

#[test]
fn messages_are_upstreams() {
    let (upstream, ours) = (upstream(), ours());
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (name, message) in &upstream.messages {
        let Some(our) = ours.get_message_by_name(name) else {
            if message.required {
                wrong.push(format!("{name} is missing"));
            }
            continue;
        };
        if our.is_map_entry() != message.map_entry {
            wrong.push(format!("{name}: map entry {}", our.is_map_entry()));
        }
        for field in &message.fields {
            match our.get_field_by_name(&field.name) {
                Some(found) if describe(&found) == *field => compared += 1,
                Some(found) => wrong.push(format!("{name}: {:?}, not {field:?}", describe(&found))),
                None if message.required && is_type_required(&upstream, &field.r#type) => {
                    wrong.push(format!("{name}.{} is missing", field.name));
                }
                // Its number is not to be used for anything else.
                None => {
                    if let Some(found) = our.get_field(field.number) {
                        wrong.push(format!("{name}: {} has the number of {field:?}", found.name()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 400, "only {compared} fields were compared");
}

#[test]
fn enums_are_upstreams() {
    let (upstream, ours) = (upstream(), ours());
    let mut wrong = Vec::new();
    for (name, enumeration) in &upstream.enums {
        let Some(our) = ours.get_enum_by_name(name) else {
            if enumeration.required {
                wrong.push(format!("{name} is missing"));
            }
            continue;
        };
        let values: BTreeMap<_, _> =
            our.values().map(|value| (value.name().to_owned(), value.number())).collect();
        for (value, number) in &enumeration.values {
            match values.get(value) {
                Some(found) if found == number => {}
                None if !enumeration.required => {}
                found => wrong.push(format!("{name}.{value}: {found:?}, not {number}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn services_are_upstreams() {
    let (upstream, ours) = (upstream(), ours());
    let mut wrong = Vec::new();
    for (name, service) in &upstream.services {
        let our = ours.get_service_by_name(name);
        let methods: BTreeMap<_, _> = our
            .iter()
            .flat_map(|service| service.methods())
            .map(|method| {
                let described = Method {
                    request: method.input().full_name().to_owned(),
                    response: method.output().full_name().to_owned(),
                    client_streaming: method.is_client_streaming(),
                    server_streaming: method.is_server_streaming(),
                };
                (method.name().to_owned(), described)
            })
            .collect();
        for required in &service.required {
            if !methods.contains_key(required) {
                wrong.push(format!("{name}.{required} is missing"));
            }
        }
        for (method, expected) in &service.methods {
            if methods.get(method).is_some_and(|found| found != expected) {
                wrong.push(format!("{name}.{method}: {:?}, not {expected:?}", methods.get(method)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
