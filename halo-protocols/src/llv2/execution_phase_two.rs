//! Execution phase two: the flags lose one layer of encryption at each duchy, until the aggregator can see which
//! tuples are people; it estimates reach, and prepares the test of how often each was seen
//! (docs/protocols/llv2.md#execution-phase-two-count).

use halo_crypto::Group;
use halo_crypto::count::unit_point;
use halo_crypto::elgamal::{Constant, KeyPair};
use halo_crypto::parallel::CHUNK;
use halo_crypto::prg::StreamSeed;
use prost::Message as _;

use crate::estimate::LiquidLegions;
use crate::kernel::keys::{encryption_key, local_key_pair, public_key};
use crate::kernel::noise::{REACH_SENSITIVITY, distributed_noise, positive};
use crate::kernel::{Kernel, KernelContext, KernelError, require_curve, require_parallelism};
use crate::proto::protocol::{
    CompleteExecutionPhaseTwoAtAggregatorRequest, CompleteExecutionPhaseTwoAtAggregatorResponse,
    CompleteExecutionPhaseTwoRequest, CompleteExecutionPhaseTwoResponse,
};
use crate::sketch::{Layout, TupleNoise};

const TUPLES: &str = "flag_count_tuples";
const COMPOSITE_KEY: &str = "composite_el_gamal_public_key";
const PARTIAL_KEY: &str = "partial_composite_el_gamal_public_key";

/// Takes this duchy's layer off the flags and re-randomizes everything, flags under the key of the duchies to come;
/// appends this duchy's frequency noise and sorts the tuples.
///
/// The partial composite key is required. (Upstream's mill leaves it out where no frequency noise is configured;
/// its kernel then makes a key up and destroys all flags.)
///
/// # Errors
/// [`KernelError`]: a bad key or parallelism, a vector of incomplete tuples, a point that is none, bad noise
/// parameters, or more tuples than fit a message.
pub fn complete_execution_phase_two<G: Group>(
    request: &CompleteExecutionPhaseTwoRequest,
    context: &KernelContext,
) -> Result<CompleteExecutionPhaseTwoResponse, KernelError> {
    let CompleteExecutionPhaseTwoRequest {
        flag_count_tuples: tuples,
        local_el_gamal_key_pair,
        curve_id,
        composite_el_gamal_public_key,
        partial_composite_el_gamal_public_key,
        noise_parameters,
        noise_mechanism,
        parallelism,
    } = request;
    require_curve::<G>(*curve_id)?;
    require_parallelism(*parallelism)?;
    let layout = Layout::FLAG_COUNT_TUPLE;
    let count = layout.count::<G>(TUPLES, tuples)?;
    let local: KeyPair<G> = local_key_pair(local_el_gamal_key_pair.as_ref())?;
    let composite = encryption_key::<G>(COMPOSITE_KEY, composite_el_gamal_public_key.as_ref())?;
    let partial = encryption_key::<G>(PARTIAL_KEY, partial_composite_el_gamal_public_key.as_ref())?;
    let noise =
        noise_parameters.as_ref().map(|noise| TupleNoise::new(noise, *noise_mechanism)).transpose()?;
    let noise_count = noise.as_ref().map_or(0, TupleNoise::tuple_count);
    let total = (count as u64).saturating_add(noise_count);
    let room = context.require_room("flag-count tuples", total, layout.length::<G>())?;

    let streams = context.streams::<G>(
        CompleteExecutionPhaseTwoRequest::METHOD,
        &[
            tuples,
            local.secret.to_bytes().expose(),
            &composite.public().to_bytes(),
            &partial.public().to_bytes(),
            &noise_parameters.as_ref().map(|noise| noise.encode_to_vec()).unwrap_or_default(),
            &noise_mechanism.to_be_bytes(),
        ],
    );
    let mut peeled = Vec::with_capacity(room);
    peeled.resize(tuples.len(), 0);
    context.executor().for_each_chunk(
        tuples,
        layout.length::<G>(),
        &mut peeled,
        layout.length::<G>(),
        |chunk, tuples, peeled| {
            let first = chunk * CHUNK;
            let mut rng = streams.stream("re-randomization", chunk);
            for column in Layout::FLAGS {
                let mut flags = layout.decode(TUPLES, first, tuples, column)?;
                flags.partial_decrypt(&local.secret);
                partial.re_randomize(&mut flags, &mut rng);
                layout.encode::<G>(TUPLES, first, &flags, peeled, column)?;
            }
            let mut counts = layout.decode(TUPLES, first, tuples, Layout::TUPLE_COUNT)?;
            composite.re_randomize(&mut counts, &mut rng);
            layout.encode::<G>(TUPLES, first, &counts, peeled, Layout::TUPLE_COUNT)
        },
    )?;
    if let Some(noise) = noise {
        noise.encrypt(&partial, &composite, &streams, context, &mut peeled)?;
    }
    layout.sort::<G>(&mut peeled, context.executor());
    Ok(CompleteExecutionPhaseTwoResponse { flag_count_tuples: peeled, elapsed_cpu_time_millis: 0 })
}

/// Opens the flags, estimates reach from the number of tuples that are people or noise of known mean, and for each
/// tuple whose keys were all the same emits a row of `maximum_frequency − 1` ciphertexts, of which the `i`-th is
/// zero iff the count is `i`.
///
/// # Errors
/// [`KernelError`]: a bad key, a vector of incomplete tuples, a point that is none, bad parameters, as many
/// registers as the sketch has or more, or a matrix that does not fit a message.
pub fn complete_execution_phase_two_at_aggregator<G: Group>(
    request: &CompleteExecutionPhaseTwoAtAggregatorRequest,
    context: &KernelContext,
) -> Result<CompleteExecutionPhaseTwoAtAggregatorResponse, KernelError> {
    let CompleteExecutionPhaseTwoAtAggregatorRequest {
        flag_count_tuples: tuples,
        local_el_gamal_key_pair,
        composite_el_gamal_public_key,
        curve_id,
        maximum_frequency,
        sketch_parameters,
        reach_dp_noise_baseline,
        frequency_noise_parameters,
        vid_sampling_interval_width,
        noise_mechanism,
    } = request;
    require_curve::<G>(*curve_id)?;
    let maximum_frequency = positive("maximum_frequency", *maximum_frequency)?;
    let count = Layout::FLAG_COUNT_TUPLE.count::<G>(TUPLES, tuples)?;
    let local: KeyPair<G> = local_key_pair(local_el_gamal_key_pair.as_ref())?;
    let composite = public_key::<G>(COMPOSITE_KEY, composite_el_gamal_public_key.as_ref())?;
    let sketch = sketch_parameters.unwrap_or_default();
    let sketch = LiquidLegions::new(sketch.decay_rate, sketch.size)?;

    let mut baseline = 0_u64;
    if let Some(reach) = reach_dp_noise_baseline {
        let noise = distributed_noise(
            "reach_dp_noise_baseline.global_reach_dp_noise",
            *noise_mechanism,
            reach.contributors_count,
            reach.global_reach_dp_noise.as_ref(),
            REACH_SENSITIVITY,
        )?;
        baseline += u64::from(reach.contributors_count.unsigned_abs()) * u64::from(noise.offset());
    }
    if let Some(frequency) = frequency_noise_parameters {
        let tuples_each = TupleNoise::new(frequency, *noise_mechanism)?.tuple_count();
        let contributors = u64::from(frequency.contributors_count.unsigned_abs());
        baseline = baseline.saturating_add(tuples_each.saturating_mul(contributors));
    }

    let kinds = open_flags::<G>(tuples, &local, context)?;
    let blinded_histogram = kinds.iter().filter(|kind| **kind == TupleKind::BlindedHistogram).count();
    let active = (count as u64).saturating_sub(blinded_histogram as u64).saturating_sub(baseline);
    let reach = sketch.reach(active, *vid_sampling_interval_width)?;

    // A message has fewer than 2^32 tuples: it would have as many bytes.
    let live: Vec<u32> = kinds
        .iter()
        .zip(0..)
        .filter(|(kind, _)| **kind == TupleKind::OneKey)
        .map(|(_, tuple)| tuple)
        .collect();
    let streams = context.streams::<G>(
        CompleteExecutionPhaseTwoAtAggregatorRequest::METHOD,
        &[tuples, local.secret.to_bytes().expose(), &composite.to_bytes(), &maximum_frequency.to_be_bytes()],
    );
    let matrix = frequency_tests::<G>(tuples, &live, maximum_frequency, &streams, context)?;
    Ok(CompleteExecutionPhaseTwoAtAggregatorResponse {
        same_key_aggregator_matrix: matrix,
        reach,
        elapsed_cpu_time_millis: 0,
    })
}

/// What the flags of a tuple say. The aggregator may know it: tuples are sorted and mixed with noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TupleKind {
    /// All registers had the same key, which stands for a person: the count means something.
    OneKey,
    /// Noise that was added to hide the blinded histogram, and is not to be counted.
    BlindedHistogram,
    /// Anything else, counted for reach only.
    Other,
}

fn open_flags<G: Group>(
    tuples: &[u8],
    local: &KeyPair<G>,
    context: &KernelContext,
) -> Result<Vec<TupleKind>, KernelError> {
    let layout = Layout::FLAG_COUNT_TUPLE;
    let length = layout.length::<G>();
    let mut kinds = vec![TupleKind::Other; tuples.len() / length];
    context.executor().for_each_chunk(tuples, length, &mut kinds, 1, |chunk, tuples, kinds| {
        let mut zero = [const { Vec::new() }; 3];
        for (zero, column) in zero.iter_mut().zip(Layout::FLAGS) {
            *zero = layout.decode::<G>(TUPLES, chunk * CHUNK, tuples, column)?.is_zero(&local.secret);
        }
        let [a, b, c] = zero;
        for (kind, ((a, b), c)) in kinds.iter_mut().zip(a.into_iter().zip(b).zip(c)) {
            *kind = match (a.into(), b.into(), c.into()) {
                (_, _, true) => TupleKind::BlindedHistogram,
                (true, false, false) => TupleKind::OneKey,
                _ => TupleKind::Other,
            };
        }
        Ok::<_, KernelError>(())
    })?;
    Ok(kinds)
}

/// The same-key-aggregator matrix: `r·(count − i·U)` for each live tuple and i = 1 … F − 1, every r fresh.
///
/// Upstream subtracts multiples of one encryption of `U`. Here `U` is a public constant of
/// [`Ciphertexts::equality_tests`](halo_crypto::elgamal::Ciphertexts::equality_tests), which says why that is as good.
fn frequency_tests<G: Group>(
    tuples: &[u8],
    live: &[u32],
    maximum_frequency: u32,
    streams: &StreamSeed,
    context: &KernelContext,
) -> Result<Vec<u8>, KernelError> {
    let row = maximum_frequency as usize - 1;
    if row == 0 || live.is_empty() {
        return Ok(Vec::new());
    }
    // A row of the matrix, in which each test has a column.
    let tests = Layout::of_width(row);
    let cells = (live.len() as u64).saturating_mul(row as u64);
    let mut matrix = vec![0; context.require_room("matrix cells", cells, Layout::CELL.length::<G>())?];
    let unit = G::fixed_base(&unit_point::<G>());
    let counts: Vec<Constant<'_, G>> =
        (1..u64::from(maximum_frequency)).map(|count| Constant::new(&unit, count)).collect();
    context.executor().for_each_chunk(live, 1, &mut matrix, tests.length::<G>(), |chunk, live, matrix| {
        let number = |record: usize| live[record] as usize;
        let layout = Layout::FLAG_COUNT_TUPLE;
        let bytes = layout.gather::<G>(tuples, live.iter().map(|tuple| *tuple as usize));
        layout
            .decode::<G>(TUPLES, 0, &bytes, Layout::TUPLE_COUNT)
            .and_then(|sums| {
                let mut rng = streams.stream("frequency tests", chunk);
                let compared = sums.equality_tests(&counts, &mut rng);
                (0..row).zip(&compared).try_for_each(|(index, compared)| {
                    tests.encode::<G>(TUPLES, 0, compared, matrix, tests.column(index))
                })
            })
            .map_err(|error| error.renumbered(number))
    })?;
    Ok(matrix)
}

impl Kernel for CompleteExecutionPhaseTwoRequest {
    type Response = CompleteExecutionPhaseTwoResponse;
    const METHOD: &'static str = "CompleteExecutionPhaseTwo";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_execution_phase_two::<G>(self, context)
    }
}

impl Kernel for CompleteExecutionPhaseTwoAtAggregatorRequest {
    type Response = CompleteExecutionPhaseTwoAtAggregatorResponse;
    const METHOD: &'static str = "CompleteExecutionPhaseTwoAtAggregator";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_execution_phase_two_at_aggregator::<G>(self, context)
    }
}
