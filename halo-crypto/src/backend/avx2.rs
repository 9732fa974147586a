//! P-256 by the AVX2 instructions of x86-64 processors: [`Radix29`] on 256-bit registers.
//!
//! Whoever calls an entry point has made sure that the processor has AVX2; nothing else here is reachable from
//! outside. The products are calls, not inlined: with them in every formula the code would exceed what a processor
//! keeps decoded. They are in [assembly](product).
#![expect(unsafe_code, reason = "intrinsics that not every processor has")]

use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m256i, _mm_cvtsi32_si128, _mm256_add_epi64, _mm256_adds_epu8, _mm256_and_si256,
    _mm256_blendv_epi8, _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_cmpeq_epi64,
    _mm256_cmpgt_epi64, _mm256_cvtepu32_epi64, _mm256_extracti128_si256, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_set1_epi64x, _mm256_shuffle_epi8, _mm256_sll_epi64, _mm256_slli_epi64, _mm256_srli_epi64,
    _mm256_sub_epi64, _mm256_unpackhi_epi8, _mm256_unpackhi_epi16, _mm256_unpacklo_epi8,
    _mm256_unpacklo_epi16, _mm256_xor_si256,
};
use core::mem::transmute;

mod product;

use super::fixed_base::Tables;
use super::radix29::{ENTRIES, LIMBS, POINTS, Plane, Quad, Radix29};
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

/// Entries of a plane that a shuffle within a register chooses among.
const SHUFFLED: usize = 16;

/// For each sixteen entries of a plane the indices as the shuffle takes them: those of other entries have the highest
/// bit set, which yields zero.
type ByteIndices = [__m256i; ENTRIES / SHUFFLED];

#[target_feature(enable = "avx2")]
#[inline]
fn byte_indices(indices: &[u8; POINTS]) -> ByteIndices {
    // SAFETY: Both are 32 bytes without padding, and every pattern of bits is a value of either.
    let indices: __m256i = unsafe { transmute(*indices) };
    let mut prepared = [Avx2::ZERO; ENTRIES / SHUFFLED];
    for (prepared, first) in prepared.iter_mut().zip((0..).step_by(SHUFFLED)) {
        // Below sixteen exactly for the entries from `first` on; anything else is brought to 128 or more.
        let within = _mm256_xor_si256(indices, _mm256_set1_epi8(first));
        *prepared = _mm256_adds_epu8(within, _mm256_set1_epi8(0x70));
    }
    prepared
}

/// The bytes of one plane.
#[target_feature(enable = "avx2")]
#[inline]
fn choose_bytes(plane: &Plane, indices: &ByteIndices) -> __m256i {
    let mut chosen = Avx2::ZERO;
    for (entries, indices) in plane.as_chunks::<SHUFFLED>().0.iter().zip(indices) {
        // SAFETY: Both are 16 bytes without padding, and every pattern of bits is a value of either.
        let entries: __m128i = unsafe { transmute(*entries) };
        let entries = _mm256_broadcastsi128_si256(entries);
        chosen = _mm256_or_si256(chosen, _mm256_shuffle_epi8(entries, *indices));
    }
    chosen
}

#[target_feature(enable = "avx2")]
#[inline]
fn choose(planes: &[Plane], indices: &ByteIndices) -> [__m256i; POINTS / 4] {
    let [first, second, third, fourth] = planes else { unreachable!("a number has four bytes") };
    let [b0, b1] = [choose_bytes(first, indices), choose_bytes(second, indices)];
    let [b2, b3] = [choose_bytes(third, indices), choose_bytes(fourth, indices)];
    // Each half of a register has its own sixteen indices, so numbers 0 to 15 are in lower halves.
    let (low, high) = (_mm256_unpacklo_epi8(b0, b1), _mm256_unpackhi_epi8(b0, b1));
    let (upper_low, upper_high) = (_mm256_unpacklo_epi8(b2, b3), _mm256_unpackhi_epi8(b2, b3));
    let fours = [
        _mm256_unpacklo_epi16(low, upper_low),
        _mm256_unpackhi_epi16(low, upper_low),
        _mm256_unpacklo_epi16(high, upper_high),
        _mm256_unpackhi_epi16(high, upper_high),
    ];
    let mut numbers = [Avx2::ZERO; POINTS / 4];
    let (lower_half, upper_half) = numbers.split_at_mut(fours.len());
    for ((four, lower), upper) in fours.into_iter().zip(lower_half).zip(upper_half) {
        *lower = _mm256_cvtepu32_epi64(_mm256_castsi256_si128(four));
        *upper = _mm256_cvtepu32_epi64(_mm256_extracti128_si256::<1>(four));
    }
    numbers
}

/// The bit is brought to where the sign is.
#[target_feature(enable = "avx2")]
#[inline]
fn bit(words: __m256i, position: i32) -> __m256i {
    _mm256_cmpgt_epi64(Avx2::ZERO, _mm256_sll_epi64(words, _mm_cvtsi32_si128(63 - position)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn hide(mut words: __m256i) -> __m256i {
    // SAFETY: A comment, which uses nothing and changes nothing.
    unsafe { asm!("/* {0} */", inout(ymm_reg) words, options(pure, nomem, nostack, preserves_flags)) };
    words
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
    type ByteIndices = ByteIndices;
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
    fn bit(words: __m256i, position: i32) -> __m256i {
        intrinsic!(bit(words, position))
    }

    #[inline(always)]
    fn hide(words: __m256i) -> __m256i {
        intrinsic!(hide(words))
    }

    #[inline(always)]
    fn select(mask: __m256i, if_true: __m256i, if_false: __m256i) -> __m256i {
        intrinsic!(_mm256_blendv_epi8(if_false, if_true, mask))
    }

    #[inline(always)]
    fn byte_indices(indices: &[u8; POINTS]) -> ByteIndices {
        intrinsic!(byte_indices(indices))
    }

    #[inline(always)]
    fn choose(planes: &[Plane], indices: &ByteIndices) -> [__m256i; POINTS / 4] {
        intrinsic!(choose(planes, indices))
    }

    #[inline(always)]
    fn perform(task: impl Task) {
        intrinsic!(perform(task));
    }

    #[inline(always)]
    fn product(left: &Limbs, right: &Limbs, out: &mut Limbs) {
        intrinsic!(product::product(left, right, out));
    }

    #[inline(always)]
    fn product_assign(left: &mut Limbs, right: &Limbs) {
        intrinsic!(product::product_assign(left, right));
    }

    #[inline(always)]
    fn square(element: &Limbs, out: &mut Limbs) {
        intrinsic!(product::square(element, out));
    }

    #[inline(always)]
    fn square_assign(element: &mut Limbs) {
        intrinsic!(product::square_assign(element));
    }
}

entry_points!(Quadruple, Tables::Avx2, target_feature(enable = "avx2"));
