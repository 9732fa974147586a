//! [`Radix52`]: eight field elements as five limbs of 52 bits each, for processors that multiply 52 bits in a lane and
//! add either half of the product.
//!
//! An element `x` is held as a number `Σ limbs[i]·2^(52·i)` that is `x·R` modulo `p`, with `R = 2^260`, in Montgomery
//! form. The eight lanes of an [`Octet`] word hold the same limb of eight elements.
//!
//! # Bounds
//! * [`Radix52`]: every limb is below `2^52`, the number is below `5·2^254`, so the highest limb is below `5·2^46`. Each
//!   number has one form, and zero is held as 0 or as `p`, since `2p > 5·2^254`.
//! * [`Loose`]: the same, but only the lowest 52 bits of each word but the highest mean anything. Multipliers read no
//!   others.
//!
//! Every operation keeps them. Sums and differences end in [`settle`], which adds `k·p` and then carries. It takes a
//! number `N = Σ w[i]·2^(52·i)` of signed words, of which the lower four are below `2^54` in size. They make up less than
//! `2^211` together, so the highest word alone tells `N` well enough for `k = ⌊(5·2^46 - w[4])/2^48⌋`:
//! * With `r` the remainder, `N + k·p` is `(5·2^46 - r)·2^208`, and less than `2^211` more or less, minus `k·(2^256 - p)`,
//!   where `2^224 - 2^193 < 2^256 - p < 2^224`. That is above `5·2^254 - 2^256 - 2^211 - 2^229 > 0` for `k ≤ 16`, and for
//!   `k ≥ 1` below `5·2^254 + 2^211 - (2^224 - 2^193) < 5·2^254`. For `k = 0` it is `N`, so `N` must be below `5·2^254`.
//! * `w[4] ≤ 5·2^46` makes `k` not negative. The parts of `k·p` are `k·2^44`, `k·2^36` and `k·(2^48 - 2^16)`, below `2^52`
//!   for `k ≤ 16`.
//! * The words stay below `2^55` in size while carries, which are signed, go up. What arrives in the highest is
//!   `⌊(N + k·p)/2^208⌋`, which is not negative and below `5·2^46`.
//!
//! What goes in there:
//! * Differences `a - b` are below `a`, and `w[4]` is between `±5·2^46`, so `k ≤ 2`. Differences `a - b - c` and
//!   `-a - b` are too, and `w[4]` is above `-10·2^46`, so `k ≤ 3`. The lower words are below `2^53` in size.
//! * Sums have `2p` subtracted, as signed words `-2·(-1, 2^44, 0, 2^36, 2^48 - 2^16)`. They are below
//!   `5·2^255 - 2p < 2^256`. `w[4]` is below `10·2^46 - 2^49 + 2^17 < 5·2^46` and at least `2^17 - 2^49`, so `k ≤ 3`.
//! * A flat element shifted up by four bits, below `16p`, has `15p` subtracted, so it is below `p`. `w[4]` is below
//!   `2^52 - 15·(2^48 - 2^16) < 5·2^46` and at least `-15·2^48`, so `k ≤ 16`.
//!
//! * Products: a column adds at most ten halves below `2^52`, six such parts of reductions, and the carry of the column
//!   before, below `2^12`: below `2^57`. The result is `(a·b + m·p)/R` with `m < R`, so below
//!   `25·2^508/2^260 + p < 2^253 + p < 5·2^254`.
//! * Squares: the same sums.
//!
//! # Reduction
//! `p = -1 mod 2^96`, so the multiplier that clears the lowest limb is that limb, and adding `m·p` is dropping it and
//! adding `m·(p + 1)`, where `p + 1` has three limbs that are not zero: `2^44` (limb 1), `2^36` (limb 3) and `2^48 - 2^16`
//! (limb 4). The lower half of `m·2^44` is a shift and not a product, because the next multiplier waits for it.

use core::fmt::Debug;
use core::ops::{BitAnd, BitOr, BitXor, Not};

use zeroize::{DefaultIsZeroes, Zeroize};

use super::field::{FieldElement, MODULUS};
use super::mask::Mask;
use super::point::Point;
use super::vector::{Affine, MAX_LANES, Signed, Task, Vector};

/// Limbs of an element.
const LIMBS: usize = 5;
/// Words of a product.
const COLUMNS: usize = 2 * LIMBS;
/// The low bits of a word that a limb has.
const LIMB_BITS: u64 = (1 << 52) - 1;

/// `p` has these words at limbs 1, 3 and 4, -1 at limb 0, and zero at limb 2.
const P_1: u64 = 1 << 44;
const P_3: u64 = 1 << 36;
const P_4: u64 = (1 << 48) - (1 << 16);

/// What the highest limb is below.
const HIGHEST: u64 = 5 << 46;

/// The modulus, with limbs below `2^52`.
const P: [u64; LIMBS] = split(MODULUS);
/// `R mod p = 2^260 - 16p`, which stands for one.
const ONE: [u64; LIMBS] =
    [1 << 4, LIMB_BITS + 1 - (1 << 48), LIMB_BITS, LIMB_BITS - (1 << 40), (1 << 20) - 1];
/// `2^256 mod p`, by which a product takes `x·2^260` to `x·2^256`.
const TO_FLAT: [u64; LIMBS] = [1, LIMB_BITS + 1 - (1 << 44), LIMB_BITS, LIMB_BITS - (1 << 36), (1 << 16) - 1];
/// One as a number, by which a product takes `x·2^260` to `x`.
const TO_NUMBER: [u64; LIMBS] = [1, 0, 0, 0, 0];

/// The limbs of a number of 256 bits.
const fn split(words: [u64; 4]) -> [u64; LIMBS] {
    let [w0, w1, w2, w3] = words;
    [
        w0 & LIMB_BITS,
        (w0 >> 52 | w1 << 12) & LIMB_BITS,
        (w1 >> 40 | w2 << 24) & LIMB_BITS,
        (w2 >> 28 | w3 << 36) & LIMB_BITS,
        w3 >> 16,
    ]
}

/// Eight words of 64 bits, and the few operations that the field needs: by intrinsics, or by their model in the tests.
///
/// Masks are words of ones or zeros, although AVX-512 has registers for them of a bit for each word. Where it can, the
/// compiler makes choices by such a register into loads and stores under it, of which nobody promises that their time does
/// not depend on it.
pub(super) trait Octet: Copy + Debug + Default + Send + Sync + 'static {
    /// Eight words.
    type Word: Copy + Debug + Send + Sync;
    /// Zero in each.
    const ZERO: Self::Word;

    fn from_array(words: [u64; 8]) -> Self::Word;
    fn to_array(words: Self::Word) -> [u64; 8];
    /// The same word eight times.
    fn splat(word: u64) -> Self::Word;
    /// The sums modulo `2^64`.
    fn add(left: Self::Word, right: Self::Word) -> Self::Word;
    /// The differences modulo `2^64`.
    fn sub(left: Self::Word, right: Self::Word) -> Self::Word;
    /// `sum` and the lower 52 bits of the products of the lowest 52 bits, modulo `2^64`.
    fn add_low_product(sum: Self::Word, left: Self::Word, right: Self::Word) -> Self::Word;
    /// `sum` and the upper 52 bits of the products of the lowest 52 bits, modulo `2^64`.
    fn add_high_product(sum: Self::Word, left: Self::Word, right: Self::Word) -> Self::Word;
    fn shift_left<const BITS: u32>(words: Self::Word) -> Self::Word;
    fn shift_right<const BITS: u32>(words: Self::Word) -> Self::Word;
    /// With the sign.
    fn shift_right_signed<const BITS: u32>(words: Self::Word) -> Self::Word;
    fn and(left: Self::Word, right: Self::Word) -> Self::Word;
    fn or(left: Self::Word, right: Self::Word) -> Self::Word;
    fn xor(left: Self::Word, right: Self::Word) -> Self::Word;
    /// All ones where the words are equal, else zero.
    fn equal(left: Self::Word, right: Self::Word) -> Self::Word;
    /// All ones where the bit at the position is set, else zero.
    fn bit(words: Self::Word, position: u32) -> Self::Word;
    /// The words, of which the compiler does not know where they come from: seeing that a mask is a comparison's, or a
    /// sign, it would have it in such a register after all.
    fn hide(words: Self::Word) -> Self::Word;
    /// For each index the word of `entries` whose number are its lowest three bits.
    fn choose(entries: Self::Word, indices: Self::Word) -> Self::Word;

    /// See [`Vector::perform`].
    fn perform(task: impl Task);
}

/// Divides the number in the columns by `R`, modulo `p`.
#[inline(always)]
fn reduce<S: Octet>(mut columns: [S::Word; COLUMNS]) -> [S::Word; LIMBS] {
    for index in 0..LIMBS {
        // The multiplier is the lowest 52 bits of this.
        let m = columns[index];
        let low = S::and(S::shift_left::<44>(m), S::splat(LIMB_BITS));
        let carry = S::shift_right::<52>(m);
        let column = &mut columns[index + 1..];
        column[0] = S::add(column[0], S::add(carry, low));
        column[1] = S::add_high_product(column[1], m, S::splat(P_1));
        column[2] = S::add_low_product(column[2], m, S::splat(P_3));
        column[3] = S::add_high_product(column[3], m, S::splat(P_3));
        column[3] = S::add_low_product(column[3], m, S::splat(P_4));
        column[4] = S::add_high_product(column[4], m, S::splat(P_4));
    }
    let [.., c5, c6, c7, c8, c9] = columns;
    mask::<S>(&carry::<S>([c5, c6, c7, c8, c9]))
}

/// `left·right/R`
#[inline(always)]
fn product<S: Octet>(left: &[S::Word; LIMBS], right: &[S::Word; LIMBS]) -> [S::Word; LIMBS] {
    let mut columns = [S::ZERO; COLUMNS];
    for (i, left) in left.iter().enumerate() {
        for (j, right) in right.iter().enumerate() {
            columns[i + j] = S::add_low_product(columns[i + j], *left, *right);
            columns[i + j + 1] = S::add_high_product(columns[i + j + 1], *left, *right);
        }
    }
    reduce::<S>(columns)
}

/// `element²/R`: as [`product`], with the products of different limbs once, and their sums doubled.
#[inline(always)]
fn square<S: Octet>(element: &[S::Word; LIMBS]) -> [S::Word; LIMBS] {
    let mut columns = [S::ZERO; COLUMNS];
    for i in 0..LIMBS {
        for j in i + 1..LIMBS {
            columns[i + j] = S::add_low_product(columns[i + j], element[i], element[j]);
            columns[i + j + 1] = S::add_high_product(columns[i + j + 1], element[i], element[j]);
        }
    }
    // Nothing is in the lowest and the highest yet.
    for column in &mut columns[1..COLUMNS - 1] {
        *column = S::add(*column, *column);
    }
    for (i, limb) in element.iter().enumerate() {
        columns[2 * i] = S::add_low_product(columns[2 * i], *limb, *limb);
        columns[2 * i + 1] = S::add_high_product(columns[2 * i + 1], *limb, *limb);
    }
    reduce::<S>(columns)
}

/// Takes what signed words have beyond 52 bits to the next, and leaves it there as well: see [`mask`].
#[inline(always)]
fn carry<S: Octet>(mut limbs: [S::Word; LIMBS]) -> [S::Word; LIMBS] {
    for index in 1..LIMBS {
        limbs[index] = S::add(limbs[index], S::shift_right_signed::<52>(limbs[index - 1]));
    }
    limbs
}

/// Clears what means nothing in a loose element.
#[inline(always)]
fn mask<S: Octet>(limbs: &[S::Word; LIMBS]) -> [S::Word; LIMBS] {
    let mut limbs = *limbs;
    for limb in &mut limbs[..LIMBS - 1] {
        *limb = S::and(*limb, S::splat(LIMB_BITS));
    }
    limbs
}

/// An element within the bounds of [`Loose`] from a number of signed words. See [bounds](self).
#[inline(always)]
fn settle<S: Octet>(words: [S::Word; LIMBS]) -> Loose<S> {
    let [w0, w1, w2, w3, w4] = words;
    let k = S::shift_right::<48>(S::sub(S::splat(HIGHEST), w4));
    Loose(carry::<S>([
        S::sub(w0, k),
        S::add_low_product(w1, k, S::splat(P_1)),
        w2,
        S::add_low_product(w3, k, S::splat(P_3)),
        S::add_low_product(w4, k, S::splat(P_4)),
    ]))
}

/// The same number less `times·p`, as signed words.
#[inline(always)]
fn subtract_multiple_of_p<S: Octet>(words: [S::Word; LIMBS], times: u64) -> [S::Word; LIMBS] {
    let [w0, w1, w2, w3, w4] = words;
    [
        S::add(w0, S::splat(times)),
        S::sub(w1, S::splat(times * P_1)),
        w2,
        S::sub(w3, S::splat(times * P_3)),
        S::sub(w4, S::splat(times * P_4)),
    ]
}

/// The number below `p` for one below `2p`.
#[inline(always)]
fn canonical<S: Octet>(limbs: &[S::Word; LIMBS]) -> [S::Word; LIMBS] {
    let difference = carry::<S>(subtract_multiple_of_p::<S>(*limbs, 1));
    let negative = LaneMask::<S>(S::hide(S::shift_right_signed::<63>(difference[LIMBS - 1])));
    Radix52::<S>::select(negative, &Radix52(*limbs), &Radix52(mask::<S>(&difference))).0
}

/// Eight elements, reduced as far as the [bounds](self) say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Radix52<S: Octet>([S::Word; LIMBS]);

/// Eight sums or differences.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loose<S: Octet>([S::Word; LIMBS]);

/// Eight conditions: words of ones or zeros.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneMask<S: Octet>(S::Word);

impl<S: Octet> Default for Radix52<S> {
    #[inline(always)]
    fn default() -> Self {
        Self([S::ZERO; LIMBS])
    }
}

impl<S: Octet> Default for Loose<S> {
    #[inline(always)]
    fn default() -> Self {
        Self([S::ZERO; LIMBS])
    }
}

impl<S: Octet> Default for LaneMask<S> {
    #[inline(always)]
    fn default() -> Self {
        Self(S::ZERO)
    }
}

impl<S: Octet> DefaultIsZeroes for Radix52<S> {}
impl<S: Octet> DefaultIsZeroes for Loose<S> {}
impl<S: Octet> DefaultIsZeroes for LaneMask<S> {}

impl<S: Octet> BitAnd for LaneMask<S> {
    type Output = Self;

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(S::and(self.0, other.0))
    }
}

impl<S: Octet> BitOr for LaneMask<S> {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(S::or(self.0, other.0))
    }
}

impl<S: Octet> BitXor for LaneMask<S> {
    type Output = Self;

    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        Self(S::xor(self.0, other.0))
    }
}

impl<S: Octet> Not for LaneMask<S> {
    type Output = Self;

    #[inline(always)]
    fn not(self) -> Self {
        Self(S::xor(self.0, S::splat(u64::MAX)))
    }
}

/// Where all limbs equal those of a number.
#[inline(always)]
fn equals<S: Octet>(limbs: &[S::Word; LIMBS], number: &[u64; LIMBS]) -> S::Word {
    let mut difference = S::ZERO;
    for (limb, expected) in limbs.iter().zip(number) {
        difference = S::or(difference, S::xor(*limb, S::splat(*expected)));
    }
    S::equal(difference, S::ZERO)
}

/// A number in every lane.
#[inline(always)]
fn splat<S: Octet>(number: &[u64; LIMBS]) -> [S::Word; LIMBS] {
    let mut limbs = [S::ZERO; LIMBS];
    for (limb, value) in limbs.iter_mut().zip(number) {
        *limb = S::splat(*value);
    }
    limbs
}

/// `if_true` where the mask is all ones, `if_false` where it is zero.
#[inline(always)]
fn select<S: Octet>(mask: S::Word, if_true: S::Word, if_false: S::Word) -> S::Word {
    S::xor(if_false, S::and(mask, S::xor(if_true, if_false)))
}

/// An operation on each pair of words.
#[inline(always)]
fn each<S: Octet>(
    left: &[S::Word; LIMBS],
    right: &[S::Word; LIMBS],
    operation: fn(S::Word, S::Word) -> S::Word,
) -> [S::Word; LIMBS] {
    let mut words = *left;
    for (word, right) in words.iter_mut().zip(right) {
        *word = operation(*word, *right);
    }
    words
}

impl<S: Octet> Vector for Radix52<S> {
    const LANES: usize = 8;
    /// Eight is 4 % faster than seven, 12 % faster than six.
    const FIXED_BASE_WINDOW: usize = 8;

    type Mask = LaneMask<S>;
    type Loose = Loose<S>;
    /// For each eight points the limbs of their `x`, then those of their `y`.
    type Table = Vec<[[S::Word; LIMBS]; 2]>;
    /// Limbs fill their words, so nothing is to be packed.
    type Packed = Affine<Self>;

    #[inline(always)]
    fn load(elements: &[FieldElement]) -> Self {
        let mut lanes = [[0; 8]; 4];
        for (lane, element) in elements.iter().enumerate().take(8) {
            for (word, value) in element.montgomery_words().into_iter().enumerate() {
                lanes[word][lane] = value;
            }
        }
        let [w0, w1, w2, w3] = lanes;
        let (w0, w1, w2, w3) = (S::from_array(w0), S::from_array(w1), S::from_array(w2), S::from_array(w3));
        // Shifted up by four bits, which takes x·2^256 to x·2^260, below 16p.
        let limbs = mask::<S>(&[
            S::shift_left::<4>(w0),
            S::or(S::shift_right::<48>(w0), S::shift_left::<16>(w1)),
            S::or(S::shift_right::<36>(w1), S::shift_left::<28>(w2)),
            S::or(S::shift_right::<24>(w2), S::shift_left::<40>(w3)),
            S::shift_right::<12>(w3),
        ]);
        Self::carry(&settle::<S>(subtract_multiple_of_p::<S>(limbs, 15)))
    }

    #[inline(always)]
    fn store(&self, elements: &mut [FieldElement]) {
        let [l0, l1, l2, l3, l4] = canonical::<S>(&product::<S>(&self.0, &splat::<S>(&TO_FLAT)));
        let words = [
            S::or(l0, S::shift_left::<52>(l1)),
            S::or(S::shift_right::<12>(l1), S::shift_left::<40>(l2)),
            S::or(S::shift_right::<24>(l2), S::shift_left::<28>(l3)),
            S::or(S::shift_right::<36>(l3), S::shift_left::<16>(l4)),
        ];
        let [w0, w1, w2, w3] =
            [S::to_array(words[0]), S::to_array(words[1]), S::to_array(words[2]), S::to_array(words[3])];
        for (lane, element) in elements.iter_mut().enumerate().take(8) {
            *element = FieldElement::from_montgomery_words([w0[lane], w1[lane], w2[lane], w3[lane]]);
        }
    }

    #[inline(always)]
    fn one() -> Self {
        Self(splat::<S>(&ONE))
    }

    #[inline(always)]
    fn mask(conditions: &[Mask; MAX_LANES]) -> LaneMask<S> {
        let mut words = [0; MAX_LANES];
        for (word, condition) in words.iter_mut().zip(conditions) {
            *word = condition.keep(u64::MAX);
        }
        LaneMask(S::from_array(words))
    }

    #[inline(always)]
    fn splat_mask(condition: Mask) -> LaneMask<S> {
        LaneMask(S::splat(condition.keep(u64::MAX)))
    }

    #[inline(always)]
    fn loose(&self) -> Loose<S> {
        Loose(self.0)
    }

    #[inline(always)]
    fn carry(loose: &Loose<S>) -> Self {
        Self(mask::<S>(&loose.0))
    }

    #[inline(always)]
    fn add(&self, other: &Self) -> Loose<S> {
        settle::<S>(subtract_multiple_of_p::<S>(each::<S>(&self.0, &other.0, S::add), 2))
    }

    #[inline(always)]
    fn sub(&self, other: &Self) -> Loose<S> {
        settle::<S>(each::<S>(&self.0, &other.0, S::sub))
    }

    #[inline(always)]
    fn sub_from_signed(&self, negative: LaneMask<S>, other: &Self) -> Loose<S> {
        let mut words = self.0;
        for word in &mut words {
            // The word, or its negative in two's complement.
            *word = S::sub(S::xor(*word, negative.0), negative.0);
        }
        settle::<S>(each::<S>(&words, &other.0, S::sub))
    }

    #[inline(always)]
    fn sub_two(&self, first: &Self, second: &Self) -> Self {
        let difference = each::<S>(&self.0, &first.0, S::sub);
        Self::carry(&settle::<S>(each::<S>(&difference, &second.0, S::sub)))
    }

    #[inline(always)]
    fn mul_to(&self, other: &Self, out: &mut Self) {
        out.0 = product::<S>(&self.0, &other.0);
    }

    #[inline(always)]
    fn mul_loose_to(&self, other: &Loose<S>, out: &mut Self) {
        out.0 = product::<S>(&self.0, &other.0);
    }

    #[inline(always)]
    fn mul_assign(&mut self, other: &Self) {
        self.0 = product::<S>(&self.0, &other.0);
    }

    #[inline(always)]
    fn mul_loose_assign(&mut self, other: &Loose<S>) {
        self.0 = product::<S>(&self.0, &other.0);
    }

    #[inline(always)]
    fn square_to(&self, out: &mut Self) {
        out.0 = square::<S>(&self.0);
    }

    #[inline(always)]
    fn square_assign(&mut self) {
        self.0 = square::<S>(&self.0);
    }

    #[inline(always)]
    fn copy_to(&self, out: &mut Self) {
        *out = *self;
    }

    #[inline(always)]
    fn is_zero(&self) -> LaneMask<S> {
        LaneMask(S::hide(S::or(equals::<S>(&self.0, &[0; LIMBS]), equals::<S>(&self.0, &P))))
    }

    #[inline(always)]
    fn is_odd(&self) -> LaneMask<S> {
        let number = canonical::<S>(&product::<S>(&self.0, &splat::<S>(&TO_NUMBER)));
        LaneMask(S::hide(S::bit(number[0], 0)))
    }

    #[inline(always)]
    fn keep(&self, condition: LaneMask<S>) -> Self {
        let mut limbs = self.0;
        for limb in &mut limbs {
            *limb = S::and(*limb, condition.0);
        }
        Self(limbs)
    }

    #[inline(always)]
    fn or(&self, other: &Self) -> Self {
        Self(each::<S>(&self.0, &other.0, S::or))
    }

    #[inline(always)]
    fn select(condition: LaneMask<S>, if_true: &Self, if_false: &Self) -> Self {
        Self(Self::select_loose(condition, &if_true.loose(), &if_false.loose()).0)
    }

    #[inline(always)]
    fn select_loose(condition: LaneMask<S>, if_true: &Loose<S>, if_false: &Loose<S>) -> Loose<S> {
        let mut words = if_false.0;
        for (word, if_true) in words.iter_mut().zip(&if_true.0) {
            *word = select::<S>(condition.0, *if_true, *word);
        }
        Loose(words)
    }

    #[inline(always)]
    fn perform(task: impl Task) {
        S::perform(task);
    }

    #[inline(always)]
    fn table(points: &[Point]) -> Self::Table {
        let mut table = Vec::with_capacity(points.len() / 8);
        for points in points.chunks_exact(8) {
            // A vector holds the same limb of eight elements: just what a permutation chooses from.
            let Affine { x, y } = Affine::<Self>::load(points);
            table.push([x.0, y.0]);
        }
        table
    }

    /// By permutations within registers: each eight entries are read in full, and give theirs for the index modulo
    /// eight, to be kept under a mask.
    #[inline(always)]
    fn look_up(table: &Self::Table, indices: &[u8], out: &mut [Signed<Self>]) {
        for (indices, out) in indices.chunks(Self::LANES).zip(out) {
            let mut words = [0; MAX_LANES];
            for (word, index) in words.iter_mut().zip(indices) {
                *word = u64::from(*index);
            }
            let indices = S::from_array(words);
            words.zeroize();
            let eights = S::shift_right::<3>(indices);
            out.point = Affine::default();
            for (number, [x, y]) in (0..).zip(table) {
                let chosen = S::hide(S::equal(eights, S::splat(number)));
                for limb in 0..LIMBS {
                    let (in_x, in_y) = (S::choose(x[limb], indices), S::choose(y[limb], indices));
                    let Affine { x, y } = &mut out.point;
                    x.0[limb] = S::or(x.0[limb], S::and(in_x, chosen));
                    y.0[limb] = S::or(y.0[limb], S::and(in_y, chosen));
                }
            }
        }
    }

    #[inline(always)]
    fn bit(words: &[u64], position: usize) -> LaneMask<S> {
        let mut lanes = [0; MAX_LANES];
        lanes.copy_from_slice(words);
        LaneMask(S::hide(S::bit(S::from_array(lanes), position as u32)))
    }

    #[inline(always)]
    fn pack(point: &Affine<Self>) -> Affine<Self> {
        *point
    }

    #[inline(always)]
    fn choose<const ENTRIES: usize>(
        entries: &[Affine<Self>; ENTRIES],
        bits: &[LaneMask<S>],
        out: &mut Affine<Self>,
    ) {
        for limb in 0..LIMBS {
            let (mut x, mut y) = ([S::ZERO; ENTRIES], [S::ZERO; ENTRIES]);
            for (number, entry) in entries.iter().enumerate() {
                (x[number], y[number]) = (entry.x.0[limb], entry.y.0[limb]);
            }
            out.x.0[limb] = choose::<S, ENTRIES>(x, bits);
            out.y.0[limb] = choose::<S, ENTRIES>(y, bits);
        }
    }
}

/// In each lane the word whose number has these bits.
#[inline(always)]
fn choose<S: Octet, const ENTRIES: usize>(mut words: [S::Word; ENTRIES], bits: &[LaneMask<S>]) -> S::Word {
    let mut left = ENTRIES;
    for bit in bits.iter().rev() {
        left /= 2;
        for number in 0..left {
            words[number] = select::<S>(bit.0, words[left + number], words[number]);
        }
    }
    words[0]
}

#[cfg(test)]
mod tests;
