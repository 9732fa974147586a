//! [`Share`]: one share of a frequency vector, wherever it lies, read block by block.

use halo_crypto::prg::PrngSeed;
use halo_crypto::ring::{Residue, RingError, RingModulus};

use super::ShareShuffleError;
use super::packed::{PackedReader, Refused};

/// Values read at once.
pub(super) const BLOCK: usize = 4096;

/// A worker's share of one data provider's vector.
#[derive(Clone, Debug)]
pub(super) enum Share<'a> {
    /// Values.
    Vector(Values<'a>),
    /// What a seed expands to.
    Seed(PrngSeed),
}

/// Values that lie in memory, decoded or not.
#[derive(Clone, Debug)]
pub(super) enum Values<'a> {
    /// Those not yet read.
    Decoded(&'a [u32]),
    /// In a serialised message.
    Serialised(PackedReader<'a>),
}

impl<'a> Values<'a> {
    /// The values of a serialised `FrequencyVector` or `AggregationPhaseInput`.
    pub(super) const fn serialised(message: &'a [u8]) -> Self {
        Self::Serialised(PackedReader::new(message))
    }

    /// Fills `block` with the next values, all below the modulus, and returns their number, less than the block's
    /// length only at the end. `share` is what errors call it, `read` how many values were read before.
    pub(super) fn fill<T: Residue>(
        &mut self,
        block: &mut [T],
        modulus: RingModulus,
        share: usize,
        read: usize,
    ) -> Result<usize, ShareShuffleError> {
        let outside = |index| {
            let reason = RingError::Value { index: read + index, modulus: modulus.get() };
            ShareShuffleError::ShareValue { share, reason }
        };
        match self {
            Self::Decoded(values) => {
                let (head, tail) = values.split_at(values.len().min(block.len()));
                if let Err(RingError::Value { index, .. }) = modulus.check(head) {
                    return Err(outside(index));
                }
                block.iter_mut().zip(head).for_each(|(value, wide)| *value = T::narrow(*wide));
                *values = tail;
                Ok(head.len())
            }
            Self::Serialised(reader) => reader.fill(block, modulus.get() - 1).map_err(|error| match error {
                Refused::Malformed => ShareShuffleError::Malformed(share),
                Refused::TooLarge(index) => outside(index),
            }),
        }
    }

    /// Reads the rest and returns how many values there were in it.
    pub(super) fn count_rest(&mut self, share: usize) -> Result<usize, ShareShuffleError> {
        match self {
            Self::Decoded(values) => Ok(std::mem::take(values).len()),
            Self::Serialised(reader) => {
                let mut block = [0u32; BLOCK];
                let mut count = 0;
                loop {
                    let filled = reader.fill(&mut block, u32::MAX);
                    match filled.map_err(|_| ShareShuffleError::Malformed(share))? {
                        0 => return Ok(count),
                        filled => count += filled,
                    }
                }
            }
        }
    }
}
