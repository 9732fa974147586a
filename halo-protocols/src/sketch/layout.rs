//! [`Layout`]: how many ciphertexts a record has, and what follows from it.

use halo_crypto::elgamal::{Ciphertext, Ciphertexts, Column, DecodeCiphertextError, EncodeCiphertextError};
use halo_crypto::{Group, P256, Ristretto255};

use crate::kernel::KernelError;

/// A kind of record: a fixed number of ciphertexts `u ‖ e`, each of two encoded points.
///
/// Lengths follow from the group: in P-256 a ciphertext takes 66 bytes, a register 198, a tuple 264.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    width: usize,
}

impl Layout {
    /// A register of a combined register vector: id ‖ key ‖ count.
    pub const REGISTER: Self = Self { width: 3 };
    /// Where a register's id is.
    pub const ID: Column = Self::REGISTER.column(0);
    /// Where a register's key is: the sampling indicator of the person in it.
    pub const KEY: Column = Self::REGISTER.column(1);
    /// Where a register's count of impressions is.
    pub const COUNT: Column = Self::REGISTER.column(2);

    /// A tuple of three flags and a count: flag a ‖ flag b ‖ flag c ‖ count.
    pub const FLAG_COUNT_TUPLE: Self = Self { width: 4 };
    /// Where a tuple's flags are.
    pub const FLAGS: [Column; 3] = [
        Self::FLAG_COUNT_TUPLE.column(0),
        Self::FLAG_COUNT_TUPLE.column(1),
        Self::FLAG_COUNT_TUPLE.column(2),
    ];
    /// Where a tuple's count is.
    pub const TUPLE_COUNT: Column = Self::FLAG_COUNT_TUPLE.column(3);

    /// A register of a reach-only combined register vector: nothing but an id.
    pub const REACH_ONLY_REGISTER: Self = Self { width: 1 };

    /// A cell of the same-key-aggregator matrix: one ciphertext.
    pub const CELL: Self = Self { width: 1 };

    /// Records of `width` ciphertexts.
    pub(crate) const fn of_width(width: usize) -> Self {
        Self { width }
    }

    /// The ciphertext at `index` in every record.
    pub const fn column(self, index: usize) -> Column {
        Column { index, width: self.width }
    }

    /// Bytes of one record.
    pub const fn length<G: Group>(self) -> usize {
        self.width * Ciphertext::<G>::LENGTH
    }

    /// Bytes of one record in the group with this curve id; in P-256 for an id that names no group.
    pub(crate) fn length_in(self, curve_id: i64) -> usize {
        match curve_id {
            Ristretto255::CURVE_ID => self.length::<Ristretto255>(),
            _ => self.length::<P256>(),
        }
    }

    /// How many whole records of the group with this curve id `payload` holds.
    pub(crate) fn whole_records(self, curve_id: i64, payload: &[u8]) -> usize {
        payload.len() / self.length_in(curve_id)
    }

    /// How many records the bytes of `field` hold.
    ///
    /// # Errors
    /// [`KernelError::Length`] if the last one is incomplete.
    pub fn count<G: Group>(self, field: &'static str, bytes: &[u8]) -> Result<usize, KernelError> {
        let record_length = self.length::<G>();
        if bytes.len().is_multiple_of(record_length) {
            Ok(bytes.len() / record_length)
        } else {
            Err(KernelError::Length { field, length: bytes.len(), record_length })
        }
    }

    /// Copies the records with these numbers, one behind the other.
    pub(crate) fn gather<G: Group>(self, bytes: &[u8], numbers: impl Iterator<Item = usize>) -> Vec<u8> {
        let length = self.length::<G>();
        let mut records = Vec::with_capacity(numbers.size_hint().0 * length);
        for number in numbers {
            records.extend_from_slice(&bytes[number * length..][..length]);
        }
        records
    }

    /// Decodes one column of a part of `field` whose first record is number `first`.
    pub(crate) fn decode<G: Group>(
        self,
        field: &'static str,
        first: usize,
        bytes: &[u8],
        column: Column,
    ) -> Result<Ciphertexts<G>, KernelError> {
        Ciphertexts::decode_column(bytes, column).map_err(|DecodeCiphertextError { ciphertext, reason }| {
            KernelError::Ciphertext {
                field,
                record: first + ciphertext / self.width,
                column: ciphertext % self.width,
                reason,
            }
        })
    }

    /// Encodes one column of a part of `field` whose first record is number `first`.
    pub(crate) fn encode<G: Group>(
        self,
        field: &'static str,
        first: usize,
        ciphertexts: &Ciphertexts<G>,
        out: &mut [u8],
        column: Column,
    ) -> Result<(), KernelError> {
        ciphertexts.encode_column(out, column).map_err(|EncodeCiphertextError { ciphertext, .. }| {
            KernelError::Identity { field, record: first + ciphertext / self.width }
        })
    }
}
