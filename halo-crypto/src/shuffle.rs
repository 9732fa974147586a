//! The shuffle that two share-shuffle workers do alike: a Fisher–Yates permutation from a seed.
//!
//! Which element goes where is fixed by the seed to the last bit, as the workers' shares must stay aligned (A7 of the
//! protocol specification; upstream's `crypto/shuffle.cc`).

use zeroize::Zeroizing;

use crate::prg::{PrngSeed, UniformGenerator};

/// The most elements that are shuffled, 2^27 − 1: upstream fails from there on.
pub const MAX_ELEMENTS: usize = (1 << 27) - 1;

/// Bytes of one draw: large enough that its remainder is uniform but for 2^−100.
const DRAW: usize = 16;

/// Draws made at once: places are known well before they are visited, so that the processor can fetch many at a time.
const BLOCK: usize = 256;

/// Permutes `elements` by the permutation that `seed` stands for.
///
/// # Security
/// Which places of memory are touched depends on the permutation, which must not become known to whoever receives
/// the shuffled elements. Somebody who shares the caches of this machine is assumed not to be that party.
///
/// # Errors
/// [`TooManyElements`] if there are more than [`MAX_ELEMENTS`]; the elements are then as they were.
///
/// ```
/// use halo_crypto::prg::PrngSeed;
///
/// let seed = PrngSeed::from_bytes(&[7; PrngSeed::LENGTH])?;
/// let (mut left, mut right) = ([1, 2, 3, 4, 5], [10, 20, 30, 40, 50]);
/// halo_crypto::shuffle(&mut left, &seed)?;
/// halo_crypto::shuffle(&mut right, &seed)?;
/// assert_eq!(left.map(|value| 10 * value), right);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn shuffle<T>(elements: &mut [T], seed: &PrngSeed) -> Result<(), TooManyElements> {
    if elements.len() > MAX_ELEMENTS {
        return Err(TooManyElements { elements: elements.len() });
    }
    let mut generator = UniformGenerator::new(seed);
    let mut draws = Zeroizing::new([0; DRAW * BLOCK]);
    let mut others = Zeroizing::new([0; BLOCK]);
    // The last element has nowhere to go. Upstream makes a draw for it too, from a generator that is then dropped.
    let moved = elements.len().saturating_sub(1);
    for first in (0..moved).step_by(BLOCK) {
        let count = BLOCK.min(moved - first);
        let draws = &mut draws[..DRAW * count];
        generator.fill_bytes(draws);
        for (index, (draw, other)) in (first..).zip(draws.chunks_exact(DRAW).zip(others.iter_mut())) {
            *other = index + remainder(draw, elements.len() - index);
        }
        for (index, other) in (first..).zip(&others[..count]) {
            elements.swap(index, *other);
        }
    }
    Ok(())
}

/// A draw, least significant byte first, modulo the number of places left: at most [`MAX_ELEMENTS`].
fn remainder(draw: &[u8], places: usize) -> usize {
    let places = places as u64;
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let (low, high) = draw.split_at(8);
    let (lowest, low) = low.split_at(4);
    // In base 2^32 from the top; no remainder has more than 27 bits, so nothing overflows.
    let remainder = word(high) % places;
    let remainder = (remainder << 32 | word(low)) % places;
    ((remainder << 32 | word(lowest)) % places) as usize
}

/// There is more to shuffle than peers agree on how to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{elements} elements are more than the {MAX_ELEMENTS} that can be shuffled")]
pub struct TooManyElements {
    /// How many there are.
    pub elements: usize,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_lost(size in 0usize..300, seed in any::<[u8; 32]>()) {
            let seed = PrngSeed::from_parts(&seed, &[0; 16]).expect("whole parts");
            let mut elements: Vec<usize> = (0..size).collect();
            prop_assert_eq!(shuffle(&mut elements, &seed), Ok(()));
            elements.sort_unstable();
            prop_assert!(elements.into_iter().eq(0..size));
        }
    }

    #[test]
    fn remainders_are_those_of_wide_arithmetic() {
        for (draw, places) in [
            (0, 1),
            (u128::MAX, MAX_ELEMENTS),
            (u128::MAX - 5, 127),
            (0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, (1 << 26) + 1),
        ] {
            assert_eq!(remainder(&draw.to_le_bytes(), places) as u128, draw % places as u128);
        }
    }

    /// All orders of four elements turn up about equally often: chi-squared with 23 degrees of freedom, one in a
    /// million.
    #[test]
    fn every_order_is_as_likely() {
        const SHUFFLES: u32 = 12_000;
        let mut counts = std::collections::BTreeMap::<[u8; 4], u32>::new();
        for round in 0..SHUFFLES {
            let key = [round.to_be_bytes(); 8].concat();
            let mut elements = [0, 1, 2, 3];
            let seed = PrngSeed::from_parts(&key, &[1; 16]).expect("whole parts");
            shuffle(&mut elements, &seed).expect("few elements");
            *counts.entry(elements).or_default() += 1;
        }
        assert_eq!(counts.len(), 24);
        let expected = f64::from(SHUFFLES) / 24.0;
        let statistic: f64 =
            counts.values().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        assert!(statistic < 72.1, "{statistic}");
    }

    #[test]
    fn what_upstream_cannot_shuffle_is_refused() {
        // Elements without a size, of which any number fits into memory.
        let mut elements = vec![(); MAX_ELEMENTS + 1];
        let seed = PrngSeed::from_bytes(&[0; PrngSeed::LENGTH]).expect("a whole seed");
        assert_eq!(shuffle(&mut elements, &seed), Err(TooManyElements { elements: 1 << 27 }));
    }
}
