//! halo-crypto and halo-protocols do no I/O: no files, sockets, clocks, environment, threads of their own or ambient
//! randomness, in their sources and in what they depend on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// What the sources must not name.
const FORBIDDEN: [&str; 11] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::io",
    "std::thread",
    "std::time",
    "SystemTime",
    "getrandom",
    "OsRng",
    "SysRng",
];

/// Crates that do I/O, or give the means to.
const FORBIDDEN_CRATES: [&str; 8] =
    ["tokio", "tonic", "hyper", "mio", "async-std", "socket2", "rusqlite", "object_store"];

#[test]
fn the_sources_name_no_io() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for directory in ["src", "../halo-crypto/src"] {
        rust_files(&root.join(directory), &mut sources)?;
    }
    assert!(sources.len() > 20, "only {} sources were found", sources.len());
    for source in sources {
        let text = fs::read_to_string(&source)?;
        // Tests may read files and clocks.
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in
            shipped.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            let found = FORBIDDEN.iter().find(|name| line.contains(**name));
            assert!(found.is_none(), "{}:{}: {line}", source.display(), number + 1);
        }
    }
    Ok(())
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == "tests" || name == "tests.rs" {
            continue;
        }
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[test]
fn the_dependencies_do_no_io() -> Result<(), Box<dyn std::error::Error>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "halo-protocols", "--edges", "normal", "--all-features"])
        .args(["--prefix", "none", "--format", "{p}", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout)?;
    let crates: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains(&"halo-crypto") && crates.contains(&"prost"), "this is no tree of ours:\n{tree}");
    for forbidden in FORBIDDEN_CRATES {
        assert!(!crates.contains(&forbidden), "halo-protocols depends on {forbidden}");
    }
    Ok(())
}
