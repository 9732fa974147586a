//! Vectors inside serialised messages, read and written block by block.
//!
//! `FrequencyVector` and `AggregationPhaseInput` both keep their values in field 1. Decoding such a message takes four
//! bytes a value, where the ring of production fits in one; for the longest vectors that is most of the memory of a
//! stage, so a computation reads shares where they lie.

use halo_crypto::ring::Residue;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint,
    skip_field,
};

use super::registers::Registers;

/// The field of the values.
const VALUES: u32 = 1;
/// The field of the number of registers, where there is one.
const REGISTER_COUNT: u32 = 2;

/// Bytes that are no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Why values cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The bytes are no such message.
    Malformed,
    /// A value is larger than allowed; its place among those that were to be read.
    TooLarge(usize),
}

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Reads the values of a message in their order.
#[derive(Clone, Debug)]
pub(super) struct PackedReader<'m> {
    /// The message from the next field on.
    message: &'m [u8],
    /// What is left of the field of values.
    packed: &'m [u8],
    register_count: i64,
}

impl<'m> PackedReader<'m> {
    pub(super) const fn new(message: &'m [u8]) -> Self {
        Self { message, packed: &[], register_count: 0 }
    }

    /// Fills `block` with the next values, none of them larger than `largest`, which fits into `T`; returns their
    /// number, less than the block's length only at the end.
    pub(super) fn fill<T: Residue>(&mut self, block: &mut [T], largest: u32) -> Result<usize, Refused> {
        let mut filled = 0;
        while filled < block.len() {
            if !self.packed.is_empty() {
                filled +=
                    self.fill_from_packed(&mut block[filled..], largest).map_err(|error| match error {
                        Refused::TooLarge(index) => Refused::TooLarge(filled + index),
                        Refused::Malformed => error,
                    })?;
            } else if let Some(value) = self.next_field()? {
                block[filled] = narrow(value, largest).ok_or(Refused::TooLarge(filled))?;
                filled += 1;
            } else if self.packed.is_empty() && self.message.is_empty() {
                break;
            }
        }
        Ok(filled)
    }

    fn fill_from_packed<T: Residue>(&mut self, block: &mut [T], largest: u32) -> Result<usize, Refused> {
        // Nearly always a value is a byte; then bytes are copied, as far as they are values.
        let run = self.packed.len().min(block.len());
        let (head, tail) = self.packed.split_at(run);
        let most = head.iter().copied().max().unwrap_or(0);
        if most < 0x80 && u32::from(most) <= largest {
            block.iter_mut().zip(head).for_each(|(value, byte)| *value = T::narrow(u32::from(*byte)));
            self.packed = tail;
            return Ok(run);
        }
        let mut filled = 0;
        for place in block {
            if self.packed.is_empty() {
                break;
            }
            *place = narrow(varint(&mut self.packed)?, largest).ok_or(Refused::TooLarge(filled))?;
            filled += 1;
        }
        Ok(filled)
    }

    /// Reads a field. A value that stands alone is returned, packed ones are left to be read.
    fn next_field(&mut self) -> Result<Option<u32>, Malformed> {
        if self.message.is_empty() {
            return Ok(None);
        }
        let (field, wire_type) = decode_key(&mut self.message).map_err(|_| Malformed)?;
        match (field, wire_type) {
            (VALUES, WireType::Varint) => return varint(&mut self.message).map(Some),
            (VALUES, WireType::LengthDelimited) => {
                let length = decode_varint(&mut self.message).map_err(|_| Malformed)?;
                let length = usize::try_from(length).ok().filter(|length| *length <= self.message.len());
                (self.packed, self.message) = self.message.split_at(length.ok_or(Malformed)?);
            }
            (VALUES, _) => return Err(Malformed),
            (REGISTER_COUNT, WireType::Varint) => {
                self.register_count = decode_varint(&mut self.message).map_err(|_| Malformed)?.cast_signed();
            }
            (REGISTER_COUNT, _) => return Err(Malformed),
            _ => skip_field(wire_type, field, &mut self.message, DecodeContext::default())
                .map_err(|_| Malformed)?,
        }
        Ok(None)
    }
}

/// The number of registers that an `AggregationPhaseInput` states, without a look at its values; 0 if it does not.
pub(super) fn register_count(message: &[u8]) -> Result<i64, Malformed> {
    let mut reader = PackedReader::new(message);
    while !reader.message.is_empty() {
        reader.next_field()?;
    }
    Ok(reader.register_count)
}

/// The number of values of a message.
pub(super) fn value_count(message: &[u8]) -> Result<usize, Malformed> {
    let mut reader = PackedReader::new(message);
    let mut count = 0;
    while !reader.message.is_empty() {
        count += usize::from(reader.next_field()?.is_some());
        // Every value has one byte whose top bit is clear, its last.
        count += std::mem::take(&mut reader.packed).iter().filter(|byte| **byte < 0x80).count();
    }
    Ok(count)
}

/// A value; one that does not fit becomes the largest, which is in no ring.
fn varint(bytes: &mut &[u8]) -> Result<u32, Malformed> {
    let value = decode_varint(bytes).map_err(|_| Malformed)?;
    Ok(u32::try_from(value).unwrap_or(u32::MAX))
}

fn narrow<T: Residue>(value: u32, largest: u32) -> Option<T> {
    (value <= largest).then(|| T::narrow(value))
}

/// The most bytes of an `AggregationPhaseInput` beside its values: two keys of a byte, a length and a number.
pub(super) const ENVELOPE: usize = 2 * (1 + 10);

/// Serialises an `AggregationPhaseInput`. Registers of which each is a byte of the message become the message: with
/// [`ENVELOPE`] bytes of spare capacity, where they lie.
pub(super) fn aggregation_phase_input(registers: Registers, register_count: usize) -> Vec<u8> {
    match registers {
        Registers::Narrow(values) if values.iter().copied().max().unwrap_or(0) < 0x80 => {
            enclose(values, register_count)
        }
        Registers::Narrow(values) => encode(&values, register_count),
        Registers::Middle(values) => encode(&values, register_count),
        Registers::Wide(values) => encode(&values, register_count),
    }
}

fn encode<T: Residue>(values: &[T], register_count: usize) -> Vec<u8> {
    let length: usize = values.iter().map(|value| encoded_len_varint(value.widen().into())).sum();
    let mut packed = Vec::with_capacity(length + ENVELOPE);
    values.iter().for_each(|value| encode_varint(value.widen().into(), &mut packed));
    enclose(packed, register_count)
}

/// Puts around packed values what makes them a message.
fn enclose(mut packed: Vec<u8>, register_count: usize) -> Vec<u8> {
    if !packed.is_empty() {
        let mut head = Vec::with_capacity(ENVELOPE);
        encode_key(VALUES, WireType::LengthDelimited, &mut head);
        encode_varint(packed.len() as u64, &mut head);
        packed.splice(0..0, head);
    }
    if register_count != 0 {
        encode_key(REGISTER_COUNT, WireType::Varint, &mut packed);
        encode_varint(register_count as u64, &mut packed);
    }
    packed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::proto::protocol::honest_majority_share_shuffle::AggregationPhaseInput;

    fn read(message: &[u8], block: usize) -> Result<(Vec<u32>, i64), Refused> {
        let mut reader = PackedReader::new(message);
        let (mut values, mut block) = (Vec::new(), vec![0; block]);
        loop {
            let filled = reader.fill(&mut block, u32::MAX)?;
            values.extend_from_slice(&block[..filled]);
            if filled < block.len() {
                return Ok((values, register_count(message)?));
            }
        }
    }

    proptest! {
        #[test]
        fn reads_and_writes_what_prost_does(
            values in prop::collection::vec(prop_oneof![0..128u32, 0..1u32 << 30], 0..200),
            register_count in 0..1000usize,
            block in 1..50usize,
        ) {
            let message = AggregationPhaseInput {
                combined_frequency_vectors: values.clone(),
                register_count: register_count as i64,
            };
            let bytes = message.encode_to_vec();
            prop_assert_eq!(&aggregation_phase_input(Registers::from(values.clone()), register_count), &bytes);
            prop_assert_eq!(value_count(&bytes), Ok(values.len()));
            prop_assert_eq!(read(&bytes, block), Ok((values.clone(), register_count as i64)));

            let narrow: Vec<u8> = values.iter().map(|value| *value as u8).collect();
            let message = AggregationPhaseInput {
                combined_frequency_vectors: narrow.iter().copied().map(u32::from).collect(),
                register_count: register_count as i64,
            };
            let bytes = aggregation_phase_input(Registers::from(narrow), register_count);
            prop_assert_eq!(&bytes, &message.encode_to_vec());
        }

        #[test]
        fn the_first_value_that_is_too_large_is_named(
            values in prop::collection::vec(prop_oneof![0..140u32, 0..100u32, any::<u32>()], 0..40),
            largest in 90..256u32,
            alone in any::<bool>(),
        ) {
            let mut message = AggregationPhaseInput::default();
            message.combined_frequency_vectors.clone_from(&values);
            let mut bytes = message.encode_to_vec();
            if alone {
                bytes.splice(0..0, [0x08, 0x03]);
            }
            let before = usize::from(alone);
            let expected = match values.iter().position(|value| *value > largest) {
                None => Ok(before + values.len()),
                Some(index) => Err(Refused::TooLarge(before + index)),
            };
            prop_assert_eq!(PackedReader::new(&bytes).fill(&mut [0u8; 64], largest), expected);
        }

        #[test]
        fn accepts_what_prost_accepts(bytes in prop::collection::vec(any::<u8>(), 0..60), block in 1..9usize) {
            match (AggregationPhaseInput::decode(bytes.as_slice()), read(&bytes, block)) {
                (Ok(message), Ok((values, register_count))) => {
                    prop_assert_eq!(register_count, message.register_count);
                    prop_assert_eq!(values.len(), message.combined_frequency_vectors.len());
                    for (ours, theirs) in values.into_iter().zip(message.combined_frequency_vectors) {
                        prop_assert!(ours == theirs || ours == u32::MAX, "{} {}", ours, theirs);
                    }
                }
                (Err(_), Err(Refused::Malformed)) => {}
                (theirs, ours) => prop_assert!(false, "{:?} {:?}", theirs, ours),
            }
        }
    }

    #[test]
    fn values_may_come_in_pieces_and_alone() {
        // Field 1 packed, an unknown field 3, field 1 alone, field 2, field 1 packed and empty.
        let message = [0x0a, 3, 1, 0x80, 1, 0x18, 9, 0x08, 7, 0x10, 2, 0x0a, 0];
        assert_eq!(read(&message, 2), Ok((vec![1, 128, 7], 2)));
        assert_eq!(value_count(&message), Ok(3));
        for malformed in [&[0x0a, 2, 1][..], &[0x0a, 1, 0x80], &[0x0d, 0, 0, 0, 0], &[0x08]] {
            assert_eq!(read(malformed, 4), Err(Refused::Malformed), "{malformed:?}");
        }
    }
}
