//! [`UniformGenerator`]: the AES-CTR generator that share-shuffle peers agree on, byte for byte.
//!
//! Two workers and a data provider each expand the same seed and must get the same values, so not only the
//! distribution is fixed but also how many bytes each draw takes from the stream (upstream's
//! `math/open_ssl_uniform_random_generator.cc`, of any-sketch).

use zeroize::Zeroizing;

use super::candidate::{BUFFER, Candidate, DrawError, MAX_BATCH_BYTES, Room, batch};
use super::key_stream::{BLOCK, KeyStream};
use super::seed::PrngSeed;
use crate::Secret;
use crate::ring::{Residue, RingModulus};

/// A generator: the AES-256-CTR key stream of a seed, and values drawn from it.
///
/// The stream is continuous over all calls, whatever they ask for.
///
/// # Security
/// Which values of the stream are rejected shows in the time a draw takes; that tells nothing about those that are
/// not.
pub struct UniformGenerator {
    stream: KeyStream,
    /// Blocks taken from the stream.
    blocks: u128,
    /// The last of them, and how much of it has been handed out.
    last: Zeroizing<[u8; BLOCK]>,
    used: usize,
}

impl core::fmt::Debug for UniformGenerator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("UniformGenerator").finish_non_exhaustive()
    }
}

impl UniformGenerator {
    /// The most bytes that one batch of a draw may take: upstream fails from 2^31 on.
    pub const MAX_BATCH_BYTES: u64 = MAX_BATCH_BYTES;

    /// The start of the stream of `seed`.
    pub fn new(seed: &PrngSeed) -> Self {
        Self { stream: seed.key_stream(), blocks: 0, last: Zeroizing::new([0; BLOCK]), used: BLOCK }
    }

    /// Fills `out` from the stream.
    pub fn fill_bytes(&mut self, out: &mut [u8]) {
        let (start, out) = out.split_at_mut(out.len().min(BLOCK - self.used));
        start.copy_from_slice(&self.last[self.used..self.used + start.len()]);
        self.used += start.len();
        let (blocks, end) = out.as_chunks_mut();
        self.write(blocks);
        if !end.is_empty() {
            let mut last = Zeroizing::new([0; BLOCK]);
            self.write(core::slice::from_mut(&mut *last));
            end.copy_from_slice(&last[..end.len()]);
            (self.last, self.used) = (last, end.len());
        }
    }

    fn write(&mut self, blocks: &mut [[u8; BLOCK]]) {
        self.stream.write(self.blocks, blocks);
        self.blocks += blocks.len() as u128;
    }

    /// Draws a seed for another generator.
    pub fn seed(&mut self) -> PrngSeed {
        let mut bytes = Zeroizing::new([0; PrngSeed::LENGTH]);
        self.fill_bytes(&mut *bytes);
        PrngSeed::new(*bytes)
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
    /// vector never lies in memory as a whole. Where the modulus allows it, values are drawn fastest as `u8`.
    ///
    /// # Errors
    /// As [`UniformGenerator::uniform`]; nothing has been taken then.
    ///
    /// # Panics
    /// If `T` is too narrow for the modulus.
    pub fn uniform_blocks<T: Residue>(
        &mut self,
        size: usize,
        modulus: RingModulus,
        mut take: impl FnMut(&[T]),
    ) -> Result<(), DrawError> {
        assert!(modulus.fits::<T>(), "the modulus {} is too large for these integers", modulus.get());
        let candidate = Candidate::below(modulus);
        candidate.check_draw(size, size)?;
        let mut missing = size;
        let mut buffer = Zeroizing::new([0; BUFFER]);
        let mut room = Room::new();
        while missing > 0 {
            // A batch is taken from the stream whole, also what turns out not to be needed.
            let mut remaining = candidate.batch(missing) as usize * candidate.bytes;
            while remaining > 0 {
                let part = &mut buffer[..remaining.min(BUFFER)];
                remaining -= part.len();
                self.fill_bytes(part);
                let accepted = candidate.accept(part, &mut room);
                let wanted = &accepted[..accepted.len().min(missing)];
                missing -= wanted.len();
                take(wanted);
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
    ///
    /// # Panics
    /// As [`UniformGenerator::uniform_blocks`].
    pub fn uniform_nonzero_blocks<T: Residue>(
        &mut self,
        size: usize,
        modulus: RingModulus,
        mut take: impl FnMut(&[T]),
    ) -> Result<(), DrawError> {
        let rejected = nonzero_rejected(modulus);
        Candidate::below(modulus).check_draw(size, batch(size, rejected) as usize)?;
        let mut missing = size;
        let mut kept = Zeroizing::new([T::default(); BUFFER]);
        while missing > 0 {
            self.uniform_blocks(batch(missing, rejected) as usize, modulus, |block| {
                let count = T::select_nonzero(block, &mut *kept).min(missing);
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
