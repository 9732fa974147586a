//! [`Places`]: where the elements of a shuffle go, from the bytes drawn for them.
//!
//! An element's place is a draw of 128 bits modulo the number of places left, a number that is another for each. A
//! division takes a processor as long as dozens of other instructions, so the remainder is computed in floating point, on
//! several elements at once, in steps whose every result is an integer below 2^53 and so exact.

use crate::backend::{Instructions, Task};
use crate::prg::BLOCK;

/// Writes `first + index + draws[index] mod (elements − first − index)` to each of `places`: the places of the elements
/// from `first` on, all of which are below the last of `elements`.
pub(super) fn write(
    instructions: Instructions,
    draws: &[[u8; BLOCK]],
    first: usize,
    elements: usize,
    places: &mut [u32],
) {
    debug_assert!(elements <= super::MAX_ELEMENTS && first + draws.len() < elements.max(1));
    // Both are below 2^27.
    let (first, elements) = (first as u32, elements as u32);
    match instructions {
        // Without an instruction for it, a fused product is the call of a function.
        Instructions::Baseline => Places::<false> { draws, first, elements, places }.run(),
        _ => instructions.run(Places::<true> { draws, first, elements, places }),
    }
}

/// The computation; with fused products or not, which makes no difference to the result.
struct Places<'a, const FUSED: bool> {
    draws: &'a [[u8; BLOCK]],
    first: u32,
    elements: u32,
    places: &'a mut [u32],
}

impl<const FUSED: bool> Task for Places<'_, FUSED> {
    #[inline(always)]
    fn run(self) {
        // Compilers make vectors of a loop over two slices, but not of one with a range among what is zipped.
        for (offset, (draw, place)) in self.draws.iter().zip(self.places).enumerate() {
            let index = self.first + offset as u32;
            *place = index + remainder::<FUSED>(halves(draw), self.elements - index);
        }
    }
}

/// The low and the high half of a draw. Compilers make no vectors of 128-bit integers.
#[inline(always)]
fn halves(draw: &[u8; BLOCK]) -> [u64; 2] {
    let (halves, _) = draw.as_chunks();
    [u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])]
}

/// `(2^64·high + low) mod modulus`, for a modulus from 2 to below 2^27.
///
/// A step takes the remainder `r` so far to `w = 2^26·r + bits`, and `w` to `w − round(w/m)·m`. The quotient is that of `w`
/// and the reciprocal of `m`; the two roundings before it is made an integer change it by less than `|w|·2^−52/m`, so the
/// new remainder is at most `m/2 + |w|·2^−52`. At first `w` is below 2^50; later `|w| ≤ 2^26·(m/2 + 3)`, whence
/// `|r| ≤ m/2 + (m/2 + 3)·2^−26`. For m < 2^27 this keeps `w` and all products below 2^53, so exact, and every `r` within
/// −m and m.
#[inline(always)]
fn remainder<const FUSED: bool>([low, high]: [u64; 2], modulus: u32) -> u32 {
    const MASK: u64 = (1 << 26) - 1;
    let modulus = f64::from(modulus.cast_signed());
    let reciprocal = 1.0 / modulus;
    let mut remainder = reduce::<FUSED>(from_integer(high >> 14), modulus, reciprocal);
    for bits in [high << 12 | low >> 52, low >> 26, low] {
        let next = multiply_add::<FUSED>(remainder, f64::from(1u32 << 26), from_integer(bits & MASK));
        remainder = reduce::<FUSED>(next, modulus, reciprocal);
    }
    to_integer(if remainder < 0.0 { remainder + modulus } else { remainder })
}

/// A number that is congruent to `value` and as small as the rounding of the quotient lets it be.
#[inline(always)]
fn reduce<const FUSED: bool>(value: f64, modulus: f64, reciprocal: f64) -> f64 {
    /// A sum with it has no room for a fraction. The quotients are below 2^51.
    const ROUND: f64 = 1.5 * (1u64 << 52) as f64;
    let quotient = (value * reciprocal + ROUND) - ROUND;
    multiply_add::<FUSED>(-quotient, modulus, value)
}

/// `x · y + z`, where the product and the sum are integers below 2^53, so no rounding takes place either way.
#[inline(always)]
fn multiply_add<const FUSED: bool>(x: f64, y: f64, z: f64) -> f64 {
    if FUSED { x.mul_add(y, z) } else { x * y + z }
}

/// The number whose representation ends with the representation of an integer below 2^52.
const INTEGERS: f64 = (1u64 << 52) as f64;

/// An integer below 2^52 as a number. Conversions as such are slow, or not done on vectors.
#[inline(always)]
fn from_integer(integer: u64) -> f64 {
    f64::from_bits(INTEGERS.to_bits() | integer) - INTEGERS
}

/// A number that is an integer from 0 to below 2^32.
#[inline(always)]
fn to_integer(number: f64) -> u32 {
    (number + INTEGERS).to_bits() as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::MAX_ELEMENTS;
    use super::*;

    fn draw() -> impl Strategy<Value = u128> {
        prop_oneof![
            any::<u128>(),
            0..1000u128,
            (0..1000u128).prop_map(|below| u128::MAX - below),
            (0..128u32, -2..3i128)
                .prop_map(|(bit, offset)| (1u128 << bit).wrapping_add(offset.cast_unsigned())),
        ]
    }

    fn modulus() -> impl Strategy<Value = u32> {
        let largest = MAX_ELEMENTS as u32;
        prop_oneof![
            2..=largest,
            2..20u32,
            largest - 20..=largest,
            (1..27u32, 0..3u32).prop_map(|(bit, offset)| ((1 << bit) + offset).clamp(2, (1 << 27) - 1)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Draws next to multiples of the modulus among them, where a quotient is off first.
        #[test]
        fn remainders_are_those_of_integers(draw in draw(), modulus in modulus(), offset in -2..3i128) {
            let multiple = (draw - draw % u128::from(modulus)).wrapping_add(offset.cast_unsigned());
            let half = multiple.wrapping_add(u128::from(modulus / 2));
            for draw in [draw, multiple, half] {
                let expected = (draw % u128::from(modulus)) as u32;
                let halves = halves(&draw.to_le_bytes());
                prop_assert_eq!(remainder::<false>(halves, modulus), expected);
                prop_assert_eq!(remainder::<true>(halves, modulus), expected);
            }
        }
    }

    #[test]
    fn all_instructions_give_the_same_places() {
        for (first, elements) in [(0, 71), (0, MAX_ELEMENTS), (1 << 26, MAX_ELEMENTS), (900, 971)] {
            let draws: Vec<[u8; BLOCK]> =
                (0..70u128).map(|index| (index.wrapping_mul(u128::MAX / 69)).to_le_bytes()).collect();
            let expected: Vec<u32> = (first..)
                .zip(&draws)
                .map(|(index, draw)| {
                    let places = (elements - index) as u128;
                    index as u32 + (u128::from_le_bytes(*draw) % places) as u32
                })
                .collect();
            for instructions in Instructions::available() {
                let mut places = vec![0; draws.len()];
                write(instructions, &draws, first, elements, &mut places);
                assert_eq!(places, expected, "{instructions:?}");
            }
        }
    }
}
