//! [`Registers`]: a long vector of ring elements, as narrow as the ring allows.

use sha2::{Digest, Sha256};

/// An integer that holds the elements of a ring.
pub(super) trait Residue: Copy + Default + Send {
    /// The largest modulus whose elements it holds.
    const LARGEST_MODULUS: u32;

    /// Narrows an element of a ring whose modulus fits.
    fn narrow(value: u32) -> Self;

    fn widen(self) -> u32;

    /// Feeds elements to a digest, without another copy of all of them.
    fn digest(values: &[Self], digest: &mut Sha256);
}

macro_rules! residue {
    ($($integer:ty: $largest:expr;)+) => {$(
        impl Residue for $integer {
            const LARGEST_MODULUS: u32 = $largest;

            fn narrow(value: u32) -> Self {
                value as Self
            }

            fn widen(self) -> u32 {
                self.into()
            }

            fn digest(values: &[Self], digest: &mut Sha256) {
                const BLOCK: usize = 1024;
                let mut bytes = [0; BLOCK * size_of::<$integer>()];
                for values in values.chunks(BLOCK) {
                    let bytes = &mut bytes[..size_of_val(values)];
                    for (bytes, value) in bytes.chunks_exact_mut(size_of::<$integer>()).zip(values) {
                        bytes.copy_from_slice(&value.to_be_bytes());
                    }
                    digest.update(bytes);
                }
            }
        }
    )+};
}

residue! {
    u8: 1 << 8;
    u16: 1 << 16;
    u32: 1 << 30;
}

/// A vector of ring elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Registers {
    Narrow(Vec<u8>),
    Middle(Vec<u16>),
    Wide(Vec<u32>),
}

impl Registers {
    /// The registers as messages have them.
    pub(super) fn into_values(self) -> Vec<u32> {
        match self {
            Self::Narrow(values) => values.into_iter().map(u32::from).collect(),
            Self::Middle(values) => values.into_iter().map(u32::from).collect(),
            Self::Wide(values) => values,
        }
    }
}

impl From<Vec<u8>> for Registers {
    fn from(values: Vec<u8>) -> Self {
        Self::Narrow(values)
    }
}

impl From<Vec<u16>> for Registers {
    fn from(values: Vec<u16>) -> Self {
        Self::Middle(values)
    }
}

impl From<Vec<u32>> for Registers {
    fn from(values: Vec<u32>) -> Self {
        Self::Wide(values)
    }
}
