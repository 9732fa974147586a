//! [`VidIndexMap`]: which register of a frequency vector a virtual person has (upstream's
//! `eventdataprovider/requisition/v2alpha/common/VidIndexMap.kt`).

use super::FrequencyVectorError;

/// Keeps the order of a population independent of other fingerprints; upstream's salt of 1,618,033 and 20,240,417.
const SALT: i64 = 21_858_450;

/// Virtual person ids below this are possible.
const VID_LIMIT: i64 = (1 << 31) - 1;

/// The order of a population, the same at all data providers: people are sorted by a hash of their id.
///
/// The people are those whom *every* data provider of the measurement knows by the same numbers, from 0 to 2^31 − 2.
/// It takes 16 bytes a person.
#[derive(Clone, Debug)]
pub struct VidIndexMap {
    /// Hash and id, sorted.
    people: Vec<(i64, i64)>,
}

/// A population that has no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PopulationError {
    /// There is nobody.
    #[error("the population is empty")]
    Empty,
    /// An id is out of range.
    #[error("virtual person id {0} is not in 0..{VID_LIMIT}")]
    Vid(i64),
    /// An id occurs twice.
    #[error("virtual person id {0} occurs more than once")]
    Repeated(i64),
}

impl VidIndexMap {
    /// Orders a population.
    ///
    /// # Errors
    /// [`PopulationError`] if there is nobody, or an id is negative, 2^31 − 1 or more, or repeated.
    pub fn new(vids: impl IntoIterator<Item = i64>) -> Result<Self, PopulationError> {
        let mut people = Vec::new();
        for vid in vids {
            if !(0..VID_LIMIT).contains(&vid) {
                return Err(PopulationError::Vid(vid));
            }
            people.push((hash(vid), vid));
        }
        if people.is_empty() {
            return Err(PopulationError::Empty);
        }
        people.sort_unstable();
        match people.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(PopulationError::Repeated(pair[0].1)),
            None => Ok(Self { people }),
        }
    }

    /// The position of a person; `None` for those who are not of the population.
    pub fn index(&self, vid: i64) -> Option<usize> {
        self.people.binary_search(&(hash(vid), vid)).ok()
    }

    /// How many people there are, at least 1.
    pub fn population(&self) -> usize {
        self.people.len()
    }
}

fn hash(vid: i64) -> i64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&vid.to_be_bytes());
    bytes[8..].copy_from_slice(&SALT.to_be_bytes());
    farmhash::fingerprint64(&bytes).cast_signed()
}

/// The positions of a population that a measurement looks at, and the register of each.
///
/// What lies beyond the last position wraps around to the first. All data providers must arrive at the same registers,
/// so the arithmetic is upstream's: 32-bit floats, which do not hold every position of a large population.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledPositions {
    first: usize,
    /// How many there are from the first on.
    primary: usize,
    /// How many follow from position 0 on.
    wrapped: usize,
}

impl SampledPositions {
    /// The positions of `population` people in the interval of this start and width.
    ///
    /// # Errors
    /// [`FrequencyVectorError::Interval`] unless 0 ≤ start ≤ 1 and 0 < width ≤ 1.
    pub fn new(population: usize, start: f32, width: f32) -> Result<Self, FrequencyVectorError> {
        if !((0.0..=1.0).contains(&start) && width > 0.0 && width <= 1.0) {
            return Err(FrequencyVectorError::Interval { start, width });
        }
        let people = population as f32;
        let first = (people * start) as usize;
        // One past the last.
        let end = (people * (start + width)) as usize;
        Ok(Self {
            first,
            primary: end.min(population).saturating_sub(first),
            wrapped: end.saturating_sub(population),
        })
    }

    /// How many registers a vector has. It can be 0 for a narrow interval.
    pub const fn register_count(&self) -> usize {
        self.primary + self.wrapped
    }

    /// The register of the person at a position; `None` for those who are not measured.
    pub const fn register(&self, position: usize) -> Option<usize> {
        if position >= self.first && position - self.first < self.primary {
            Some(position - self.first)
        } else if position < self.wrapped {
            Some(self.primary + position)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_are_ranks_of_the_hash() -> Result<(), PopulationError> {
        let map = VidIndexMap::new(1..=1000)?;
        let mut vids: Vec<i64> = (1..=1000).collect();
        vids.sort_by_key(|vid| (hash(*vid), *vid));
        for (index, vid) in vids.into_iter().enumerate() {
            assert_eq!(map.index(vid), Some(index));
        }
        assert_eq!((map.index(0), map.index(1001), map.population()), (None, None, 1000));
        Ok(())
    }

    #[test]
    fn the_hash_is_signed_and_of_big_endian_integers() {
        let bytes = [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0x01, 0x4d, 0x88, 0x92];
        assert_eq!(hash(7), farmhash::fingerprint64(&bytes).cast_signed());
        assert!((0..20).any(|vid| hash(vid) < 0) && (0..20).any(|vid| hash(vid) > 0));
    }

    #[test]
    fn populations_without_an_order_are_refused() {
        assert_eq!(VidIndexMap::new([]).err(), Some(PopulationError::Empty));
        for vid in [-1, (1 << 31) - 1, i64::MAX] {
            assert_eq!(VidIndexMap::new([1, vid]).err(), Some(PopulationError::Vid(vid)));
        }
        assert_eq!(VidIndexMap::new([5, 6, 5]).err(), Some(PopulationError::Repeated(5)));
    }

    #[test]
    fn intervals_are_ranges_of_positions_that_wrap_around() -> Result<(), FrequencyVectorError> {
        let registers = |start, width| -> Result<Vec<usize>, FrequencyVectorError> {
            let sampled = SampledPositions::new(10, start, width)?;
            let mut positions: Vec<_> =
                (0..10).filter_map(|position| Some((sampled.register(position)?, position))).collect();
            positions.sort_unstable();
            assert!(positions.iter().map(|(register, _)| *register).eq(0..sampled.register_count()));
            Ok(positions.into_iter().map(|(_, position)| position).collect())
        };
        assert_eq!(registers(0.0, 1.0)?, (0..10).collect::<Vec<_>>());
        assert_eq!(registers(0.25, 0.5)?, [2, 3, 4, 5, 6]);
        assert_eq!(registers(0.75, 0.5)?, [7, 8, 9, 0, 1]);
        assert_eq!(registers(1.0, 0.5)?, [0, 1, 2, 3, 4]);
        assert_eq!(registers(0.5, 0.05)?, Vec::<usize>::new());
        for (start, width) in
            [(-0.1, 0.5), (1.1, 0.5), (0.0, 0.0), (0.0, 1.1), (f32::NAN, 0.5), (0.0, f32::NAN)]
        {
            assert!(SampledPositions::new(10, start, width).is_err(), "{start} {width}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn registers_are_within_the_vector(
            population in 1..(1usize << 31),
            start in 0.0..=1.0f32,
            width in 0.001..=1.0f32,
            position in 0..(1usize << 31),
        ) {
            let sampled = SampledPositions::new(population, start, width)?;
            let share = sampled.register_count() as f64 / population as f64;
            // Two roundings to 24 bits, and two to integers.
            prop_assert!((share - f64::from(width)).abs() < 4e-7 + 2.0 / population as f64);
            if let Some(register) = sampled.register(position % population) {
                prop_assert!(register < sampled.register_count());
            }
        }
    }
}
