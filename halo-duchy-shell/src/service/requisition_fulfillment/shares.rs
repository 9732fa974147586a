//! Checks a share of a frequency vector while it arrives: it must be a serialised `FrequencyVector` with as many values
//! as the header says, each below the ring's modulus.
//!
//! Upstream accepts any bytes, and the measurement fails when a mill reads them. The vector is not kept:
//! values are looked at byte by byte, so that a body of any length takes the same memory.

/// Keys of the field `data` (1): its values one by one, or many in one field.
const ONE_VALUE: u64 = 1 << 3;
const MANY_VALUES: u64 = (1 << 3) | 2;

/// What is wrong with a share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharesError {
    /// There is a field that a frequency vector does not have.
    #[error("the body is not a FrequencyVector: a field with key {key} before byte {offset}")]
    Field {
        /// The field's number and wire type.
        key: u64,
        /// Where it was found.
        offset: u64,
    },
    /// An integer does not end within ten bytes, or in the field that it is in.
    #[error("the body is not a FrequencyVector: a malformed integer before byte {0}")]
    Integer(
        /// Where it was found.
        u64,
    ),
    /// The body ends within a field.
    #[error("the body ends within a field, after {0} bytes")]
    Truncated(
        /// Bytes received.
        u64,
    ),
    /// A value is not of the ring.
    #[error("register {register} is {value}, not below the ring modulus {modulus}")]
    Value {
        /// The register's index.
        register: u64,
        /// What it holds.
        value: u64,
        /// The modulus.
        modulus: u32,
    },
    /// There are more or fewer registers than the header says.
    #[error("the body has {} {found} registers, register_count is {expected}", if found > expected { "at least" } else { "only" })]
    Count {
        /// Registers found.
        found: u64,
        /// Registers announced.
        expected: u64,
    },
}

/// What the next integer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Key,
    /// The length of a field of values.
    Length,
    /// A value; if its field has a length, that of the field's end.
    Value {
        end: Option<u64>,
    },
}

/// The check of one share.
#[derive(Clone, Debug)]
pub struct Shares {
    modulus: u32,
    expected: u64,
    found: u64,
    /// Bytes taken.
    offset: u64,
    next: Next,
    /// The integer that has begun, and its bits so far.
    integer: u64,
    bits: u32,
}

impl Shares {
    /// For a vector of `register_count` values below `modulus`.
    pub const fn new(modulus: u32, register_count: u64) -> Self {
        Self { modulus, expected: register_count, found: 0, offset: 0, next: Next::Key, integer: 0, bits: 0 }
    }

    /// Takes the next bytes, which may end anywhere.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), SharesError> {
        for byte in chunk {
            self.offset += 1;
            // The tenth byte has the last of 64 bits.
            if self.bits > 63 || (self.bits == 63 && *byte > 1) {
                return Err(SharesError::Integer(self.offset));
            }
            self.integer |= u64::from(byte & 0x7f) << self.bits;
            self.bits += 7;
            if byte & 0x80 == 0 {
                self.bits = 0;
                let integer = std::mem::take(&mut self.integer);
                self.next = self.take(integer)?;
            }
            if let Next::Value { end: Some(end) } = self.next
                && (self.offset > end || (self.offset == end && self.bits > 0))
            {
                return Err(SharesError::Integer(self.offset));
            }
        }
        Ok(())
    }

    /// Ends the vector.
    ///
    /// # Errors
    /// If it ends within a field, or has too few registers.
    pub fn finish(self) -> Result<(), SharesError> {
        if self.next != Next::Key || self.bits > 0 {
            return Err(SharesError::Truncated(self.offset));
        }
        self.require(self.found == self.expected)
    }

    /// Takes a whole integer, and tells what comes after it.
    fn take(&mut self, integer: u64) -> Result<Next, SharesError> {
        match self.next {
            Next::Key => match integer {
                ONE_VALUE => Ok(Next::Value { end: None }),
                MANY_VALUES => Ok(Next::Length),
                key => Err(SharesError::Field { key, offset: self.offset }),
            },
            Next::Length if integer == 0 => Ok(Next::Key),
            Next::Length => {
                let end = self.offset.checked_add(integer).ok_or(SharesError::Integer(self.offset))?;
                Ok(Next::Value { end: Some(end) })
            }
            Next::Value { end } => {
                self.require(self.found < self.expected)
                    .map_err(|_| SharesError::Count { found: self.found + 1, expected: self.expected })?;
                if integer >= u64::from(self.modulus) {
                    let (register, modulus) = (self.found, self.modulus);
                    return Err(SharesError::Value { register, value: integer, modulus });
                }
                self.found += 1;
                let more = end.is_some_and(|end| self.offset < end);
                Ok(if more { Next::Value { end } } else { Next::Key })
            }
        }
    }

    fn require(&self, right: bool) -> Result<(), SharesError> {
        let (found, expected) = (self.found, self.expected);
        if right { Ok(()) } else { Err(SharesError::Count { found, expected }) }
    }
}

#[cfg(test)]
mod tests {
    use halo_protocols::proto::frequency_count::FrequencyVector;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn check(modulus: u32, registers: u64, bytes: &[u8], chunk: usize) -> Result<(), SharesError> {
        let mut shares = Shares::new(modulus, registers);
        bytes.chunks(chunk).try_for_each(|chunk| shares.push(chunk))?;
        shares.finish()
    }

    fn vector(data: &[u32]) -> Vec<u8> {
        FrequencyVector { data: data.to_vec() }.encode_to_vec()
    }

    proptest! {
        #[test]
        fn whole_vectors_pass_however_they_are_cut(
            data in proptest::collection::vec(0..1000u32, 1..300),
            chunk in 1..400usize,
        ) {
            let bytes = vector(&data);
            let registers = data.len() as u64;
            prop_assert_eq!(check(1000, registers, &bytes, chunk), Ok(()));
            // Values one by one, and both forms after one another, say the same.
            let single: Vec<u8> =
                data.iter().flat_map(|value| [&[8][..], &vector(&[*value])[2..]].concat()).collect();
            prop_assert_eq!(check(1000, registers, &single, chunk), Ok(()));
            prop_assert_eq!(check(1000, 2 * registers, &[single, bytes.clone()].concat(), chunk), Ok(()));
            let largest = data.iter().max().copied().unwrap_or_default();
            let refused = check(largest, registers, &bytes, chunk);
            prop_assert!(matches!(refused, Err(SharesError::Value { .. })), "{refused:?}");
        }

        /// Whatever passes is read alike by the parser of the mills.
        #[test]
        fn what_passes_is_a_frequency_vector(bytes in proptest::collection::vec(0..20u8, 0..30)) {
            for registers in 0..6 {
                if check(20, registers, &bytes, 3).is_ok() {
                    let parsed = FrequencyVector::decode(&bytes[..]);
                    prop_assert_eq!(parsed.map(|vector| vector.data.len() as u64), Ok(registers));
                }
            }
        }
    }

    #[test]
    fn counts_are_those_announced() {
        let bytes = vector(&[1, 2, 3]);
        assert_eq!(check(127, 4, &bytes, 2), Err(SharesError::Count { found: 3, expected: 4 }));
        assert_eq!(check(127, 2, &bytes, 2), Err(SharesError::Count { found: 3, expected: 2 }));
        assert_eq!(check(127, 1, b"", 2), Err(SharesError::Count { found: 0, expected: 1 }));
    }

    #[test]
    fn other_bytes_are_refused_where_they_go_wrong() {
        let value = SharesError::Value { register: 1, value: 127, modulus: 127 };
        assert_eq!(check(127, 3, &vector(&[126, 127, 0]), 1), Err(value));
        for (bytes, error) in [
            (&[0x12, 0][..], SharesError::Field { key: 0x12, offset: 1 }),
            (&[0x0d, 0, 0, 0, 0], SharesError::Field { key: 0x0d, offset: 1 }),
            (&[0xff; 11], SharesError::Integer(10)),
            // The second value does not end in the field.
            (&[0x0a, 2, 1, 0x81, 0], SharesError::Integer(4)),
            (&[0x0a, 3, 1, 1], SharesError::Truncated(4)),
            (&[0x0a], SharesError::Truncated(1)),
            (&[0x08], SharesError::Truncated(1)),
            (&[0x08, 0x80], SharesError::Truncated(2)),
            (&[0x8a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], SharesError::Integer(10)),
        ] {
            for chunk in [1, 20] {
                assert_eq!(check(127, 2, bytes, chunk), Err(error.clone()), "{bytes:?}");
            }
        }
    }
}
