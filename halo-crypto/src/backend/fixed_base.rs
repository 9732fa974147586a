//! [`FixedBase`]: tables of one point's multiples, for multiplications by many scalars.

use super::batch::Batch;
use super::point::Point;
use super::portable;
use super::recoding::OddScalar;
use super::table::OddMultiples;
use super::vector::{Affine, MAX_LANES, Vector, load, replace_identities, store};
#[cfg(target_arch = "x86_64")]
use super::{avx2, ifma};

/// A point prepared for multiplications by many scalars, in the form of the backend that was active.
pub struct FixedBase(pub(super) Tables);

/// The tables of each backend.
pub(super) enum Tables {
    #[cfg(target_arch = "x86_64")]
    Ifma(Multiples<ifma::Octuple>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Multiples<avx2::Quadruple>),
    Portable(Multiples<portable::Single>),
}

/// The odd multiples `(2e + 1)·2^(w·j)·B` of a base `B`: for each window `j` of `w` bits a table of those that a digit
/// may ask for.
/// Nothing is held for the identity.
pub(super) struct Multiples<V: Vector>(Vec<V::Table>);

impl<V: Vector> Multiples<V> {
    /// Computes the multiples of `base`, which is public.
    #[inline(always)]
    pub(super) fn new(base: &Point) -> Self {
        if bool::from(base.is_identity().choice()) {
            return Self(Vec::new());
        }
        let width = V::FIXED_BASE_WINDOW;
        let windows = OddScalar::digits(width);
        let mut shifted = [Affine::load(&[*base; MAX_LANES][..V::LANES])];
        let mut single = Batch::<V>::new(1);
        let mut bases = vec![Point::IDENTITY; windows];
        for (window, base) in bases.iter_mut().enumerate() {
            if window > 0 {
                single.double(&mut shifted, width);
            }
            shifted[0].store(core::slice::from_mut(base));
        }
        let mut bases = load::<V>(&bases);
        // In lanes without one.
        replace_identities(&mut bases);
        let mut batch = Batch::new(bases.len());
        // For each multiple its points in all windows, then the other way round.
        let mut multiples = OddMultiples::new(&mut batch, &bases);
        let count = 1 << (width - 1);
        let mut points = Vec::with_capacity(count);
        for number in 0..count {
            if number > 0 {
                multiples.advance(&mut batch);
            }
            let mut row = vec![Point::IDENTITY; windows];
            store(&multiples.current, &mut row);
            points.push(row);
        }
        let mut tables = Vec::with_capacity(windows);
        for window in 0..windows {
            let window: Vec<Point> = points.iter().map(|row| row[window]).collect();
            tables.push(V::table(&window));
        }
        Self(tables)
    }

    /// Whether the base is the identity.
    #[inline(always)]
    pub(super) fn is_identity(&self) -> bool {
        self.0.is_empty()
    }

    /// The multiples that a digit of the window may ask for.
    #[inline(always)]
    pub(super) fn window(&self, window: usize) -> &V::Table {
        &self.0[window]
    }
}
