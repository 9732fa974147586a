//! [`Candidate`]: what a uniform value is made from, and when it is rejected.

use zeroize::{Zeroize, Zeroizing};

use crate::backend::{Instructions, select};
use crate::ring::{Residue, RingModulus};

/// Bytes of the stream held at once. A multiple of every size of a candidate, 1 to 4 bytes, so none is cut in two.
pub(super) const BUFFER: usize = 4 * 3 * 512;

/// The most bytes that one batch of a draw may take: upstream fails from 2^31 on.
pub(super) const MAX_BATCH_BYTES: u64 = (1 << 31) - 1;

/// The shape of what is drawn for one uniform value, before it is known whether the value is accepted.
pub(super) struct Candidate {
    pub(super) bytes: usize,
    mask: u32,
    modulus: u32,
    /// The fraction of candidates that are not below the modulus.
    rejected: f64,
}

/// Room for the values of a buffer.
pub(super) struct Room<T: Zeroize> {
    bytes: Zeroizing<[u8; BUFFER]>,
    values: Zeroizing<[T; BUFFER]>,
}

impl<T: Residue> Room<T> {
    pub(super) fn new() -> Self {
        Self { bytes: Zeroizing::new([0; BUFFER]), values: Zeroizing::new([T::default(); BUFFER]) }
    }
}

impl Candidate {
    pub(super) fn below(modulus: RingModulus) -> Self {
        let bits = u32::BITS - (modulus.get() - 1).leading_zeros();
        let range = f64::from(1u32 << bits);
        Self {
            bytes: bits.div_ceil(8) as usize,
            mask: (1 << bits) - 1,
            modulus: modulus.get(),
            rejected: (range - f64::from(modulus.get())) / range,
        }
    }

    /// The candidates in `bytes`, at most [`BUFFER`] of them, that are below the modulus.
    pub(super) fn accept<'r, T: Residue>(&self, bytes: &[u8], room: &'r mut Room<T>) -> &'r [T] {
        if self.bytes == 1 {
            let range = 0..=(self.modulus - 1) as u8;
            let accepted = select(Instructions::active(), bytes, self.mask as u8, range, &mut *room.bytes);
            T::from_bytes(&room.bytes[..accepted], &mut *room.values)
        } else {
            let mut accepted = 0;
            // Written without a branch: which candidates are rejected cannot be predicted.
            for group in bytes.chunks_exact(self.bytes) {
                let value = group.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)) & self.mask;
                room.values[accepted] = T::narrow(value);
                accepted += usize::from(value < self.modulus);
            }
            &room.values[..accepted]
        }
    }

    /// How many candidates are drawn at once for `missing` values.
    pub(super) fn batch(&self, missing: usize) -> u64 {
        batch(missing, self.rejected)
    }

    /// Checks that a draw of `uniform` values, wanted for a draw of `size`, does not take too much at once.
    pub(super) fn check_draw(&self, size: usize, uniform: usize) -> Result<(), DrawError> {
        let bytes = self.batch(uniform).saturating_mul(self.bytes as u64);
        if bytes > MAX_BATCH_BYTES { Err(DrawError { size }) } else { Ok(()) }
    }
}

/// How many draws are made at once for `missing` values, of which the fraction `rejected` will be rejected.
///
/// Every party evaluates this in the same floating-point operations, since it decides what the next draw starts from.
pub(super) fn batch(missing: usize, rejected: f64) -> u64 {
    let missing = missing as f64;
    (missing + 1.0 + rejected * missing / (1.0 - rejected)) as u64
}

/// More values were asked for than a generator gives at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{size} values take more than {max} bytes at once", max = MAX_BATCH_BYTES)]
pub struct DrawError {
    /// How many.
    pub size: usize,
}
