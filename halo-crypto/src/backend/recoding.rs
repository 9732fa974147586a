//! [`OddScalar`]: a scalar as windows of odd digits with signs, without a zero digit to treat apart.
//!
//! Let `k` be odd and `k_i = ⌊k / 2^(w·i)⌋ | 1`. Then `k_0 = k`, and `d_i = k_i - 2^w·k_(i+1)` is odd with
//! `|d_i| < 2^w`, so `k = Σ d_i·2^(w·i)`, the highest digit being `k_i` itself. In terms of the bits of `k`: with `h`
//! the window without its lowest bit (which counts as one) and `b` the lowest bit of the next window,
//! `d_i = 2h + 1` if `b = 1` and `2h + 1 - 2^w` if `b = 0`. So the digit is negative exactly if `b = 0`, and the
//! index `(|d_i| - 1)/2` of its multiple in a table is `h`, or its complement in `w - 1` bits.
//!
//! An even scalar `s` is replaced by `n - s`, which is odd as the order `n` is, and the result negated. That takes 0
//! to `n` itself: the digits then add up to `n`, and it is the last addition that meets opposite points.

use elliptic_curve::PrimeField;
use p256::Scalar;
use zeroize::{Zeroize, Zeroizing};

use super::field::words_from_bytes;
use super::mask::Mask;

/// The order of the group, lowest word first.
const ORDER: [u64; 4] =
    [0xf3b9_cac2_fc63_2551, 0xbce6_faad_a717_9e84, 0xffff_ffff_ffff_ffff, 0xffff_ffff_0000_0000];

/// An odd integer in `1..=n` and the sign with which it stands for a scalar.
pub(super) struct OddScalar {
    words: [u64; 4],
    negative: Mask,
}

/// One digit: `±(2·index + 1)`.
#[derive(Clone, Copy)]
pub(super) struct Digit {
    pub(super) index: u64,
    pub(super) negative: Mask,
}

impl OddScalar {
    pub(super) fn new(scalar: &Scalar) -> Self {
        let bytes = Zeroizing::new(<[u8; 32]>::from(scalar.to_repr()));
        let mut recoded = Self { words: words_from_bytes(&bytes), negative: Mask::default() };
        recoded.negative = Mask::from_bit(recoded.words[0] & 1 ^ 1);
        let mut borrow = false;
        for (word, order) in recoded.words.iter_mut().zip(ORDER) {
            let difference;
            (difference, borrow) = order.borrowing_sub(*word, borrow);
            *word = recoded.negative.keep(difference) | (!recoded.negative).keep(*word);
        }
        recoded
    }

    /// Whether the result is to be negated.
    pub(super) fn is_negative(&self) -> Mask {
        self.negative
    }

    /// How many digits there are with windows of `width` bits.
    pub(super) const fn digits(width: usize) -> usize {
        256_usize.div_ceil(width)
    }

    /// The digit `position`, counted from the lowest, for windows of `width` bits.
    #[inline(always)]
    pub(super) fn digit(&self, position: usize, width: usize) -> Digit {
        let ones = (1 << (width - 1)) - 1;
        let upper = self.bits_from(width * position + 1) & ones;
        let next =
            if position + 1 == Self::digits(width) { 1 } else { self.bits_from(width * (position + 1)) & 1 };
        let negative = Mask::from_bit(next ^ 1);
        Digit { index: upper ^ negative.keep(ones), negative }
    }

    /// The signs of the digits with windows of a single bit, which are all one: `Σ ±2^i`, where bit `i` of the result
    /// is set if the sign is positive.
    pub(super) fn signs(&self) -> [u64; 4] {
        let [first, second, third, fourth] = self.words;
        [
            first >> 1 | second << 63,
            second >> 1 | third << 63,
            third >> 1 | fourth << 63,
            fourth >> 1 | 1 << 63,
        ]
    }

    /// The bits from `start` on, at least as many as a window has (zeros beyond the highest).
    #[inline(always)]
    fn bits_from(&self, start: usize) -> u64 {
        let (word, shift) = (start / 64, start % 64);
        let get = |word: usize| self.words.get(word).copied().unwrap_or(0);
        // Two shifts, since one by 64 is not allowed.
        get(word) >> shift | get(word + 1) << 1 << (63 - shift)
    }
}

impl Drop for OddScalar {
    fn drop(&mut self) {
        self.words.zeroize();
        self.negative.zeroize();
    }
}
