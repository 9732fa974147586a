//! [`select`]: the bytes of a range, out of many, one after the other.
#![expect(unsafe_code, reason = "intrinsics that not every processor has")]

use core::ops::RangeInclusive;

use super::Instructions;

/// Writes those of `bytes`, under `mask`, that are in `range` to the start of `out`; returns how many they are.
///
/// # Panics
/// If `out` is shorter than `bytes`.
///
/// # Security
/// The time shows how many there are, and where those are that are not.
pub(crate) fn select(
    instructions: Instructions,
    bytes: &[u8],
    mask: u8,
    range: RangeInclusive<u8>,
    out: &mut [u8],
) -> usize {
    assert!(bytes.len() <= out.len(), "room for all");
    instructions.require();
    match instructions {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: The function needs what `Avx512` stands for, and the processor has it.
        Instructions::Avx512 => unsafe { avx512::select(bytes, mask, range, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: The function needs what `Avx2` stands for, and the processor has it.
        Instructions::Avx2 => unsafe { avx2::select(bytes, mask, range, out) },
        _ => select_from_words(bytes, mask, range, out),
    }
}

/// Eight bytes at a time, in the usual case that all of them are in the range.
fn select_from_words(bytes: &[u8], mask: u8, range: RangeInclusive<u8>, out: &mut [u8]) -> usize {
    let mut selected = 0;
    let (words, rest) = bytes.as_chunks();
    for word in words {
        let masked = u64::from_le_bytes(*word) & splat(mask);
        if all_in(masked, &range) {
            out[selected..selected + word.len()].copy_from_slice(&masked.to_le_bytes());
            selected += word.len();
        } else {
            selected += select_one_by_one(word, mask, &range, &mut out[selected..]);
        }
    }
    selected + select_one_by_one(rest, mask, &range, &mut out[selected..])
}

/// Without a branch: which bytes are out of the range cannot be predicted.
fn select_one_by_one(bytes: &[u8], mask: u8, range: &RangeInclusive<u8>, out: &mut [u8]) -> usize {
    let mut selected = 0;
    for byte in bytes {
        out[selected] = byte & mask;
        selected += usize::from(range.contains(&(byte & mask)));
    }
    selected
}

const fn splat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Whether all bytes of `word` are in `range`.
fn all_in(word: u64, range: &RangeInclusive<u8>) -> bool {
    let too_large = range.end().checked_add(1).map_or(0, |bound| at_least(word, bound));
    let large_enough = if *range.start() == 0 { splat(0x80) } else { at_least(word, *range.start()) };
    too_large == 0 && large_enough == splat(0x80)
}

/// The top bit of every byte of `word` that is at least `bound`, which is not 0.
const fn at_least(word: u64, bound: u8) -> u64 {
    const TOP: u64 = splat(0x80);
    // The low seven bits reach the top bit if they are at least those of the bound; no sum leaves its byte.
    let low = (word & !TOP) + splat(0x80 - (bound & 0x7f));
    TOP & if bound > 0x80 {
        low & word
    } else if bound == 0x80 {
        word
    } else {
        low | word
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use core::arch::x86_64::{
        __m512i, _mm512_and_si512, _mm512_cmpge_epu8_mask, _mm512_cmple_epu8_mask, _mm512_loadu_si512,
        _mm512_maskz_compress_epi8, _mm512_set1_epi8, _mm512_storeu_si512,
    };
    use core::ops::RangeInclusive;

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
    pub(super) fn select(bytes: &[u8], mask: u8, range: RangeInclusive<u8>, out: &mut [u8]) -> usize {
        let splat = |byte: u8| _mm512_set1_epi8(byte.cast_signed());
        let [masks, least, most] = [mask, *range.start(), *range.end()].map(splat);
        let mut selected = 0;
        let (chunks, rest) = bytes.as_chunks::<{ size_of::<__m512i>() }>();
        for chunk in chunks {
            // SAFETY: It reads 64 bytes, aligned or not.
            let chunk = unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) };
            let masked = _mm512_and_si512(chunk, masks);
            let kept = _mm512_cmpge_epu8_mask(masked, least) & _mm512_cmple_epu8_mask(masked, most);
            let target = &mut out[selected..selected + size_of::<__m512i>()];
            // SAFETY: It writes 64 bytes, aligned or not.
            unsafe {
                _mm512_storeu_si512(target.as_mut_ptr().cast(), _mm512_maskz_compress_epi8(kept, masked));
            }
            selected += kept.count_ones() as usize;
        }
        selected + super::select_one_by_one(rest, mask, &range, &mut out[selected..])
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use core::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_max_epu8, _mm256_min_epu8,
        _mm256_movemask_epi8, _mm256_set1_epi8, _mm256_storeu_si256,
    };
    use core::ops::RangeInclusive;

    /// As many bytes as a register has.
    const BYTES: usize = size_of::<__m256i>();

    #[target_feature(enable = "avx2,bmi1,popcnt")]
    pub(super) fn select(bytes: &[u8], mask: u8, range: RangeInclusive<u8>, out: &mut [u8]) -> usize {
        let splat = |byte: u8| _mm256_set1_epi8(byte.cast_signed());
        let [masks, least, most] = [mask, *range.start(), *range.end()].map(splat);
        let load = |bytes: &[u8]| {
            let bytes: &[u8; BYTES] = bytes.first_chunk().expect("a register's bytes");
            // SAFETY: It reads 32 bytes, aligned or not.
            _mm256_and_si256(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }, masks)
        };
        let store = |out: &mut [u8], bytes: __m256i| {
            let out: &mut [u8; BYTES] = out.first_chunk_mut().expect("room for a register's bytes");
            // SAFETY: It writes 32 bytes, aligned or not.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), bytes) };
        };
        let (mut position, mut selected) = (0, 0);
        // What follows a byte that is left out is stored again in its place, with some of the next bytes.
        while let Some(window) = bytes[position..].first_chunk::<{ 2 * BYTES + 1 }>() {
            let masked = load(window);
            let large_enough = _mm256_cmpeq_epi8(masked, _mm256_max_epu8(masked, least));
            let small_enough = _mm256_cmpeq_epi8(masked, _mm256_min_epu8(masked, most));
            let kept = _mm256_movemask_epi8(_mm256_and_si256(large_enough, small_enough)).cast_unsigned();
            if kept.count_zeros() <= 1 {
                let left_out = kept.trailing_ones() as usize;
                store(&mut out[selected..], masked);
                store(&mut out[selected + left_out..], load(&window[left_out + 1..]));
                selected += kept.count_ones() as usize;
            } else {
                selected +=
                    super::select_from_words(&window[..BYTES], mask, range.clone(), &mut out[selected..]);
            }
            position += BYTES;
        }
        selected + super::select_from_words(&bytes[position..], mask, range, &mut out[selected..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn selects_what_a_filter_does(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            mask in prop_oneof![Just(0x7fu8), Just(0xff), any::<u8>()],
            start in 0..3u8,
            end in 2u8..,
        ) {
            let masked = bytes.iter().map(|byte| byte & mask);
            let expected: Vec<u8> = masked.filter(|byte| (start..=end).contains(byte)).collect();
            for instructions in Instructions::available() {
                let mut out = vec![0; bytes.len()];
                let selected = select(instructions, &bytes, mask, start..=end, &mut out);
                prop_assert_eq!(&out[..selected], &expected, "{:?}", instructions);
            }
        }
    }

    #[test]
    fn every_byte_is_compared_with_every_bound() {
        for bound in 1..=255 {
            for byte in 0..=255u8 {
                let word = u64::from_le_bytes([0, byte, 255, byte, 0, 255, byte, byte]);
                let expected = word.to_le_bytes().map(|byte| if byte >= bound { 0x80 } else { 0 });
                assert_eq!(at_least(word, bound).to_le_bytes(), expected, "{byte} {bound}");
            }
        }
    }
}
