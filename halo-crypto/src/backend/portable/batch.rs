//! [`Batch`]: doubling and adding affine points in step, with one inversion for all of them.
//!
//! An affine addition needs one division. Shared by a batch the division costs three multiplications, which makes a
//! doubling 5M + 2S and an addition 5M + 1S: less than in any projective form, and the results are affine again.
//!
//! Formulas, for `y² = x³ - 3x + b`, with the slope `λ` of the line through the points:
//! `x3 = λ² - x1 - x2`, `y3 = λ(x1 - x3) - y1`, where
//! `λ = (y2 - y1)/(x2 - x1)` for points with different `x`, and
//! `λ = 3(x1² - 1)/(2·y1)` for a point and itself.
//!
//! Every operation here is right for the identity too, and [`Batch::add`] for all pairs of points. A denominator is
//! zero only in a lane whose result does not come from the formula (or does not matter, see
//! [`Batch::add_distinct`]), and [`Denominators`] takes one in its place: no lane can spoil another, whatever points
//! a peer sent. Which case a lane is in decides masks, never branches.

use zeroize::Zeroize;

use super::field::FieldElement;
use super::inversion::Denominators;
use super::mask::Mask;
use super::point::Point;

/// Scratch space for operations on up to a fixed number of points.
pub(super) struct Batch {
    denominators: Denominators,
    addends: Vec<Point>,
}

/// `3/2 = 3·(p + 1)/2`
const THREE_HALVES: FieldElement = HALF.mul(&FieldElement::from_words([3, 0, 0, 0]));
/// `1/2 = (p + 1)/2 mod p`
const HALF: FieldElement =
    FieldElement::from_words([0, 0x0000_0000_8000_0000, 0x8000_0000_0000_0000, 0x7fff_ffff_8000_0000]);

/// What distinguishes the cases of an addition.
struct AdditionCase {
    /// `x2 - x1`
    dx: FieldElement,
    /// `y2 + y1`
    sum_of_y: FieldElement,
    /// `x1 = x2`, so the points are equal or opposite, or both the identity.
    same_x: Mask,
}

impl AdditionCase {
    #[inline(always)]
    fn of(left: &Point, right: &Point) -> Self {
        let dx = right.x.sub(&left.x);
        Self { dx, sum_of_y: left.y.add(&right.y), same_x: dx.is_zero() }
    }

    /// The slope's denominator. For two points with the same `x` it is `y1 + y2`: `2·y1` if they are equal, zero if
    /// they are opposite. (If one of them is the identity it means nothing, but it may be zero then too.)
    #[inline(always)]
    fn denominator(&self) -> FieldElement {
        FieldElement::select(self.same_x, &self.sum_of_y, &self.dx)
    }
}

/// The third point of the line through `left` and a point with `right_x`, reflected.
#[inline(always)]
fn chord(left: &Point, right_x: &FieldElement, slope: &FieldElement) -> Point {
    let x = slope.square().sub(&left.x).sub(right_x);
    let y = slope.mul(&left.x.sub(&x)).sub(&left.y);
    Point { x, y }
}

/// `3(x² - 1)`
#[inline(always)]
fn tangent_numerator(x: &FieldElement) -> FieldElement {
    let difference = x.square().sub(&FieldElement::ONE);
    difference.double().add(&difference)
}

impl Batch {
    /// Room for `lanes` points.
    pub(super) fn new(lanes: usize) -> Self {
        Self { denominators: Denominators::new(lanes), addends: vec![Point::IDENTITY; lanes] }
    }

    /// `points[i] = 2^times · points[i]`
    pub(super) fn double(&mut self, points: &mut [Point], times: usize) {
        if times == 0 {
            return;
        }
        for (lane, point) in points.iter().enumerate() {
            self.push_doubling(lane, point);
        }
        // Each sweep ends one doubling and begins the next, so it runs against the direction of the one before.
        for step in 1..=times {
            self.denominators.invert(&THREE_HALVES);
            let count = points.len();
            let last = step == times;
            for index in 0..count {
                let lane = if step % 2 == 1 { count - 1 - index } else { index };
                let point = &mut points[lane];
                let slope = point.x.square().sub(&FieldElement::ONE).mul(&self.denominators.pop(lane));
                let is_point = !point.is_identity();
                *point = chord(point, &point.x, &slope).keep(is_point);
                if !last {
                    self.push_doubling(lane, point);
                }
            }
        }
    }

    /// The slope is `(x² - 1)·(3/2)/y`. Only for the identity is `y` zero.
    #[inline(always)]
    fn push_doubling(&mut self, lane: usize, point: &Point) {
        self.denominators.push(lane, &point.y, point.is_identity());
    }

    /// `points[i] += addend(i)`, for any points.
    pub(super) fn add(&mut self, points: &mut [Point], addend: impl Fn(usize) -> Point) {
        for (lane, point) in points.iter().enumerate() {
            let addend = addend(lane);
            self.addends[lane] = addend;
            let denominator = AdditionCase::of(point, &addend).denominator();
            self.denominators.push(lane, &denominator, denominator.is_zero());
        }
        self.denominators.invert(&FieldElement::ONE);
        for (lane, point) in points.iter_mut().enumerate().rev() {
            let addend = &self.addends[lane];
            let case = AdditionCase::of(point, addend);
            let numerator =
                FieldElement::select(case.same_x, &tangent_numerator(&point.x), &addend.y.sub(&point.y));
            let slope = numerator.mul(&self.denominators.pop(lane));
            let sum = chord(point, &addend.x, &slope);

            let left_is_identity = point.is_identity();
            let right_is_identity = addend.is_identity();
            let opposite = case.same_x & case.sum_of_y.is_zero();
            let by_formula = !(left_is_identity | right_is_identity | opposite);
            // Where both are the identity both are kept, and where the points are opposite nothing is: (0, 0).
            *point =
                sum.keep(by_formula).or(&addend.keep(left_is_identity)).or(&point.keep(right_is_identity));
        }
    }

    /// `points[i] += addend(i)`, for points that the caller has proven to be neither equal nor opposite and not the
    /// identity; two identities give the identity. In any other lane the result is undefined, and other lanes are
    /// right all the same.
    pub(super) fn add_distinct(&mut self, points: &mut [Point], addend: impl Fn(usize) -> Point) {
        for (lane, point) in points.iter().enumerate() {
            let addend = addend(lane);
            self.addends[lane] = addend;
            let dx = addend.x.sub(&point.x);
            self.denominators.push(lane, &dx, dx.is_zero());
        }
        self.denominators.invert(&FieldElement::ONE);
        for (lane, point) in points.iter_mut().enumerate().rev() {
            let addend = &self.addends[lane];
            let slope = addend.y.sub(&point.y).mul(&self.denominators.pop(lane));
            *point = chord(point, &addend.x, &slope);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.addends.zeroize();
    }
}
