//! Several multiples of each point, by scalars of their own: a comb (Lim and Lee, CRYPTO '94) built for every point.
//!
//! For one scalar a table of a few multiples and 252 doublings of the sum are best
//! ([`multiplication`](super::multiplication)). For several, the doublings are better done once to the point: with the
//! powers `2^(C·i)·P` at hand, the digits of a scalar at far apart positions are added together, and each further
//! scalar takes `C - 1` doublings and 63 additions, where `C` is 16 or 32 ([`Shape`]).
//!
//! # Digits
//! An odd `k` below `2^256` is `Σ ±2^i` over the 256 positions `i`: positive in the highest, and in any other exactly
//! if bit `i + 1` of `k` is set, for the sum is then `2·⌊k/2⌋ - (2^255 - 1) + 2^255`. ([`OddScalar`] replaces an even
//! scalar by its negative.) Written as `i = 64·t + C·j + c`, the position belongs to tooth `t`, table `j` and column
//! `c`. Table `j` has the sums `2^(C·j)·(2^192 ± 2^128 ± 2^64 ± 1)·P` over the four teeth, and the digit of table and
//! column is one of them or its negative; no digit is zero.
//!
//! # Exceptional cases
//! The sum is taken from the highest column down, with a doubling between columns, and over the tables from the lowest.
//! Let a digit of column `c` be added. The sum `a·P` and the digit `b·P` are then made of different positions, so
//! `2^c·(a ± b)` is a sum of `±2^i` over different `i`. Such a sum is not zero, for its lowest term is the only one that
//! is odd after division by it. It is below `2^256` in size, so for `c ≥ 1` `a ± b` is below `2^255`, and below the
//! order `n > 2^256 - 2^224`. For `c = 0` and another table than the last, position `256 - C` of column 0 is still
//! missing: `a ± b` is at most `2^256 - 1 - 2^(256 - C)` in size, below the order too for `C ≤ 32`. So all those points are neither
//! equal nor opposite, and only the very last addition, that of the highest table in column 0, must be complete. The
//! same holds for the additions that make the tables: they are sums over different positions that do not have
//! position 255.
//!
//! The generator stands in for the identity, whose multiples are masked.
//!
//! # Constant time
//! A digit is found by reading all eight sums of its table under masks, as with the windows of one scalar.

use p256::Scalar;
use zeroize::Zeroizing;

use super::batch::{Addends, Batch};
use super::digits::LaneScalars;
use super::multiplication::set;
use super::point::Point;
use super::table::PointTable;
use super::vector::{Affine, Lanes, Signed, Vector, load, replace_identities, store};

/// Tables of points that are made together. Few enough that they stay in the second-level cache while the sums of all
/// scalars go through them; a multiple of [`MAX_LANES`] for each number of tables.
const POOL: usize = 1024;
/// Positions that a table looks up at once.
const TEETH: usize = 4;
/// Positions between a tooth and the next, so that a tooth has a word of the scalar to itself.
const SPACING: usize = 64;
/// Sums in a table: the highest tooth is positive.
const SUMS: usize = 1 << (TEETH - 1);

/// Scalars of each point whose sums are worked on in step, so that scratch space does not grow with their number.
const TOGETHER: usize = 32;

/// How many tables a point has. With `T` of them, the point takes `256 - 64/T` doublings and `12·T` additions, and each
/// scalar `64/T - 1` doublings and 63 additions.
#[derive(Clone, Copy)]
struct Shape {
    tables: usize,
}

impl Shape {
    /// The cheapest for a number of scalars, among those that occur.
    const fn of(scalars: usize) -> Self {
        Self { tables: if scalars <= 2 { 2 } else { 4 } }
    }

    /// Points that get their tables together.
    const fn chunk(self) -> usize {
        POOL / self.tables
    }

    /// Positions between a table and the next: a doubling of the sum lies between two of them.
    const fn columns(self) -> usize {
        SPACING / self.tables
    }
}

/// The tables of each point of a chunk. In the sum `e` a tooth `t` is positive where bit `t` of `e` is set.
#[inline(always)]
fn tables<V: Vector>(points: &[Affine<V>], shape: Shape) -> Vec<PointTable<V, SUMS>> {
    let mut batch = Batch::new(points.len());
    let mut shifted: Lanes<V> = Zeroizing::new(points.to_vec());
    // By tooth, and then by table.
    let mut powers: Vec<Lanes<V>> = Vec::with_capacity(TEETH * shape.tables);
    for power in 0..TEETH * shape.tables {
        if power > 0 {
            batch.double(&mut shifted, shape.columns());
        }
        powers.push(shifted.clone());
    }
    let mut tables = Vec::with_capacity(shape.tables);
    for table in 0..shape.tables {
        let mut tooth = [0; TEETH];
        for (number, tooth) in tooth.iter_mut().enumerate() {
            *tooth = number * shape.tables + table;
        }
        let [first, second, third, fourth] = tooth.map(|power| &powers[power]);
        let upper = [sum(&mut batch, fourth, &negated(third)), sum(&mut batch, fourth, third)];
        let lower = [sum(&mut batch, second, first), sum(&mut batch, second, &negated(first))];
        let lower = [&negated(&lower[0]), &negated(&lower[1]), &lower[1], &lower[0]];
        let mut sums = PointTable::new(points.len());
        for number in 0..SUMS {
            sums.set(number, &sum(&mut batch, &upper[number / lower.len()], lower[number % lower.len()]));
        }
        tables.push(sums);
    }
    tables
}

/// Sums of points that are neither equal nor opposite.
#[inline(always)]
fn sum<V: Vector>(batch: &mut Batch<V>, left: &[Affine<V>], right: &[Affine<V>]) -> Lanes<V> {
    let mut sums = Zeroizing::new(left.to_vec());
    batch.add_distinct(&mut sums, right);
    sums
}

#[inline(always)]
fn negated<V: Vector>(points: &[Affine<V>]) -> Lanes<V> {
    let everywhere = !V::Mask::default();
    let mut negated = Zeroizing::new(points.to_vec());
    for point in negated.iter_mut() {
        *point = point.negate_if(everywhere);
    }
    negated
}

/// The digits of one column in one table.
struct Column<'a, V: Vector> {
    table: &'a PointTable<V, SUMS>,
    scalars: &'a LaneScalars<V>,
    /// The column's position within a tooth.
    position: usize,
}

impl<V: Vector> Addends<V> for Column<'_, V> {
    #[inline(always)]
    fn write(&self, first: usize, out: &mut [Signed<V>]) {
        let mut positions = [self.position; TEETH];
        for (tooth, position) in positions.iter_mut().enumerate() {
            *position += SPACING * tooth;
        }
        // The sums of a point's scalars follow each other by the number of points.
        let mut vector = first % self.table.vectors();
        for (index, out) in (first..).zip(out) {
            self.table.select(vector, &self.scalars.digit(index, positions), out);
            vector = if vector + 1 == self.table.vectors() { 0 } else { vector + 1 };
        }
    }
}

/// `out[j·n + i] = scalars[j·n + i] · points[i]` for the `n` points.
#[inline(always)]
pub(super) fn several_multiples<V: Vector>(points: &[Point], scalars: &[Scalar], out: &mut [Point]) {
    let count = points.len();
    let shape = Shape::of(scalars.len() / count);
    for (chunk, points) in points.chunks(shape.chunk()).enumerate() {
        let mut lanes = load::<V>(points);
        let identities = replace_identities(&mut lanes);
        let tables = tables(&lanes, shape);
        let first = chunk * shape.chunk();
        let places = first..first + points.len();
        for (scalars, out) in scalars.chunks(TOGETHER * count).zip(out.chunks_mut(TOGETHER * count)) {
            let mut own = LaneScalars::with_capacity(scalars.len() / count * lanes.len());
            for scalars in scalars.chunks_exact(count) {
                own.push(&scalars[places.clone()]);
            }
            let mut sums = multiply(&tables, &own, shape);
            for (sum, identity) in sums.iter_mut().zip(identities.iter().cycle()) {
                *sum = sum.keep(!*identity);
            }
            for (sums, out) in sums.chunks_exact(lanes.len()).zip(out.chunks_exact_mut(count)) {
                store(sums, &mut out[places.clone()]);
            }
        }
    }
}

/// The multiples by all scalars.
#[inline(always)]
fn multiply<V: Vector>(tables: &[PointTable<V, SUMS>], scalars: &LaneScalars<V>, shape: Shape) -> Lanes<V> {
    let mut batch = Batch::new(scalars.vectors());
    let mut sums: Lanes<V> = Zeroizing::new(vec![Affine::default(); scalars.vectors()]);
    let columns = shape.columns();
    for column in (0..columns).rev() {
        if column + 1 < columns {
            batch.double(&mut sums, 1);
        }
        for (number, table) in tables.iter().enumerate() {
            let digits = Column { table, scalars, position: number * columns + column };
            if column + 1 == columns && number == 0 {
                set(&mut sums, &digits);
            } else if column == 0 && number + 1 == shape.tables {
                batch.add(&mut sums, &digits);
            } else {
                batch.add_distinct(&mut sums, &digits);
            }
        }
    }
    for (index, sum) in sums.iter_mut().enumerate() {
        *sum = sum.negate_if(scalars.is_negative(index));
    }
    sums
}
