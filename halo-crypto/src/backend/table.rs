//! [`PointTable`]: some multiples of each point of a batch, to choose among by secret digits.
//!
//! The entries of a vector lie side by side, packed, and all of them are read under masks whichever is wanted. Packed,
//! the eight multiples of a thousand points stay in a second-level cache of half a megabyte or little more.

use zeroize::Zeroizing;

use super::batch::Batch;
use super::vector::{Affine, Lanes, Vector};

/// For each vector of points a fixed number of entries.
pub(super) struct PointTable<V: Vector> {
    packed: Zeroizing<Vec<V::Packed>>,
    /// Entries of a vector.
    width: usize,
}

impl<V: Vector> PointTable<V> {
    /// Room for `width` entries of each of `vectors`.
    #[inline(always)]
    pub(super) fn new(vectors: usize, width: usize) -> Self {
        Self { packed: Zeroizing::new(vec![V::Packed::default(); vectors * width]), width }
    }

    /// The odd multiples `P, 3P, 5P, …` of each point, `width` of them: the entry `e` is `(2e + 1)·P`.
    #[inline(always)]
    pub(super) fn of_odd_multiples(batch: &mut Batch<V>, points: &[Affine<V>], width: usize) -> Self {
        let mut table = Self::new(points.len(), width);
        let mut multiples = OddMultiples::new(batch, points);
        table.set(0, &multiples.current);
        for number in 1..width {
            multiples.advance(batch);
            table.set(number, &multiples.current);
        }
        table
    }

    /// Vectors that the table is of.
    #[inline(always)]
    pub(super) fn vectors(&self) -> usize {
        self.packed.len() / self.width
    }

    /// Sets the entry `number` of every vector.
    #[inline(always)]
    pub(super) fn set(&mut self, number: usize, points: &[Affine<V>]) {
        for (entries, point) in self.packed.chunks_exact_mut(self.width).zip(points) {
            entries[number] = V::pack(point);
        }
    }

    /// The entry whose condition holds, the same for all points of the vector.
    #[inline(always)]
    pub(super) fn select(&self, vector: usize, chosen: &[V::Mask]) -> Affine<V> {
        let mut selected = V::Packed::default();
        for (entry, chosen) in self.entries(vector).iter().zip(chosen) {
            V::merge(&mut selected, entry, *chosen);
        }
        V::unpack(&selected)
    }

    /// For each point of the vector the entry with its index.
    #[inline(always)]
    pub(super) fn select_each(&self, vector: usize, indices: &V::Indices) -> Affine<V> {
        let mut selected = V::Packed::default();
        for (entry, number) in self.entries(vector).iter().zip(0..) {
            V::merge(&mut selected, entry, V::index_is(indices, number));
        }
        V::unpack(&selected)
    }

    #[inline(always)]
    fn entries(&self, vector: usize) -> &[V::Packed] {
        &self.packed[vector * self.width..][..self.width]
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
