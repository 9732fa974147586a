//! Which files a Pod has, and who it is to others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::manifests::{TARGETS, manifests, name};
use crate::{containers, is_ours, items, pod, texts};

/// Where the files are of which a Pod must have its own alone.
const SHARED: [&str; 2] = ["certs-and-configs", "config-files"];

/// Absolute paths among arguments, `--flag=/path` or in a value such as `file:/path?more`.
fn paths(args: &[String]) -> impl Iterator<Item = &str> {
    let values = args.iter().filter_map(|arg| arg.split_once('=').map(|(_, value)| value));
    let files = values.filter_map(|value| match value.split_once("file:") {
        Some((_, path)) => path.split(['?', '&', ';']).next(),
        None => Some(value),
    });
    files.filter(|value| value.starts_with('/'))
}

/// The Secret or ConfigMap that a volume is of, and the names of its files if it lists them.
fn source(volume: &Value) -> (Option<&str>, Option<Vec<&str>>) {
    let (secret, map) = (&volume["secret"], &volume["configMap"]);
    let of = secret["secretName"].as_str().or(map["name"].as_str());
    let list = if secret.is_null() { &map["items"] } else { &secret["items"] };
    let files = list.as_array().map(|items| items.iter().map(|item| item["path"].as_str().expect("a path")));
    (of, files.map(Iterator::collect))
}

/// What is wrong with the files of a Pod, in both directions.
fn wrong_files(object: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let spec = &pod(object).expect("a Pod")["spec"];
    let volumes: BTreeMap<_, _> =
        items(&spec["volumes"]).map(|one| (one["name"].as_str().expect("a name"), one)).collect();
    let mut used = BTreeSet::new();
    for container in containers(object) {
        let args = texts(&container["args"]);
        for path in paths(&args) {
            let mounted = items(&container["volumeMounts"]).find_map(|mount| {
                let folder = mount["mountPath"].as_str()?;
                Some((mount["name"].as_str()?, path.strip_prefix(folder)?.strip_prefix('/')?))
            });
            let file = mounted.and_then(|(volume, file)| Some((volumes.get(volume)?, file)));
            match file.map(|(volume, file)| (volume, source(volume), file)) {
                None => wrong.push(format!("{path} is not mounted")),
                Some((_, (_, Some(files)), file)) if !files.contains(&file) => {
                    wrong.push(format!("{path} is not among the files of its volume"));
                }
                Some((volume, _, file)) => {
                    used.insert((volume["name"].as_str().expect("a name"), file.to_owned()));
                }
            }
        }
    }
    for (volume, source) in volumes.iter().map(|(name, volume)| (*name, source(volume))) {
        match source {
            (Some(of), None) if SHARED.contains(&of) => wrong.push(format!("has all of {of}")),
            (_, None) if !used.iter().any(|(one, _)| *one == volume) => {
                wrong.push(format!("no flag names a file of {volume}"));
            }
            (_, files) => wrong.extend(
                files
                    .into_iter()
                    .flatten()
                    .filter(|file| !used.contains(&(volume, (*file).to_owned())))
                    .map(|file| format!("no flag names {file}, which it has")),
            ),
        }
    }
    wrong.into_iter().map(|why| format!("{}: {why}", name(object))).collect()
}

#[test]
fn pods_have_the_files_that_their_flags_name_and_no_others() {
    for target in TARGETS {
        let objects = manifests(target);
        let pods: Vec<_> = objects.iter().filter(|object| pod(object).is_some()).collect();
        assert!(pods.len() >= 10, "{target}");
        let wrong: Vec<_> = pods.into_iter().flat_map(wrong_files).collect();
        assert!(wrong.is_empty(), "{target}:\n{}", wrong.join("\n"));
    }
}

/// The names of those of our Pods that have a file.
fn owners(objects: &[Value], file: &str) -> Vec<String> {
    let has = |object: &&Value| {
        let volumes = pod(object).map(|pod| &pod["spec"]["volumes"]).into_iter().flat_map(items);
        volumes.flat_map(|volume| source(volume).1.unwrap_or_default()).any(|one| one == file)
    };
    let mut names: Vec<_> = objects.iter().filter(has).map(name).collect();
    names.sort();
    names
}

#[test]
fn secret_keys_are_with_who_uses_them() {
    const HERALD: &str = "Deployment/worker1-herald-daemon-deployment";
    const MILLS: [&str; 2] = ["PodTemplate/worker1-hmss-mill", "PodTemplate/worker1-llv2-mill"];
    for target in TARGETS {
        let objects = manifests(target);
        assert_eq!(owners(&objects, "worker1_kek.tink"), [&[HERALD], &MILLS[..]].concat(), "{target}");
        assert_eq!(owners(&objects, "worker1_cs_private.der"), MILLS, "{target}");
    }
}

/// Rights on the key encryption key in a cloud are given to an account, so none that has them is a server's.
#[test]
fn who_has_the_key_encryption_key_shares_its_account_with_nobody_else() {
    for target in TARGETS {
        let objects = manifests(target);
        let mut accounts: BTreeMap<bool, BTreeSet<&str>> = BTreeMap::new();
        for object in &objects {
            let ours = containers(object).into_iter().filter(|container| is_ours(container));
            for args in ours.map(|container| texts(&container["args"])) {
                let has = args.iter().any(|arg| arg.starts_with("--key-encryption-key-"));
                let account = &pod(object).expect("a Pod")["spec"]["serviceAccountName"];
                accounts.entry(has).or_default().insert(account.as_str().unwrap_or("default"));
            }
        }
        assert_eq!(accounts[&true], BTreeSet::from(["storage-and-keys"]), "{target}");
        assert!(accounts[&true].is_disjoint(&accounts[&false]), "{target}: {accounts:?}");
    }
}
