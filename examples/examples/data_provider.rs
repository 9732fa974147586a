//! A data provider's side and nothing else: from a log of impressions to what is handed to the duchies.
//!
//! ```text
//! data_provider sketch LOG SKETCH KEY...
//! data_provider shares LOG POPULATION VECTOR SEED
//! ```
//!
//! A LOG has the id of the person who was shown something in each line, as many times as it was shown; ids are any text.
//!
//! `sketch`, for Liquid Legions v2: the KEYs are the duchies' public keys, each a serialised `ElGamalPublicKey`, and SKETCH becomes
//! what the requisition is fulfilled with. The sizes are those of the constants below; a real data provider takes them from the
//! measurement's protocol, and keeps only people that [`VidSamplingInterval`] contains.
//!
//! `shares`, for the honest-majority share shuffle: POPULATION has a number of a person in each line, LOG such numbers in place of
//! ids. VECTOR becomes a serialised `FrequencyVector`, for the worker that the Kingdom says. SEED becomes the 48 bytes of the
//! other one's share. **Either file alone tells nothing, both together everything**: a real data provider signs the seed, seals
//! it for the other worker, and writes neither down.
//!
//! [`VidSamplingInterval`]: halo_protocols::data_provider::VidSamplingInterval

use std::collections::HashMap;
use std::fs;
use std::process::ExitCode;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, P256};
use halo_protocols::data_provider::{
    FrequencyVectorBuilder, SketchParameters, VidIndexMap, encrypt_sketch, plain_sketch, virtual_person_id,
};
use halo_protocols::hmss::generate_secret_shares;
use halo_protocols::kernel::{KernelContext, combine_el_gamal_public_keys};
use halo_protocols::proto::any_sketch::crypto::encrypt_sketch_request::DestroyedRegisterStrategy;
use halo_protocols::proto::any_sketch::crypto::{
    CombineElGamalPublicKeysRequest, ElGamalPublicKey, EncryptSketchRequest,
};
use halo_protocols::proto::frequency_count::{FrequencyVector, SecretShareGeneratorRequest};
use prost::Message;

type Error = Box<dyn std::error::Error>;

const MAXIMUM_FREQUENCY: u32 = 10;
const SKETCH: SketchParameters =
    SketchParameters { decay_rate: 12.0, size: 100_000, sampling_indicator_size: 10_000_000, salt: None };
const RING_MODULUS: u32 = 127;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["sketch", log, sketch, ref keys @ ..] if !keys.is_empty() => encrypted_sketch(log, sketch, keys),
        ["shares", log, population, vector, seed] => shares(log, population, vector, seed),
        _ => Err("usage: data_provider sketch LOG SKETCH KEY... | shares LOG POPULATION VECTOR SEED".into()),
    };
    match done {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("data_provider: {error}");
            ExitCode::FAILURE
        }
    }
}

fn encrypted_sketch(log: &str, sketch: &str, keys: &[&str]) -> Result<String, Error> {
    let el_gamal_keys = keys
        .iter()
        .map(|file| {
            ElGamalPublicKey::decode(&*read(file)?).map_err(|error| format!("{file}: {error}").into())
        })
        .collect::<Result<_, Error>>()?;
    let request = CombineElGamalPublicKeysRequest { curve_id: P256::CURVE_ID, el_gamal_keys };
    let composite = combine_el_gamal_public_keys::<P256>(&request, &context())?.el_gamal_keys;

    let log = text(log)?;
    let mut impressions = HashMap::<i64, u32>::new();
    for id in log.lines() {
        *impressions.entry(virtual_person_id(id)).or_default() += 1;
    }
    let people = impressions.len();
    let plain = plain_sketch(&SKETCH, impressions);
    let registers = plain.registers.len();
    let request = EncryptSketchRequest {
        sketch: Some(plain),
        el_gamal_keys: composite,
        curve_id: P256::CURVE_ID,
        maximum_value: MAXIMUM_FREQUENCY.cast_signed(),
        destroyed_register_strategy: DestroyedRegisterStrategy::FlaggedKey.into(),
        noise_parameter: None,
    };
    let encrypted = encrypt_sketch::<P256>(&request, &context())?.encrypted_sketch;
    write(sketch, &encrypted)?;
    Ok(format!("{people} people, {registers} registers, {} bytes", encrypted.len()))
}

fn shares(log: &str, population: &str, vector: &str, seed: &str) -> Result<String, Error> {
    let population = VidIndexMap::new(numbers(population)?)?;
    let mut builder = FrequencyVectorBuilder::new(&population, 0.0, 1.0, MAXIMUM_FREQUENCY)?;
    numbers(log)?.into_iter().for_each(|vid| builder.increment(vid));
    let request = SecretShareGeneratorRequest { ring_modulus: RING_MODULUS, data: builder.build() };
    let (registers, people) = (request.data.len(), request.data.iter().filter(|count| **count > 0).count());
    let shares = generate_secret_shares(&request, &context())?;
    let prng_seed = shares.share_seed.as_ref().ok_or("a share without a seed")?;
    write(seed, &[prng_seed.key.as_slice(), &prng_seed.iv].concat())?;
    write(vector, &FrequencyVector { data: shares.share_vector.clone() }.encode_to_vec())?;
    Ok(format!("{people} people, {registers} registers"))
}

/// A seed of its own for each use.
fn context() -> KernelContext {
    KernelContext::new(Executor::serial(), StreamSeed::random(&mut UnwrapErr(SysRng)))
}

fn numbers(file: &str) -> Result<Vec<i64>, Error> {
    let text = text(file)?;
    let number = |line: &str| line.parse().map_err(|_| format!("{file}: `{line}` is no number").into());
    text.lines().map(number).collect()
}

fn text(file: &str) -> Result<String, Error> {
    fs::read_to_string(file).map_err(|error| format!("{file}: {error}").into())
}

fn read(file: &str) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(|error| format!("{file}: {error}").into())
}

fn write(file: &str, bytes: &[u8]) -> Result<(), Error> {
    fs::write(file, bytes).map_err(|error| format!("{file}: {error}").into())
}
