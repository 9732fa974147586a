//! [`Radix29`]: four field elements as nine limbs of 29 bits each, for processors that multiply 32 bits in a lane.
//!
//! An element `x` is held as a number `Σ limbs[i]·2^(29·i)` that is `x·R` modulo `p`, with `R = 2^261`, in Montgomery
//! form. The four lanes of a [`Quad`] word hold the same limb of four elements.
//!
//! # Bounds
//! * [`Radix29`]: every limb is below `2^29`, the number is below `2p`. So each number has one form, and zero is held
//!   as 0 or as `p`.
//! * [`Loose`]: every limb is below `2^31`, the number is below `16p`.
//!
//! Every operation keeps them:
//! * Addition: limbs below `2^30`, numbers below `4p`.
//! * Subtraction adds `4p` ([`FOUR_P`]), each of whose limbs is at least the largest that may be subtracted: `2^29 - 1`,
//!   and `2^25` for the highest, since `2p < 2^25·2^232`. Its limbs are below `2^30`, so the result's are below
//!   `2^30 + 2^29`; the number is below `6p`.
//! * Subtraction of two, or from a negative, adds `8p` ([`EIGHT_P`]) with limbs of at least `2^30 - 2`, the highest `2^26`:
//!   twice the largest that may be subtracted. They are below `2^30 + 2^29`, so the result's are below `2^31`; the number is
//!   below `10p`.
//! * Carrying subtracts `t·p` where `t` is the highest limb divided by `2^24`: at most the number divided by `2^256`,
//!   so the rest is not negative. For limbs below `2^31` the lower eight make up less than `2^235`, so the number is
//!   below `(t + 1)·2^256 + 2^235`, and with `t ≤ 2^5` the rest is below `2^256 + 2^235 + 2^5·(2^256 - p) < 2p`.
//!   As `2^256 - p = 2^224 - 2^192 - 2^96 + 1`, that is `t` added to limb 0 and (at bit 21) to limb 7, and subtracted
//!   from limb 3 (at bit 9) and from limb 6 (at bit 18). To keep limbs from going below zero, limb 3 is lent `2^29`,
//!   which costs limb 4 one; that is lent `2^29` too, and so on to limb 7. While the carry goes up, each limb is
//!   below `2^33` and not negative: limbs 3 to 6 had more lent than `t·2^18 + 1 ≤ 2^24`; limb 7 is one short only,
//!   and if it is zero and `t` is, then limb 3 returns its loan in full as a carry, and so do 4 to 6. The highest
//!   limb is what remains of a number that is not negative and below `2p`.
//! * Products (a `Radix29` times a `Loose`): a column adds at most nine products below `2^60`, reductions below
//!   `2^38 + 2^47 + 2^58 + 2^53`, and the carry of the column before, below `2^35`: below `2^64`. The result is
//!   `(a·b + m·p)/R` with `m < R`, so below `2p·16p/2^261 + p`, and that below `2p`, as `32p < 2^261`.
//! * Squares: twice a limb is below `2^30`, which is a bound of `Loose` as well.
//!
//! # Reduction
//! `p = -1 mod 2^96`, so the multiplier that clears the lowest limb is that limb, and adding `m·p` is dropping it and
//! adding `m·(p + 1)`, where `p + 1` has four limbs that are not zero: `2^9` (limb 3), `2^18` (limb 6), `2^29 - 2^21`
//! (limb 7) and `2^24 - 1` (limb 8). None is negative, so no column can be.

use core::fmt::Debug;
use core::ops::{BitAnd, BitOr, BitXor, Not};

use zeroize::{DefaultIsZeroes, Zeroize};

use super::field::{FieldElement, MODULUS};
use super::mask::Mask;
use super::point::Point;
use super::vector::{Affine, MAX_LANES, Signed, Task, Vector};

/// Limbs of an element.
pub(super) const LIMBS: usize = 9;
/// The low bits of a word that a limb has.
const LIMB_BITS: u64 = (1 << 29) - 1;

/// Points that are looked up together: as many as a register has bytes.
pub(super) const POINTS: usize = 32;
/// Entries of a table of multiples of a fixed base, for windows of eight bits.
pub(super) const ENTRIES: usize = 128;
/// Bytes of a point in such a table.
const POINT_BYTES: usize = 2 * LIMBS * 4;
/// One byte of each entry of such a table.
pub(super) type Plane = [u8; ENTRIES];

/// The modulus.
const P: [u64; LIMBS] = split(MODULUS);
/// `4p`, with limbs of at least `2^29 - 1`, the highest of at least `2^25`.
const FOUR_P: [u64; LIMBS] = lend(multiple_of_p(2), 1);
/// `8p`, with limbs of at least `2^30 - 2`, the highest of at least `2^26`.
const EIGHT_P: [u64; LIMBS] = lend(multiple_of_p(3), 2);
/// `R mod p = 2^261 - 32p`, which stands for one.
const ONE: [u64; LIMBS] =
    [1 << 5, 0, 0, LIMB_BITS + 1 - (1 << 14), LIMB_BITS, LIMB_BITS, LIMB_BITS - (1 << 23), (1 << 26) - 1, 0];
/// `2^256 mod p`, by which a product takes `x·2^261` to `x·2^256`.
const TO_FLAT: [u64; LIMBS] =
    [1, 0, 0, LIMB_BITS + 1 - (1 << 9), LIMB_BITS, LIMB_BITS, LIMB_BITS - (1 << 18), (1 << 21) - 1, 0];
/// One as a number, by which a product takes `x·2^261` to `x`.
const TO_NUMBER: [u64; LIMBS] = [1, 0, 0, 0, 0, 0, 0, 0, 0];

/// The limbs of a number of 256 bits.
const fn split(words: [u64; 4]) -> [u64; LIMBS] {
    let [w0, w1, w2, w3] = words;
    [
        w0 & LIMB_BITS,
        w0 >> 29 & LIMB_BITS,
        (w0 >> 58 | w1 << 6) & LIMB_BITS,
        w1 >> 23 & LIMB_BITS,
        (w1 >> 52 | w2 << 12) & LIMB_BITS,
        w2 >> 17 & LIMB_BITS,
        (w2 >> 46 | w3 << 18) & LIMB_BITS,
        w3 >> 11 & LIMB_BITS,
        w3 >> 40,
    ]
}

/// `2^shift·p`, with limbs below `2^29`.
const fn multiple_of_p(shift: u32) -> [u64; LIMBS] {
    let mut limbs = P;
    let (mut carry, mut index) = (0, 0);
    while index < LIMBS - 1 {
        let limb = (limbs[index] << shift) + carry;
        limbs[index] = limb & LIMB_BITS;
        carry = limb >> 29;
        index += 1;
    }
    limbs[LIMBS - 1] = (limbs[LIMBS - 1] << shift) + carry;
    limbs
}

/// The same number with `units·2^29` more in each limb but the highest, at the cost of the next.
const fn lend(mut limbs: [u64; LIMBS], units: u64) -> [u64; LIMBS] {
    let mut index = LIMBS - 1;
    while index > 0 {
        limbs[index] -= units;
        limbs[index - 1] += units << 29;
        index -= 1;
    }
    limbs
}

/// Four words of 64 bits, and the few operations that the field needs: by intrinsics, or by their model in the tests.
pub(super) trait Quad: Copy + Debug + Default + Send + Sync + 'static {
    /// Four words.
    type Word: Copy + Debug + Send + Sync;
    /// See [`Quad::choose`].
    type ByteIndices;
    /// Zero in each.
    const ZERO: Self::Word;

    fn from_array(words: [u64; 4]) -> Self::Word;
    fn to_array(words: Self::Word) -> [u64; 4];
    /// The same word four times.
    fn splat(word: u64) -> Self::Word;
    /// The sums modulo `2^64`.
    fn add(left: Self::Word, right: Self::Word) -> Self::Word;
    /// The differences modulo `2^64`.
    fn sub(left: Self::Word, right: Self::Word) -> Self::Word;
    fn shift_left<const BITS: i32>(words: Self::Word) -> Self::Word;
    fn shift_right<const BITS: i32>(words: Self::Word) -> Self::Word;
    fn and(left: Self::Word, right: Self::Word) -> Self::Word;
    fn or(left: Self::Word, right: Self::Word) -> Self::Word;
    fn xor(left: Self::Word, right: Self::Word) -> Self::Word;
    /// All ones where the words are equal, else zero.
    fn equal(left: Self::Word, right: Self::Word) -> Self::Word;
    /// All ones where the bit at the position is set, else zero.
    fn bit(words: Self::Word, position: i32) -> Self::Word;
    /// The words, of which the compiler does not know where they come from: seeing that a mask is a comparison's, it makes
    /// choices by it into masked stores.
    fn hide(words: Self::Word) -> Self::Word;
    /// `if_true` where the mask is all ones, `if_false` where it is zero.
    fn select(mask: Self::Word, if_true: Self::Word, if_false: Self::Word) -> Self::Word;
    /// Prepares indices below [`ENTRIES`].
    fn byte_indices(indices: &[u8; POINTS]) -> Self::ByteIndices;
    /// For each index a number below `2^32` whose bytes, from the lowest, are the entries with this index of four
    /// planes: those of the first four indices, of the next four, and so on.
    fn choose(planes: &[Plane], indices: &Self::ByteIndices) -> [Self::Word; POINTS / 4];

    /// See [`Vector::perform`].
    fn perform(task: impl Task);
    /// `*out = left·right/R` as the [bounds](self) and the [reduction](self) say.
    fn product(left: &[Self::Word; LIMBS], right: &[Self::Word; LIMBS], out: &mut [Self::Word; LIMBS]);
    /// `left = left·right/R`
    fn product_assign(left: &mut [Self::Word; LIMBS], right: &[Self::Word; LIMBS]);
    /// `*out = element²/R`
    fn square(element: &[Self::Word; LIMBS], out: &mut [Self::Word; LIMBS]);
    /// `element = element²/R`
    fn square_assign(element: &mut [Self::Word; LIMBS]);
}

/// Four elements, reduced as far as the [bounds](self) say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Radix29<S: Quad>([S::Word; LIMBS]);

/// Four sums or differences.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loose<S: Quad>([S::Word; LIMBS]);

/// Four points: in each word a limb of `x` in the lower half and the same limb of `y` in the upper one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed<S: Quad>([S::Word; LIMBS]);

/// Four conditions: words of ones or zeros.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneMask<S: Quad>(S::Word);

impl<S: Quad> Default for Radix29<S> {
    #[inline(always)]
    fn default() -> Self {
        Self([S::ZERO; LIMBS])
    }
}

impl<S: Quad> Default for Loose<S> {
    #[inline(always)]
    fn default() -> Self {
        Self([S::ZERO; LIMBS])
    }
}

impl<S: Quad> Default for Packed<S> {
    #[inline(always)]
    fn default() -> Self {
        Self([S::ZERO; LIMBS])
    }
}

impl<S: Quad> Default for LaneMask<S> {
    #[inline(always)]
    fn default() -> Self {
        Self(S::ZERO)
    }
}

impl<S: Quad> DefaultIsZeroes for Radix29<S> {}
impl<S: Quad> DefaultIsZeroes for Loose<S> {}
impl<S: Quad> DefaultIsZeroes for Packed<S> {}
impl<S: Quad> DefaultIsZeroes for LaneMask<S> {}

impl<S: Quad> BitAnd for LaneMask<S> {
    type Output = Self;

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(S::and(self.0, other.0))
    }
}

impl<S: Quad> BitOr for LaneMask<S> {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(S::or(self.0, other.0))
    }
}

impl<S: Quad> BitXor for LaneMask<S> {
    type Output = Self;

    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        Self(S::xor(self.0, other.0))
    }
}

impl<S: Quad> Not for LaneMask<S> {
    type Output = Self;

    #[inline(always)]
    fn not(self) -> Self {
        Self(S::xor(self.0, S::splat(u64::MAX)))
    }
}

/// Where all limbs equal those of a number.
#[inline(always)]
fn equals<S: Quad>(limbs: &[S::Word; LIMBS], number: &[u64; LIMBS]) -> S::Word {
    let mut difference = S::ZERO;
    for index in 0..LIMBS {
        let limb = match number[index] {
            0 => limbs[index],
            expected => S::xor(limbs[index], S::splat(expected)),
        };
        difference = S::or(difference, limb);
    }
    S::equal(difference, S::ZERO)
}

/// A number in every lane.
#[inline(always)]
fn splat<S: Quad>(number: &[u64; LIMBS]) -> [S::Word; LIMBS] {
    let mut limbs = [S::ZERO; LIMBS];
    for (limb, value) in limbs.iter_mut().zip(number) {
        *limb = S::splat(*value);
    }
    limbs
}

/// See [bounds](self). Limbs are below `2^31`, the number is below `32p`.
#[inline(always)]
fn carry<S: Quad>(limbs: &[S::Word; LIMBS]) -> [S::Word; LIMBS] {
    let mut limbs = *limbs;
    let excess = S::shift_right::<24>(limbs[8]);
    limbs[8] = S::and(limbs[8], S::splat((1 << 24) - 1));
    limbs[0] = S::add(limbs[0], excess);
    limbs[3] = S::sub(limbs[3], S::shift_left::<9>(excess));
    limbs[6] = S::sub(limbs[6], S::shift_left::<18>(excess));
    limbs[7] = S::add(limbs[7], S::shift_left::<21>(excess));
    limbs[3] = S::add(limbs[3], S::splat(1 << 29));
    for limb in &mut limbs[4..7] {
        *limb = S::add(*limb, S::splat((1 << 29) - 1));
    }
    limbs[7] = S::sub(limbs[7], S::splat(1));
    for index in 0..LIMBS - 1 {
        limbs[index + 1] = S::add(limbs[index + 1], S::shift_right::<29>(limbs[index]));
        limbs[index] = S::and(limbs[index], S::splat(LIMB_BITS));
    }
    limbs
}

/// The number below `p` for one below `2p`.
#[inline(always)]
fn canonical<S: Quad>(limbs: &[S::Word; LIMBS]) -> [S::Word; LIMBS] {
    let mut reduced = [S::ZERO; LIMBS];
    let mut borrow = S::ZERO;
    for index in 0..LIMBS {
        let difference = S::sub(S::sub(limbs[index], S::splat(P[index])), borrow);
        borrow = S::shift_right::<63>(difference);
        reduced[index] = S::and(difference, S::splat(LIMB_BITS));
    }
    let below_p = LaneMask::<S>(S::hide(S::equal(borrow, S::splat(1))));
    Radix29::<S>::select(below_p, &Radix29(*limbs), &Radix29(reduced)).0
}

impl<S: Quad> Vector for Radix29<S> {
    const LANES: usize = 4;
    const FIXED_BASE_WINDOW: usize = 8;

    type Mask = LaneMask<S>;
    type Loose = Loose<S>;
    /// The limbs of `x` and then of `y`, of four bytes each: for each byte a plane.
    type Table = Vec<Plane>;
    type Packed = Packed<S>;

    #[inline(always)]
    fn load(elements: &[FieldElement]) -> Self {
        let mut lanes = [[0; 4]; 4];
        for (lane, element) in elements.iter().enumerate().take(4) {
            for (word, value) in element.montgomery_words().into_iter().enumerate() {
                lanes[word][lane] = value;
            }
        }
        let [w0, w1, w2, w3] = [
            S::from_array(lanes[0]),
            S::from_array(lanes[1]),
            S::from_array(lanes[2]),
            S::from_array(lanes[3]),
        ];
        // Shifted up by five bits, which takes x·2^256 to x·2^261, below 32p.
        let limbs = [
            S::shift_left::<5>(w0),
            S::shift_right::<24>(w0),
            S::or(S::shift_right::<53>(w0), S::shift_left::<11>(w1)),
            S::shift_right::<18>(w1),
            S::or(S::shift_right::<47>(w1), S::shift_left::<17>(w2)),
            S::shift_right::<12>(w2),
            S::or(S::shift_right::<41>(w2), S::shift_left::<23>(w3)),
            S::shift_right::<6>(w3),
            S::shift_right::<35>(w3),
        ];
        let mut masked = limbs;
        for limb in &mut masked {
            *limb = S::and(*limb, S::splat(LIMB_BITS));
        }
        Self(carry::<S>(&masked))
    }

    #[inline(always)]
    fn store(&self, elements: &mut [FieldElement]) {
        let [l0, l1, l2, l3, l4, l5, l6, l7, l8] = canonical::<S>(&self.mul(&Self(splat::<S>(&TO_FLAT))).0);
        let words = [
            S::or(S::or(l0, S::shift_left::<29>(l1)), S::shift_left::<58>(l2)),
            S::or(S::or(S::shift_right::<6>(l2), S::shift_left::<23>(l3)), S::shift_left::<52>(l4)),
            S::or(S::or(S::shift_right::<12>(l4), S::shift_left::<17>(l5)), S::shift_left::<46>(l6)),
            S::or(S::or(S::shift_right::<18>(l6), S::shift_left::<11>(l7)), S::shift_left::<40>(l8)),
        ];
        let [w0, w1, w2, w3] =
            [S::to_array(words[0]), S::to_array(words[1]), S::to_array(words[2]), S::to_array(words[3])];
        for (lane, element) in elements.iter_mut().enumerate().take(4) {
            *element = FieldElement::from_montgomery_words([w0[lane], w1[lane], w2[lane], w3[lane]]);
        }
    }

    #[inline(always)]
    fn one() -> Self {
        Self(splat::<S>(&ONE))
    }

    #[inline(always)]
    fn mask(conditions: &[Mask; MAX_LANES]) -> LaneMask<S> {
        let [c0, c1, c2, c3, ..] = conditions;
        let ones = u64::MAX;
        LaneMask(S::from_array([c0.keep(ones), c1.keep(ones), c2.keep(ones), c3.keep(ones)]))
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
        Self(carry::<S>(&loose.0))
    }

    #[inline(always)]
    fn add(&self, other: &Self) -> Loose<S> {
        let mut limbs = self.0;
        for (limb, other) in limbs.iter_mut().zip(&other.0) {
            *limb = S::add(*limb, *other);
        }
        Loose(limbs)
    }

    #[inline(always)]
    fn sub(&self, other: &Self) -> Loose<S> {
        let mut limbs = self.0;
        for index in 0..LIMBS {
            limbs[index] = S::sub(S::add(limbs[index], S::splat(FOUR_P[index])), other.0[index]);
        }
        Loose(limbs)
    }

    #[inline(always)]
    fn sub_from_signed(&self, negative: LaneMask<S>, other: &Self) -> Loose<S> {
        let mut limbs = self.0;
        for index in 0..LIMBS {
            // The limb, or its negative in two's complement.
            let signed = S::sub(S::xor(limbs[index], negative.0), negative.0);
            limbs[index] = S::sub(S::add(signed, S::splat(EIGHT_P[index])), other.0[index]);
        }
        Loose(limbs)
    }

    #[inline(always)]
    fn sub_two(&self, first: &Self, second: &Self) -> Self {
        let mut limbs = self.0;
        for index in 0..LIMBS {
            let both = S::add(first.0[index], second.0[index]);
            limbs[index] = S::sub(S::add(limbs[index], S::splat(EIGHT_P[index])), both);
        }
        Self(carry::<S>(&limbs))
    }

    #[inline(always)]
    fn mul_to(&self, other: &Self, out: &mut Self) {
        S::product(&self.0, &other.0, &mut out.0);
    }

    #[inline(always)]
    fn mul_loose_to(&self, other: &Loose<S>, out: &mut Self) {
        S::product(&self.0, &other.0, &mut out.0);
    }

    #[inline(always)]
    fn mul_assign(&mut self, other: &Self) {
        S::product_assign(&mut self.0, &other.0);
    }

    #[inline(always)]
    fn mul_loose_assign(&mut self, other: &Loose<S>) {
        S::product_assign(&mut self.0, &other.0);
    }

    #[inline(always)]
    fn square_to(&self, out: &mut Self) {
        S::square(&self.0, &mut out.0);
    }

    #[inline(always)]
    fn square_assign(&mut self) {
        S::square_assign(&mut self.0);
    }

    #[inline(always)]
    fn copy_to(&self, out: &mut Self) {
        let [l0, l1, l2, l3, l4, l5, l6, l7, l8] = self.0;
        out.0 = [l0, l1, l2, l3, l4, l5, l6, l7, l8];
    }

    #[inline(always)]
    fn is_zero(&self) -> LaneMask<S> {
        LaneMask(S::hide(S::or(equals::<S>(&self.0, &[0; LIMBS]), equals::<S>(&self.0, &P))))
    }

    #[inline(always)]
    fn is_odd(&self) -> LaneMask<S> {
        let number = canonical::<S>(&self.mul(&Self(splat::<S>(&TO_NUMBER))).0);
        LaneMask(S::hide(S::equal(S::and(number[0], S::splat(1)), S::splat(1))))
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
        let mut limbs = self.0;
        for (limb, other) in limbs.iter_mut().zip(&other.0) {
            *limb = S::or(*limb, *other);
        }
        Self(limbs)
    }

    #[inline(always)]
    fn select(condition: LaneMask<S>, if_true: &Self, if_false: &Self) -> Self {
        Self(Self::select_loose(condition, &if_true.loose(), &if_false.loose()).0)
    }

    #[inline(always)]
    fn select_loose(condition: LaneMask<S>, if_true: &Loose<S>, if_false: &Loose<S>) -> Loose<S> {
        let mut limbs = if_false.0;
        for (limb, if_true) in limbs.iter_mut().zip(&if_true.0) {
            *limb = S::select(condition.0, *if_true, *limb);
        }
        Loose(limbs)
    }

    #[inline(always)]
    fn perform(task: impl Task) {
        S::perform(task);
    }

    #[inline(always)]
    fn table(points: &[Point]) -> Self::Table {
        let mut table = vec![[0; ENTRIES]; POINT_BYTES];
        for (entry, point) in points.iter().enumerate() {
            let Affine { x, y } = Affine::<Self>::load(&[*point]);
            for (limb, planes) in table.chunks_exact_mut(4).enumerate() {
                let coordinate = if limb < LIMBS { &x } else { &y };
                let value = S::to_array(coordinate.0[limb % LIMBS])[0];
                // A limb has 29 bits.
                for (plane, byte) in planes.iter_mut().zip((value as u32).to_le_bytes()) {
                    plane[entry] = byte;
                }
            }
        }
        table
    }

    #[inline(always)]
    fn look_up(table: &Self::Table, indices: &[u8], out: &mut [Signed<Self>]) {
        for (indices, out) in indices.chunks(POINTS).zip(out.chunks_mut(POINTS / Self::LANES)) {
            let mut padded = [0; POINTS];
            padded[..indices.len()].copy_from_slice(indices);
            let indices = S::byte_indices(&padded);
            for (limb, planes) in table.chunks_exact(4).enumerate() {
                let values = S::choose(planes, &indices);
                for (out, value) in out.iter_mut().zip(values) {
                    let coordinate = if limb < LIMBS { &mut out.point.x } else { &mut out.point.y };
                    coordinate.0[limb % LIMBS] = value;
                }
            }
            padded.zeroize();
        }
    }

    #[inline(always)]
    fn bit(words: &[u64], position: usize) -> LaneMask<S> {
        LaneMask(S::hide(S::bit(S::from_array([words[0], words[1], words[2], words[3]]), position as i32)))
    }

    #[inline(always)]
    fn pack(point: &Affine<Self>) -> Packed<S> {
        let mut packed = Packed::default();
        for index in 0..LIMBS {
            packed.0[index] = S::or(point.x.0[index], S::shift_left::<32>(point.y.0[index]));
        }
        packed
    }

    #[inline(always)]
    fn choose<const ENTRIES: usize>(
        entries: &[Packed<S>; ENTRIES],
        bits: &[LaneMask<S>],
        out: &mut Affine<Self>,
    ) {
        for index in 0..LIMBS {
            let mut words = [S::ZERO; ENTRIES];
            for (word, entry) in words.iter_mut().zip(entries) {
                *word = entry.0[index];
            }
            let mut left = ENTRIES;
            for bit in bits.iter().rev() {
                left /= 2;
                for number in 0..left {
                    words[number] = S::select(bit.0, words[left + number], words[number]);
                }
            }
            out.x.0[index] = S::and(words[0], S::splat(LIMB_BITS));
            out.y.0[index] = S::shift_right::<32>(words[0]);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
