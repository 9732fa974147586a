//! P-256 by the AVX2 instructions of x86-64 processors: [`Radix29`] on 256-bit registers.
//!
//! Whoever calls an entry point has made sure that the processor has AVX2; nothing else here is reachable from
//! outside. The products are calls, not inlined: with them in every formula the code would exceed what a processor
//! keeps decoded.
#![expect(unsafe_code, reason = "intrinsics that not every processor has")]

use core::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_cmpeq_epi64, _mm256_mul_epu32, _mm256_or_si256,
    _mm256_permutevar8x32_epi32, _mm256_set1_epi64x, _mm256_slli_epi64, _mm256_srli_epi64, _mm256_sub_epi64,
    _mm256_xor_si256,
};
use core::mem::transmute;

use super::fixed_base::Tables;
use super::radix29::{self, LIMBS, Quad, Radix29};
use super::vector::Task;

/// Four elements in registers of 256 bits.
pub(super) type Quadruple = Radix29<Avx2>;

/// The intrinsics. To be used in functions that enable AVX2 only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Avx2;

type Limbs = [__m256i; LIMBS];

#[target_feature(enable = "avx2")]
#[inline(never)]
fn perform(task: impl Task) {
    task.run();
}

#[target_feature(enable = "avx2")]
#[inline(never)]
fn product(left: &Limbs, right: &Limbs, out: &mut Limbs) {
    radix29::product::<Avx2>(left, right, out);
}

#[target_feature(enable = "avx2")]
#[inline(never)]
fn square(element: &Limbs, out: &mut Limbs) {
    radix29::square::<Avx2>(element, out);
}

/// Calls what needs AVX2.
macro_rules! intrinsic {
    ($call:expr) => {
        // SAFETY: It needs AVX2 and nothing else, and the processor has it: see the entry points.
        unsafe { $call }
    };
}

impl Quad for Avx2 {
    type Word = __m256i;
    // SAFETY: Both are 32 bytes without padding, and every pattern of bits is a value of either.
    const ZERO: __m256i = unsafe { transmute([0u64; 4]) };

    #[inline(always)]
    fn from_array(words: [u64; 4]) -> __m256i {
        // SAFETY: As for `ZERO`.
        unsafe { transmute(words) }
    }

    #[inline(always)]
    fn to_array(words: __m256i) -> [u64; 4] {
        // SAFETY: As for `ZERO`.
        unsafe { transmute(words) }
    }

    #[inline(always)]
    fn splat(word: u64) -> __m256i {
        intrinsic!(_mm256_set1_epi64x(word.cast_signed()))
    }

    #[inline(always)]
    fn add(left: __m256i, right: __m256i) -> __m256i {
        intrinsic!(_mm256_add_epi64(left, right))
    }

    #[inline(always)]
    fn sub(left: __m256i, right: __m256i) -> __m256i {
        intrinsic!(_mm256_sub_epi64(left, right))
    }

    #[inline(always)]
    fn mul(left: __m256i, right: __m256i) -> __m256i {
        intrinsic!(_mm256_mul_epu32(left, right))
    }

    #[inline(always)]
    fn shift_left<const BITS: i32>(words: __m256i) -> __m256i {
        intrinsic!(_mm256_slli_epi64::<BITS>(words))
    }

    #[inline(always)]
    fn shift_right<const BITS: i32>(words: __m256i) -> __m256i {
        intrinsic!(_mm256_srli_epi64::<BITS>(words))
    }

    #[inline(always)]
    fn and(left: __m256i, right: __m256i) -> __m256i {
        intrinsic!(_mm256_and_si256(left, right))
    }

    #[inline(always)]
    fn or(left: __m256i, right: __m256i) -> __m256i {
        intrinsic!(_mm256_or_si256(left, right))
    }

    #[inline(always)]
    fn xor(left: __m256i, right: __m256i) -> __m256i {
        intrinsic!(_mm256_xor_si256(left, right))
    }

    #[inline(always)]
    fn equal(left: __m256i, right: __m256i) -> __m256i {
        intrinsic!(_mm256_cmpeq_epi64(left, right))
    }

    #[inline(always)]
    fn choose(entries: &[u32; 8], words: __m256i) -> __m256i {
        // SAFETY: As for `ZERO`.
        let entries: __m256i = unsafe { transmute(*entries) };
        intrinsic!(_mm256_permutevar8x32_epi32(entries, words))
    }

    #[inline(always)]
    fn perform(task: impl Task) {
        intrinsic!(perform(task));
    }

    #[inline(always)]
    fn product(left: &Limbs, right: &Limbs, out: &mut Limbs) {
        intrinsic!(product(left, right, out));
    }

    #[inline(always)]
    fn square(element: &Limbs, out: &mut Limbs) {
        intrinsic!(square(element, out));
    }
}

entry_points!(Quadruple, Tables::Avx2, target_feature(enable = "avx2"));
