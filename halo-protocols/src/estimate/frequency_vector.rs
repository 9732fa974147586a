//! Reach and frequency from the registers of a shuffled frequency vector (upstream's
//! `share_shuffle/honest_majority_share_shuffle_utility.cc`).
//!
//! A register is a person, so without noise the counts are exact but for sampling. Noise registers are part of the
//! vector; what is expected of them is subtracted, and what cannot be true is clamped, exactly as upstream's
//! `honest_majority_share_shuffle_utility.cc` does it.

use std::collections::BTreeMap;

use super::EstimateError;

/// Values counted in a table; larger ones, which no usual frequency reaches, in a map.
const LOW: usize = 1024;

/// Counters of one value. Neighbouring registers, which often hold the same, are counted in different ones, or each
/// would have to wait for the one before it.
const COUNTERS: usize = 4;

/// How many registers hold each value.
#[derive(Clone, Debug)]
pub struct Histogram {
    low: Vec<[u64; COUNTERS]>,
    high: BTreeMap<u32, u64>,
}

/// What can be said from counts.
#[derive(Clone, Debug, PartialEq)]
pub struct ReachAndFrequency {
    /// Estimated number of people.
    pub reach: i64,
    /// Share of the reached people per frequency; `None` if there is nothing that it could be relative to.
    pub frequency: Option<BTreeMap<i64, f64>>,
}

/// How people are counted in a shuffled vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrequencyVectorEstimator {
    register_count: u64,
    width: f32,
    reach_baseline: u64,
    frequency_baseline: u64,
}

impl Histogram {
    /// No registers.
    pub fn new() -> Self {
        Self { low: vec![[0; COUNTERS]; LOW], high: BTreeMap::new() }
    }

    /// Counts a register.
    pub fn add(&mut self, value: u32) {
        self.count(value, 0);
    }

    /// Counts many registers.
    pub fn add_all(&mut self, values: impl IntoIterator<Item = u32>) {
        for (position, value) in values.into_iter().enumerate() {
            self.count(value, position % COUNTERS);
        }
    }

    fn count(&mut self, value: u32, counter: usize) {
        match self.low.get_mut(value as usize) {
            Some(counters) => counters[counter] += 1,
            None => *self.high.entry(value).or_default() += 1,
        }
    }

    /// How many registers hold `value`.
    pub fn registers(&self, value: u32) -> u64 {
        match self.low.get(value as usize) {
            Some(counters) => counters.iter().sum(),
            None => self.high.get(&value).copied().unwrap_or(0),
        }
    }

    /// The values that some register holds, in ascending order, with the number of their registers.
    fn counts(&self) -> impl Iterator<Item = (u32, u64)> {
        let low = (0..).zip(&self.low).map(|(value, counters)| (value, counters.iter().sum()));
        low.chain(self.high.iter().map(|(value, count)| (*value, *count))).filter(|(_, count)| *count > 0)
    }

    /// The values from 1 up to below `end` that some register holds, with the number of their registers.
    fn positive_below(&self, end: u32) -> impl Iterator<Item = (u32, u64)> {
        self.counts().skip_while(|(value, _)| *value == 0).take_while(move |(value, _)| *value < end)
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.counts().eq(other.counts())
    }
}

impl Eq for Histogram {}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl FrequencyVectorEstimator {
    /// Vectors of `register_count` registers before noise, of people sampled from an interval of this width; the
    /// baselines are what noise is expected to add to the number of empty registers (for reach alone, of those that
    /// are not empty) and to that of each frequency, from all workers together.
    ///
    /// # Errors
    /// [`EstimateError::Width`] if the width is not in (0, 1].
    pub fn new(
        register_count: u64,
        width: f32,
        reach_baseline: u64,
        frequency_baseline: u64,
    ) -> Result<Self, EstimateError> {
        if width > 0.0 && width <= 1.0 {
            Ok(Self { register_count, width, reach_baseline, frequency_baseline })
        } else {
            Err(EstimateError::Width(width))
        }
    }

    /// How many people were reached, if `non_empty` registers are not 0.
    ///
    /// # Errors
    /// [`EstimateError::Overflow`] if the estimate does not fit a 64-bit integer.
    ///
    /// ```
    /// let estimator = halo_protocols::estimate::FrequencyVectorEstimator::new(1_000, 0.5, 40, 0)?;
    /// assert_eq!(estimator.reach_only(240)?, 400);
    /// # Ok::<(), halo_protocols::estimate::EstimateError>(())
    /// ```
    pub fn reach_only(&self, non_empty: u64) -> Result<i64, EstimateError> {
        self.reach(non_empty.saturating_sub(self.reach_baseline).min(self.register_count))
    }

    /// How many people were reached, and what share of them how often; `maximum_frequency`, at least 1, stands for
    /// itself and all above.
    ///
    /// # Errors
    /// [`EstimateError::Overflow`] if the estimate does not fit a 64-bit integer.
    pub fn reach_and_frequency(
        &self,
        histogram: &Histogram,
        maximum_frequency: u32,
    ) -> Result<ReachAndFrequency, EstimateError> {
        let all = self.register_count;
        let active = all.saturating_add(self.reach_baseline).saturating_sub(histogram.registers(0)).min(all);
        let reach = self.reach(active)?;

        let empty = histogram.registers(0).saturating_sub(self.reach_baseline);
        let mut counts: BTreeMap<i64, u64> = histogram
            .positive_below(maximum_frequency)
            .map(|(value, count)| (i64::from(value), count.saturating_sub(self.frequency_baseline)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let below = counts.values().sum::<u64>();
        // The last bucket is what is left of the registers, so that neither noise nor filler in it counts.
        let last = all.saturating_sub(empty + below);
        if last > 0 {
            counts.insert(maximum_frequency.into(), last);
        }
        let total = below + last;
        let share = |count: u64| count as f64 / total as f64;
        let frequency = counts.into_iter().map(|(frequency, count)| (frequency, share(count))).collect();
        Ok(ReachAndFrequency { reach, frequency: (total > 0).then_some(frequency) })
    }

    fn reach(&self, non_empty: u64) -> Result<i64, EstimateError> {
        let estimate = non_empty as f64 / f64::from(self.width);
        // 2^63 is the first double that does not fit.
        if estimate < 9_223_372_036_854_775_808.0 {
            Ok(estimate as i64)
        } else {
            Err(EstimateError::Overflow)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vectors::{double, integer, rows};

    #[test]
    fn reach_equals_upstream() -> Result<(), EstimateError> {
        let rows = rows("estimators", "share_shuffle");
        assert_eq!(rows.len(), 60);
        for row in rows {
            let width = double(&row["vid_sampling_interval_width_float32"]) as f32;
            let non_empty = integer(&row["non_empty_registers"]);
            let estimator = FrequencyVectorEstimator::new(u64::MAX >> 1, width, 0, 0)?;
            assert_eq!(estimator.reach_only(non_empty)?, integer::<i64>(&row["reach"]), "{row}");
        }
        Ok(())
    }

    fn histogram(values: &[u32]) -> Histogram {
        let mut histogram = Histogram::new();
        values.iter().for_each(|value| histogram.add(*value));
        histogram
    }

    #[test]
    fn noise_is_subtracted_and_what_cannot_be_is_clamped() -> Result<(), EstimateError> {
        // Ten registers: 4 empty, 3 once, 2 twice, 1 five times; noise of 2 empty, 1 once, 3 twice, filler 126.
        let values = [0, 0, 0, 0, 1, 1, 1, 2, 2, 5, 0, 0, 1, 2, 2, 2, 126, 126];
        let estimator = FrequencyVectorEstimator::new(10, 1.0, 2, 2)?;
        let estimate = estimator.reach_and_frequency(&histogram(&values), 3)?;
        // 10 + 2 − 6 registers are active; 4 are empty, 2 once, 3 twice, so 1 is left.
        assert_eq!(estimate.reach, 6);
        let shares = [(1, 2.0 / 6.0), (2, 3.0 / 6.0), (3, 1.0 / 6.0)];
        assert_eq!(estimate.frequency, Some(BTreeMap::from(shares)));

        // More noise drawn than expected: nothing is left for the last bucket.
        let crowded = FrequencyVectorEstimator::new(5, 1.0, 0, 0)?;
        let estimate = crowded.reach_and_frequency(&histogram(&values), 3)?;
        assert_eq!(estimate.reach, 0);
        assert_eq!(estimate.frequency, Some(BTreeMap::from([(1, 4.0 / 9.0), (2, 5.0 / 9.0)])));

        // Fewer than expected: reach is at most the number of registers, at least 0.
        let spare = FrequencyVectorEstimator::new(10, 1.0, 100, 100)?;
        assert_eq!(spare.reach_and_frequency(&histogram(&values), 3)?.reach, 10);
        assert_eq!(spare.reach_only(50)?, 0);
        assert_eq!(spare.reach_only(500)?, 10);
        Ok(())
    }

    #[test]
    fn nothing_counted_has_no_distribution() -> Result<(), EstimateError> {
        let estimator = FrequencyVectorEstimator::new(3, 1.0, 0, 0)?;
        let nothing = estimator.reach_and_frequency(&histogram(&[0, 0, 0]), 3)?;
        assert_eq!(nothing, ReachAndFrequency { reach: 0, frequency: None });
        for width in [0.0, -1.0, 1.1, f32::NAN] {
            assert!(FrequencyVectorEstimator::new(3, width, 0, 0).is_err(), "{width}");
        }
        let most = FrequencyVectorEstimator::new(u64::MAX, 1.0, 0, 0)?;
        assert_eq!(most.reach_only(u64::MAX), Err(EstimateError::Overflow));
        Ok(())
    }

    proptest! {
        /// Small and large values are counted alike.
        #[test]
        fn counts_are_those_of_the_vector(
            values in prop::collection::vec(prop_oneof![0..4u32, 1020..1030u32], 1..200),
            maximum_frequency in prop_oneof![1..5u32, 1020..1035u32],
        ) {
            let estimator = FrequencyVectorEstimator::new(values.len() as u64, 1.0, 0, 0)?;
            let estimate = estimator.reach_and_frequency(&histogram(&values), maximum_frequency)?;
            let active: Vec<u32> = values.iter().copied().filter(|value| *value > 0).collect();
            prop_assert_eq!(estimate.reach, active.len() as i64);
            let mut expected = BTreeMap::new();
            for value in &active {
                *expected.entry(i64::from(*value.min(&maximum_frequency))).or_insert(0u64) += 1;
            }
            let shares = expected.into_iter().map(|(value, count)| (value, count as f64 / active.len() as f64));
            prop_assert_eq!(estimate.frequency, (!active.is_empty()).then(|| shares.collect()));
        }
    }
}
