//! The shuffle phase: a worker adds up its shares, adds its noise, and permutes the registers (upstream's
//! `share_shuffle/honest_majority_share_shuffle_utility.cc`).
//!
//! What both workers must do alike they draw from one generator, made from the seed that they have in common, in this
//! order: for reach alone a factor for each register; with noise the mask of the first worker's and that of the
//! second's; the seed of the permutation.

use halo_crypto::prg::{PrngSeed, StreamSeed, UniformGenerator};
use halo_crypto::ring::{Residue, RingModulus};
use halo_crypto::shuffle;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::registers::{self, Registers};
use super::share::{BLOCK, Share, Values};
use super::{FrequencyVectorParameters, MeasurementKind, ShareShuffleError, noise, packed};
use crate::kernel::{KernelContext, KernelError};
use crate::proto::protocol::complete_shuffle_phase_request::frequency_vector_share::ShareType;
use crate::proto::protocol::complete_shuffle_phase_request::{FrequencyVectorShare, NonAggregatorOrder};
use crate::proto::protocol::{CompleteShufflePhaseRequest, CompleteShufflePhaseResponse};

/// Adds up a worker's shares of frequency vectors, adds its noise, and permutes the registers.
///
/// # Errors
/// [`KernelError`]: parameters that [`FrequencyVectorParameters::new`] refuses, a share that is none of the ring or
/// has another length, no shares, a bad common seed, or, with noise, no order.
pub fn complete_reach_and_frequency_shuffle_phase(
    request: &CompleteShufflePhaseRequest,
    context: &KernelContext,
) -> Result<CompleteShufflePhaseResponse, KernelError> {
    complete(MeasurementKind::ReachAndFrequency, request, context)
}

/// As [`complete_reach_and_frequency_shuffle_phase`], with each register multiplied by a factor that both workers draw
/// alike, so that the sums that the aggregator gets show whether they are 0, and no more.
///
/// # Errors
/// As there, and if the modulus is no prime.
pub fn complete_reach_only_shuffle_phase(
    request: &CompleteShufflePhaseRequest,
    context: &KernelContext,
) -> Result<CompleteShufflePhaseResponse, KernelError> {
    complete(MeasurementKind::ReachOnly, request, context)
}

fn complete(
    kind: MeasurementKind,
    request: &CompleteShufflePhaseRequest,
    context: &KernelContext,
) -> Result<CompleteShufflePhaseResponse, KernelError> {
    let params = request.frequency_vector_params.as_ref();
    let parameters = FrequencyVectorParameters::new(
        kind,
        params.ok_or(KernelError::Missing("frequency_vector_params"))?,
        request.noise_mechanism,
        request.reach_dp_params.as_ref(),
        request.frequency_dp_params.as_ref(),
    )?;
    let phase = ShufflePhase {
        parameters: &parameters,
        common_seed: PrngSeed::from_bytes(&request.common_random_seed)
            .map_err(ShareShuffleError::CommonSeed)?,
        order: match request.order() {
            NonAggregatorOrder::First => Some(Order::First),
            NonAggregatorOrder::Second => Some(Order::Second),
            NonAggregatorOrder::Unspecified => None,
        },
    };
    let shares = request.frequency_vector_shares.iter().enumerate().map(|(index, share)| read(index, share));
    let registers = phase.complete(shares, context)?;
    Ok(CompleteShufflePhaseResponse {
        combined_frequency_vector: registers.into_values(),
        elapsed_cpu_duration: None,
    })
}

fn read(index: usize, share: &FrequencyVectorShare) -> Result<Share<'_>, ShareShuffleError> {
    match &share.share_type {
        None => Err(ShareShuffleError::ShareType(index)),
        Some(ShareType::Data(data)) => Ok(Share::Vector(Values::Decoded(&data.values))),
        Some(ShareType::Seed(seed)) => PrngSeed::from_bytes(seed)
            .map(Share::Seed)
            .map_err(|reason| ShareShuffleError::ShareSeed { share: index, reason }),
    }
}

/// Which of the two workers this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    First,
    Second,
}

/// The phase at one worker.
#[derive(Debug)]
pub(super) struct ShufflePhase<'p> {
    pub(super) parameters: &'p FrequencyVectorParameters,
    /// What the workers draw alike from.
    pub(super) common_seed: PrngSeed,
    /// Needed where there is noise.
    pub(super) order: Option<Order>,
}

impl ShufflePhase<'_> {
    /// Carries the phase out on `shares`, which are read one after another.
    pub(super) fn complete<'s>(
        &self,
        shares: impl Iterator<Item = Result<Share<'s>, ShareShuffleError>>,
        context: &KernelContext,
    ) -> Result<Registers, KernelError> {
        self.parameters.require_field()?;
        let modulus = self.parameters.modulus();
        if modulus.fits::<u8>() {
            self.complete_in::<u8>(shares, context).map(Registers::from)
        } else if modulus.fits::<u16>() {
            self.complete_in::<u16>(shares, context).map(Registers::from)
        } else {
            self.complete_in::<u32>(shares, context).map(Registers::from)
        }
    }

    fn complete_in<'s, T: Residue>(
        &self,
        shares: impl Iterator<Item = Result<Share<'s>, ShareShuffleError>>,
        context: &KernelContext,
    ) -> Result<Vec<T>, KernelError> {
        let parameters = self.parameters;
        let modulus = parameters.modulus();
        let mut registers = Vec::with_capacity(parameters.shuffled_length() + packed::ENVELOPE);
        registers.resize(parameters.register_count(), T::default());
        let mut none = true;
        for (index, share) in shares.enumerate() {
            none = false;
            add(&mut registers, index, share?, modulus, context)?;
        }
        if none {
            return Err(ShareShuffleError::NoShares.into());
        }
        let mut common = UniformGenerator::new(&self.common_seed);
        if parameters.kind() == MeasurementKind::ReachOnly {
            let mut rest = registers.as_mut_slice();
            common
                .uniform_nonzero_blocks(rest.len(), modulus, |factors: &[T]| {
                    modulus.products(take(&mut rest, factors.len()), factors);
                })
                .map_err(ShareShuffleError::Draw)?;
        }
        context.executor().begin(parameters.shuffled_length());
        self.append_noise(&mut registers, &mut common, context)?;
        context.executor().advance(registers.len())?;
        shuffle(&mut registers, &common.seed(), context.executor())
            .map_err(ShareShuffleError::TooManyRegisters)?;
        Ok(registers)
    }

    /// Appends this worker's share of the first worker's noise, then that of the second's. Of its own noise the share
    /// is what the mask leaves of it, of the other's it is the mask.
    fn append_noise<T: Residue>(
        &self,
        registers: &mut Vec<T>,
        common: &mut UniformGenerator,
        context: &KernelContext,
    ) -> Result<(), KernelError> {
        let Some(noise) = self.parameters.noise() else { return Ok(()) };
        let own = self.order.ok_or(ShareShuffleError::Order)?;
        let streams = self.private_streams(registers, context);
        let modulus = self.parameters.modulus();
        // Checked to be possible to shuffle.
        let length = self.parameters.noise_length() as usize;
        for order in [Order::First, Order::Second] {
            let masked = if order == own {
                let start = registers.len();
                noise::append(registers, self.parameters, noise, &streams)?;
                let mut rest = &mut registers[start..];
                common.uniform_blocks(length, modulus, |mask: &[T]| {
                    modulus.differences(take(&mut rest, mask.len()), mask);
                })
            } else {
                common.uniform_blocks(length, modulus, |mask| registers.extend_from_slice(mask))
            };
            masked.map_err(ShareShuffleError::Draw)?;
        }
        Ok(())
    }

    /// Where this worker's private choices come from: not what it shares with the other. Other sums, other noise.
    fn private_streams<T: Residue>(&self, sums: &[T], context: &KernelContext) -> StreamSeed {
        let parameters = self.parameters;
        let mut digest = Sha256::new();
        digest.update(b"share shuffle noise");
        digest.update([parameters.kind() as u8, self.order.map_or(0, |order| order as u8 + 1)]);
        digest.update(self.common_seed.as_bytes());
        for number in [
            parameters.maximum_combined_frequency().into(),
            parameters.modulus().get().into(),
            parameters.reach_offset(),
            parameters.frequency_offset(),
            sums.len() as u64,
        ] {
            digest.update(number.to_be_bytes());
        }
        registers::digest(sums, &mut digest);
        context.derive(&digest.finalize())
    }
}

/// Adds share `index` to the sums.
fn add<T: Residue>(
    sums: &mut [T],
    index: usize,
    share: Share<'_>,
    modulus: RingModulus,
    context: &KernelContext,
) -> Result<(), KernelError> {
    let expected = sums.len();
    context.executor().begin(expected);
    let mut rest = sums;
    match share {
        Share::Seed(seed) => UniformGenerator::new(&seed)
            .uniform_blocks(expected, modulus, |block: &[T]| {
                modulus.sums(take(&mut rest, block.len()), block);
            })
            .map_err(ShareShuffleError::Draw)?,
        Share::Vector(mut values) => {
            let mut block = Zeroizing::new([T::default(); BLOCK]);
            let mut read = 0;
            loop {
                let filled = values.fill(&mut *block, modulus, index, read)?;
                read += filled;
                if read > expected {
                    let found = read + values.count_rest(index)?;
                    return Err(ShareShuffleError::ShareLength { share: index, expected, found }.into());
                }
                modulus.sums(take(&mut rest, filled), &block[..filled]);
                if filled < block.len() {
                    break;
                }
            }
            if read < expected {
                return Err(ShareShuffleError::ShareLength { share: index, expected, found: read }.into());
            }
        }
    }
    context.executor().advance(expected)?;
    Ok(())
}

/// Takes the first of `rest`, and leaves those after them.
fn take<'r, T>(rest: &mut &'r mut [T], count: usize) -> &'r mut [T] {
    let (head, tail) = std::mem::take(rest).split_at_mut(count);
    *rest = tail;
    head
}

#[cfg(test)]
mod tests;
