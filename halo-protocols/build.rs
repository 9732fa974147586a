//! Compiles the protocol messages with a compiler written in Rust: no system `protoc` is needed.

use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    let mut files = Vec::new();
    find(root, &mut files)?;
    files.sort();
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(&files, [root])?;
    let mut config = prost_build::Config::new();
    // Their derived `Debug` would print secrets; `proto.rs` writes it by hand.
    config.skip_debug(SECRET_MESSAGES.iter().copied());
    config.btree_map(["."]);
    config.compile_fds(descriptors)?;
    Ok(())
}

/// Messages that hold key material or seeds.
const SECRET_MESSAGES: &[&str] = &[
    ".wfa.any_sketch.crypto.ElGamalKeyPair",
    ".wfa.frequency_count.PrngSeed",
    ".wfa.measurement.internal.duchy.ElGamalKeyPair",
    ".wfa.measurement.internal.duchy.protocol.CompleteShufflePhaseRequest",
    ".wfa.measurement.internal.duchy.protocol.HonestMajorityShareShuffle.ComputationDetails",
    ".wfa.measurement.internal.duchy.protocol.HonestMajorityShareShuffle.ShufflePhaseInput",
];

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
