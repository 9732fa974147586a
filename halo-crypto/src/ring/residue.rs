//! [`Residue`]: the integers that elements of a ring are held in.

use zeroize::{DefaultIsZeroes, Zeroize};

use crate::backend::{Instructions, select};

/// An unsigned integer that holds the elements of a ring, as long as the modulus is not too large for it: `u8`, `u16`,
/// or `u32`. A long vector takes least memory and time in the narrowest.
pub trait Residue:
    Copy + Default + Eq + Ord + Send + Sync + Zeroize + DefaultIsZeroes + sealed::Residue
{
    /// The largest modulus whose elements it holds.
    const LARGEST_MODULUS: u32;

    /// The low bits of `value`: the same value if it is an element of a ring that fits.
    #[must_use]
    fn narrow(value: u32) -> Self;

    /// The same value as a `u32`.
    #[must_use]
    fn widen(self) -> u32;
}

pub(crate) mod sealed {
    /// What rings and generators need of an integer.
    pub trait Residue: Sized {
        /// `(self − other) mod modulus` of values below the modulus, given by its low bits.
        fn subtract(self, other: Self, modulus: Self) -> Self;

        /// `modulus − self`, which is the modulus for 0.
        fn complement(self, modulus: Self) -> Self;

        /// `bytes` as these integers, in `room` unless they are already.
        fn from_bytes<'b>(bytes: &'b [u8], room: &'b mut [Self]) -> &'b [Self];

        /// Writes those of `values` that are not 0 to the start of `out`, which is as long; returns how many they are.
        fn select_nonzero(values: &[Self], out: &mut [Self]) -> usize;
    }
}

/// Both operations without a branch, and in a form of which compilers make vectors.
macro_rules! arithmetic {
    () => {
        #[inline(always)]
        fn subtract(self, other: Self, modulus: Self) -> Self {
            let difference = self.wrapping_sub(other);
            // The highest bit tells whether something was borrowed. By bits alone: of a comparison the compiler makes a branch
            // for those values at the end that fill no vector.
            let borrowed = if <Self as Residue>::LARGEST_MODULUS < 1 << (Self::BITS - 1) {
                difference
            } else {
                difference ^ (self ^ other) & (other ^ difference)
            };
            let mask = (borrowed.cast_signed() >> (Self::BITS - 1)).cast_unsigned();
            difference.wrapping_add(modulus & mask)
        }

        #[inline(always)]
        fn complement(self, modulus: Self) -> Self {
            modulus.wrapping_sub(self)
        }
    };
}

macro_rules! residue {
    ($($integer:ty: $largest:expr;)+) => {$(
        impl Residue for $integer {
            const LARGEST_MODULUS: u32 = $largest;

            #[inline(always)]
            fn narrow(value: u32) -> Self {
                value as Self
            }

            #[inline(always)]
            fn widen(self) -> u32 {
                self.into()
            }
        }
    )+};
}

residue! {
    u8: 1 << 8;
    u16: 1 << 16;
    u32: super::RingModulus::MAX;
}

impl sealed::Residue for u8 {
    arithmetic!();

    fn from_bytes<'b>(bytes: &'b [u8], _: &'b mut [Self]) -> &'b [Self] {
        bytes
    }

    fn select_nonzero(values: &[Self], out: &mut [Self]) -> usize {
        select(Instructions::active(), values, Self::MAX, 1..=Self::MAX, out)
    }
}

macro_rules! wide_residue {
    ($($integer:ty)+) => {$(
        impl sealed::Residue for $integer {
            arithmetic!();

            fn from_bytes<'b>(bytes: &'b [u8], room: &'b mut [Self]) -> &'b [Self] {
                let room = &mut room[..bytes.len()];
                room.iter_mut().zip(bytes).for_each(|(value, byte)| *value = Self::from(*byte));
                room
            }

            fn select_nonzero(values: &[Self], out: &mut [Self]) -> usize {
                let mut selected = 0;
                for value in values {
                    out[selected] = *value;
                    selected += usize::from(*value != 0);
                }
                selected
            }
        }
    )+};
}

wide_residue!(u16 u32);
