//! Execution phase one: ids are blinded around the ring until the aggregator can tell which are equal, and no
//! more; it then merges the registers of each id into one tuple of flags and a count
//! (docs/protocols/llv2.md#execution-phase-one-join).

use halo_crypto::Group;
use halo_crypto::elgamal::KeyPair;
use halo_crypto::parallel::CHUNK;
use halo_crypto::pohlig_hellman::BlindingKey;
use prost::Message as _;

use crate::kernel::keys::{encryption_key, local_key_pair};
use crate::kernel::noise::positive;
use crate::kernel::{Kernel, KernelContext, KernelError, require_curve, require_parallelism};
use crate::proto::protocol::{
    CompleteExecutionPhaseOneAtAggregatorRequest, CompleteExecutionPhaseOneAtAggregatorResponse,
    CompleteExecutionPhaseOneRequest, CompleteExecutionPhaseOneResponse,
};
use crate::sketch::same_key_aggregation::{group_by_id, merge_groups};
use crate::sketch::{Layout, TupleNoise};

const REGISTERS: &str = "combined_register_vector";
const COMPOSITE_KEY: &str = "composite_el_gamal_public_key";

/// Takes this duchy's layer off each id and blinds it with a key that all ids of the request share; re-randomizes
/// keys and counts; sorts the registers.
///
/// # Errors
/// [`KernelError`]: a bad key or parallelism, a vector of incomplete registers, a point that is none, or an id
/// that becomes the identity.
pub fn complete_execution_phase_one<G: Group>(
    request: &CompleteExecutionPhaseOneRequest,
    context: &KernelContext,
) -> Result<CompleteExecutionPhaseOneResponse, KernelError> {
    let CompleteExecutionPhaseOneRequest {
        combined_register_vector: registers,
        local_el_gamal_key_pair,
        composite_el_gamal_public_key,
        curve_id,
        parallelism,
    } = request;
    require_curve::<G>(*curve_id)?;
    require_parallelism(*parallelism)?;
    Layout::REGISTER.count::<G>(REGISTERS, registers)?;
    let local: KeyPair<G> = local_key_pair(local_el_gamal_key_pair.as_ref())?;
    let composite = encryption_key::<G>(COMPOSITE_KEY, composite_el_gamal_public_key.as_ref())?;

    let streams = context.streams::<G>(
        CompleteExecutionPhaseOneRequest::METHOD,
        &[registers, local.secret.to_bytes().expose(), &composite.public().to_bytes()],
    );
    let blinding = BlindingKey::random(&mut streams.stream("blinding key", 0));

    let layout = Layout::REGISTER;
    let mut blinded = vec![0; registers.len()];
    context.executor().for_each_chunk(
        registers,
        layout.length::<G>(),
        &mut blinded,
        layout.length::<G>(),
        |chunk, registers, blinded| {
            let first = chunk * CHUNK;
            let mut ids = layout.decode(REGISTERS, first, registers, Layout::ID)?;
            ids.blind(&local.secret, &blinding);
            layout.encode::<G>(REGISTERS, first, &ids, blinded, Layout::ID)?;
            let mut rng = streams.stream("re-randomization", chunk);
            for column in [Layout::KEY, Layout::COUNT] {
                let mut ciphertexts = layout.decode(REGISTERS, first, registers, column)?;
                composite.re_randomize(&mut ciphertexts, &mut rng);
                layout.encode::<G>(REGISTERS, first, &ciphertexts, blinded, column)?;
            }
            Ok::<_, KernelError>(())
        },
    )?;
    layout.sort::<G>(&mut blinded, context.executor());
    Ok(CompleteExecutionPhaseOneResponse { combined_register_vector: blinded, elapsed_cpu_time_millis: 0 })
}

/// Opens the blinded ids, merges the registers of each id into a flag-count tuple, appends this duchy's frequency
/// noise, and sorts the tuples.
///
/// An id that occurs more often than there are sketches is dropped with all its registers: it is publisher noise
/// or padding.
///
/// # Errors
/// [`KernelError`]: as [`complete_execution_phase_one`], an id that opens to the identity, or bad noise parameters.
pub fn complete_execution_phase_one_at_aggregator<G: Group>(
    request: &CompleteExecutionPhaseOneAtAggregatorRequest,
    context: &KernelContext,
) -> Result<CompleteExecutionPhaseOneAtAggregatorResponse, KernelError> {
    let CompleteExecutionPhaseOneAtAggregatorRequest {
        combined_register_vector: registers,
        local_el_gamal_key_pair,
        composite_el_gamal_public_key,
        curve_id,
        noise_parameters,
        total_sketches_count,
        noise_mechanism,
        parallelism,
    } = request;
    require_curve::<G>(*curve_id)?;
    require_parallelism(*parallelism)?;
    let largest_group = positive("total_sketches_count", *total_sketches_count)?;
    Layout::REGISTER.count::<G>(REGISTERS, registers)?;
    let local: KeyPair<G> = local_key_pair(local_el_gamal_key_pair.as_ref())?;
    let composite = encryption_key::<G>(COMPOSITE_KEY, composite_el_gamal_public_key.as_ref())?;
    let noise =
        noise_parameters.as_ref().map(|noise| TupleNoise::new(noise, *noise_mechanism)).transpose()?;

    let streams = context.streams::<G>(
        CompleteExecutionPhaseOneAtAggregatorRequest::METHOD,
        &[
            registers,
            local.secret.to_bytes().expose(),
            &composite.public().to_bytes(),
            &noise_parameters.as_ref().map(|noise| noise.encode_to_vec()).unwrap_or_default(),
            &total_sketches_count.to_be_bytes(),
            &noise_mechanism.to_be_bytes(),
        ],
    );

    let groups =
        group_by_id::<G>(REGISTERS, registers, &local.secret, largest_group as usize, context.executor())?;
    let noise_count = noise.as_ref().map_or(0, TupleNoise::tuple_count);
    let total = (groups.len() as u64).saturating_add(noise_count);
    let layout = Layout::FLAG_COUNT_TUPLE;
    let mut tuples =
        Vec::with_capacity(context.require_room("flag-count tuples", total, layout.length::<G>())?);
    merge_groups(REGISTERS, registers, &groups, &composite, &streams, context.executor(), &mut tuples)?;
    drop(groups);
    if let Some(noise) = noise {
        noise.encrypt(&composite, &composite, &streams, context, &mut tuples)?;
    }
    layout.sort::<G>(&mut tuples, context.executor());
    Ok(CompleteExecutionPhaseOneAtAggregatorResponse {
        flag_count_tuples: tuples,
        elapsed_cpu_time_millis: 0,
    })
}

impl Kernel for CompleteExecutionPhaseOneRequest {
    type Response = CompleteExecutionPhaseOneResponse;
    const METHOD: &'static str = "CompleteExecutionPhaseOne";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_execution_phase_one::<G>(self, context)
    }
}

impl Kernel for CompleteExecutionPhaseOneAtAggregatorRequest {
    type Response = CompleteExecutionPhaseOneAtAggregatorResponse;
    const METHOD: &'static str = "CompleteExecutionPhaseOneAtAggregator";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_execution_phase_one_at_aggregator::<G>(self, context)
    }
}
