//! The setup phase: registers from data providers, and at the aggregator those of all duchies, are mixed with noise
//! registers and sorted (docs/protocols/llv2.md#setup).

use halo_crypto::elgamal::{EncryptionKey, KeyPair};
use halo_crypto::parallel::CHUNK;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, P256};
use prost::Message as _;

use crate::kernel::keys::encryption_key;
use crate::kernel::{Kernel, KernelContext, KernelError, require_curve, require_parallelism};
use crate::proto::protocol::{CompleteSetupPhaseRequest, CompleteSetupPhaseResponse};
use crate::sketch::constants::{DESTROYED_REGISTER_KEY, RANDOM_COUNT_PREFIX};
use crate::sketch::random_point::random_points;
use crate::sketch::{Layout, RegisterNoise};

const REQUISITIONS: &str = "requisition_register_vector";
const REGISTERS: &str = "combined_register_vector";

/// Joins the registers that data providers sent to this duchy, at the aggregator those of the other duchies, and
/// this duchy's noise; sorts them.
///
/// If the maximum frequency is 1, keys and counts that came from data providers are replaced first: only ids are
/// needed for reach. Registers are not decoded here, as upstream does not: a bad point is found in the next phase.
///
/// # Errors
/// [`KernelError`]: a vector of incomplete registers, bad noise parameters or parallelism (where there is noise), or
/// more registers than fit a message.
pub fn complete_setup_phase<G: Group>(
    request: &CompleteSetupPhaseRequest,
    context: &KernelContext,
) -> Result<CompleteSetupPhaseResponse, KernelError> {
    let CompleteSetupPhaseRequest {
        requisition_register_vector: requisitions,
        combined_register_vector: registers,
        noise_parameters,
        maximum_frequency,
        noise_mechanism,
        parallelism,
    } = request;
    let layout = Layout::REGISTER;
    let mut total = layout.count::<G>(REQUISITIONS, requisitions)? as u64;
    total += layout.count::<G>(REGISTERS, registers)? as u64;
    let streams = context.streams::<G>(
        CompleteSetupPhaseRequest::METHOD,
        &[
            requisitions,
            registers,
            &noise_parameters.as_ref().map(|noise| noise.encode_to_vec()).unwrap_or_default(),
            &maximum_frequency.to_be_bytes(),
            &noise_mechanism.to_be_bytes(),
        ],
    );

    let noise = match noise_parameters {
        None => None,
        Some(parameters) => {
            require_curve::<G>(parameters.curve_id)?;
            require_parallelism(*parallelism)?;
            let field = "noise_parameters.composite_el_gamal_public_key";
            let key = encryption_key::<G>(field, parameters.composite_el_gamal_public_key.as_ref())?;
            let noise = RegisterNoise::new(parameters, *noise_mechanism)?;
            total = total.saturating_add(noise.register_count());
            Some((noise, key))
        }
    };
    let mut mixed = Vec::with_capacity(context.require_room("registers", total, layout.length::<G>())?);

    mixed.extend_from_slice(requisitions);
    if *maximum_frequency == 1 {
        // Without noise parameters the request has no key. Upstream then makes one up, and so do we: what replaces
        // keys and counts is never to be opened, it only has to differ.
        let made_up;
        let key = match &noise {
            Some((_, key)) => key,
            None => {
                made_up = EncryptionKey::new(KeyPair::random(&mut streams.stream("made-up key", 0)).public);
                &made_up
            }
        };
        destroy_keys_and_counts(&mut mixed, key, &streams, context)?;
    }
    mixed.extend_from_slice(registers);
    if let Some((noise, key)) = noise {
        noise.encrypt(&key, &streams, context, &mut mixed)?;
    }
    layout.sort::<G>(&mut mixed, context.executor());
    Ok(CompleteSetupPhaseResponse { combined_register_vector: mixed, elapsed_cpu_time_millis: 0 })
}

/// Replaces each register's key by the destroyed one and its count by a random point.
fn destroy_keys_and_counts<G: Group>(
    registers: &mut [u8],
    key: &EncryptionKey<G>,
    streams: &StreamSeed,
    context: &KernelContext,
) -> Result<(), KernelError> {
    let layout = Layout::REGISTER;
    let length = layout.length::<G>();
    let destroyed = G::hash_one(DESTROYED_REGISTER_KEY);
    let each = vec![(); registers.len() / length];
    context.executor().for_each_chunk(&each, 1, registers, length, |chunk, _, registers| {
        let first = chunk * CHUNK;
        let count = registers.len() / length;
        let mut rng = streams.stream("destroyed keys and counts", chunk);
        let keys = key.encrypt(&vec![destroyed; count], &mut rng);
        layout.encode::<G>(REQUISITIONS, first, &keys, registers, Layout::KEY)?;
        let counts = random_points::<G>(RANDOM_COUNT_PREFIX, count, &mut rng);
        let counts = key.encrypt(&counts, &mut rng);
        layout.encode::<G>(REQUISITIONS, first, &counts, registers, Layout::COUNT)
    })
}

impl Kernel for CompleteSetupPhaseRequest {
    type Response = CompleteSetupPhaseResponse;
    const METHOD: &'static str = "CompleteSetupPhase";

    /// Only noise parameters name a group; without any, upstream takes P-256. Who computes in another group calls
    /// [`complete_setup_phase`] itself.
    fn curve_id(&self) -> i64 {
        self.noise_parameters.as_ref().map_or(P256::CURVE_ID, |noise| noise.curve_id)
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_setup_phase::<G>(self, context)
    }
}
