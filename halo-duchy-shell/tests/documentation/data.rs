//! What pages show of configuration is what its reader takes: YAML, JSON, TOML and protobuf text.

use std::fs;
use std::path::Path;
use std::process::Command;

use halo_duchy_shell::kingdom::config_file::ConfigFile;
use serde_json::Value;

use crate::assert_none;
use crate::cargo;
use crate::pages;

#[test]
fn configuration_is_read() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages::all() {
        for code in page.code() {
            let read = match code.language {
                Some("yaml") => yaml(&code.text),
                Some("json") => {
                    serde_json::from_str::<Value>(&code.text).map(drop).map_err(|error| error.to_string())
                }
                Some("toml") => manifest(&code.text),
                Some("textproto") => kingdom(&code.text),
                _ => continue,
            };
            seen += 1;
            wrong.extend(read.err().map(|why| format!("{}: {why}", code.place())));
        }
    }
    assert_none(&wrong);
    assert!(seen > 4, "only {seen} were found");
}

fn yaml(text: &str) -> Result<(), String> {
    match serde_saphyr::from_str::<Value>(text) {
        Ok(Value::Object(_) | Value::Array(_)) => Ok(()),
        Ok(other) => Err(format!("is no more than {other}")),
        Err(error) => Err(error.to_string()),
    }
}

/// A configuration of the development Kingdom, of which no file that it names is there.
fn kingdom(text: &str) -> Result<(), String> {
    let folder = Path::new("/nonexistent");
    ConfigFile::parse(text, folder).map(drop).map_err(|error| error.to_string())
}

/// Dependencies: cargo understands them, and those in a clone are there, with the features that are named.
fn manifest(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("src")).expect("a folder");
    fs::write(folder.path().join("src/main.rs"), "fn main() {}").expect("a file");
    let head = "[package]\nname = \"page\"\nedition = \"2024\"\n\n";
    fs::write(folder.path().join("Cargo.toml"), format!("{head}{text}")).expect("a file");
    let page = metadata(&folder.path().join("Cargo.toml"))?;
    let ours = metadata(&pages::root().join("Cargo.toml"))?;
    let packages = ours["packages"].as_array().expect("packages");
    for dependency in page["packages"][0]["dependencies"].as_array().expect("dependencies") {
        let Some(path) = dependency["path"].as_str() else { continue };
        let Some(package) = packages.iter().find(|package| package["name"] == dependency["name"]) else {
            return Err(format!("there is no {}", dependency["name"]));
        };
        let name = package["name"].as_str().expect("a name");
        if !path.ends_with(&format!("/halo-duchy/{}", cargo::folder(name))) {
            return Err(format!("{name} is not at {path}"));
        }
        for feature in dependency["features"].as_array().expect("features") {
            let feature = feature.as_str().expect("a feature");
            if package["features"].get(feature).is_none() {
                return Err(format!("{name} has no feature {feature}"));
            }
        }
    }
    Ok(())
}

fn metadata(manifest: &Path) -> Result<Value, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1", "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("cargo runs");
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).expect("JSON"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn what_cannot_be_read_is_noticed() {
    assert!(yaml("a: [b").is_err() && yaml("a word").is_err());
    assert!(kingdom("duchies { no_field: 1 }").is_err());
    assert!(manifest("[dependencies").is_err());
    let dependency = |rest: &str| manifest(&format!("[dependencies]\nhalo-crypto = {{ path = {rest} }}\n"));
    assert_eq!(dependency("\"../halo-duchy/halo-crypto\", features = [\"testing\"]"), Ok(()));
    assert!(dependency("\"../halo-duchy/crypto\"").is_err());
    assert!(dependency("\"../halo-duchy/halo-crypto\", features = [\"none\"]").is_err());
}
