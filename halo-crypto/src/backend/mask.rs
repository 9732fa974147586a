//! [`Mask`]: a condition as a word of zeros or ones, for choosing without branching.

use core::ops::{BitAnd, BitOr, BitXor, Not};

use subtle::Choice;
use zeroize::DefaultIsZeroes;

/// All bits set where a condition holds, none where it does not.
///
/// Making one hides its origin from the optimiser ([`core::hint::black_box`]), which could otherwise see a
/// comparison behind the mask and turn the selections back into a branch on a secret.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mask(u64);

impl DefaultIsZeroes for Mask {}

impl Mask {
    /// The mask of a bit that is 0 or 1.
    #[inline(always)]
    pub(super) fn from_bit(bit: u64) -> Self {
        Self(core::hint::black_box(bit.wrapping_neg()))
    }

    /// Whether `word` is zero.
    #[inline(always)]
    pub(super) fn is_zero(word: u64) -> Self {
        // The top bit of `word | -word` is clear for zero alone.
        Self::from_bit(!(word | word.wrapping_neg()) >> 63)
    }

    /// Whether two words are equal.
    #[inline(always)]
    pub(super) fn is_equal(left: u64, right: u64) -> Self {
        Self::is_zero(left ^ right)
    }

    /// `word` where the condition holds, else zero.
    #[inline(always)]
    pub(super) fn keep(self, word: u64) -> u64 {
        self.0 & word
    }

    /// The condition as `subtle` has it.
    pub(crate) fn choice(self) -> Choice {
        Choice::from((self.0 & 1) as u8)
    }
}

impl From<Choice> for Mask {
    fn from(choice: Choice) -> Self {
        Self::from_bit(choice.unwrap_u8().into())
    }
}

impl BitAnd for Mask {
    type Output = Self;

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Mask {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitXor for Mask {
    type Output = Self;

    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

impl Not for Mask {
    type Output = Self;

    #[inline(always)]
    fn not(self) -> Self {
        Self(!self.0)
    }
}
