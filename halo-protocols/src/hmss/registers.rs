//! [`Registers`]: a long vector of ring elements, as narrow as the ring allows.

use halo_crypto::ring::Residue;
use sha2::{Digest, Sha256};

/// Feeds elements of a ring to a digest, without another copy of all of them.
pub(super) fn digest<T: Residue>(values: &[T], digest: &mut Sha256) {
    const BLOCK: usize = 1024;
    let mut bytes = [0; BLOCK * size_of::<u32>()];
    for values in values.chunks(BLOCK) {
        let bytes = &mut bytes[..size_of_val(values)];
        for (bytes, value) in bytes.chunks_exact_mut(size_of::<T>()).zip(values) {
            bytes.copy_from_slice(&value.widen().to_be_bytes()[size_of::<u32>() - size_of::<T>()..]);
        }
        digest.update(bytes);
    }
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
