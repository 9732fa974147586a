//! [`FrequencyVectorBuilder`]: how often each person of a population was seen (upstream's
//! `eventdataprovider/requisition/v2alpha/common/FrequencyVectorBuilder.kt`).

use super::{SampledPositions, VidIndexMap};

/// A vector that no data provider can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrequencyVectorError {
    /// The interval of sampled people is empty or too wide.
    #[error("start {start}, width {width}: the start must be in [0, 1], the width in (0, 1]")]
    Interval {
        /// The start given.
        start: f32,
        /// The width given.
        width: f32,
    },
    /// Every frequency would be capped at 0, and nobody counted.
    #[error("a maximum frequency of 0: it must be at least 1")]
    MaximumFrequency,
}

/// Counts impressions of the people that a measurement looks at, each up to the maximum frequency.
///
/// ```
/// use halo_protocols::data_provider::{FrequencyVectorBuilder, VidIndexMap};
///
/// let population = VidIndexMap::new(1..=5)?;
/// let mut builder = FrequencyVectorBuilder::new(&population, 0.0, 1.0, 2)?;
/// // Person 9 is not of the population.
/// [3, 3, 3, 1, 9].into_iter().for_each(|vid| builder.increment(vid));
/// let mut frequencies = builder.build();
/// frequencies.sort_unstable();
/// assert_eq!(frequencies, [0, 0, 0, 1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FrequencyVectorBuilder<'p> {
    population: &'p VidIndexMap,
    sampled: SampledPositions,
    maximum_frequency: u32,
    frequencies: Vec<u32>,
}

impl<'p> FrequencyVectorBuilder<'p> {
    /// A vector of zeros, of people sampled from the interval of this start and width. For reach alone the maximum
    /// frequency is 1.
    ///
    /// # Errors
    /// [`FrequencyVectorError`] unless 0 ≤ start ≤ 1, 0 < width ≤ 1, and the maximum frequency is at least 1.
    pub fn new(
        population: &'p VidIndexMap,
        start: f32,
        width: f32,
        maximum_frequency: u32,
    ) -> Result<Self, FrequencyVectorError> {
        if maximum_frequency == 0 {
            return Err(FrequencyVectorError::MaximumFrequency);
        }
        let sampled = SampledPositions::new(population.population(), start, width)?;
        let frequencies = vec![0; sampled.register_count()];
        Ok(Self { population, sampled, maximum_frequency, frequencies })
    }

    /// Counts one impression. Whoever is not of the population, or not sampled, is not counted, and nothing says so:
    /// [`VidIndexMap::index`] tells who is of it.
    pub fn increment(&mut self, vid: i64) {
        self.increment_by(vid, 1);
    }

    /// Counts several impressions of one person; 0 are none.
    pub fn increment_by(&mut self, vid: i64, impressions: u32) {
        let register = self.population.index(vid).and_then(|position| self.sampled.register(position));
        if let Some(frequency) = register.and_then(|register| self.frequencies.get_mut(register)) {
            *frequency = frequency.saturating_add(impressions).min(self.maximum_frequency);
        }
    }

    /// The vector, one value per register.
    pub fn build(self) -> Vec<u32> {
        self.frequencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_are_capped_counts_of_those_sampled() -> Result<(), Box<dyn std::error::Error>> {
        let population = VidIndexMap::new(0..100)?;
        let mut builder = FrequencyVectorBuilder::new(&population, 0.75, 0.5, 3)?;
        let mut whole = FrequencyVectorBuilder::new(&population, 0.0, 1.0, 100)?;
        for vid in 0..100 {
            builder.increment_by(vid, vid as u32 % 5);
            whole.increment_by(vid, vid as u32 % 5);
        }
        builder.increment_by(100, 1);
        let (sampled, whole) = (builder.build(), whole.build());
        assert_eq!(whole.iter().sum::<u32>(), 200);
        let expected = whole[75..].iter().chain(&whole[..25]).map(|frequency| *frequency.min(&3));
        assert!(sampled.into_iter().eq(expected));
        Ok(())
    }

    #[test]
    fn vectors_that_count_nobody_are_refused() -> Result<(), Box<dyn std::error::Error>> {
        let population = VidIndexMap::new([4])?;
        let refused =
            |start, width, maximum| FrequencyVectorBuilder::new(&population, start, width, maximum).err();
        assert_eq!(refused(0.0, 1.0, 0), Some(FrequencyVectorError::MaximumFrequency));
        assert_eq!((refused(0.0, 1.0, 1), refused(1.0, 1.0, 1)), (None, None));
        let interval = refused(1.5, 0.5, 1).ok_or("an interval beyond the population")?;
        assert_eq!(
            interval.to_string(),
            "start 1.5, width 0.5: the start must be in [0, 1], the width in (0, 1]"
        );
        Ok(())
    }

    #[test]
    fn no_number_of_impressions_overflows() -> Result<(), Box<dyn std::error::Error>> {
        let population = VidIndexMap::new([4])?;
        let mut builder = FrequencyVectorBuilder::new(&population, 0.0, 1.0, u32::MAX)?;
        builder.increment_by(4, u32::MAX);
        builder.increment(4);
        assert_eq!(builder.build(), [u32::MAX]);
        Ok(())
    }
}
