//! The files of `deploy`, read.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// The manifests for each target.
pub const TARGETS: [&str; 3] = ["gke", "eks", "on-premises"];

/// The path of a file of `deploy`.
pub fn deploy(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)
}

/// The documents of a text in YAML.
pub fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).expect("YAML")
}

/// The objects for a target.
pub fn manifests(target: &str) -> Vec<Value> {
    let path = deploy(&format!("kubernetes/{target}.yaml"));
    documents(&fs::read_to_string(path).expect("manifests"))
}

/// What tells objects of a namespace apart.
pub fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}
