//! Compiles the service definitions with a compiler written in Rust: no system `protoc` is needed.
//! Messages that `halo-protocols` already has are taken from there.

use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    let shared = Path::new("../halo-protocols/proto");
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=../halo-protocols/proto");
    let mut files = Vec::new();
    find(root, &mut files)?;
    // The descriptors tell of every message, also of those that no service mentions.
    find(shared, &mut files)?;
    files.sort();
    let descriptors = protox::compile(&files, [root, shared])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.binpb"), prost::Message::encode_to_vec(&descriptors))?;

    let duchy = ".wfa.measurement.internal.duchy";
    let ours = "::halo_protocols::proto::wfa::measurement::internal::duchy";
    let mut builder = tonic_prost_build::configure()
        .codec_path("crate::codec::Codec")
        .btree_map(".")
        .bytes(".wfa.measurement.api.v2alpha.FulfillRequisitionRequest.BodyChunk")
        .bytes(".wfa.measurement.system.v1alpha.AdvanceComputationRequest.BodyChunk")
        .extern_path(format!("{duchy}.protocol"), format!("{ours}::protocol"))
        .extern_path(format!("{duchy}.config"), format!("{ours}::config"))
        .extern_path(".wfa.any_sketch", "::halo_protocols::proto::wfa::any_sketch")
        .extern_path(".wfa.frequency_count", "::halo_protocols::proto::wfa::frequency_count");
    for message in [
        "ElGamalPublicKey",
        "ElGamalKeyPair",
        "EncryptionPublicKey",
        "EncryptionKeyPair",
        "DifferentialPrivacyParams",
        "NoiseMechanism",
    ] {
        builder = builder.extern_path(format!("{duchy}.{message}"), format!("{ours}::{message}"));
    }
    let mut config = tonic_prost_build::Config::new();
    // The codec finds what a message consists of by its name.
    config.enable_type_names();
    builder.compile_fds_with_config(descriptors, config)?;
    Ok(())
}

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
