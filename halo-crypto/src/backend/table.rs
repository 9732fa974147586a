//! [`PointTable`]: some multiples of each point of a batch, to choose among by secret digits.
//!
//! The entries of a vector lie side by side, packed, and all of them are read whichever is wanted. Packed,
//! the eight multiples of a thousand points stay in a second-level cache of half a megabyte or little more.

use zeroize::Zeroizing;

use super::batch::Batch;
use super::digits::Digit;
use super::vector::{Affine, Lanes, Signed, Vector};

/// For each vector of points a number of entries, a power of two.
pub(super) struct PointTable<V: Vector, const ENTRIES: usize> {
    packed: Zeroizing<Vec<[V::Packed; ENTRIES]>>,
}

impl<V: Vector, const ENTRIES: usize> PointTable<V, ENTRIES> {
    /// Room for the entries of `vectors`.
    #[inline(always)]
    pub(super) fn new(vectors: usize) -> Self {
        Self { packed: Zeroizing::new(vec![[V::Packed::default(); ENTRIES]; vectors]) }
    }

    /// The odd multiples `P, 3P, 5P, …` of each point: the entry `e` is `(2e + 1)·P`.
    #[inline(always)]
    pub(super) fn of_odd_multiples(batch: &mut Batch<V>, points: &[Affine<V>]) -> Self {
        let mut table = Self::new(points.len());
        let mut multiples = OddMultiples::new(batch, points);
        table.set(0, &multiples.current);
        for number in 1..ENTRIES {
            multiples.advance(batch);
            table.set(number, &multiples.current);
        }
        table
    }

    /// Vectors that the table is of.
    #[inline(always)]
    pub(super) fn vectors(&self) -> usize {
        self.packed.len()
    }

    /// Sets the entry `number` of every vector.
    #[inline(always)]
    pub(super) fn set(&mut self, number: usize, points: &[Affine<V>]) {
        for (entries, point) in self.packed.iter_mut().zip(points) {
            entries[number] = V::pack(point);
        }
    }

    /// Sets `out` to what the digit comes to, in each lane of the vector. The table has half as many entries as the digit
    /// has values.
    #[inline(always)]
    pub(super) fn select<const SIGNS: usize>(
        &self,
        vector: usize,
        digit: &Digit<V, SIGNS>,
        out: &mut Signed<V>,
    ) {
        const { assert!(ENTRIES == 1 << (SIGNS - 1), "one lower sign for each bit of an entry's number") };
        out.negative = !digit.0[SIGNS - 1];
        let mut bits = digit.0;
        for bit in &mut bits {
            *bit = *bit ^ out.negative;
        }
        V::choose(&self.packed[vector], &bits[..SIGNS - 1], &mut out.point);
    }
}

/// One odd multiple of each point after the other.
pub(super) struct OddMultiples<V: Vector> {
    /// `2·P`
    doubled: Lanes<V>,
    /// The multiple that it is at, from `P` on.
    pub(super) current: Lanes<V>,
}

impl<V: Vector> OddMultiples<V> {
    #[inline(always)]
    pub(super) fn new(batch: &mut Batch<V>, points: &[Affine<V>]) -> Self {
        let mut doubled = Zeroizing::new(points.to_vec());
        batch.double(&mut doubled, 1);
        Self { doubled, current: Zeroizing::new(points.to_vec()) }
    }

    /// Goes on to the next. Fewer than `(n - 3)/2` times, of course.
    #[inline(always)]
    pub(super) fn advance(&mut self, batch: &mut Batch<V>) {
        // (2e - 1)·P and 2·P: neither equal nor opposite, since the order divides neither 2e - 3 nor 2e + 1.
        batch.add_distinct(&mut self.current, self.doubled.as_slice());
    }
}
