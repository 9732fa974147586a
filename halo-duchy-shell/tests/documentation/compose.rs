//! The page that leads from docker-compose to a result, run as it stands, but for a container engine: a script in the place of
//! `docker` runs what the services of `deploy/docker-compose.yaml` say as processes of this machine.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::by_hand;
use crate::pages;

const PAGE: &str = "docs/deployment/docker-compose.md";
const SERVICES: &str = "deploy/docker-compose.yaml";

/// The sketches of the Kingdom of the services: decay rate and size are those that nobody has chosen otherwise.
const SKETCH: (f64, i64) = (5.6, 1_000_000);

/// `docker`, as far as the page goes. The folder of the test has in `services/NAME` the words that a service runs the program with,
/// in `extra/NAME` what keeps it apart from the others on one machine, and in `places` who listens where, for `sed`.
const DOCKER: &str = r#"#!/usr/bin/env bash
set -euo pipefail
root=${0%/bin/docker}
shift_flags() { # the words of the command that are left, without flags, are in `words`; what is mounted is in `places`
    words=() places=()
    while [[ $1 == -* ]]; do
        if [[ $1 == --volume ]]; then
            IFS=: read -r here there _ <<<"$2"
            places+=(-e "s#$there#$here#")
            shift
        fi
        shift
    done
    words=("$@")
}
words_of() { # SERVICE, WORD...: sets `words` to what they are on this machine
    mapfile -t words < <(printf '%s\n' "${@:2}" |
        sed -f "$root/places" -e "s#/pki/#$root/pki/#" -e "s#/data/#$root/data/$1/#" "${places[@]}")
}
case $1-${2-} in
build-*) ;;
compose-run)
    shift_flags "${@:3}"
    service=${words[0]}
    own=("${words[@]:1}")
    ((${#own[@]})) || mapfile -t own <"$root/services/$service"
    words_of "$service" "${own[@]}"
    halo-duchy "${words[@]}"
    ;;
compose-exec)
    shift_flags "${@:3}"
    [[ ${words[1]} == /halo-duchy ]]
    words_of "${words[0]}" "${words[@]:2}"
    halo-duchy "${words[@]}"
    ;;
compose-up)
    places=()
    for service in $(ls "$root/extra"); do
        mapfile -t own < <(cat "$root/services/$service" "$root/extra/$service")
        words_of "$service" "${own[@]}"
        mkdir -p "$root/data/$service"
        halo-duchy "${words[@]}" >"$root/$service.log" 2>&1 </dev/null &
        echo $! >>"$root/running"
    done
    ;;
compose-down)
    kill $(cat "$root/running")
    for process in $(cat "$root/running"); do
        while kill -0 "$process" 2>/dev/null; do sleep 0.1; done
    done
    rm "$root/running"
    ;;
*)
    echo "docker: $* is no command of the page" >&2
    exit 1
    ;;
esac
"#;

#[test]
fn the_page_gives_a_result() {
    let page = pages::all().into_iter().find(|page| page.path == PAGE).expect("the page");
    let script: String =
        page.code().into_iter().filter(|code| code.is_shell()).map(|code| code.text + "\n").collect();

    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    for name in ["bin", "deploy", "services", "extra", "pki", "data"] {
        fs::create_dir(root.join(name)).expect("a folder");
    }
    let docker = root.join("bin/docker");
    fs::write(&docker, DOCKER).expect("a script");
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).expect("rights");
    write_services(root);

    // What the page starts ends with it, also if a command fails.
    let script = format!(
        "set -euo pipefail\ntrap '[[ ! -e {0}/running ]] || docker compose down' EXIT\n{script}",
        root.display()
    );
    let said = by_hand::run(&script, root, &[&root.join("bin")]);
    by_hand::check_result(&root.join("deploy/result.json"), SKETCH);
    assert_eq!(said.matches("FULFILLED").count(), 3, "{said}");
    // What the duchy has in its own database.
    assert!(said.contains("succeeded"), "{said}");
}

/// What the services run, for [`DOCKER`].
fn write_services(root: &Path) {
    let text = fs::read_to_string(pages::root().join(SERVICES)).expect("the services");
    let file: Value = serde_saphyr::from_str(&text).expect("YAML");
    let mut ports = by_hand::free_ports(1);
    let mut places = String::new();
    for (name, service) in file["services"].as_object().expect("services") {
        // Others are of other programs.
        if !service["image"].as_str().is_some_and(|image| image.contains("halo-duchy")) {
            continue;
        }
        let words = service["command"].as_array().expect("a command").iter();
        let mut words: Vec<&str> = words.map(|word| word.as_str().expect("a word")).collect();
        let listens: &[_] = match words[0] {
            "pki" => &[],
            "kingdom" => &[("--port=", "8443")],
            _ => &[("--computation-control-port=", "8443"), ("--requisition-fulfillment-port=", "8444")],
        };
        let mut extra = String::from("--listen-address=127.0.0.1\n--health-port=0\n");
        for ((flag, port), free) in listens.iter().zip(&mut ports) {
            words.retain(|word| !word.starts_with(flag));
            let _ = writeln!(extra, "{flag}{free}");
            let _ = writeln!(places, "s#\\b{name}:{port}$#127.0.0.1:{free}#");
        }
        fs::write(root.join("services").join(name), words.join("\n") + "\n").expect("a file");
        if !listens.is_empty() {
            fs::write(root.join("extra").join(name), extra).expect("a file");
        }
    }
    fs::write(root.join("places"), places).expect("a file");
}
