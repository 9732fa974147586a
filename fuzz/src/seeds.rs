//! Inputs to start from: valid ones, so that a search need not find out what a point or a request looks like.

use std::path::Path;
use std::{fs, io};

use halo_crypto::{Group, P256, Ristretto255};
use halo_protocols::proto::frequency_count::FrequencyVector;
use halo_protocols::proto::protocol::honest_majority_share_shuffle::AggregationPhaseInput;
use prost::Message as _;

use crate::requisition_shares::peer_message;
use crate::{
    METHODS, audit_log, certificates, config_files, console, event_log, fulfillments, keysets, messages,
    names, services, signatures, store_import,
};

/// Requests above this size teach nothing that smaller ones do not, and cost seconds each.
const LARGEST_REQUEST: u64 = 40_000;

/// The seeds of one target.
///
/// # Errors
/// If the test vectors cannot be read.
pub fn seeds(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let points = |count| [points::<P256>(count), points::<Ristretto255>(count)];
    Ok(match target {
        "decode_point" => [1, 3].into_iter().flat_map(points).collect(),
        "decode_ciphertexts" => {
            let records = (0..4_u8).flat_map(|choice| {
                points(4 * (usize::from(choice) + 1)).map(|points| [vec![choice], points].concat())
            });
            records.collect()
        }
        "stage_kernels" => requests()?,
        "requisition_shares" => shares(),
        "certificates" => certificates::seeds(),
        "signatures" => signatures::seeds(),
        "keysets" => keysets::seeds(),
        "config_files" => config_files::seeds(),
        "event_log" => event_log::seeds(),
        "fulfillments" => fulfillments::seeds(),
        "names" => names::seeds(),
        "messages" => messages::seeds(),
        "services" => services::seeds(),
        "store_import" => store_import::seeds(),
        "audit_log" => audit_log::seeds(),
        "console" => console::seeds(),
        // Nothing is invalid here: a few patterns do.
        _ => (0..16_u8)
            .map(|pattern| (0..=255).map(|i: u8| i.wrapping_mul(pattern) ^ pattern << 2).collect())
            .collect(),
    })
}

/// The encodings of the first multiples of the generator.
pub(crate) fn points<G: Group>(count: usize) -> Vec<u8> {
    let scalars: Vec<G::Scalar> = (1..=count as u64).map(G::Scalar::from).collect();
    let points = G::fixed_base_multiples(G::fixed_generator(), &scalars);
    let mut encoded = vec![0; count * G::POINT_LENGTH];
    G::encode(&points, &mut encoded).expect("small multiples of the generator are not the identity");
    encoded
}

/// What honest parties of a share shuffle over three registers read.
fn shares() -> Vec<Vec<u8>> {
    const REGISTERS: u8 = 3;
    let vector = FrequencyVector { data: vec![1, 2, 126] }.encode_to_vec();
    let share = |values: [u32; 3]| {
        AggregationPhaseInput {
            combined_frequency_vectors: values.to_vec(),
            register_count: REGISTERS.into(),
        }
        .encode_to_vec()
    };
    let input = |choice: u8, first: &[u8], second: &[u8]| {
        [&[3 * REGISTERS + choice, first.len() as u8], first, second].concat()
    };
    vec![
        input(0, &vector, &peer_message(REGISTERS.into())),
        input(1, &vector, &[5; 48]),
        input(2, &share([126, 4, 70]), &share([1, 0, 60])),
    ]
}

/// The smaller requests of the recorded computations, each behind the number of its method.
fn requests() -> io::Result<Vec<Vec<u8>>> {
    let mut requests = Vec::new();
    for case in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../halo-protocols/tests/vectors"))? {
        let case = case?;
        if !case.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(case.path())? {
            let file = file?;
            let name = file.file_name();
            // NN_Method_actor.request.pb
            let method = name.to_str().filter(|name| name.ends_with(".request.pb")).and_then(|name| {
                let method = name.split('_').nth(1)?;
                METHODS.iter().position(|known| *known == method)
            });
            if let Some(method) = method
                && file.metadata()?.len() <= LARGEST_REQUEST
            {
                requests.push([vec![method as u8], fs::read(file.path())?].concat());
            }
        }
    }
    requests.sort();
    requests.dedup();
    Ok(requests)
}
