//! Shares of a data provider's frequency vector, one of them a seed (docs/protocols/hmss.md#the-idea).

use halo_crypto::prg::PrngSeed;
use halo_crypto::ring::RingModulus;
use halo_crypto::secret_sharing::split_with_seed;
use sha2::{Digest, Sha256};

use super::ShareShuffleError;
use super::registers;
use crate::kernel::{KernelContext, KernelError};
use crate::proto::frequency_count::{self, SecretShare, SecretShareGeneratorRequest};

/// Splits a vector into a seed and the difference between the vector and what the seed expands to.
///
/// # Errors
/// [`KernelError`]: no values, one that is not below the modulus, or a modulus outside 2 to 2^30.
///
/// # Security
/// Each share alone is uniform; who has both has the vector. The seed is a function of the context's seed and the
/// request.
pub fn generate_secret_shares(
    request: &SecretShareGeneratorRequest,
    context: &KernelContext,
) -> Result<SecretShare, KernelError> {
    let SecretShareGeneratorRequest { ring_modulus, data } = request;
    let modulus = RingModulus::new(*ring_modulus).map_err(ShareShuffleError::Modulus)?;
    let mut digest = Sha256::new();
    digest.update(b"secret shares");
    digest.update(ring_modulus.to_be_bytes());
    registers::digest(data, &mut digest);
    let streams = context.derive(&digest.finalize());
    let seed = PrngSeed::random(&mut streams.stream("seed", 0));
    let shares = split_with_seed(data, modulus, seed).map_err(ShareShuffleError::Split)?;
    let (key, iv) = shares.seed.as_bytes().split_at(32);
    Ok(SecretShare {
        share_seed: Some(frequency_count::PrngSeed { key: key.to_vec(), iv: iv.to_vec() }),
        share_vector: shares.vector.release(),
    })
}
