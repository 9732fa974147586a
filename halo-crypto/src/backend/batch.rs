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
//! [`Batch::add`] is right for all pairs of points. A denominator is zero there only in a lane whose result does not come
//! from the formula, and [`Denominators`] takes one in its place: no lane can spoil another, whatever points a peer
//! sent. Which case a lane is in decides masks, never branches. The other operations are for points of which their callers
//! have proven that no case is special.

use zeroize::Zeroize;

use super::field::FieldElement;
use super::inversion::{Denominators, Loose, Order, Reduced};
use super::vector::{Affine, Signed, Task, Vector};

/// Points to be added to a batch, made when they are asked for.
pub(super) trait Addends<V: Vector> {
    /// Writes the addends of the vectors from the one with number `first` on, a multiple of [`TOGETHER`].
    fn write(&self, first: usize, out: &mut [Signed<V>]);
}

/// Addends that are made at a time, and used while the nearest cache has them.
pub(super) const TOGETHER: usize = 8;

impl<V: Vector> Addends<V> for [Affine<V>] {
    #[inline(always)]
    fn write(&self, first: usize, out: &mut [Signed<V>]) {
        for (out, point) in out.iter_mut().zip(&self[first..]) {
            *out = (*point).into();
        }
    }
}

/// Scratch space for operations on up to a fixed number of vectors of points.
pub(super) struct Batch<V: Vector> {
    denominators: Denominators<V>,
    addends: Vec<Signed<V>>,
}

/// `3/2 = 3·(p + 1)/2`
const THREE_HALVES: FieldElement = HALF.mul(&FieldElement::from_words([3, 0, 0, 0]));
/// `1/2 = (p + 1)/2 mod p`
const HALF: FieldElement =
    FieldElement::from_words([0, 0x0000_0000_8000_0000, 0x8000_0000_0000_0000, 0x7fff_ffff_8000_0000]);

/// What distinguishes the cases of an addition.
struct AdditionCase<V: Vector> {
    /// `x2 - x1`
    dx: V::Loose,
    /// `y2 + y1`
    sum_of_y: V::Loose,
    /// `x1 = x2`, so the points are equal or opposite, or both the identity.
    same_x: V::Mask,
}

impl<V: Vector> AdditionCase<V> {
    #[inline(always)]
    fn of(left: &Affine<V>, right: &Affine<V>) -> Self {
        let dx = right.x.sub(&left.x);
        Self { dx, sum_of_y: left.y.add(&right.y), same_x: V::carry(&dx).is_zero() }
    }

    /// The slope's denominator. For two points with the same `x` it is `y1 + y2`: `2·y1` if they are equal, zero if
    /// they are opposite. (If one of them is the identity it means nothing, but it may be zero then too.)
    #[inline(always)]
    fn denominator(&self) -> V::Loose {
        V::select_loose(self.same_x, &self.sum_of_y, &self.dx)
    }
}

/// The third point of the line through `left` and a point with `right_x`, reflected.
#[inline(always)]
fn chord<V: Vector>(left: &Affine<V>, right_x: &V, slope: &V) -> Affine<V> {
    let x = slope.square().sub_two(&left.x, right_x);
    let y = V::carry(&slope.mul_loose(&left.x.sub(&x)).sub(&left.y));
    Affine { x, y }
}

/// [`chord`] in place of `left`; the slope is spent. Without `right_x` the points are the same.
#[inline(always)]
fn chord_assign<V: Vector>(left: &mut Affine<V>, right_x: Option<&V>, slope: &mut V, scratch: &mut V) {
    slope.square_to(scratch);
    let x = scratch.sub_two(&left.x, right_x.unwrap_or(&left.x));
    let run = left.x.sub(&x);
    x.copy_to(&mut left.x);
    slope.mul_loose_assign(&run);
    V::carry(&slope.sub(&left.y)).copy_to(&mut left.y);
}

/// `3(x² - 1)`
#[inline(always)]
fn tangent_numerator<V: Vector>(x: &V) -> V {
    let difference = V::carry(&x.square().sub(&V::one()));
    V::carry(&V::carry(&difference.add(&difference)).add(&difference))
}

impl<V: Vector> Batch<V> {
    /// Room for `count` vectors.
    #[inline(always)]
    pub(super) fn new(count: usize) -> Self {
        Self { denominators: Denominators::new(count), addends: vec![Signed::default(); count] }
    }

    /// `points[i] = 2^times · points[i]`, for points that the caller has proven not to be the identity. One that is
    /// spoils its lane of the batch.
    #[inline(always)]
    pub(super) fn double(&mut self, points: &mut [Affine<V>], times: usize) {
        V::perform(Doubling { batch: self, points, times });
    }

    /// The slope is `(x² - 1)·(3/2)/y`.
    #[inline(always)]
    fn double_inline(&mut self, points: &mut [Affine<V>], times: usize) {
        if times == 0 {
            return;
        }
        let count = points.len();
        let (mut slope, mut scratch) = (V::default(), V::default());
        self.denominators.start();
        let mut order = Order::Ascending;
        for (index, point) in points.iter().enumerate() {
            self.denominators.push_nonzero(index, order, &Reduced(&point.y));
        }
        // Each sweep ends one doubling and begins the next, so it runs against the direction of the one before.
        for step in 1..=times {
            self.denominators.invert(count, order, &THREE_HALVES);
            let (ended, last) = (order, step == times);
            order = order.reversed();
            for swept in 0..count {
                let index = if order == Order::Descending { count - 1 - swept } else { swept };
                let point = &mut points[index];
                self.denominators.pop_nonzero(index, ended, &Reduced(&point.y), &mut slope);
                point.x.square_to(&mut scratch);
                slope.mul_loose_assign(&scratch.sub(&V::one()));
                chord_assign(point, None, &mut slope, &mut scratch);
                if !last {
                    self.denominators.push_nonzero(index, order, &Reduced(&point.y));
                }
            }
        }
    }

    /// `points[i] += addends[i]`, for any points.
    #[inline(always)]
    pub(super) fn add(&mut self, points: &mut [Affine<V>], addends: &(impl Addends<V> + ?Sized)) {
        V::perform(Addition { batch: self, points, addends });
    }

    #[inline(always)]
    fn add_inline(&mut self, points: &mut [Affine<V>], given: &(impl Addends<V> + ?Sized)) {
        self.denominators.start();
        let blocks = points.chunks(TOGETHER).zip(self.addends.chunks_mut(TOGETHER));
        for (first, (points, addends)) in (0..).step_by(TOGETHER).zip(blocks) {
            let addends = &mut addends[..points.len()];
            given.write(first, addends);
            for (index, (point, addend)) in (first..).zip(points.iter().zip(addends)) {
                addend.point = addend.affine();
                self.denominators.push(index, &AdditionCase::of(point, &addend.point).denominator());
            }
        }
        self.denominators.invert(points.len(), Order::Ascending, &FieldElement::ONE);
        let mut slope = V::default();
        for (index, point) in points.iter_mut().enumerate().rev() {
            let addend = &self.addends[index].point;
            let case = AdditionCase::of(point, addend);
            let numerator =
                V::select_loose(case.same_x, &tangent_numerator(&point.x).loose(), &addend.y.sub(&point.y));
            self.denominators.pop(index, &case.denominator(), &mut slope);
            slope.mul_loose_assign(&numerator);
            let sum = chord(point, &addend.x, &slope);

            let left_is_identity = point.is_identity();
            let right_is_identity = addend.is_identity();
            let opposite = case.same_x & V::carry(&case.sum_of_y).is_zero();
            let by_formula = !(left_is_identity | right_is_identity | opposite);
            // Where both are the identity both are kept, and where the points are opposite nothing is: (0, 0).
            *point =
                sum.keep(by_formula).or(&addend.keep(left_is_identity)).or(&point.keep(right_is_identity));
        }
    }

    /// `points[i] += addends[i]`, for points that the caller has proven to be neither equal nor opposite and not the
    /// identity. A pair that is spoils its lane of the batch.
    #[inline(always)]
    pub(super) fn add_distinct(&mut self, points: &mut [Affine<V>], addends: &(impl Addends<V> + ?Sized)) {
        V::perform(DistinctAddition { batch: self, points, addends, skipped: &[] });
    }

    /// As [`Batch::add_distinct`], but leaving points alone where the condition holds.
    #[inline(always)]
    pub(super) fn add_distinct_unless(
        &mut self,
        skipped: &[V::Mask],
        points: &mut [Affine<V>],
        addends: &(impl Addends<V> + ?Sized),
    ) {
        V::perform(DistinctAddition { batch: self, points, addends, skipped });
    }

    #[inline(always)]
    fn add_distinct_inline(
        &mut self,
        points: &mut [Affine<V>],
        given: &(impl Addends<V> + ?Sized),
        skipped: &[V::Mask],
    ) {
        let order = Order::Ascending;
        let (mut slope, mut scratch) = (V::default(), V::default());
        self.denominators.start();
        let blocks = points.chunks(TOGETHER).zip(self.addends.chunks_mut(TOGETHER));
        for (first, (points, addends)) in (0..).step_by(TOGETHER).zip(blocks) {
            let addends = &mut addends[..points.len()];
            given.write(first, addends);
            for (index, (point, addend)) in (first..).zip(points.iter().zip(addends)) {
                self.denominators.push_nonzero(index, order, &Loose(&addend.point.x.sub(&point.x)));
            }
        }
        self.denominators.invert(points.len(), order, &FieldElement::ONE);
        for (index, point) in points.iter_mut().enumerate().rev() {
            let Signed { point: addend, negative } = &self.addends[index];
            let run = addend.x.sub(&point.x);
            self.denominators.pop_nonzero(index, order, &Loose(&run), &mut slope);
            slope.mul_loose_assign(&addend.y.sub_from_signed(*negative, &point.y));
            match skipped.get(index) {
                Some(skip) => *point = chord(point, &addend.x, &slope).keep(!*skip).or(&point.keep(*skip)),
                None => chord_assign(point, Some(&addend.x), &mut slope, &mut scratch),
            }
        }
    }
}

/// [`Batch::double`] as a call.
struct Doubling<'a, V: Vector> {
    batch: &'a mut Batch<V>,
    points: &'a mut [Affine<V>],
    times: usize,
}

impl<V: Vector> Task for Doubling<'_, V> {
    #[inline(always)]
    fn run(self) {
        self.batch.double_inline(self.points, self.times);
    }
}

/// [`Batch::add`] as a call.
struct Addition<'a, V: Vector, A: ?Sized> {
    batch: &'a mut Batch<V>,
    points: &'a mut [Affine<V>],
    addends: &'a A,
}

impl<V: Vector, A: Addends<V> + ?Sized> Task for Addition<'_, V, A> {
    #[inline(always)]
    fn run(self) {
        self.batch.add_inline(self.points, self.addends);
    }
}

/// [`Batch::add_distinct`] as a call, or [`Batch::add_distinct_unless`].
struct DistinctAddition<'a, V: Vector, A: ?Sized> {
    batch: &'a mut Batch<V>,
    points: &'a mut [Affine<V>],
    addends: &'a A,
    /// For each vector where points are left alone, or nothing at all.
    skipped: &'a [V::Mask],
}

impl<V: Vector, A: Addends<V> + ?Sized> Task for DistinctAddition<'_, V, A> {
    #[inline(always)]
    fn run(self) {
        self.batch.add_distinct_inline(self.points, self.addends, self.skipped);
    }
}

impl<V: Vector> Drop for Batch<V> {
    fn drop(&mut self) {
        self.addends.zeroize();
    }
}
