//! P-256 in plain Rust: the backend that runs everywhere, and the one that others are tested against.

use super::field::FieldElement;
use super::fixed_base::Tables;
use super::mask::Mask;
use super::point::Point;
use super::vector::{Affine, MAX_LANES, Signed, Task, Vector};

/// A vector of one element, always reduced: its bounds are those of [`FieldElement`], and carrying does nothing.
pub(super) type Single = FieldElement;

impl Vector for FieldElement {
    const LANES: usize = 1;
    /// Six gives the shortest time: a wider window saves additions, but the scan that selects a multiple reads twice
    /// as many.
    const FIXED_BASE_WINDOW: usize = 6;

    type Mask = Mask;
    type Loose = Self;
    type Table = Vec<Point>;
    type Packed = Affine<Self>;

    #[inline(always)]
    fn load(elements: &[FieldElement]) -> Self {
        elements[0]
    }

    #[inline(always)]
    fn store(&self, elements: &mut [FieldElement]) {
        elements[0] = *self;
    }

    #[inline(always)]
    fn one() -> Self {
        Self::ONE
    }

    #[inline(always)]
    fn mask(conditions: &[Mask; MAX_LANES]) -> Mask {
        conditions[0]
    }

    #[inline(always)]
    fn splat_mask(condition: Mask) -> Mask {
        condition
    }

    #[inline(always)]
    fn loose(&self) -> Self {
        *self
    }

    #[inline(always)]
    fn carry(loose: &Self) -> Self {
        *loose
    }

    #[inline(always)]
    fn add(&self, other: &Self) -> Self {
        FieldElement::add(self, other)
    }

    #[inline(always)]
    fn sub(&self, other: &Self) -> Self {
        FieldElement::sub(self, other)
    }

    #[inline(always)]
    fn sub_from_signed(&self, negative: Mask, other: &Self) -> Self {
        FieldElement::select(negative, &self.negate(), self).sub(other)
    }

    #[inline(always)]
    fn sub_two(&self, first: &Self, second: &Self) -> Self {
        FieldElement::sub(&FieldElement::sub(self, first), second)
    }

    #[inline(always)]
    fn mul_to(&self, other: &Self, out: &mut Self) {
        *out = FieldElement::mul(self, other);
    }

    #[inline(always)]
    fn mul_loose_to(&self, other: &Self, out: &mut Self) {
        *out = FieldElement::mul(self, other);
    }

    #[inline(always)]
    fn mul_assign(&mut self, other: &Self) {
        *self = FieldElement::mul(self, other);
    }

    #[inline(always)]
    fn mul_loose_assign(&mut self, other: &Self) {
        *self = FieldElement::mul(self, other);
    }

    #[inline(always)]
    fn square_to(&self, out: &mut Self) {
        *out = FieldElement::square(self);
    }

    #[inline(always)]
    fn square_assign(&mut self) {
        *self = FieldElement::square(self);
    }

    #[inline(always)]
    fn copy_to(&self, out: &mut Self) {
        *out = *self;
    }

    #[inline(always)]
    fn is_zero(&self) -> Mask {
        FieldElement::is_zero(self)
    }

    #[inline(always)]
    fn is_odd(&self) -> Mask {
        Mask::from(FieldElement::is_odd(self))
    }

    #[inline(always)]
    fn keep(&self, condition: Mask) -> Self {
        FieldElement::keep(self, condition)
    }

    #[inline(always)]
    fn or(&self, other: &Self) -> Self {
        FieldElement::or(self, other)
    }

    #[inline(always)]
    fn select_loose(condition: Mask, if_true: &Self, if_false: &Self) -> Self {
        FieldElement::select(condition, if_true, if_false)
    }

    #[inline(never)]
    fn perform(task: impl Task) {
        task.run();
    }

    fn table(points: &[Point]) -> Vec<Point> {
        points.to_vec()
    }

    /// By reading every point under masks.
    #[inline(always)]
    fn look_up(table: &Vec<Point>, indices: &[u8], out: &mut [Signed<Self>]) {
        for (out, index) in out.iter_mut().zip(indices) {
            out.point = Affine::default();
            for (point, number) in table.iter().zip(0..) {
                let point = Affine { x: point.x, y: point.y };
                out.point = out.point.or(&point.keep(Mask::is_equal(number, (*index).into())));
            }
        }
    }

    #[inline(always)]
    fn bit(words: &[u64], position: usize) -> Mask {
        Mask::from_bit(words[0] >> position & 1)
    }

    #[inline(always)]
    fn pack(point: &Affine<Self>) -> Affine<Self> {
        *point
    }

    #[inline(always)]
    fn choose<const ENTRIES: usize>(
        entries: &[Affine<Self>; ENTRIES],
        bits: &[Mask],
        out: &mut Affine<Self>,
    ) {
        let mut points = *entries;
        let mut left = ENTRIES;
        for bit in bits.iter().rev() {
            left /= 2;
            for number in 0..left {
                let (if_true, if_false) = (points[left + number], points[number]);
                points[number] = Affine {
                    x: FieldElement::select(*bit, &if_true.x, &if_false.x),
                    y: FieldElement::select(*bit, &if_true.y, &if_false.y),
                };
            }
        }
        *out = points[0];
    }
}

entry_points!(Single, Tables::Portable);
