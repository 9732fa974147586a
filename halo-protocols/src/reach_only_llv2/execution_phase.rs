//! The execution phase: ids are blinded around the ring until the aggregator can tell which are equal, and no more; it
//! counts them and takes off what noise added (docs/protocols/ro-llv2.md#execution).

use halo_crypto::Group;
use halo_crypto::elgamal::KeyPair;
use halo_crypto::parallel::{CHUNK, Executor};
use halo_crypto::pohlig_hellman::BlindingKey;

use super::excessive_noise;
use crate::estimate::LiquidLegions;
use crate::kernel::keys::local_key_pair;
use crate::kernel::noise::{REACH_SENSITIVITY, distributed_noise, positive};
use crate::kernel::{Kernel, KernelContext, KernelError, require_curve, require_parallelism};
use crate::proto::protocol::{
    CompleteReachOnlyExecutionPhaseAtAggregatorRequest, CompleteReachOnlyExecutionPhaseAtAggregatorResponse,
    CompleteReachOnlyExecutionPhaseRequest, CompleteReachOnlyExecutionPhaseResponse,
};
use crate::sketch::sort::sorted_numbers;
use crate::sketch::{Layout, RegisterNoise, open_ids};

const REGISTERS: &str = "combined_register_vector";

/// Takes this duchy's layer off each id and off the excessive noise ciphertext, blinds the ids with a key that all of
/// the request share, and sorts them.
///
/// # Errors
/// [`KernelError`]: a bad key or parallelism, a vector of incomplete registers, a point that is none, an excessive
/// noise field that is not one ciphertext, or a result that is the identity.
pub fn complete_reach_only_execution_phase<G: Group>(
    request: &CompleteReachOnlyExecutionPhaseRequest,
    context: &KernelContext,
) -> Result<CompleteReachOnlyExecutionPhaseResponse, KernelError> {
    let CompleteReachOnlyExecutionPhaseRequest {
        combined_register_vector: registers,
        local_el_gamal_key_pair,
        curve_id,
        serialized_excessive_noise_ciphertext,
        parallelism,
    } = request;
    require_curve::<G>(*curve_id)?;
    let layout = Layout::REACH_ONLY_REGISTER;
    layout.count::<G>(REGISTERS, registers)?;
    let mut excessive_noise = excessive_noise::decode::<G>(serialized_excessive_noise_ciphertext)?;
    require_parallelism(*parallelism)?;
    let local: KeyPair<G> = local_key_pair(local_el_gamal_key_pair.as_ref())?;

    excessive_noise.partial_decrypt(&local.secret);
    let streams = context.streams::<G>(
        CompleteReachOnlyExecutionPhaseRequest::METHOD,
        &[registers, local.secret.to_bytes().expose(), serialized_excessive_noise_ciphertext],
    );
    let blinding = BlindingKey::random(&mut streams.stream("blinding key", 0));
    let length = layout.length::<G>();
    let mut blinded = vec![0; registers.len()];
    context.executor().for_each_chunk(
        registers,
        length,
        &mut blinded,
        length,
        |chunk, registers, blinded| {
            let (first, id) = (chunk * CHUNK, layout.column(0));
            let mut ids = layout.decode(REGISTERS, first, registers, id)?;
            ids.blind(&local.secret, &blinding);
            layout.encode::<G>(REGISTERS, first, &ids, blinded, id)
        },
    )?;
    layout.sort::<G>(&mut blinded, context.executor());
    Ok(CompleteReachOnlyExecutionPhaseResponse {
        combined_register_vector: blinded,
        serialized_excessive_noise_ciphertext: excessive_noise::encode(&excessive_noise)?,
        elapsed_cpu_time_millis: 0,
    })
}

/// Opens the blinded ids and the number of those that are blinded-histogram noise, and estimates reach from how many
/// different ids are left.
///
/// # Errors
/// [`KernelError`]: a bad key or parallelism, a vector of incomplete registers, a point that is none, an id that opens
/// to the identity, a number of noise ids that the parameters do not allow, bad parameters, or as many registers as
/// the sketch has or more.
pub fn complete_reach_only_execution_phase_at_aggregator<G: Group>(
    request: &CompleteReachOnlyExecutionPhaseAtAggregatorRequest,
    context: &KernelContext,
) -> Result<CompleteReachOnlyExecutionPhaseAtAggregatorResponse, KernelError> {
    let CompleteReachOnlyExecutionPhaseAtAggregatorRequest {
        combined_register_vector: registers,
        local_el_gamal_key_pair,
        curve_id,
        serialized_excessive_noise_ciphertext: _,
        reach_dp_noise_baseline,
        sketch_parameters,
        vid_sampling_interval_width,
        noise_parameters: _,
        noise_mechanism,
        parallelism,
    } = request;
    require_curve::<G>(*curve_id)?;
    let layout = Layout::REACH_ONLY_REGISTER;
    layout.count::<G>(REGISTERS, registers)?;
    require_parallelism(*parallelism)?;
    let local: KeyPair<G> = local_key_pair(local_el_gamal_key_pair.as_ref())?;
    let sketch = sketch_parameters.unwrap_or_default();
    let sketch = LiquidLegions::new(sketch.decay_rate, sketch.size)?;

    let mut noise_ids = ids_of_register_noise(request, &local)?;
    if let Some(reach) = reach_dp_noise_baseline {
        let noise = distributed_noise(
            "reach_dp_noise_baseline.global_reach_dp_noise",
            *noise_mechanism,
            reach.contributors_count,
            reach.global_reach_dp_noise.as_ref(),
            REACH_SENSITIVITY,
        )?;
        noise_ids += u64::from(reach.contributors_count.unsigned_abs()) * u64::from(noise.offset());
    }
    let ids = open_ids::<G>(REGISTERS, registers, layout, &local.secret, context.executor())?;
    let active = distinct_ids(&ids, G::POINT_LENGTH, context.executor()).saturating_sub(noise_ids);
    Ok(CompleteReachOnlyExecutionPhaseAtAggregatorResponse {
        reach: sketch.reach(active, *vid_sampling_interval_width)?,
        elapsed_cpu_time_millis: 0,
    })
}

/// How many of the encoded ids are different.
fn distinct_ids(ids: &[u8], length: usize, executor: &Executor) -> u64 {
    let mut previous: Option<&[u8]> = None;
    let mut distinct = 0;
    for number in sorted_numbers(ids, length, executor) {
        let id = &ids[number as usize * length..][..length];
        distinct += u64::from(previous != Some(id));
        previous = Some(id);
    }
    distinct
}

/// How many ids are known to be noise besides those of reach noise: those of the blinded histogram, of publisher noise
/// and of padding.
fn ids_of_register_noise<G: Group>(
    request: &CompleteReachOnlyExecutionPhaseAtAggregatorRequest,
    local: &KeyPair<G>,
) -> Result<u64, KernelError> {
    /// Publisher noise and padding have one id each, and both occur.
    const CONSTANT_IDS: u64 = 2;
    let excessive_noise = excessive_noise::decode::<G>(&request.serialized_excessive_noise_ciphertext)
        .map_err(|error| match error {
            // Upstream calls this one, unlike at the other duchies, an internal error.
            KernelError::NotOneCiphertext { length, expected, .. } => {
                KernelError::ExcessiveNoiseLength { length, expected }
            }
            other => other,
        })?;
    let opened = excessive_noise.decrypt(&local.secret)[0];
    let Some(parameters) = &request.noise_parameters else {
        return if G::is_identity(&opened).into() {
            Ok(0)
        } else {
            Err(KernelError::Missing("noise_parameters"))
        };
    };
    let duchies = positive("noise_parameters.contributors_count", parameters.contributors_count)?;
    let noise = RegisterNoise::new(parameters, request.noise_mechanism)?;
    let maximum = noise.most_blinded_histogram_ids(duchies);
    // Upstream's number is of this type, too.
    let bounded = i32::try_from(maximum).map_err(|_| KernelError::OutOfRange {
        field: "noise_parameters: ids of blinded-histogram noise",
        found: i64::try_from(maximum).unwrap_or(i64::MAX),
        expected: "below 2^31",
    })?;
    let blinded_histogram_ids = excessive_noise::logarithm::<G>(&opened, bounded.unsigned_abs())
        .ok_or(KernelError::ExcessiveNoiseUnknown { maximum })?;
    Ok(blinded_histogram_ids + CONSTANT_IDS)
}

impl Kernel for CompleteReachOnlyExecutionPhaseRequest {
    type Response = CompleteReachOnlyExecutionPhaseResponse;
    const METHOD: &'static str = "CompleteReachOnlyExecutionPhase";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_reach_only_execution_phase::<G>(self, context)
    }
}

impl Kernel for CompleteReachOnlyExecutionPhaseAtAggregatorRequest {
    type Response = CompleteReachOnlyExecutionPhaseAtAggregatorResponse;
    const METHOD: &'static str = "CompleteReachOnlyExecutionPhaseAtAggregator";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_reach_only_execution_phase_at_aggregator::<G>(self, context)
    }
}
