//! Sorting records in place, on little more than the memory they take anyway.
//!
//! What is sorted is one short [`Key`] per record, by all threads; each record is then moved once, to its place.

use std::cmp::Ordering;

use halo_crypto::Group;
use halo_crypto::parallel::Executor;

use super::Layout;

/// The beginning of a record and its number: 16 bytes for each record, whatever its length.
struct Key {
    beginning: u64,
    record: u32,
}

impl Layout {
    /// Sorts records bytewise. On re-randomized ciphertexts it hides which record came from where.
    ///
    /// # Panics
    /// If the last record is incomplete, or there are 2^32 records or more.
    pub fn sort<G: Group>(self, records: &mut [u8], executor: &Executor) {
        let mut order = sorted_keys(records, self.length::<G>(), executor);
        permute(records, self.length::<G>(), &mut order);
    }
}

/// The numbers of records of `length` bytes in their bytewise order, equal ones in the order they have.
pub(crate) fn sorted_numbers(
    records: &[u8],
    length: usize,
    executor: &Executor,
) -> impl ExactSizeIterator<Item = u32> {
    sorted_keys(records, length, executor).into_iter().map(|key| key.record)
}

fn sorted_keys(records: &[u8], length: usize, executor: &Executor) -> Vec<Key> {
    assert!(records.len().is_multiple_of(length), "whole records are sorted");
    let count = u32::try_from(records.len() / length).expect("fewer than 2^32 records");
    let mut keys: Vec<Key> = records
        .chunks_exact(length)
        .zip(0..count)
        .map(|(bytes, record)| Key { beginning: beginning(bytes), record })
        .collect();
    executor.sort_unstable_by(&mut keys, |left, right| {
        // Encodings of random points differ early, so whole records are seldom fetched.
        left.beginning.cmp(&right.beginning).then_with(|| compare(records, length, left, right))
    });
    keys
}

/// The first eight bytes as a number with the same order; a shorter record is followed by zeros.
fn beginning(record: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = record.len().min(bytes.len());
    bytes[..length].copy_from_slice(&record[..length]);
    u64::from_be_bytes(bytes)
}

fn compare(records: &[u8], length: usize, left: &Key, right: &Key) -> Ordering {
    let bytes = |key: &Key| &records[key.record as usize * length..][..length];
    bytes(left).cmp(bytes(right)).then(left.record.cmp(&right.record))
}

/// Moves to every place the record whose number its key has, along the cycles of the permutation. The keys are spent.
fn permute(records: &mut [u8], length: usize, order: &mut [Key]) {
    let mut displaced = vec![0; length];
    for start in 0..order.len() {
        if order[start].record as usize == start {
            continue;
        }
        displaced.copy_from_slice(&records[start * length..][..length]);
        let mut place = start;
        loop {
            let source = order[place].record as usize;
            order[place].record = place as u32;
            if source == start {
                break;
            }
            records.copy_within(source * length..(source + 1) * length, place * length);
            place = source;
        }
        records[place * length..][..length].copy_from_slice(&displaced);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn sorted(records: &[u8], length: usize, executor: &Executor) -> Vec<u8> {
        let mut sorted = records.to_vec();
        let mut order = sorted_keys(records, length, executor);
        permute(&mut sorted, length, &mut order);
        sorted
    }

    proptest! {
        #[test]
        fn records_end_up_in_their_order(
            // Few different bytes, so that beginnings and whole records are often the same.
            records in proptest::collection::vec(0..3_u8, 0..2_000),
            length in 1_usize..14,
        ) {
            let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build()?);
            let records = &records[..records.len() / length * length];
            let mut expected: Vec<&[u8]> = records.chunks_exact(length).collect();
            expected.sort_unstable();
            for executor in [Executor::serial(), Executor::on(pool)] {
                prop_assert_eq!(sorted(records, length, &executor), expected.concat());
                let numbers = sorted_numbers(records, length, &executor);
                let record = |number: u32| &records[number as usize * length..][..length];
                let by_number: Vec<_> = numbers.map(|number| (record(number), number)).collect();
                prop_assert!(by_number.is_sorted());
                prop_assert!(by_number.into_iter().map(|(record, _)| record).eq(expected.iter().copied()));
            }
        }
    }
}
