//! [`PrngSeed`]: what a [`UniformGenerator`](super::UniformGenerator) starts from, as secret shares carry it.

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::key_stream::{BLOCK, KeyStream};
use crate::Secret;

const KEY_LENGTH: usize = 32;
const IV_LENGTH: usize = BLOCK;

/// A seed: an AES-256 key followed by the initial counter block.
#[derive(Clone, Debug)]
pub struct PrngSeed(Secret<[u8; Self::LENGTH]>);

impl PrngSeed {
    /// Bytes of a seed.
    pub const LENGTH: usize = KEY_LENGTH + IV_LENGTH;

    /// Draws a seed.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = Zeroizing::new([0; Self::LENGTH]);
        rng.fill_bytes(&mut *bytes);
        Self::new(*bytes)
    }

    /// Takes over bytes drawn elsewhere.
    pub(super) const fn new(bytes: [u8; Self::LENGTH]) -> Self {
        Self(Secret::new(bytes))
    }

    /// Reads the key and the initial counter block one after the other, as secret shares carry them.
    ///
    /// # Errors
    /// [`PrngSeedError`] if there are not [`PrngSeed::LENGTH`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PrngSeedError> {
        let bytes = bytes.try_into().map_err(|_| PrngSeedError { what: "seed", length: bytes.len() })?;
        Ok(Self::new(bytes))
    }

    /// Joins the two fields of upstream's `PrngSeed`.
    ///
    /// # Errors
    /// [`PrngSeedError`] if `key` is not 32 bytes or `iv` not 16.
    pub fn from_parts(key: &[u8], iv: &[u8]) -> Result<Self, PrngSeedError> {
        for (what, bytes, length) in [("key", key, KEY_LENGTH), ("initial counter block", iv, IV_LENGTH)] {
            if bytes.len() != length {
                return Err(PrngSeedError { what, length: bytes.len() });
            }
        }
        Self::from_bytes(&Zeroizing::new([key, iv].concat()))
    }

    /// The key followed by the initial counter block.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        self.0.expose()
    }

    /// The key stream that is drawn from.
    pub(crate) fn key_stream(&self) -> KeyStream {
        let (key, iv) = self.as_bytes().split_first_chunk().expect("a seed is longer than a key");
        KeyStream::new(key, iv.try_into().expect("the rest of a seed is a block"))
    }

    /// The seed that neither of two parties chose alone, made of one from each.
    #[must_use]
    pub fn xor(&self, other: &Self) -> Self {
        let mut bytes = Zeroizing::new(*self.as_bytes());
        bytes.iter_mut().zip(other.as_bytes()).for_each(|(byte, other)| *byte ^= other);
        Self::new(*bytes)
    }
}

impl PartialEq for PrngSeed {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().as_slice().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for PrngSeed {}

/// Bytes that are no seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a generator's {what} cannot have {length} bytes")]
pub struct PrngSeedError {
    /// Which part has another length than it should.
    pub what: &'static str,
    /// Its length.
    pub length: usize,
}
