//! The aggregation phase: the aggregator adds the workers' shuffled shares and counts (upstream's
//! `share_shuffle/honest_majority_share_shuffle_utility.cc`).

use halo_crypto::ring::Residue;
use zeroize::Zeroizing;

use super::share::{BLOCK, Values};
use super::{FrequencyVectorParameters, MeasurementKind, ShareShuffleError};
use crate::estimate::{FrequencyVectorEstimator, Histogram};
use crate::kernel::noise::positive;
use crate::kernel::{KernelContext, KernelError};
use crate::proto::protocol::{CompleteAggregationPhaseRequest, CompleteAggregationPhaseResponse};

/// How many workers send shares.
pub(super) const WORKERS: usize = 2;

/// Estimates reach and frequency from the workers' shuffled shares.
///
/// # Errors
/// [`KernelError`]: parameters that [`FrequencyVectorParameters::new`] refuses, another number of shares than two, a
/// share that is none of the ring or has not the registers that parameters demand, sums that no honest workers send, a
/// sampling width outside (0, 1], or nothing at all to count.
pub fn complete_reach_and_frequency_aggregation_phase(
    request: &CompleteAggregationPhaseRequest,
    context: &KernelContext,
) -> Result<CompleteAggregationPhaseResponse, KernelError> {
    complete(MeasurementKind::ReachAndFrequency, request, context)
}

/// Estimates reach alone from the workers' shuffled shares.
///
/// # Errors
/// As [`complete_reach_and_frequency_aggregation_phase`], except that sums are anything and may all be 0.
pub fn complete_reach_only_aggregation_phase(
    request: &CompleteAggregationPhaseRequest,
    context: &KernelContext,
) -> Result<CompleteAggregationPhaseResponse, KernelError> {
    complete(MeasurementKind::ReachOnly, request, context)
}

fn complete(
    kind: MeasurementKind,
    request: &CompleteAggregationPhaseRequest,
    context: &KernelContext,
) -> Result<CompleteAggregationPhaseResponse, KernelError> {
    let params = request.frequency_vector_params.as_ref();
    let parameters = FrequencyVectorParameters::new(
        kind,
        params.ok_or(KernelError::Missing("frequency_vector_params"))?,
        request.noise_mechanism,
        request.reach_dp_params.as_ref(),
        request.frequency_dp_params.as_ref(),
    )?;
    let [first, second] = request.frequency_vector_shares.as_slice() else {
        return Err(ShareShuffleError::ShareCount(request.frequency_vector_shares.len()).into());
    };
    let phase = AggregationPhase {
        parameters: &parameters,
        maximum_frequency: request.maximum_frequency,
        vid_sampling_interval_width: request.vid_sampling_interval_width,
    };
    let shares = [first, second].map(|share| Values::Decoded(&share.share_vector));
    phase.complete(shares, context)
}

/// The phase at the aggregator.
#[derive(Debug)]
pub(super) struct AggregationPhase<'p> {
    pub(super) parameters: &'p FrequencyVectorParameters,
    pub(super) maximum_frequency: i32,
    pub(super) vid_sampling_interval_width: f32,
}

impl AggregationPhase<'_> {
    /// Carries the phase out on the workers' shares, which are read side by side.
    pub(super) fn complete(
        &self,
        shares: [Values<'_>; WORKERS],
        context: &KernelContext,
    ) -> Result<CompleteAggregationPhaseResponse, KernelError> {
        let parameters = self.parameters;
        let estimator = FrequencyVectorEstimator::new(
            parameters.register_count() as u64,
            self.vid_sampling_interval_width,
            FrequencyVectorParameters::CONTRIBUTORS * parameters.reach_offset(),
            FrequencyVectorParameters::CONTRIBUTORS * parameters.frequency_offset(),
        )?;
        let maximum_frequency = match parameters.kind() {
            MeasurementKind::ReachAndFrequency => positive("maximum_frequency", self.maximum_frequency)?,
            MeasurementKind::ReachOnly => 1,
        };
        let histogram = self.count(shares, maximum_frequency, context)?;
        let (reach, frequency_distribution) = match parameters.kind() {
            MeasurementKind::ReachOnly => {
                let non_empty = parameters.shuffled_length() as u64 - histogram.registers(0);
                (estimator.reach_only(non_empty)?, Default::default())
            }
            MeasurementKind::ReachAndFrequency => {
                let estimate = estimator.reach_and_frequency(&histogram, maximum_frequency)?;
                (estimate.reach, estimate.frequency.ok_or(KernelError::NothingCounted)?)
            }
        };
        Ok(CompleteAggregationPhaseResponse { reach, frequency_distribution, elapsed_cpu_duration: None })
    }

    /// Counts the sums. Those from the maximum frequency on are not told apart: nothing is asked about them, and for
    /// reach alone in a large ring there are as many different ones as registers.
    fn count(
        &self,
        shares: [Values<'_>; WORKERS],
        maximum_frequency: u32,
        context: &KernelContext,
    ) -> Result<Histogram, KernelError> {
        let modulus = self.parameters.modulus();
        if modulus.fits::<u8>() {
            self.count_in::<u8>(shares, maximum_frequency, context)
        } else if modulus.fits::<u16>() {
            self.count_in::<u16>(shares, maximum_frequency, context)
        } else {
            self.count_in::<u32>(shares, maximum_frequency, context)
        }
    }

    fn count_in<T: Residue>(
        &self,
        shares: [Values<'_>; WORKERS],
        maximum_frequency: u32,
        context: &KernelContext,
    ) -> Result<Histogram, KernelError> {
        let modulus = self.parameters.modulus();
        let expected = self.parameters.shuffled_length();
        let [mut first, mut second] = shares;
        let mut histogram = Histogram::new();
        let mut blocks = Zeroizing::new([[T::default(); BLOCK]; WORKERS]);
        let mut read = 0;
        context.executor().begin(expected);
        loop {
            let [left, right] = &mut *blocks;
            let filled = [first.fill(left, modulus, 0, read)?, second.fill(right, modulus, 1, read)?];
            let least = filled[0].min(filled[1]);
            if filled[0] != filled[1] || read + least > expected || (least < BLOCK && read + least < expected)
            {
                let rests = [first.count_rest(0)?, second.count_rest(1)?];
                let found = [0, 1].map(|share| read + filled[share] + rests[share]);
                let share = usize::from(found[0] == expected);
                let found = found[share];
                return Err(ShareShuffleError::ShareLength { share, expected, found }.into());
            }
            let sums = &mut left[..least];
            modulus.sums(sums, &right[..least]);
            self.check_sums(sums, read)?;
            // In a ring that is too small for the maximum, no sum reaches it.
            let most = T::narrow(maximum_frequency.min(modulus.get() - 1));
            sums.iter_mut().for_each(|sum| *sum = (*sum).min(most));
            histogram.add_all(sums.iter().map(|sum| sum.widen()));
            read += least;
            context.executor().advance(least)?;
            if least < BLOCK {
                return Ok(histogram);
            }
        }
    }

    /// Checks that honest workers arrive at these sums, of registers from `first` on.
    fn check_sums<T: Residue>(&self, sums: &[T], first: usize) -> Result<(), ShareShuffleError> {
        let (maximum, sentinel) = (self.parameters.maximum_combined_frequency(), self.parameters.sentinel());
        // Both are less than the modulus.
        let (most, filler) = (T::narrow(maximum), T::narrow(sentinel));
        let dishonest = |sum: &T| (*sum > most) & (*sum != filler);
        let checked = self.parameters.kind() == MeasurementKind::ReachAndFrequency;
        // Without a way out, so that it is done many at a time.
        if !checked || !sums.iter().fold(false, |any, sum| any | dishonest(sum)) {
            return Ok(());
        }
        let register = first + sums.iter().position(dishonest).unwrap_or_default();
        Err(ShareShuffleError::CombinedValue { register, maximum, sentinel })
    }
}
