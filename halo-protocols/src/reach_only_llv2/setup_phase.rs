//! The setup phase: registers from data providers, and at the aggregator those of all duchies, are mixed with noise
//! registers and sorted; the number of ids that the noise adds goes along encrypted (docs/protocols/ro-llv2.md#setup).

use halo_crypto::Group;
use halo_crypto::elgamal::{Ciphertext, Ciphertexts};
use prost::Message as _;

use super::excessive_noise;
use crate::kernel::keys::encryption_key;
use crate::kernel::{Kernel, KernelContext, KernelError, require_curve, require_parallelism};
use crate::proto::protocol::{CompleteReachOnlySetupPhaseRequest, CompleteReachOnlySetupPhaseResponse};
use crate::sketch::{Layout, RegisterNoise};

const REGISTERS: &str = "combined_register_vector";

/// Joins the registers that data providers sent to this duchy and its noise, and sorts them; encrypts how many ids of
/// blinded-histogram noise there are among them.
///
/// Registers are not decoded here, as upstream does not: a bad point is found in the next phase.
///
/// # Errors
/// [`KernelError`]: a vector of incomplete registers, a bad key, bad noise parameters or parallelism (where there is
/// noise), or more registers than fit a message.
pub fn complete_reach_only_setup_phase<G: Group>(
    request: &CompleteReachOnlySetupPhaseRequest,
    context: &KernelContext,
) -> Result<CompleteReachOnlySetupPhaseResponse, KernelError> {
    let Mixed { registers, excessive_noise } =
        mix::<G>(CompleteReachOnlySetupPhaseRequest::METHOD, request, context)?;
    respond(registers, &std::iter::once(excessive_noise).collect())
}

/// As [`complete_reach_only_setup_phase`], where the request's registers are those of all duchies, and adds the other
/// duchies' excessive noise ciphertexts, which the request holds one behind the other, to its own.
///
/// # Errors
/// [`KernelError`]: as [`complete_reach_only_setup_phase`], an incomplete or invalid ciphertext of another duchy, or a
/// sum that is no ciphertext.
pub fn complete_reach_only_setup_phase_at_aggregator<G: Group>(
    request: &CompleteReachOnlySetupPhaseRequest,
    context: &KernelContext,
) -> Result<CompleteReachOnlySetupPhaseResponse, KernelError> {
    let Mixed { registers, excessive_noise } = mix::<G>(SetupPhaseAtAggregator::METHOD, request, context)?;
    respond(
        registers,
        &excessive_noise::sum(excessive_noise, &request.serialized_excessive_noise_ciphertext)?,
    )
}

/// What both roles make.
struct Mixed<G: Group> {
    /// Registers received and noise, sorted.
    registers: Vec<u8>,
    /// This duchy's own.
    excessive_noise: Ciphertext<G>,
}

fn mix<G: Group>(
    method: &str,
    request: &CompleteReachOnlySetupPhaseRequest,
    context: &KernelContext,
) -> Result<Mixed<G>, KernelError> {
    let CompleteReachOnlySetupPhaseRequest {
        combined_register_vector: registers,
        curve_id,
        noise_parameters,
        noise_mechanism,
        composite_el_gamal_public_key,
        serialized_excessive_noise_ciphertext,
        parallelism,
    } = request;
    require_curve::<G>(*curve_id)?;
    let layout = Layout::REACH_ONLY_REGISTER;
    let mut total = layout.count::<G>(REGISTERS, registers)? as u64;
    let encoded_noise = noise_parameters.as_ref().map(|noise| noise.encode_to_vec()).unwrap_or_default();
    let (key, noise) = match noise_parameters {
        None => {
            (encryption_key("composite_el_gamal_public_key", composite_el_gamal_public_key.as_ref())?, None)
        }
        Some(parameters) => {
            require_curve::<G>(parameters.curve_id)?;
            require_parallelism(*parallelism)?;
            let field = "noise_parameters.composite_el_gamal_public_key";
            let key = encryption_key::<G>(field, parameters.composite_el_gamal_public_key.as_ref())?;
            let noise = RegisterNoise::new(parameters, *noise_mechanism)?;
            total = total.saturating_add(noise.reach_only_register_count());
            (key, Some(noise))
        }
    };
    let streams = context.streams::<G>(
        method,
        &[
            registers,
            &key.public().to_bytes(),
            &encoded_noise,
            &noise_mechanism.to_be_bytes(),
            serialized_excessive_noise_ciphertext,
        ],
    );
    let mut mixed = Vec::with_capacity(context.require_room("registers", total, layout.length::<G>())?);
    mixed.extend_from_slice(registers);
    let mut excessive_ids = 0;
    if let Some(noise) = noise {
        excessive_ids = noise.encrypt_ids(&key, &streams, context, &mut mixed)?;
    }
    layout.sort::<G>(&mut mixed, context.executor());
    let mut rng = streams.stream("excessive noise", 0);
    Ok(Mixed { registers: mixed, excessive_noise: excessive_noise::encrypt(excessive_ids, &key, &mut rng) })
}

fn respond<G: Group>(
    registers: Vec<u8>,
    excessive_noise: &Ciphertexts<G>,
) -> Result<CompleteReachOnlySetupPhaseResponse, KernelError> {
    Ok(CompleteReachOnlySetupPhaseResponse {
        combined_register_vector: registers,
        serialized_excessive_noise_ciphertext: excessive_noise::encode(excessive_noise)?,
        elapsed_cpu_time_millis: 0,
    })
}

impl Kernel for CompleteReachOnlySetupPhaseRequest {
    type Response = CompleteReachOnlySetupPhaseResponse;
    const METHOD: &'static str = "CompleteReachOnlySetupPhase";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_reach_only_setup_phase::<G>(self, context)
    }
}

/// A request to the aggregator's setup phase, which upstream gives the message of the other duchies'.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetupPhaseAtAggregator(pub CompleteReachOnlySetupPhaseRequest);

impl Kernel for SetupPhaseAtAggregator {
    type Response = CompleteReachOnlySetupPhaseResponse;
    const METHOD: &'static str = "CompleteReachOnlySetupPhaseAtAggregator";

    fn curve_id(&self) -> i64 {
        self.0.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_reach_only_setup_phase_at_aggregator::<G>(&self.0, context)
    }
}
