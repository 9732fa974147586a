//! Multiplication of batches of points by scalars, and what else is done to batches.
//!
//! A batch is worked in chunks of [`CHUNK`] points, large enough that the one inversion of a step costs each of them
//! little, small enough that their table stays in the second-level cache.
//!
//! # Multiplication by one secret
//! Windows of four bits, all digits odd ([`recoding`](super::recoding)), from the highest: four doublings, then the
//! addition of a digit's multiple. The digit is the same for all points, but secret: all
//! eight multiples are read to find it. For one base `P` only the last addition can meet equal or opposite points. Before the
//! addition of digit `d_i` the sum is `a·P` with `a = 16·k_(i+1)`, and `k_(i+1)` is odd, so `16 ≤ a`, while
//! `|d_i| ≤ 15`; hence `a ± d_i` is not zero, and for `i ≥ 1` it is below the order in size, as `a ≤ n/16 + 16`. So
//! those additions may be [`Batch::add_distinct`]. In the last one `a + d_0 = k` may be `n` itself (the scalar is 0),
//! or `a - d_0` may be (the scalar is 2 or `n - 2`). None of the sums that are doubled is the identity, if `P` is not,
//! for their factors are between 1 and `n/2 + 8`.
//!
//! With two bases nothing of the kind holds, for a peer may have chosen one as a multiple of the other. There the sum
//! starts at a point that no peer can foresee ([`offset`](super::offset)), so that its additions may be those of
//! distinct points too; only the one that takes the start away again must be complete.
//!
//! # Multiples of a fixed base
//! Digits from the lowest, without doublings ([`fixed_base`](super::fixed_base)). With windows of `w` bits the sum
//! before digit `d_i` is `s·B` with `s` odd and `|s| < 2^(w·i) ≤ |d_i|·2^(w·i)`, so `d_i·2^(w·i) ± s` is not zero, and
//! below `2^(w·(i+1))` in size, hence below the order for all digits but the highest. Only the addition of that one,
//! and of the point to be added to, must be complete.
//!
//! # Identity
//! The generator stands in for it, also in the lanes of a vector that a batch does not fill, and the result is masked; in a
//! sum of two products the additions of its multiples are.
//!
//! # Constant time
//! No branch and no address depends on a scalar or a point, down to the masks ([`mask`](super::mask)) and the shared
//! inversion ([`divsteps`](super::divsteps)); only [`decompress`], whose input is public, may tell which candidates
//! are points. Copies of secrets in scratch space and recoded scalars are wiped when dropped.

use p256::Scalar;
use subtle::Choice;
use zeroize::{Zeroize, Zeroizing};

use super::batch::{Addends, Batch, TOGETHER};
use super::digits::{Digit, LaneScalars, SharedScalar};
use super::field::FieldElement;
use super::fixed_base::Multiples as FixedMultiples;
use super::mask::Mask;
use super::offset::Offset;
use super::point::{self, Point};
use super::recoding::OddScalar;
use super::roots;
use super::table::PointTable;
use super::vector::{Affine, Lanes, MAX_LANES, Signed, Vector, load, replace_identities, store};

/// Points worked on in step; a multiple of [`MAX_LANES`].
const CHUNK: usize = 1024;
/// Pairs of points with a table each worked on in step; a multiple of [`MAX_LANES`].
const PAIRS: usize = CHUNK / 2;
/// Bits of a window of a multiplication by one scalar.
const WINDOW: usize = 4;
/// Doublings of a sum of such multiplications.
pub(super) const DOUBLINGS: usize = (OddScalar::digits(WINDOW) - 1) * WINDOW;
/// The odd multiples that a digit of [`WINDOW`] bits may ask for.
const MULTIPLES: usize = 1 << (WINDOW - 1);

/// The multiples that the digits of one position choose.
struct Chosen<'a, V: Vector, D> {
    multiples: &'a PointTable<V, MULTIPLES>,
    digit: D,
}

/// A digit shared by a whole batch.
struct SharedDigit<V: Vector>(Digit<V, WINDOW>);

impl<V: Vector> Drop for SharedDigit<V> {
    fn drop(&mut self) {
        self.0.0.zeroize();
    }
}

impl<V: Vector> Addends<V> for Chosen<'_, V, SharedDigit<V>> {
    #[inline(always)]
    fn write(&self, first: usize, out: &mut [Signed<V>]) {
        for (index, out) in (first..).zip(out) {
            self.multiples.select(index, &self.digit.0, out);
        }
    }
}

/// A digit of its own for each point.
struct OwnDigits<'a, V: Vector> {
    scalars: &'a LaneScalars<V>,
    position: usize,
}

impl<V: Vector> Addends<V> for Chosen<'_, V, OwnDigits<'_, V>> {
    #[inline(always)]
    fn write(&self, first: usize, out: &mut [Signed<V>]) {
        for (index, out) in (first..).zip(out) {
            let digit = self.digit.scalars.digit(index, window(self.digit.position));
            self.multiples.select(index, &digit, out);
        }
    }
}

/// The positions of signs in a window.
#[inline(always)]
fn window(position: usize) -> [usize; WINDOW] {
    let mut positions = [WINDOW * position; WINDOW];
    for (sign, position) in positions.iter_mut().enumerate() {
        *position += sign;
    }
    positions
}

/// Replaces points by the first addends of a sum.
#[inline(always)]
pub(super) fn set<V: Vector>(points: &mut [Affine<V>], addends: &impl Addends<V>) {
    let mut signed = Zeroizing::new([Signed::default(); TOGETHER]);
    for (first, points) in (0..).step_by(TOGETHER).zip(points.chunks_mut(TOGETHER)) {
        addends.write(first, &mut signed[..points.len()]);
        for (point, signed) in points.iter_mut().zip(signed.iter()) {
            *point = signed.affine();
        }
    }
}

/// Where the digits for [`multiply`] come from.
trait Digits<V: Vector> {
    /// The multiples chosen by the digits of a position.
    fn choose<'a>(&'a self, multiples: &'a PointTable<V, MULTIPLES>, position: usize) -> impl Addends<V>;
}

impl<V: Vector> Digits<V> for SharedScalar {
    #[inline(always)]
    fn choose<'a>(&'a self, multiples: &'a PointTable<V, MULTIPLES>, position: usize) -> impl Addends<V> {
        Chosen { multiples, digit: SharedDigit(self.digit(window(position))) }
    }
}

impl<V: Vector> Digits<V> for LaneScalars<V> {
    #[inline(always)]
    fn choose<'a>(&'a self, multiples: &'a PointTable<V, MULTIPLES>, position: usize) -> impl Addends<V> {
        Chosen { multiples, digit: OwnDigits { scalars: self, position } }
    }
}

/// Multiplies a chunk of points by the scalars that `scalars` are the digits of.
#[inline(always)]
fn multiply<V: Vector>(points: &mut [Affine<V>], scalars: &impl Digits<V>) {
    let identities = replace_identities(points);
    let mut batch = Batch::new(points.len());
    let multiples = PointTable::of_odd_multiples(&mut batch, points);
    let highest = OddScalar::digits(WINDOW) - 1;
    let first = scalars.choose(&multiples, highest);
    set(points, &first);
    for position in (0..highest).rev() {
        batch.double(points, WINDOW);
        let addends = scalars.choose(&multiples, position);
        if position > 0 {
            batch.add_distinct(points, &addends);
        } else {
            batch.add(points, &addends);
        }
    }
    for (point, identity) in points.iter_mut().zip(identities.iter()) {
        *point = point.keep(!*identity);
    }
}

/// `points[i] = scalar · points[i]`
#[inline(always)]
pub(super) fn scale<V: Vector>(points: &mut [Point], scalar: &Scalar) {
    let scalar = SharedScalar::new(scalar);
    for points in points.chunks_mut(CHUNK) {
        let mut lanes = load::<V>(points);
        negate_if(&mut lanes, scalar.is_negative::<V>());
        multiply(&mut lanes, &scalar);
        store(&lanes, points);
    }
}

/// `points[i] = scalars[i] · points[i]`
#[inline(always)]
pub(super) fn scale_each<V: Vector>(points: &mut [Point], scalars: &[Scalar]) {
    for (points, scalars) in points.chunks_mut(CHUNK).zip(scalars.chunks(CHUNK)) {
        let scalars = LaneScalars::<V>::of(scalars);
        let mut lanes = load::<V>(points);
        for (index, lanes) in lanes.iter_mut().enumerate() {
            *lanes = lanes.negate_if(scalars.is_negative(index));
        }
        multiply(&mut lanes, &scalars);
        store(&lanes, points);
    }
}

/// `left[i] = left_scalar · left[i] + right_scalar · right[i]`: both in one go, so that they share the doublings. The
/// offset was made for them and [`DOUBLINGS`].
#[inline(always)]
pub(super) fn double_scale<V: Vector>(
    left: &mut [Point],
    left_scalar: &Scalar,
    right: &[Point],
    right_scalar: &Scalar,
    offset: &Offset,
) {
    let (left_scalar, right_scalar) = (SharedScalar::new(left_scalar), SharedScalar::new(right_scalar));
    let highest = OddScalar::digits(WINDOW) - 1;
    let start = Affine::load(&[offset.start; MAX_LANES][..V::LANES]);
    let correction = Everywhere(Affine::load(&[offset.correction; MAX_LANES][..V::LANES]));
    for (left, right) in left.chunks_mut(PAIRS).zip(right.chunks(PAIRS)) {
        let (mut sums, mut other) = (load::<V>(left), load::<V>(right));
        let left_identities = replace_identities(&mut sums);
        let right_identities = replace_identities(&mut other);
        negate_if(&mut sums, left_scalar.is_negative::<V>());
        negate_if(&mut other, right_scalar.is_negative::<V>());
        let mut batch = Batch::new(sums.len());
        let left_multiples = PointTable::of_odd_multiples(&mut batch, &sums);
        let right_multiples = PointTable::of_odd_multiples(&mut batch, &other);
        sums.fill(start);
        for position in (0..=highest).rev() {
            if position < highest {
                batch.double(&mut sums, WINDOW);
            }
            let addends = left_scalar.choose(&left_multiples, position);
            batch.add_distinct_unless(&left_identities, &mut sums, &addends);
            let addends = right_scalar.choose(&right_multiples, position);
            batch.add_distinct_unless(&right_identities, &mut sums, &addends);
        }
        batch.add(&mut sums, &correction);
        store(&sums, left);
    }
}

/// The multiples of a fixed base that the digits of one window choose.
struct FixedAddends<'a, V: Vector> {
    base: &'a FixedMultiples<V>,
    scalars: &'a [OddScalar],
    window: usize,
}

impl<V: Vector> Addends<V> for FixedAddends<'_, V> {
    #[inline(always)]
    fn write(&self, first: usize, out: &mut [Signed<V>]) {
        let mut indices = Zeroizing::new([0; TOGETHER * MAX_LANES]);
        let indices = &mut indices[..out.len() * V::LANES];
        let groups =
            indices.chunks_exact_mut(V::LANES).zip(self.scalars[first * V::LANES..].chunks(V::LANES));
        for ((indices, scalars), out) in groups.zip(&mut *out) {
            let mut negative = [Mask::default(); MAX_LANES];
            for ((index, negative), scalar) in indices.iter_mut().zip(&mut negative).zip(scalars) {
                let digit = scalar.digit(self.window, V::FIXED_BASE_WINDOW);
                (*index, *negative) = (digit.index as u8, digit.negative);
            }
            out.negative = V::mask(&negative);
            negative.zeroize();
        }
        V::look_up(self.base.window(self.window), indices, out);
    }
}

/// Where the results for a vector's points are to be negated.
#[inline(always)]
fn signs<V: Vector>(scalars: &[OddScalar], index: usize) -> V::Mask {
    let mut negative = [Mask::default(); MAX_LANES];
    for (negative, scalar) in negative.iter_mut().zip(&scalars[index * V::LANES..]).take(V::LANES) {
        *negative = scalar.is_negative();
    }
    V::mask(&negative)
}

/// `points[i] += scalars[i] · base`
#[inline(always)]
pub(super) fn add_fixed_base_multiples<V: Vector>(
    points: &mut [Point],
    base: &FixedMultiples<V>,
    scalars: &[Scalar],
) {
    if base.is_identity() {
        return;
    }
    let highest = OddScalar::digits(V::FIXED_BASE_WINDOW) - 1;
    for (points, scalars) in points.chunks_mut(CHUNK).zip(scalars.chunks(CHUNK)) {
        let scalars: Vec<OddScalar> = scalars.iter().map(OddScalar::new).collect();
        let mut lanes = load::<V>(points);
        let mut batch = Batch::new(lanes.len());
        let mut sums: Lanes<V> = Zeroizing::new(vec![Affine::default(); lanes.len()]);
        let addends = |window| FixedAddends { base, scalars: &scalars, window };
        set(&mut sums, &addends(0));
        for window in 1..highest {
            batch.add_distinct(&mut sums, &addends(window));
        }
        batch.add(&mut sums, &addends(highest));
        for (index, sum) in sums.iter_mut().enumerate() {
            *sum = sum.negate_if(signs::<V>(&scalars, index));
        }
        batch.add(&mut lanes, sums.as_slice());
        store(&lanes, points);
    }
}

/// The same points for every vector.
struct Everywhere<V: Vector>(Affine<V>);

impl<V: Vector> Addends<V> for Everywhere<V> {
    #[inline(always)]
    fn write(&self, _: usize, out: &mut [Signed<V>]) {
        out.fill(self.0.into());
    }
}

/// Points that a function of their position gives: `count` of them from `start` on.
struct Given<F> {
    point: F,
    start: usize,
    count: usize,
}

impl<V: Vector, F: Fn(usize) -> Point> Addends<V> for Given<F> {
    #[inline(always)]
    fn write(&self, first: usize, out: &mut [Signed<V>]) {
        for (index, out) in (first..).zip(out) {
            let mut points = [Point::IDENTITY; MAX_LANES];
            let positions = index * V::LANES..self.count.min((index + 1) * V::LANES);
            for (point, position) in points.iter_mut().zip(positions) {
                *point = (self.point)(self.start + position);
            }
            *out = Affine::load(&points[..V::LANES]).into();
            points.zeroize();
        }
    }
}

/// `left[i] += right(i)`
#[inline(always)]
pub(super) fn add<V: Vector>(left: &mut [Point], right: impl Fn(usize) -> Point) {
    for (chunk, left) in left.chunks_mut(CHUNK).enumerate() {
        let mut sums = load::<V>(left);
        let addends = Given { point: &right, start: chunk * CHUNK, count: left.len() };
        Batch::new(sums.len()).add(&mut sums, &addends);
        store(&sums, left);
    }
}

#[inline(always)]
fn negate_if<V: Vector>(points: &mut [Affine<V>], condition: V::Mask) {
    for point in points {
        *point = point.negate_if(condition);
    }
}

/// `x³ - 3x + b`, which is `y²` if `x` belongs to a point.
#[inline(always)]
fn curve_equation<V: Vector>(x: &V, three: &V, b: &V) -> V {
    V::carry(&x.mul_loose(&x.square().sub(three)).add(b))
}

/// The point with `x` and an odd or even `y`, for each of `candidates`, if there is one. They are public.
#[inline(always)]
pub(super) fn decompress<V: Vector>(candidates: &[(FieldElement, Choice)], out: &mut [Option<Point>]) {
    let (three, b) = (V::splat(&point::THREE), V::splat(&point::B));
    let group = roots::CHAINS * V::LANES;
    for (candidates, out) in candidates.chunks(group).zip(out.chunks_mut(group)) {
        let count = candidates.len().div_ceil(V::LANES);
        let mut coordinates = [V::default(); roots::CHAINS];
        let mut squares = [V::default(); roots::CHAINS];
        for (index, candidates) in candidates.chunks(V::LANES).enumerate() {
            let mut x = [FieldElement::ZERO; MAX_LANES];
            for (x, candidate) in x.iter_mut().zip(candidates) {
                *x = candidate.0;
            }
            coordinates[index] = V::load(&x[..V::LANES]);
            squares[index] = curve_equation(&coordinates[index], &three, &b);
        }
        let roots = roots::square_roots(&squares[..count]);
        for (index, (candidates, out)) in
            candidates.chunks(V::LANES).zip(out.chunks_mut(V::LANES)).enumerate()
        {
            let mut odd = [Mask::default(); MAX_LANES];
            for (odd, candidate) in odd.iter_mut().zip(candidates) {
                *odd = Mask::from(candidate.1);
            }
            let (root, odd) = (roots[index], V::mask(&odd));
            let is_odd = root.is_odd();
            let y = root.negate_if((is_odd & !odd) | (!is_odd & odd));
            let is_root = V::carry(&root.square().sub(&squares[index])).is_zero();
            // Points are cleared where there is none, and no point has y = 0.
            let mut points = [Point::IDENTITY; MAX_LANES];
            Affine { x: coordinates[index], y }.keep(is_root).store(&mut points[..V::LANES]);
            for (out, point) in out.iter_mut().zip(points) {
                *out = (!bool::from(point.is_identity().choice())).then_some(point);
            }
        }
    }
}
