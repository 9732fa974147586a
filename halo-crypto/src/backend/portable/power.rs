//! Fixed powers: square roots and inverses by addition chains, several elements at a time.
//!
//! A squaring depends on the one before, and a processor can do about two in the time it takes to finish one, so the
//! chains run over a few independent lanes in step.

use super::field::FieldElement;

/// Elements raised in step.
pub(super) const LANES: usize = 4;

type Lanes = [FieldElement; LANES];

/// `bases[i]^(2^count)`
fn square_repeatedly(bases: &Lanes, count: usize) -> Lanes {
    let mut powers = *bases;
    for _ in 0..count {
        for power in &mut powers {
            *power = power.square();
        }
    }
    powers
}

/// `left[i]·right[i]`
fn multiply(left: &Lanes, right: &Lanes) -> Lanes {
    core::array::from_fn(|lane| left[lane].mul(&right[lane]))
}

/// `bases[i]^(2^32 - 1)`
fn ones_32(bases: &Lanes) -> Lanes {
    [1, 2, 4, 8, 16].iter().fold(*bases, |ones, length| multiply(&square_repeatedly(&ones, *length), &ones))
}

/// `values[i]^((p + 1)/4)`: a square root of each value that has one, since `p = 3 mod 4`.
///
/// `(p + 1)/4 = ((2^32 - 1)·2^32 + 1)·2^96 + 1)·2^94`.
pub(super) fn square_roots(values: &Lanes) -> Lanes {
    let power = multiply(&square_repeatedly(&ones_32(values), 32), values);
    let power = multiply(&square_repeatedly(&power, 96), values);
    square_repeatedly(&power, 94)
}
