//! [`Digit`]: what a secret scalar contributes at a position, in the lanes of a vector, and where digits come from.
//!
//! An odd `k` below `2^256` is `Σ ±2^i` over the 256 positions `i`
//! ([`OddScalar::signs`](super::recoding::OddScalar::signs)). A digit takes a few positions together: a window takes
//! neighbours, a [comb](super::comb) takes them far apart. It is known by the signs at its positions, and a table has what
//! it comes to with the highest sign positive: the number of an entry has a one for each lower sign that agrees with
//! the highest.

use p256::Scalar;
use zeroize::{Zeroize, Zeroizing};

use super::mask::Mask;
use super::recoding::OddScalar;
use super::vector::{MAX_LANES, Vector};

/// Words of the signs of a scalar.
const WORDS: usize = 4;

/// In each lane the signs of some positions, the lowest first; set where positive.
#[derive(Clone, Copy)]
pub(super) struct Digit<V: Vector, const SIGNS: usize>(pub(super) [V::Mask; SIGNS]);

/// A scalar for all lanes of all vectors.
pub(super) struct SharedScalar {
    signs: [u64; WORDS],
    negative: Mask,
}

/// A scalar for each lane of some vectors.
pub(super) struct LaneScalars<V: Vector> {
    /// By vector, by word from the lowest, by lane.
    signs: Zeroizing<Vec<u64>>,
    /// By vector: where the scalar's negative has the signs.
    negative: Zeroizing<Vec<V::Mask>>,
}

impl SharedScalar {
    pub(super) fn new(scalar: &Scalar) -> Self {
        let recoded = OddScalar::new(scalar);
        Self { signs: recoded.signs(), negative: recoded.is_negative() }
    }

    /// Whether what the digits give is to be negated.
    #[inline(always)]
    pub(super) fn is_negative<V: Vector>(&self) -> V::Mask {
        V::splat_mask(self.negative)
    }

    /// The digit of the positions, the lowest first.
    #[inline(always)]
    pub(super) fn digit<V: Vector, const SIGNS: usize>(&self, positions: [usize; SIGNS]) -> Digit<V, SIGNS> {
        let mut signs = [V::Mask::default(); SIGNS];
        for (sign, position) in signs.iter_mut().zip(positions) {
            *sign = V::splat_mask(Mask::from_bit(self.signs[position / 64] >> (position % 64) & 1));
        }
        Digit(signs)
    }
}

impl Drop for SharedScalar {
    fn drop(&mut self) {
        self.signs.zeroize();
        self.negative.zeroize();
    }
}

impl<V: Vector> LaneScalars<V> {
    /// One scalar after the other.
    pub(super) fn of(scalars: &[Scalar]) -> Self {
        let mut lanes = Self::with_capacity(scalars.len().div_ceil(V::LANES));
        lanes.push(scalars);
        lanes
    }

    /// Room for the scalars of so many vectors, and for no more: a vector that grows leaves its old memory unwiped.
    pub(super) fn with_capacity(vectors: usize) -> Self {
        Self {
            signs: Zeroizing::new(Vec::with_capacity(vectors * WORDS * V::LANES)),
            negative: Zeroizing::new(Vec::with_capacity(vectors)),
        }
    }

    /// Adds scalars, from the first lane of a vector on. Lanes that are left get the scalar one.
    pub(super) fn push(&mut self, scalars: &[Scalar]) {
        for scalars in scalars.chunks(V::LANES) {
            let mut words = Zeroizing::new([[0; MAX_LANES]; WORDS]);
            let mut negative = Zeroizing::new([Mask::default(); MAX_LANES]);
            for lane in 0..V::LANES {
                let recoded = OddScalar::new(scalars.get(lane).unwrap_or(&Scalar::ONE));
                for (words, signs) in words.iter_mut().zip(*Zeroizing::new(recoded.signs())) {
                    words[lane] = signs;
                }
                negative[lane] = recoded.is_negative();
            }
            for words in words.iter() {
                self.signs.extend_from_slice(&words[..V::LANES]);
            }
            self.negative.push(V::mask(&negative));
        }
    }

    /// How many vectors there are.
    #[inline(always)]
    pub(super) fn vectors(&self) -> usize {
        self.negative.len()
    }

    /// Where what the digits give is to be negated.
    #[inline(always)]
    pub(super) fn is_negative(&self, vector: usize) -> V::Mask {
        self.negative[vector]
    }

    /// The digits of the positions, the lowest first.
    #[inline(always)]
    pub(super) fn digit<const SIGNS: usize>(
        &self,
        vector: usize,
        positions: [usize; SIGNS],
    ) -> Digit<V, SIGNS> {
        let words = &self.signs[vector * WORDS * V::LANES..][..WORDS * V::LANES];
        let mut signs = [V::Mask::default(); SIGNS];
        for (sign, position) in signs.iter_mut().zip(positions) {
            *sign = V::bit(&words[position / 64 * V::LANES..][..V::LANES], position % 64);
        }
        Digit(signs)
    }
}
