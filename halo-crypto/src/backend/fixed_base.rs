//! [`FixedBase`]: tables of one point's multiples, for multiplications by many scalars.

use zeroize::Zeroizing;

use super::batch::Batch;
use super::point::Point;
use super::recoding::OddScalar;
use super::vector::{Affine, Vector, load, store};
#[cfg(target_arch = "x86_64")]
use super::{avx2, ifma};
use super::{multiplication, portable};

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
pub(super) struct Multiples<V: Vector>(Vec<V::Table>);

impl<V: Vector> Multiples<V> {
    /// Computes the multiples of `base`, which is public.
    #[inline(always)]
    pub(super) fn new(base: &Point) -> Self {
        let width = V::FIXED_BASE_WINDOW;
        let windows = OddScalar::digits(width);
        let mut shifted = [Affine::load(&[*base])];
        let mut single = Batch::<V>::new(1);
        let mut bases = vec![Point::IDENTITY; windows];
        for (window, base) in bases.iter_mut().enumerate() {
            if window > 0 {
                single.double(&mut shifted, width);
            }
            shifted[0].store(core::slice::from_mut(base));
        }
        let bases = load::<V>(&bases);
        let mut batch = Batch::new(bases.len());
        let multiples = multiplication::odd_multiples(&mut batch, &bases, 1 << (width - 1));
        // For each multiple its points in all windows, then the other way round.
        let mut points = Zeroizing::new(Vec::with_capacity(multiples.len()));
        for multiple in multiples.iter() {
            let mut row = vec![Point::IDENTITY; windows];
            store(multiple, &mut row);
            points.push(row);
        }
        let mut tables = Vec::with_capacity(windows);
        for window in 0..windows {
            let window: Vec<Point> = points.iter().map(|row| row[window]).collect();
            tables.push(V::table(&window));
        }
        Self(tables)
    }

    /// The multiples that a digit of the window may ask for.
    #[inline(always)]
    pub(super) fn window(&self, window: usize) -> &V::Table {
        &self.0[window]
    }
}
