//! Every RPC driven by a client that is not ours: grpcio for Python, with the stubs that our descriptors make
//! (`grpcio/client.py`). With those of somebody else's `.proto` files if `HALO_DESCRIPTORS` names a `FileDescriptorSet` of
//! them: then every RPC that both have.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use halo_duchy_shell::proto::DESCRIPTORS;
use prost_reflect::DescriptorPool;
use sha2::{Digest, Sha256};

use crate::world::{Part, World};

#[test]
fn pythons_grpcio_drives_every_rpc() {
    let Some(python) = interpreter() else { return };
    let world = World::start("aggregator");
    let folder = tempfile::tempdir().expect("a folder");
    let descriptors = match std::env::var_os("HALO_DESCRIPTORS") {
        Some(theirs) => PathBuf::from(theirs),
        None => {
            let ours = folder.path().join("descriptors.binpb");
            let written =
                Command::new(env!("CARGO_BIN_EXE_halo-duchy")).arg("descriptors").arg(&ours).status();
            assert!(written.expect("the program runs").success());
            ours
        }
    };
    let servers = [
        ("kingdom", Part::Kingdom),
        ("internal", Part::InternalApi),
        ("async", Part::AsyncControl),
        ("control", Part::Control),
        ("fulfillment", Part::Fulfillment),
    ];
    let servers = servers.map(|(name, part)| (name.to_owned(), world.address(part).into()));
    let config = serde_json::json!({
        "descriptors": descriptors,
        "root": world.pki.collection(),
        "pki": world.pki.collection().parent(),
        "duchy": world.duchy,
        "servers": serde_json::Map::from_iter(servers),
    });
    let mut client = Command::new(python)
        .arg(source().join("client.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("just installed");
    client.stdin.take().expect("piped").write_all(config.to_string().as_bytes()).expect("it reads");
    let output = client.wait_with_output().expect("it ends");
    let (called, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{called}{complaint}");
    let called: BTreeSet<&str> = called.lines().filter(|line| !line.starts_with("refused")).collect();
    let theirs = rpcs(&std::fs::read(&descriptors).expect("readable"));
    let ours = rpcs(DESCRIPTORS);
    let both: BTreeSet<&str> = ours.intersection(&theirs).map(String::as_str).collect();
    assert!(both.len() > 30, "{both:?}");
    assert_eq!(called, both);
}

/// The full name of every RPC of a set of descriptors.
fn rpcs(descriptors: &[u8]) -> BTreeSet<String> {
    let pool = DescriptorPool::decode(descriptors).expect("well-formed");
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.map(|method| method.full_name().to_owned()).collect()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/grpcio")
}

/// Python with grpcio in an environment of its own, made once per machine and version outside the clone.
fn interpreter() -> Option<PathBuf> {
    install().map_err(|reason| skipped(&reason)).ok()
}

/// `Err` with the reason if Python or the packages cannot be had.
fn install() -> Result<PathBuf, String> {
    let requirements = source().join("requirements.txt");
    let version = Sha256::digest(std::fs::read(&requirements).expect("in the repository"));
    let environment = cache()?.join(format!("python-grpcio-{}", &hex::encode(version)[..16]));
    let python = environment.join("bin/python");
    if environment.join("complete").exists() {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    let pip = ["-m", "pip", "install", "--quiet", "--only-binary=:all:", "--requirement"];
    run(Command::new(&python).args(pip).arg(&requirements))?;
    std::fs::write(environment.join("complete"), "").map_err(|error| error.to_string())?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("the command {name}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// The folder of `.ci/lib.sh`.
fn cache() -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Ok(cache.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("halo-duchy"))
}

/// Tells `.ci/run` that the test could not run here. Not by `eprintln!`, which libtest swallows.
fn skipped(reason: &str) {
    let line = format!("SKIPPED python-grpcio: {}\n", reason.lines().next().unwrap_or_default());
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}
