//! What the benchmarks share: seeded inputs of named sizes, whole computations, OpenSSL's P-256 to compare with, and what
//! becomes of their results.

pub mod computation;
pub mod openssl_p256;
pub mod report;
pub mod results;
pub mod stopwatch;

use halo_crypto::backend::BackendError;
use halo_crypto::{Backend, Group};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// Seed of every random input: two runs measure the same work.
pub const SEED: u64 = 0x4a10_d0c4;

/// Elements in a batch: a small requisition, and enough for every cache to be left.
pub const SIZES: [usize; 2] = [1_000, 10_000];

/// Registers of a sketch: [`SIZES`], and with the feature `large` what takes hours of a processor upstream.
pub const SKETCH_SIZES: &[usize] =
    if cfg!(feature = "large") { &[1_000, 10_000, 100_000, 1_000_000] } else { &SIZES };

/// Forces the backend that the variable `HALO_BACKEND` names, if any, and prints which one computes.
///
/// # Errors
/// [`BackendError`] if there is none of that name, or the processor lacks it.
pub fn choose_backend() -> Result<(), BackendError> {
    if let Ok(name) = std::env::var("HALO_BACKEND") {
        name.parse::<Backend>()?.force()?;
    }
    println!("backend of P-256: {}", Backend::active());
    Ok(())
}

/// The source of all inputs.
pub fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(SEED)
}

/// `count` scalars.
pub fn scalars<G: Group>(count: usize) -> Vec<G::Scalar> {
    let mut rng = rng();
    (0..count).map(|_| G::random_scalar(&mut rng)).collect()
}

/// `count` points that have just been computed: not normalised, where the suite knows the difference.
pub fn points<G: Group>(count: usize) -> Vec<G::Point> {
    G::fixed_base_multiples(G::fixed_generator(), &scalars::<G>(count))
}

/// `count` points' encodings.
pub fn encodings<G: Group>(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count * G::POINT_LENGTH];
    G::encode(&points::<G>(count), &mut bytes).expect("no random multiple of the generator is the identity");
    bytes
}
