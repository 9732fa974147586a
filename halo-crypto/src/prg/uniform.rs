//! [`UniformGenerator`]: the AES-CTR generator that share-shuffle peers agree on, byte for byte.
//!
//! Two workers and a data provider each expand the same seed and must get the same values, so not only the
//! distribution is fixed but also how many bytes each draw takes from the stream (A6 of the protocol specification;
//! upstream's `math/open_ssl_uniform_random_generator.cc`).

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::Secret;
use crate::ring::RingModulus;

const KEY_LENGTH: usize = 32;
const IV_LENGTH: usize = 16;

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
        Self(Secret::new(*bytes))
    }

    /// Reads the key and the initial counter block one after the other, as secret shares carry them.
    ///
    /// # Errors
    /// [`PrngSeedError`] if there are not [`PrngSeed::LENGTH`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PrngSeedError> {
        let bytes = bytes.try_into().map_err(|_| PrngSeedError { what: "seed", length: bytes.len() })?;
        Ok(Self(Secret::new(bytes)))
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

    /// The seed that neither of two parties chose alone, made of one from each.
    #[must_use]
    pub fn xor(&self, other: &Self) -> Self {
        let mut bytes = Zeroizing::new(*self.as_bytes());
        bytes.iter_mut().zip(other.as_bytes()).for_each(|(byte, other)| *byte ^= other);
        Self(Secret::new(*bytes))
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

/// A generator: the AES-256-CTR key stream of a seed, and values drawn from it.
///
/// The stream is continuous over all calls, whatever they ask for.
///
/// # Security
/// Which values of the stream are rejected shows in the time a draw takes; that tells nothing about those that are
/// not.
pub struct UniformGenerator {
    stream: Ctr128BE<Aes256>,
}

impl core::fmt::Debug for UniformGenerator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("UniformGenerator").finish_non_exhaustive()
    }
}

/// Bytes of the stream held at once. A multiple of every size of a value, 1 to 4 bytes, so none is cut in two.
const BUFFER: usize = 4 * 3 * 512;

impl UniformGenerator {
    /// The most bytes that one batch of a draw may take: upstream fails from 2^31 on.
    pub const MAX_BATCH_BYTES: u64 = (1 << 31) - 1;

    /// The start of the stream of `seed`.
    pub fn new(seed: &PrngSeed) -> Self {
        let (key, iv) = seed.as_bytes().split_at(KEY_LENGTH);
        let stream = Ctr128BE::new_from_slices(key, iv).expect("a seed has a whole key and a whole block");
        Self { stream }
    }

    /// Fills `out` from the stream.
    pub fn fill_bytes(&mut self, out: &mut [u8]) {
        out.fill(0);
        // The stream ends after 2^128 blocks.
        self.stream.apply_keystream(out);
    }

    /// Draws a seed for another generator.
    pub fn seed(&mut self) -> PrngSeed {
        let mut bytes = Zeroizing::new([0; PrngSeed::LENGTH]);
        self.fill_bytes(&mut *bytes);
        PrngSeed(Secret::new(*bytes))
    }

    /// Draws `size` uniform values below `modulus`, by rejection from the low bits of big-endian groups of bytes.
    ///
    /// # Errors
    /// [`DrawError`] if it would take more than [`UniformGenerator::MAX_BATCH_BYTES`] at once.
    pub fn uniform(&mut self, size: usize, modulus: RingModulus) -> Result<Secret<Vec<u32>>, DrawError> {
        Candidate::below(modulus).check_draw(size, size)?;
        let mut values = Zeroizing::new(Vec::with_capacity(size));
        self.uniform_blocks(size, modulus, |block| values.extend_from_slice(block))?;
        Ok(Secret::new(core::mem::take(&mut *values)))
    }

    /// Draws what [`UniformGenerator::uniform`] draws and hands it to `take` in blocks, in order, so that a long
    /// vector never lies in memory as a whole.
    ///
    /// # Errors
    /// As [`UniformGenerator::uniform`]; nothing has been taken then.
    pub fn uniform_blocks(
        &mut self,
        size: usize,
        modulus: RingModulus,
        mut take: impl FnMut(&[u32]),
    ) -> Result<(), DrawError> {
        let candidate = Candidate::below(modulus);
        candidate.check_draw(size, size)?;
        let mut missing = size;
        let mut buffer = Zeroizing::new([0; BUFFER]);
        let mut block = Zeroizing::new([0; BUFFER]);
        while missing > 0 {
            // A batch is taken from the stream whole, also what turns out not to be needed.
            let mut remaining = batch(missing, candidate.rejected) as usize * candidate.bytes;
            while remaining > 0 {
                let part = &mut buffer[..remaining.min(BUFFER)];
                remaining -= part.len();
                self.fill_bytes(part);
                let accepted = candidate.accept(part, &mut block).min(missing);
                missing -= accepted;
                take(&block[..accepted]);
            }
        }
        Ok(())
    }

    /// Draws `size` uniform values in `1..modulus`, by rejection from [`UniformGenerator::uniform`].
    ///
    /// # Errors
    /// As [`UniformGenerator::uniform`].
    pub fn uniform_nonzero(
        &mut self,
        size: usize,
        modulus: RingModulus,
    ) -> Result<Secret<Vec<u32>>, DrawError> {
        Candidate::below(modulus).check_draw(size, batch(size, nonzero_rejected(modulus)) as usize)?;
        let mut values = Zeroizing::new(Vec::with_capacity(size));
        self.uniform_nonzero_blocks(size, modulus, |block| values.extend_from_slice(block))?;
        Ok(Secret::new(core::mem::take(&mut *values)))
    }

    /// Draws what [`UniformGenerator::uniform_nonzero`] draws and hands it to `take` in blocks, in order.
    ///
    /// # Errors
    /// As [`UniformGenerator::uniform`]; nothing has been taken then.
    pub fn uniform_nonzero_blocks(
        &mut self,
        size: usize,
        modulus: RingModulus,
        mut take: impl FnMut(&[u32]),
    ) -> Result<(), DrawError> {
        let rejected = nonzero_rejected(modulus);
        Candidate::below(modulus).check_draw(size, batch(size, rejected) as usize)?;
        let mut missing = size;
        let mut kept = Zeroizing::new([0; BUFFER]);
        while missing > 0 {
            self.uniform_blocks(batch(missing, rejected) as usize, modulus, |block| {
                let mut count = 0;
                for value in block {
                    kept[count] = *value;
                    count += usize::from(*value != 0);
                }
                let count = count.min(missing);
                missing -= count;
                take(&kept[..count]);
            })?;
        }
        Ok(())
    }
}

/// The fraction of uniform values that are zero.
fn nonzero_rejected(modulus: RingModulus) -> f64 {
    1.0 / f64::from(modulus.get())
}

/// The shape of what is drawn for one uniform value, before it is known whether the value is accepted.
struct Candidate {
    bytes: usize,
    mask: u32,
    modulus: u32,
    /// The fraction of candidates that are not below the modulus.
    rejected: f64,
}

impl Candidate {
    fn below(modulus: RingModulus) -> Self {
        let bits = u32::BITS - (modulus.get() - 1).leading_zeros();
        let range = f64::from(1u32 << bits);
        Self {
            bytes: bits.div_ceil(8) as usize,
            mask: (1 << bits) - 1,
            modulus: modulus.get(),
            rejected: (range - f64::from(modulus.get())) / range,
        }
    }

    /// Writes the candidates in `bytes` that are below the modulus to the start of `block`; returns their number.
    fn accept(&self, bytes: &[u8], block: &mut [u32; BUFFER]) -> usize {
        let mut accepted = 0;
        // Written without a branch: which candidates are rejected cannot be predicted.
        let mut offer = |candidate: u32| {
            let value = candidate & self.mask;
            block[accepted] = value;
            accepted += usize::from(value < self.modulus);
        };
        if self.bytes == 1 {
            bytes.iter().for_each(|byte| offer(u32::from(*byte)));
        } else {
            bytes
                .chunks_exact(self.bytes)
                .for_each(|group| offer(group.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))));
        }
        accepted
    }

    /// Checks that a draw of `uniform` values, wanted for a draw of `size`, does not take too much at once.
    fn check_draw(&self, size: usize, uniform: usize) -> Result<(), DrawError> {
        let bytes = batch(uniform, self.rejected).saturating_mul(self.bytes as u64);
        if bytes > UniformGenerator::MAX_BATCH_BYTES { Err(DrawError { size }) } else { Ok(()) }
    }
}

/// How many candidates are drawn at once for `missing` values, of which the fraction `rejected` will be rejected.
///
/// Every party evaluates this in the same floating-point operations, since it decides what the next draw starts from.
fn batch(missing: usize, rejected: f64) -> u64 {
    let missing = missing as f64;
    (missing + 1.0 + rejected * missing / (1.0 - rejected)) as u64
}

/// More values were asked for than a generator gives at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{size} values take more than {max} bytes at once", max = UniformGenerator::MAX_BATCH_BYTES)]
pub struct DrawError {
    /// How many.
    pub size: usize,
}
