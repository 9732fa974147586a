//! The shuffle that two share-shuffle workers do alike: a Fisher–Yates permutation from a seed.
//!
//! Which element goes where is fixed by the seed to the last bit, as the workers' shares must stay aligned (upstream's
//! `crypto/shuffle.cc`, of any-sketch).

mod places;

use zeroize::Zeroizing;

use crate::backend::{Instructions, prefetch};
use crate::parallel::Executor;
use crate::prg::{BLOCK, KeyStream, PrngSeed};

/// The most elements that are shuffled, 2^27 − 1: upstream fails from there on.
pub const MAX_ELEMENTS: usize = (1 << 27) - 1;

/// Places computed by one task, and draws it holds at once: few enough for the first-level cache.
const TASK: usize = 2048;
const DRAWS: usize = 512;

/// Tasks whose places are known before elements go there, if there are threads that compute the next meanwhile: enough
/// that starting them takes little of the time.
const TASKS_AHEAD: usize = 32;

/// How many elements before it is moved an element is fetched.
const FETCHED: usize = 64;

/// Permutes `elements` by the permutation that `seed` stands for. With a second thread it takes about half the time.
///
/// # Security
/// Which places of memory are touched depends on the permutation, which must not become known to whoever receives
/// the shuffled elements. Somebody who shares the caches of this machine is assumed not to be that party.
///
/// # Errors
/// [`TooManyElements`] if there are more than [`MAX_ELEMENTS`]; the elements are then as they were.
///
/// ```
/// use halo_crypto::parallel::Executor;
/// use halo_crypto::prg::PrngSeed;
///
/// let seed = PrngSeed::from_bytes(&[7; PrngSeed::LENGTH])?;
/// let (mut left, mut right) = ([1, 2, 3, 4, 5], [10, 20, 30, 40, 50]);
/// halo_crypto::shuffle(&mut left, &seed, &Executor::serial())?;
/// halo_crypto::shuffle(&mut right, &seed, &Executor::serial())?;
/// assert_eq!(left.map(|value| 10 * value), right);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn shuffle<T: Send>(
    elements: &mut [T],
    seed: &PrngSeed,
    executor: &Executor,
) -> Result<(), TooManyElements> {
    let length = elements.len();
    if length > MAX_ELEMENTS {
        return Err(TooManyElements { elements: length });
    }
    let (stream, instructions) = (seed.key_stream(), Instructions::active());
    // The last element has nowhere to go. Upstream makes a draw for it too, from a generator that is then dropped.
    let moved = length.saturating_sub(1);
    let ahead = if executor.threads() == 1 { TASK } else { TASKS_AHEAD * TASK };
    let compute = |first: usize, places: &mut Zeroizing<Vec<u32>>| {
        places.truncate(ahead.min(moved - first));
        executor.for_each_part(places, TASK, |task, places| {
            compute_places(instructions, &stream, first + task * TASK, length, places);
        });
    };
    let [mut current, mut next] = [(); 2].map(|()| Zeroizing::new(vec![0; ahead.min(moved)]));
    compute(0, &mut current);
    let mut first = 0;
    while first < moved {
        let end = first + current.len();
        executor.join(|| exchange(elements, first, &current), || compute(end, &mut next));
        core::mem::swap(&mut current, &mut next);
        first = end;
    }
    Ok(())
}

/// The places of the elements from `first` on, in a shuffle of `length`.
fn compute_places(
    instructions: Instructions,
    stream: &KeyStream,
    first: usize,
    length: usize,
    places: &mut [u32],
) {
    let mut draws = Zeroizing::new([[0; BLOCK]; DRAWS]);
    for (first, places) in (first..).step_by(DRAWS).zip(places.chunks_mut(DRAWS)) {
        let draws = &mut draws[..places.len()];
        // A draw is a block of the stream: so large that its remainder is uniform but for 2^−100.
        stream.write(first as u128, draws);
        places::write(instructions, draws, first, length, places);
    }
}

/// Exchanges each of the elements from `first` on with the one at its place.
fn exchange<T>(elements: &mut [T], first: usize, places: &[u32]) {
    for place in places.iter().take(FETCHED) {
        prefetch(elements, *place as usize);
    }
    let mut ahead = places.iter().skip(FETCHED);
    for (index, place) in (first..).zip(places) {
        if let Some(place) = ahead.next() {
            prefetch(elements, *place as usize);
        }
        elements.swap(index, *place as usize);
    }
}

/// There is more to shuffle than peers agree on how to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{elements} elements are more than the {MAX_ELEMENTS} that can be shuffled")]
pub struct TooManyElements {
    /// How many there are.
    pub elements: usize,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::backend::tests::on_each_backend;
    use crate::prg::UniformGenerator;

    /// The permutation as upstream draws it, one exchange after the other.
    fn specified<T>(elements: &mut [T], seed: &PrngSeed) {
        let mut generator = UniformGenerator::new(seed);
        for index in 0..elements.len().saturating_sub(1) {
            let mut draw = [0; BLOCK];
            generator.fill_bytes(&mut draw);
            let places = (elements.len() - index) as u128;
            elements.swap(index, index + (u128::from_le_bytes(draw) % places) as usize);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn is_the_specified_permutation(
            size in prop_oneof![
                0usize..300,
                0..3 * TASKS_AHEAD * TASK,
                (1..5usize, 0..3usize).prop_map(|(tasks, offset)| tasks * TASK + offset),
                (1..3usize, 0..3usize).prop_map(|(parts, offset)| parts * TASKS_AHEAD * TASK + offset),
            ],
            seed in any::<[u8; 32]>(),
        ) {
            let seed = PrngSeed::from_parts(&seed, &[0; 16]).expect("whole parts");
            let elements: Vec<usize> = (0..size).collect();
            let mut expected = elements.clone();
            specified(&mut expected, &seed);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
            for executor in [Executor::serial(), Executor::on(Arc::new(pool))] {
                for (backend, outcome) in on_each_backend(|| {
                    let mut shuffled = elements.clone();
                    shuffle(&mut shuffled, &seed, &executor).map(|()| shuffled)
                }) {
                    prop_assert!(outcome.as_ref() == Ok(&expected), "{}, {:?}", backend, executor);
                }
            }
        }
    }

    /// All orders of four elements turn up about equally often: chi-squared with 23 degrees of freedom, one in a
    /// million.
    #[test]
    fn every_order_is_as_likely() {
        const SHUFFLES: u32 = 12_000;
        let mut counts = std::collections::BTreeMap::<[u8; 4], u32>::new();
        for round in 0..SHUFFLES {
            let key = [round.to_be_bytes(); 8].concat();
            let mut elements = [0, 1, 2, 3];
            let seed = PrngSeed::from_parts(&key, &[1; 16]).expect("whole parts");
            shuffle(&mut elements, &seed, &Executor::serial()).expect("few elements");
            *counts.entry(elements).or_default() += 1;
        }
        assert_eq!(counts.len(), 24);
        let expected = f64::from(SHUFFLES) / 24.0;
        let statistic: f64 =
            counts.values().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        assert!(statistic < 72.1, "{statistic}");
    }

    #[test]
    fn what_upstream_cannot_shuffle_is_refused() {
        // Elements without a size, of which any number fits into memory.
        let mut elements = vec![(); MAX_ELEMENTS + 1];
        let seed = PrngSeed::from_bytes(&[0; PrngSeed::LENGTH]).expect("a whole seed");
        let refused = shuffle(&mut elements, &seed, &Executor::serial());
        assert_eq!(refused, Err(TooManyElements { elements: 1 << 27 }));
    }
}
