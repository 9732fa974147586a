//! Square roots by an addition chain, several vectors at a time.
//!
//! A squaring depends on the one before, and a processor can do about two in the time it takes to finish one, so the
//! chains run over a few independent vectors in step.

use super::vector::Vector;

/// Vectors raised in step, at most.
pub(super) const CHAINS: usize = 4;

/// `bases[i]^(2^count)`
#[inline(always)]
fn square_repeatedly<V: Vector>(bases: &mut [V], count: usize) {
    for _ in 0..count {
        for base in &mut *bases {
            base.square_assign();
        }
    }
}

/// `left[i] = left[i]·right[i]`
#[inline(always)]
fn multiply<V: Vector>(left: &mut [V], right: &[V]) {
    for (left, right) in left.iter_mut().zip(right) {
        left.mul_assign(right);
    }
}

/// `values[i]^((p + 1)/4)`: a square root of each value that has one, since `p = 3 mod 4`. The values are public.
///
/// `(p + 1)/4 = ((2^32 - 1)·2^32 + 1)·2^96 + 1)·2^94`.
///
/// # Panics
/// If there are more than [`CHAINS`].
#[inline(always)]
pub(super) fn square_roots<V: Vector>(values: &[V]) -> [V; CHAINS] {
    let mut powers = [V::default(); CHAINS];
    let roots = &mut powers[..values.len()];
    roots.copy_from_slice(values);
    // The exponent 2^32 - 1, by doubling its number of ones.
    for ones in [1, 2, 4, 8, 16] {
        let mut shifted = [V::default(); CHAINS];
        let shifted = &mut shifted[..values.len()];
        shifted.copy_from_slice(roots);
        square_repeatedly(shifted, ones);
        multiply(roots, shifted);
    }
    square_repeatedly(roots, 32);
    multiply(roots, values);
    square_repeatedly(roots, 96);
    multiply(roots, values);
    square_repeatedly(roots, 94);
    powers
}
