//! [`FixedBase`]: tables of one point's multiples, for multiplications by many scalars.

use super::batch::Batch;
use super::mask::Mask;
use super::point::Point;
use super::recoding::{Digit, OddScalar};
use super::select_multiple;

/// Bits of a window. Six gives the shortest time: a wider window saves additions, but the scan that selects a
/// multiple reads twice as many.
pub(super) const WINDOW: usize = 6;
/// Windows of a scalar.
pub(super) const WINDOWS: usize = OddScalar::digits(WINDOW);
const MULTIPLES: usize = 1 << (WINDOW - 1);

/// The odd multiples `(2e + 1)·2^(6j)·B` of a base `B`, 86 KiB: for each window the multiples that a digit may ask for.
pub struct FixedBase {
    windows: Vec<[Point; MULTIPLES]>,
}

impl FixedBase {
    pub(crate) fn new(base: &Point) -> Self {
        let mut shifted = [*base];
        let mut single = Batch::new(1);
        let mut bases = Vec::with_capacity(WINDOWS);
        for window in 0..WINDOWS {
            if window > 0 {
                single.double(&mut shifted, WINDOW);
            }
            bases.push(shifted[0]);
        }
        let multiples = super::odd_multiples(&mut Batch::new(WINDOWS), &bases, MULTIPLES);
        let windows =
            (0..WINDOWS).map(|window| core::array::from_fn(|index| multiples[index][window])).collect();
        Self { windows }
    }

    /// `digit·2^(6·window)·B`, found by reading every multiple of the window.
    #[inline(always)]
    pub(super) fn multiple(&self, window: usize, digit: Digit) -> Point {
        select_multiple(self.windows[window].iter(), |index| Mask::is_equal(index, digit.index))
            .negate_if(digit.negative)
    }
}
