//! P-256 by the AVX-512 IFMA instructions of x86-64 processors: [`Radix52`] on 512-bit registers.
//!
//! Whoever calls an entry point has made sure that the processor has what [`is_available`] asks for; nothing else
//! here is reachable from outside. The products are inlined, unlike those with AVX2: they take less than half as many
//! instructions, so that a sweep's step stays within what a processor keeps decoded, and limbs need not go through memory.
#![expect(unsafe_code, reason = "intrinsics that not every processor has")]

use core::arch::asm;
use core::arch::x86_64::{
    __m512i, _mm_cvtsi32_si128, _mm512_add_epi64, _mm512_and_si512, _mm512_cmpeq_epi64_mask,
    _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_movm_epi64, _mm512_or_si512,
    _mm512_permutexvar_epi64, _mm512_set1_epi64, _mm512_sll_epi64, _mm512_slli_epi64, _mm512_srai_epi64,
    _mm512_srli_epi64, _mm512_sub_epi64, _mm512_xor_si512,
};
use core::mem::transmute;

use super::fixed_base::Tables;
use super::radix52::{Octet, Radix52};
use super::vector::Task;

/// Eight elements in registers of 512 bits.
pub(super) type Octuple = Radix52<Ifma>;

/// The intrinsics. To be used in functions that enable AVX-512 with IFMA only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ifma;

/// Whether this processor has all that the functions here enable.
pub(super) fn is_available() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512ifma")
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
#[inline(never)]
fn perform(task: impl Task) {
    task.run();
}

/// The bit is brought to where the sign is, and the sign everywhere.
#[target_feature(enable = "avx512f")]
#[inline]
fn bit(words: __m512i, position: u32) -> __m512i {
    let count = _mm_cvtsi32_si128(63 - position.cast_signed());
    _mm512_srai_epi64::<63>(_mm512_sll_epi64(words, count))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn hide(mut words: __m512i) -> __m512i {
    // SAFETY: A comment, which uses nothing and changes nothing.
    unsafe { asm!("/* {0} */", inout(zmm_reg) words, options(pure, nomem, nostack, preserves_flags)) };
    words
}

/// Calls what needs AVX-512 with IFMA.
macro_rules! intrinsic {
    ($call:expr) => {
        // SAFETY: It needs AVX-512 with IFMA and nothing else, and the processor has them: see the entry points.
        unsafe { $call }
    };
}

impl Octet for Ifma {
    type Word = __m512i;
    // SAFETY: Both are 64 bytes without padding, and every pattern of bits is a value of either.
    const ZERO: __m512i = unsafe { transmute([0u64; 8]) };

    #[inline(always)]
    fn from_array(words: [u64; 8]) -> __m512i {
        // SAFETY: As for `ZERO`.
        unsafe { transmute(words) }
    }

    #[inline(always)]
    fn to_array(words: __m512i) -> [u64; 8] {
        // SAFETY: As for `ZERO`.
        unsafe { transmute(words) }
    }

    #[inline(always)]
    fn splat(word: u64) -> __m512i {
        intrinsic!(_mm512_set1_epi64(word.cast_signed()))
    }

    #[inline(always)]
    fn add(left: __m512i, right: __m512i) -> __m512i {
        intrinsic!(_mm512_add_epi64(left, right))
    }

    #[inline(always)]
    fn sub(left: __m512i, right: __m512i) -> __m512i {
        intrinsic!(_mm512_sub_epi64(left, right))
    }

    #[inline(always)]
    fn add_low_product(sum: __m512i, left: __m512i, right: __m512i) -> __m512i {
        intrinsic!(_mm512_madd52lo_epu64(sum, left, right))
    }

    #[inline(always)]
    fn add_high_product(sum: __m512i, left: __m512i, right: __m512i) -> __m512i {
        intrinsic!(_mm512_madd52hi_epu64(sum, left, right))
    }

    #[inline(always)]
    fn shift_left<const BITS: u32>(words: __m512i) -> __m512i {
        intrinsic!(_mm512_slli_epi64::<BITS>(words))
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(words: __m512i) -> __m512i {
        intrinsic!(_mm512_srli_epi64::<BITS>(words))
    }

    #[inline(always)]
    fn shift_right_signed<const BITS: u32>(words: __m512i) -> __m512i {
        intrinsic!(_mm512_srai_epi64::<BITS>(words))
    }

    #[inline(always)]
    fn and(left: __m512i, right: __m512i) -> __m512i {
        intrinsic!(_mm512_and_si512(left, right))
    }

    #[inline(always)]
    fn or(left: __m512i, right: __m512i) -> __m512i {
        intrinsic!(_mm512_or_si512(left, right))
    }

    #[inline(always)]
    fn xor(left: __m512i, right: __m512i) -> __m512i {
        intrinsic!(_mm512_xor_si512(left, right))
    }

    #[inline(always)]
    fn equal(left: __m512i, right: __m512i) -> __m512i {
        intrinsic!(_mm512_movm_epi64(_mm512_cmpeq_epi64_mask(left, right)))
    }

    #[inline(always)]
    fn bit(words: __m512i, position: u32) -> __m512i {
        intrinsic!(bit(words, position))
    }

    #[inline(always)]
    fn hide(words: __m512i) -> __m512i {
        intrinsic!(hide(words))
    }

    #[inline(always)]
    fn choose(entries: __m512i, indices: __m512i) -> __m512i {
        intrinsic!(_mm512_permutexvar_epi64(indices, entries))
    }

    #[inline(always)]
    fn perform(task: impl Task) {
        intrinsic!(perform(task));
    }
}

entry_points!(Octuple, Tables::Ifma, target_feature(enable = "avx512f,avx512dq,avx512ifma"));
