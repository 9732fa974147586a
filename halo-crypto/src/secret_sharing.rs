//! Additive secret sharing modulo a public number, with one of the two shares compressed to a seed.
//!
//! A data provider splits its frequency vector: one worker gets a seed, the other the difference between the vector
//! and the seed's expansion. Each alone is uniform (upstream's
//! `frequency_count/generate_secret_shares.cc`, of any-sketch).
//!
//! ```
//! use halo_crypto::ring::RingModulus;
//! use halo_crypto::secret_sharing::{expand, split};
//! # use rand_core::SeedableRng;
//! # let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1); // A test's source: real seeds come from the system's.
//!
//! let modulus = RingModulus::new(127)?;
//! let shares = split(&[3, 0, 1], modulus, &mut rng)?;
//! let mut sum = expand(&shares.seed, 3, modulus)?.expose().clone();
//! modulus.add(&mut sum, shares.vector.expose())?;
//! assert_eq!(sum, [3, 0, 1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::Secret;
use crate::prg::{DrawError, PrngSeed, UniformGenerator};
use crate::ring::{RingError, RingModulus};

/// The two shares of a vector. Whoever holds both knows the vector.
#[derive(Clone, Debug)]
pub struct Shares {
    /// The share of the one worker, to be expanded.
    pub seed: PrngSeed,
    /// The share of the other, a value below the modulus for each of the vector's.
    pub vector: Secret<Vec<u32>>,
}

/// Splits `values` into two shares that add up to them.
///
/// # Errors
/// [`SplitError`] if there are no values, too many, or one that is not below the modulus.
pub fn split<R: CryptoRng + ?Sized>(
    values: &[u32],
    modulus: RingModulus,
    rng: &mut R,
) -> Result<Shares, SplitError> {
    split_with_seed(values, modulus, PrngSeed::random(rng))
}

/// Splits `values` like [`split`], with a seed that was drawn before.
///
/// # Security
/// A seed that serves for two vectors gives their difference away.
///
/// # Errors
/// As [`split`].
pub fn split_with_seed(values: &[u32], modulus: RingModulus, seed: PrngSeed) -> Result<Shares, SplitError> {
    if values.is_empty() {
        return Err(SplitError::Empty);
    }
    modulus.check(values)?;
    let mut vector = Zeroizing::new(values.to_vec());
    let mut position = 0;
    UniformGenerator::new(&seed).uniform_blocks(values.len(), modulus, |block: &[u32]| {
        for (value, share) in vector[position..].iter_mut().zip(block) {
            *value = modulus.difference(*value, *share);
        }
        position += block.len();
    })?;
    Ok(Shares { seed, vector: Secret::new(core::mem::take(&mut *vector)) })
}

/// The share of `size` values that `seed` stands for.
///
/// # Errors
/// [`DrawError`] if there are more than a generator gives.
pub fn expand(seed: &PrngSeed, size: usize, modulus: RingModulus) -> Result<Secret<Vec<u32>>, DrawError> {
    UniformGenerator::new(seed).uniform(size, modulus)
}

/// A vector that cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// It has no values.
    #[error("there are no values to share")]
    Empty,
    /// A value is not below the modulus.
    #[error("values to share: {0}")]
    Values(#[from] RingError),
    /// It has too many values.
    #[error("values to share: {0}")]
    Size(#[from] DrawError),
}
