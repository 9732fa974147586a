//! Execution phase three: the frequency tests lose one layer of encryption at each duchy, until the aggregator can
//! see which are zero and adds up the histogram (docs/protocols/llv2.md#execution-phase-three-frequencies).

use std::collections::BTreeMap;

use halo_crypto::Group;
use halo_crypto::elgamal::KeyPair;
use halo_crypto::parallel::CHUNK;

use crate::kernel::keys::local_key_pair;
use crate::kernel::noise::{HISTOGRAM_SENSITIVITY, distributed_noise};
use crate::kernel::{Kernel, KernelContext, KernelError, require_curve, require_parallelism};
use crate::proto::protocol::{
    CompleteExecutionPhaseThreeAtAggregatorRequest, CompleteExecutionPhaseThreeAtAggregatorResponse,
    CompleteExecutionPhaseThreeRequest, CompleteExecutionPhaseThreeResponse,
};
use crate::sketch::Layout;

const MATRIX: &str = "same_key_aggregator_matrix";

/// Takes this duchy's layer off each cell of the matrix. Nothing is random here, and the order stays.
///
/// # Errors
/// [`KernelError`]: a bad key or parallelism, a matrix of incomplete cells, a point that is none, or a cell that
/// becomes the identity.
pub fn complete_execution_phase_three<G: Group>(
    request: &CompleteExecutionPhaseThreeRequest,
    context: &KernelContext,
) -> Result<CompleteExecutionPhaseThreeResponse, KernelError> {
    let CompleteExecutionPhaseThreeRequest {
        same_key_aggregator_matrix: matrix,
        local_el_gamal_key_pair,
        curve_id,
        parallelism,
    } = request;
    require_curve::<G>(*curve_id)?;
    require_parallelism(*parallelism)?;
    Layout::CELL.count::<G>(MATRIX, matrix)?;
    let local: KeyPair<G> = local_key_pair(local_el_gamal_key_pair.as_ref())?;

    let (layout, column) = (Layout::CELL, Layout::CELL.column(0));
    let mut peeled = vec![0; matrix.len()];
    context.executor().for_each_chunk(
        matrix,
        layout.length::<G>(),
        &mut peeled,
        layout.length::<G>(),
        |chunk, cells, peeled| {
            let first = chunk * CHUNK;
            let mut cells = layout.decode(MATRIX, first, cells, column)?;
            cells.partial_decrypt(&local.secret);
            layout.encode::<G>(MATRIX, first, &cells, peeled, column)
        },
    )?;
    Ok(CompleteExecutionPhaseThreeResponse { same_key_aggregator_matrix: peeled, elapsed_cpu_time_millis: 0 })
}

/// Opens the matrix: a row whose first zero is at `i` is a person seen `i` times, a row without a zero one seen
/// `maximum_frequency` times or more. Takes the expected noise off each bucket and answers the shares.
///
/// Like upstream, it does not open, or even decode, the cells behind a row's first zero.
///
/// # Errors
/// [`KernelError`]: a bad key, a maximum frequency below 2, a matrix of incomplete cells or rows, a point that is
/// none, bad noise parameters, or nothing left to count.
///
/// # Security
/// How long this takes tells how many rows have their first zero where. That is the histogram, which the aggregator
/// computes here for itself; rows are in the order of re-randomized, sorted tuples, so a row stands for nobody it
/// could know.
pub fn complete_execution_phase_three_at_aggregator<G: Group>(
    request: &CompleteExecutionPhaseThreeAtAggregatorRequest,
    context: &KernelContext,
) -> Result<CompleteExecutionPhaseThreeAtAggregatorResponse, KernelError> {
    let CompleteExecutionPhaseThreeAtAggregatorRequest {
        same_key_aggregator_matrix: matrix,
        local_el_gamal_key_pair,
        curve_id,
        maximum_frequency,
        global_frequency_dp_noise_per_bucket,
        noise_mechanism,
    } = request;
    require_curve::<G>(*curve_id)?;
    let row = usize::try_from(*maximum_frequency).ok().filter(|frequency| *frequency >= 2).ok_or(
        KernelError::OutOfRange {
            field: "maximum_frequency",
            found: i64::from(*maximum_frequency),
            expected: "at least 2",
        },
    )? - 1;
    let cells = Layout::CELL.count::<G>(MATRIX, matrix)?;
    if !cells.is_multiple_of(row) {
        return Err(KernelError::MatrixShape { cells, row });
    }
    let local: KeyPair<G> = local_key_pair(local_el_gamal_key_pair.as_ref())?;
    let baseline = match global_frequency_dp_noise_per_bucket {
        None => 0,
        Some(noise) => {
            let offset = distributed_noise(
                "global_frequency_dp_noise_per_bucket.dp_params",
                *noise_mechanism,
                noise.contributors_count,
                noise.dp_params.as_ref(),
                HISTOGRAM_SENSITIVITY,
            )?
            .offset();
            u64::from(noise.contributors_count.unsigned_abs()) * u64::from(offset)
        }
    };

    let mut histogram: BTreeMap<i64, u64> =
        (1..).zip(open_rows::<G>(matrix, row, &local, context)?).collect();
    histogram.values_mut().for_each(|rows| *rows = rows.saturating_sub(baseline));
    histogram.retain(|_, rows| *rows > 0);
    let total: u64 = histogram.values().sum();
    if total == 0 {
        return Err(KernelError::NothingCounted);
    }
    Ok(CompleteExecutionPhaseThreeAtAggregatorResponse {
        frequency_distribution: histogram
            .into_iter()
            .map(|(frequency, rows)| (frequency, rows as f64 / total as f64))
            .collect(),
        elapsed_cpu_time_millis: 0,
    })
}

/// How many rows of `row` cells have their first zero in the first column, in the second, and so on; at the end, how
/// many have none.
///
/// It goes column by column over the rows in which no zero was found yet, so that every batch is full.
fn open_rows<G: Group>(
    matrix: &[u8],
    row: usize,
    local: &KeyPair<G>,
    context: &KernelContext,
) -> Result<Vec<u64>, KernelError> {
    let layout = Layout::CELL;
    let rows = layout.count::<G>(MATRIX, matrix)? / row;
    // A message has fewer than 2^32 cells: it would have as many bytes.
    let mut remaining: Vec<u32> = (0..rows as u32).collect();
    let mut zero = vec![false; rows];
    let mut counts = Vec::with_capacity(row + 1);
    for column in 0..row {
        let zero = &mut zero[..remaining.len()];
        context.executor().for_each_chunk(&remaining, 1, zero, 1, |_, rows, zero| {
            let cell = |index: usize| rows[index] as usize * row + column;
            let bytes = layout.gather::<G>(matrix, (0..rows.len()).map(cell));
            let cells = layout.decode::<G>(MATRIX, 0, &bytes, layout.column(0));
            let opened = cells.map_err(|error| error.renumbered(cell))?.is_zero(&local.secret);
            for (zero, opened) in zero.iter_mut().zip(opened) {
                *zero = opened.into();
            }
            Ok::<_, KernelError>(())
        })?;
        let before = remaining.len();
        let mut opened = zero.iter();
        remaining.retain(|_| !opened.next().expect("a cell of each row was opened"));
        counts.push((before - remaining.len()) as u64);
    }
    counts.push(remaining.len() as u64);
    Ok(counts)
}

impl Kernel for CompleteExecutionPhaseThreeRequest {
    type Response = CompleteExecutionPhaseThreeResponse;
    const METHOD: &'static str = "CompleteExecutionPhaseThree";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_execution_phase_three::<G>(self, context)
    }
}

impl Kernel for CompleteExecutionPhaseThreeAtAggregatorRequest {
    type Response = CompleteExecutionPhaseThreeAtAggregatorResponse;
    const METHOD: &'static str = "CompleteExecutionPhaseThreeAtAggregator";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_execution_phase_three_at_aggregator::<G>(self, context)
    }
}
