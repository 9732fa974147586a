//! P-256 in plain Rust: the backend that runs everywhere, and the one that others are tested against.
//!
//! A batch is worked in chunks of [`LANES`] points, large enough that the one inversion of a step costs each of them
//! little, small enough that their table stays in the second-level cache.
//!
//! # Multiplication by one secret
//! Windows of four bits, all digits odd ([`recoding`]), from the highest: four doublings, then the addition of a
//! digit's multiple. The digit is the same for all lanes, but secret: the multiple is found by reading all eight
//! under masks. For one base `P` only the last addition can meet equal or opposite points. Before the addition of
//! digit `d_i` the sum is `a·P` with `a = 16·k_(i+1)`, and `k_(i+1)` is odd, so `16 ≤ a`, while `|d_i| ≤ 15`; hence
//! `a ± d_i` is not zero, and for `i ≥ 1` it is below the order in size, as `a ≤ n/16 + 16`. So those additions may be
//! [`Batch::add_distinct`]. In the last one `a + d_0 = k` may be `n` itself (the scalar is 0), or `a - d_0` may be
//! (the scalar is 2 or `n - 2`).
//!
//! With two bases nothing of the kind holds, for a peer may have chosen one as a multiple of the other: there every
//! addition is the complete one.
//!
//! # Multiples of a fixed base
//! Digits from the lowest, without doublings ([`fixed_base`]). With windows of `w` bits the sum before digit `d_i` is
//! `s·B` with `s` odd and `|s| < 2^(w·i) ≤ |d_i|·2^(w·i)`, so `d_i·2^(w·i) ± s` is not zero, and below
//! `2^(w·(i+1))` in size, hence below the order for all digits but the highest. Only the addition of that one, and of
//! the point to be added to, must be complete.
//!
//! # Identity
//! It needs no case of its own: doubling leaves it as it is, so do the additions of its own (identical) multiples.
//!
//! # Constant time
//! No branch and no address depends on a scalar or a point, down to the masks ([`mask`]) and the shared inversion
//! ([`divsteps`]); only [`decompress`], whose input is public, may tell which candidates are points. Copies of secrets
//! in scratch space and recoded scalars are wiped when dropped.

use p256::Scalar;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use self::batch::Batch;
use self::field::FieldElement;
use self::fixed_base::FixedBase;
use self::mask::Mask;
use self::point::Point;
use self::recoding::OddScalar;

mod batch;
mod divsteps;
pub(super) mod field;
pub(super) mod fixed_base;
mod inversion;
mod mask;
pub(super) mod point;
mod power;
mod recoding;

/// Points worked on in step.
const LANES: usize = 512;
/// Bits of a window of a multiplication by one scalar.
const WINDOW: usize = 4;
/// The odd multiples that a digit of [`WINDOW`] bits may ask for.
const MULTIPLES: usize = 1 << (WINDOW - 1);

/// The odd multiples of a chunk of points: `multiples[e][i] = (2e + 1)·points[i]`.
type Multiples = Zeroizing<Vec<Vec<Point>>>;

fn odd_multiples(batch: &mut Batch, points: &[Point], count: usize) -> Multiples {
    let mut doubled = Zeroizing::new(points.to_vec());
    batch.double(&mut doubled, 1);
    let mut multiples = Zeroizing::new(vec![points.to_vec()]);
    for odd in 1..count {
        let mut next = multiples[odd - 1].clone();
        // (2e - 1)·P and 2·P: neither equal nor opposite, since the order divides neither 2e - 3 nor 2e + 1.
        batch.add_distinct(&mut next, |lane| doubled[lane]);
        multiples.push(next);
    }
    multiples
}

/// The multiple whose index is chosen, found by reading them all.
#[inline(always)]
fn select_multiple<'a>(multiples: impl Iterator<Item = &'a Point>, chosen: impl Fn(u64) -> Mask) -> Point {
    multiples
        .zip(0..)
        .fold(Point::IDENTITY, |selected, (multiple, index)| selected.or(&multiple.keep(chosen(index))))
}

/// The digits of one position, by which each lane's multiple is selected.
trait Digits {
    fn select(&self, multiples: &Multiples, lane: usize) -> Point;
}

/// A digit shared by a whole batch: which of the multiples it is, as masks.
struct SharedDigit {
    chosen: [Mask; MULTIPLES],
    negative: Mask,
}

impl SharedDigit {
    fn of(scalar: &OddScalar, position: usize) -> Self {
        let digit = scalar.digit(position, WINDOW);
        Self {
            chosen: core::array::from_fn(|index| Mask::is_equal(index as u64, digit.index)),
            negative: digit.negative,
        }
    }
}

impl Drop for SharedDigit {
    fn drop(&mut self) {
        self.chosen.zeroize();
        self.negative.zeroize();
    }
}

impl Digits for SharedDigit {
    #[inline(always)]
    fn select(&self, multiples: &Multiples, lane: usize) -> Point {
        let multiples = multiples.iter().map(|multiples| &multiples[lane]);
        select_multiple(multiples, |index| self.chosen[index as usize]).negate_if(self.negative)
    }
}

/// A digit of its own for each lane.
struct OwnDigits<'a> {
    scalars: &'a [OddScalar],
    position: usize,
}

impl Digits for OwnDigits<'_> {
    #[inline(always)]
    fn select(&self, multiples: &Multiples, lane: usize) -> Point {
        let digit = self.scalars[lane].digit(self.position, WINDOW);
        let multiples = multiples.iter().map(|multiples| &multiples[lane]);
        select_multiple(multiples, |index| Mask::is_equal(index, digit.index)).negate_if(digit.negative)
    }
}

/// Multiplies a chunk of points by the scalars whose digits `digits(position)` are.
fn multiply<D: Digits>(points: &mut [Point], digits: impl Fn(usize) -> D) {
    let mut batch = Batch::new(points.len());
    let multiples = odd_multiples(&mut batch, points, MULTIPLES);
    let highest = OddScalar::digits(WINDOW) - 1;
    let first = digits(highest);
    for (lane, point) in points.iter_mut().enumerate() {
        *point = first.select(&multiples, lane);
    }
    for position in (0..highest).rev() {
        batch.double(points, WINDOW);
        let digits = digits(position);
        if position > 0 {
            batch.add_distinct(points, |lane| digits.select(&multiples, lane));
        } else {
            batch.add(points, |lane| digits.select(&multiples, lane));
        }
    }
}

/// `points[i] = scalar · points[i]`
pub(super) fn scale(points: &mut [Point], scalar: &Scalar) {
    let scalar = OddScalar::new(scalar);
    negate_if(points, scalar.is_negative());
    for points in points.chunks_mut(LANES) {
        multiply(points, |position| SharedDigit::of(&scalar, position));
    }
}

/// `points[i] = scalars[i] · points[i]`
pub(super) fn scale_each(points: &mut [Point], scalars: &[Scalar]) {
    for (points, scalars) in points.chunks_mut(LANES).zip(scalars.chunks(LANES)) {
        let scalars: Vec<OddScalar> = scalars.iter().map(OddScalar::new).collect();
        for (point, scalar) in points.iter_mut().zip(&scalars) {
            *point = point.negate_if(scalar.is_negative());
        }
        multiply(points, |position| OwnDigits { scalars: &scalars, position });
    }
}

/// `left[i] = left_scalar · left[i] + right_scalar · right[i]`: both in one go, so that they share the doublings.
pub(super) fn double_scale(left: &mut [Point], left_scalar: &Scalar, right: &[Point], right_scalar: &Scalar) {
    let (left_scalar, right_scalar) = (OddScalar::new(left_scalar), OddScalar::new(right_scalar));
    let highest = OddScalar::digits(WINDOW) - 1;
    for (left, right) in left.chunks_mut(LANES).zip(right.chunks(LANES)) {
        let mut batch = Batch::new(left.len());
        let mut right = Zeroizing::new(right.to_vec());
        negate_if(left, left_scalar.is_negative());
        negate_if(&mut right, right_scalar.is_negative());
        let left_multiples = odd_multiples(&mut batch, left, MULTIPLES);
        let right_multiples = odd_multiples(&mut batch, &right, MULTIPLES);
        left.fill(Point::IDENTITY);
        for position in (0..=highest).rev() {
            if position < highest {
                batch.double(left, WINDOW);
            }
            let digit = SharedDigit::of(&left_scalar, position);
            batch.add(left, |lane| digit.select(&left_multiples, lane));
            let digit = SharedDigit::of(&right_scalar, position);
            batch.add(left, |lane| digit.select(&right_multiples, lane));
        }
    }
}

/// `points[i] += scalars[i] · base`
pub(super) fn add_fixed_base_multiples(points: &mut [Point], base: &FixedBase, scalars: &[Scalar]) {
    for (points, scalars) in points.chunks_mut(LANES).zip(scalars.chunks(LANES)) {
        let scalars: Vec<OddScalar> = scalars.iter().map(OddScalar::new).collect();
        let multiple = |window: usize, lane: usize| {
            base.multiple(window, scalars[lane].digit(window, fixed_base::WINDOW))
        };
        let mut batch = Batch::new(points.len());
        let mut sums: Zeroizing<Vec<Point>> =
            Zeroizing::new((0..points.len()).map(|lane| multiple(0, lane)).collect());
        for window in 1..fixed_base::WINDOWS - 1 {
            batch.add_distinct(&mut sums, |lane| multiple(window, lane));
        }
        batch.add(&mut sums, |lane| multiple(fixed_base::WINDOWS - 1, lane));
        batch.add(points, |lane| sums[lane].negate_if(scalars[lane].is_negative()));
    }
}

/// `left[i] += right(i)`
pub(super) fn add(left: &mut [Point], right: impl Fn(usize) -> Point) {
    let mut batch = Batch::new(left.len().min(LANES));
    for (chunk, left) in left.chunks_mut(LANES).enumerate() {
        batch.add(left, |lane| right(chunk * LANES + lane));
    }
}

fn negate_if(points: &mut [Point], condition: Mask) {
    for point in points {
        *point = point.negate_if(condition);
    }
}

/// The point with `x` and an odd or even `y`, for each of `candidates`, if there is one. They are public.
pub(super) fn decompress(candidates: &[(FieldElement, Choice)], out: &mut [Option<Point>]) {
    for (candidates, out) in candidates.chunks(power::LANES).zip(out.chunks_mut(power::LANES)) {
        let squares = core::array::from_fn(|lane| {
            candidates.get(lane).map_or(FieldElement::ZERO, |(x, _)| point::curve_equation(x))
        });
        let roots = power::square_roots(&squares);
        for (((x, odd), out), (root, square)) in candidates.iter().zip(out).zip(roots.iter().zip(&squares)) {
            let is_root = bool::from(root.square().ct_eq(square));
            let y = root.negate_if(Mask::from(root.is_odd() ^ *odd));
            *out = is_root.then_some(Point { x: *x, y });
        }
    }
}

#[cfg(test)]
mod tests;
