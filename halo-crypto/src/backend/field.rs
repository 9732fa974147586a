//! [`FieldElement`]: the field of P-256 in Montgomery form, four words of 64 bits.
//!
//! The modulus is `p = 2^256 - 2^224 + 2^192 + 2^96 - 1`. Its lowest word is all ones, so `-1/p = 1 mod 2^64`: the
//! multiplier of each reduction step is the lowest word of the value itself, and adding `m·p` clears that word,
//! adds `m·2^96` to the next two, and leaves one true multiplication, by the highest word of `p`.

use subtle::{Choice, ConstantTimeEq};
use zeroize::DefaultIsZeroes;

use super::divsteps;
use super::mask::Mask;

/// The modulus, lowest word first.
pub(super) const MODULUS: [u64; 4] = [u64::MAX, 0xffff_ffff, 0, 0xffff_ffff_0000_0001];
/// `2^512 mod p`, which takes a value into Montgomery form.
const R_SQUARED: FieldElement =
    FieldElement([3, 0xffff_fffb_ffff_ffff, 0xffff_ffff_ffff_fffe, 0x0000_0004_ffff_fffd]);
/// `2^768 mod p`.
const R_CUBED: FieldElement = R_SQUARED.mul(&R_SQUARED);

/// An element `x` of the field, held as `x·2^256 mod p`.
///
/// Invariant: the words are a number below `p`, so equal elements have equal words. Every operation takes the same
/// time for all values.
#[derive(Clone, Copy, Debug, Default)]
pub struct FieldElement([u64; 4]);

impl DefaultIsZeroes for FieldElement {}

/// `sum + left·right + carry` as (low, high); it cannot overflow.
#[inline(always)]
const fn multiply_add(sum: u64, left: u64, right: u64, carry: u64) -> (u64, u64) {
    let wide = sum as u128 + left as u128 * right as u128 + carry as u128;
    (wide as u64, (wide >> 64) as u64)
}

/// `left + right + carry` as (sum, carry).
#[inline(always)]
const fn add_carry(left: u64, right: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = left.overflowing_add(right);
    let (sum, second) = sum.overflowing_add(carry as u64);
    (sum, first | second)
}

/// `left - right - borrow` as (difference, borrow).
#[inline(always)]
const fn sub_borrow(left: u64, right: u64, borrow: bool) -> (u64, bool) {
    let (difference, first) = left.overflowing_sub(right);
    let (difference, second) = difference.overflowing_sub(borrow as u64);
    (difference, first | second)
}

/// `value - p` if `value`, five words, is at least `p`; else `value`. The result is below `p` if the value was below
/// `2p`.
#[inline(always)]
const fn subtract_modulus_once(value: [u64; 4], top: u64) -> FieldElement {
    let (d0, borrow) = sub_borrow(value[0], MODULUS[0], false);
    let (d1, borrow) = sub_borrow(value[1], MODULUS[1], borrow);
    let (d2, borrow) = sub_borrow(value[2], MODULUS[2], borrow);
    let (d3, borrow) = sub_borrow(value[3], MODULUS[3], borrow);
    let (_, borrow) = sub_borrow(top, 0, borrow);
    let keep = (borrow as u64).wrapping_neg();
    FieldElement([
        d0 ^ (keep & (d0 ^ value[0])),
        d1 ^ (keep & (d1 ^ value[1])),
        d2 ^ (keep & (d2 ^ value[2])),
        d3 ^ (keep & (d3 ^ value[3])),
    ])
}

/// `value / 2^256 mod p`, for a value below `2^256·p`.
///
/// Four steps divide the lower half by `2^256`, with a result of at most `p`; added to the upper half, which is
/// below `p`, that is below `2p`.
#[inline(always)]
const fn reduce(value: [u64; 8]) -> FieldElement {
    let mut low = [value[0], value[1], value[2], value[3]];
    let mut step = 0;
    while step < 4 {
        // low = (low + m·p) / 2^64, where m·p = m·(p3·2^192 + 2^96 - 1) and p3 = 2^64 - 2^32 + 1. It is below
        // 2^192 + p, so the highest word does not overflow.
        let m = low[0];
        let (shifted_low, shifted_high) = (m << 32, m >> 32);
        let (product_low, borrow) = sub_borrow(m, shifted_low, false);
        let (product_high, _) = sub_borrow(m, shifted_high, borrow);
        let (l1, carry) = add_carry(low[1], shifted_low, false);
        let (l2, carry) = add_carry(low[2], shifted_high, carry);
        let (l3, carry) = add_carry(low[3], product_low, carry);
        low = [l1, l2, l3, product_high.wrapping_add(carry as u64)];
        step += 1;
    }
    let (r0, carry) = add_carry(low[0], value[4], false);
    let (r1, carry) = add_carry(low[1], value[5], carry);
    let (r2, carry) = add_carry(low[2], value[6], carry);
    let (r3, carry) = add_carry(low[3], value[7], carry);
    subtract_modulus_once([r0, r1, r2, r3], carry as u64)
}

/// The number in 32 big-endian bytes, lowest word first.
pub(super) fn words_from_bytes(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().rev().zip(bytes.chunks_exact(8)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

/// The inverse of [`words_from_bytes`].
fn words_to_bytes(words: &[u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(words.iter().rev()) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

impl FieldElement {
    pub(super) const ZERO: Self = Self([0; 4]);
    pub(super) const ONE: Self = R_SQUARED.mul(&Self([1, 0, 0, 0]));

    /// The element that four words, a number below `p`, stand for.
    pub(super) const fn from_words(words: [u64; 4]) -> Self {
        R_SQUARED.mul(&Self(words))
    }

    /// The words, lowest first, of the number below `p` that the element stands for.
    const fn to_words(self) -> [u64; 4] {
        let [w0, w1, w2, w3] = self.0;
        reduce([w0, w1, w2, w3, 0, 0, 0, 0]).0
    }

    /// The words of `x·2^256 mod p`, lowest first.
    #[inline(always)]
    pub(super) fn montgomery_words(&self) -> [u64; 4] {
        self.0
    }

    /// The element `x` for the words, lowest first, of `x·2^256 mod p`.
    #[inline(always)]
    pub(super) fn from_montgomery_words(words: [u64; 4]) -> Self {
        debug_assert!(words.iter().rev().lt(MODULUS.iter().rev()), "not reduced");
        Self(words)
    }

    /// Reads 32 big-endian bytes; `None` unless they are below the modulus. The bytes are public.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let words = words_from_bytes(bytes);
        words.iter().rev().lt(MODULUS.iter().rev()).then(|| Self::from_words(words))
    }

    /// The number in 64 big-endian bytes, modulo `p`.
    pub(crate) fn from_wide_bytes(high: &[u8; 32], low: &[u8; 32]) -> Self {
        // One factor of a Montgomery multiplication may be any number below 2^256: the product is below 2^256·p.
        let high = R_CUBED.mul(&Self(words_from_bytes(high)));
        let low = R_SQUARED.mul(&Self(words_from_bytes(low)));
        high.add(&low)
    }

    /// 32 big-endian bytes.
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        words_to_bytes(&self.to_words())
    }

    /// Whether the number is odd.
    pub(crate) fn is_odd(&self) -> Choice {
        Choice::from((self.to_words()[0] & 1) as u8)
    }

    #[inline(always)]
    pub(super) fn is_zero(&self) -> Mask {
        let [w0, w1, w2, w3] = self.0;
        Mask::is_zero(w0 | w1 | w2 | w3)
    }

    /// The element where the condition holds, else zero.
    #[inline(always)]
    pub(super) fn keep(&self, condition: Mask) -> Self {
        let [w0, w1, w2, w3] = self.0;
        Self([condition.keep(w0), condition.keep(w1), condition.keep(w2), condition.keep(w3)])
    }

    /// Bitwise or: with [`FieldElement::keep`] under exclusive conditions, one of several elements.
    #[inline(always)]
    pub(super) fn or(&self, other: &Self) -> Self {
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (self.0, other.0);
        Self([a0 | b0, a1 | b1, a2 | b2, a3 | b3])
    }

    /// `if_true` where the condition holds, else `if_false`.
    #[inline(always)]
    pub(super) fn select(condition: Mask, if_true: &Self, if_false: &Self) -> Self {
        if_true.keep(condition).or(&if_false.keep(!condition))
    }

    #[inline(always)]
    pub(super) fn add(&self, other: &Self) -> Self {
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (self.0, other.0);
        let (s0, carry) = add_carry(a0, b0, false);
        let (s1, carry) = add_carry(a1, b1, carry);
        let (s2, carry) = add_carry(a2, b2, carry);
        let (s3, carry) = add_carry(a3, b3, carry);
        subtract_modulus_once([s0, s1, s2, s3], carry.into())
    }

    #[inline(always)]
    pub(super) fn sub(&self, other: &Self) -> Self {
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (self.0, other.0);
        let (d0, borrow) = sub_borrow(a0, b0, false);
        let (d1, borrow) = sub_borrow(a1, b1, borrow);
        let (d2, borrow) = sub_borrow(a2, b2, borrow);
        let (d3, borrow) = sub_borrow(a3, b3, borrow);
        // Below zero: add the modulus, whose third word is zero.
        let negative = u64::from(borrow).wrapping_neg();
        let (d0, carry) = add_carry(d0, negative & MODULUS[0], false);
        let (d1, carry) = add_carry(d1, negative & MODULUS[1], carry);
        let (d2, carry) = add_carry(d2, 0, carry);
        let (d3, _) = add_carry(d3, negative & MODULUS[3], carry);
        Self([d0, d1, d2, d3])
    }

    #[inline(always)]
    pub(super) fn negate(&self) -> Self {
        Self::ZERO.sub(self)
    }

    /// `1/self`; zero for zero.
    pub(super) fn invert(&self) -> Self {
        // The words hold x·2^256, the inverse of that is 2^-256/x.
        R_CUBED.mul(&Self(divsteps::invert(self.0)))
    }

    #[inline(always)]
    pub(super) const fn mul(&self, other: &Self) -> Self {
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (self.0, other.0);
        let (r0, carry) = multiply_add(0, a0, b0, 0);
        let (r1, carry) = multiply_add(0, a1, b0, carry);
        let (r2, carry) = multiply_add(0, a2, b0, carry);
        let (r3, r4) = multiply_add(0, a3, b0, carry);

        let (r1, carry) = multiply_add(r1, a0, b1, 0);
        let (r2, carry) = multiply_add(r2, a1, b1, carry);
        let (r3, carry) = multiply_add(r3, a2, b1, carry);
        let (r4, r5) = multiply_add(r4, a3, b1, carry);

        let (r2, carry) = multiply_add(r2, a0, b2, 0);
        let (r3, carry) = multiply_add(r3, a1, b2, carry);
        let (r4, carry) = multiply_add(r4, a2, b2, carry);
        let (r5, r6) = multiply_add(r5, a3, b2, carry);

        let (r3, carry) = multiply_add(r3, a0, b3, 0);
        let (r4, carry) = multiply_add(r4, a1, b3, carry);
        let (r5, carry) = multiply_add(r5, a2, b3, carry);
        let (r6, r7) = multiply_add(r6, a3, b3, carry);
        reduce([r0, r1, r2, r3, r4, r5, r6, r7])
    }

    #[inline(always)]
    pub(super) const fn square(&self) -> Self {
        let [a0, a1, a2, a3] = self.0;
        // The products of different words, once, ...
        let (r1, carry) = multiply_add(0, a0, a1, 0);
        let (r2, carry) = multiply_add(0, a0, a2, carry);
        let (r3, r4) = multiply_add(0, a0, a3, carry);
        let (r3, carry) = multiply_add(r3, a1, a2, 0);
        let (r4, r5) = multiply_add(r4, a1, a3, carry);
        let (r5, r6) = multiply_add(r5, a2, a3, 0);
        // ... doubled, ...
        let r7 = r6 >> 63;
        let r6 = r6 << 1 | r5 >> 63;
        let r5 = r5 << 1 | r4 >> 63;
        let r4 = r4 << 1 | r3 >> 63;
        let r3 = r3 << 1 | r2 >> 63;
        let r2 = r2 << 1 | r1 >> 63;
        let r1 = r1 << 1;
        // ... and the squares of the words.
        let (r0, high) = multiply_add(0, a0, a0, 0);
        let (r1, carry) = add_carry(r1, high, false);
        let (low, high) = multiply_add(0, a1, a1, 0);
        let (r2, carry) = add_carry(r2, low, carry);
        let (r3, carry) = add_carry(r3, high, carry);
        let (low, high) = multiply_add(0, a2, a2, 0);
        let (r4, carry) = add_carry(r4, low, carry);
        let (r5, carry) = add_carry(r5, high, carry);
        let (low, high) = multiply_add(0, a3, a3, 0);
        let (r6, carry) = add_carry(r6, low, carry);
        let (r7, _) = add_carry(r7, high, carry);
        reduce([r0, r1, r2, r3, r4, r5, r6, r7])
    }
}

impl ConstantTimeEq for FieldElement {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}
