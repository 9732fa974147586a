//! The transitions: one arm per (stage, event), each a line that names its phase.

use halo_crypto::{Group, P256, Ristretto255};
use prost::Message as _;

use super::excessive_noise;
use super::message::{join, split};
use super::{Effect, Event, Message, Stage, State, StepError};
use crate::computation::{Computation, Step};
use crate::duchy_id::DuchyId;
use crate::effect::{MeasurementResult, Payload};
use crate::kernel::{KernelContext, KernelError};
use crate::liquid_legions::{
    Confirmed, Created, Keyed, Opening, StageInputs, Stepped, aggregator, collect, confirm, finished, gather,
    initialize, joined, keep_and_send, moved, next_in_ring, only_message, previous_in_ring, receive, refused,
    require_messages, setup_sender, stopped, unexpected,
};
use crate::proto::protocol;
use crate::role::Role;
use crate::sketch::Layout;

impl Computation for State {
    type Event = Event;
    type Effect = Effect;
    type Error = StepError;
    type Context = KernelContext;

    fn step(self, event: Event, context: &KernelContext) -> Stepped<Self> {
        match self.setting().parameters.curve_id {
            P256::CURVE_ID => step::<P256>(self, event, context),
            Ristretto255::CURVE_ID => step::<Ristretto255>(self, event, context),
            other => Err(StepError::Curve(other)),
        }
    }
}

fn step<G: Group>(state: State, event: Event, context: &KernelContext) -> Stepped<State> {
    match (state, event) {
        (state, Event::Stop(outcome)) => Ok(stopped(state, outcome)),
        (State::InitializationPhase(state), Event::Initialize) => initialize(state, |curve_id| {
            let request = protocol::CompleteReachOnlyInitializationPhaseRequest { curve_id };
            let response = super::complete_reach_only_initialization_phase::<G>(&request, context)?;
            Ok(response.el_gamal_key_pair)
        }),
        // The Kingdom may be ahead of a duchy that published its key and crashed before it moved on.
        (
            State::InitializationPhase(Created { setting, local_key: Some(local_key) }),
            Event::KeySetPublished { aggregator, participants },
        ) => gather(Keyed { setting, local_key }, &aggregator, participants),
        (State::WaitRequisitionsAndKeySet(state), Event::KeySetPublished { aggregator, participants }) => {
            gather(state, &aggregator, participants)
        }
        (State::ConfirmationPhase(state), Event::Confirm(evidence)) => confirm::<G, _>(state, &evidence),
        (State::WaitToStart(state), Event::Start) => Ok(moved(Opening::SetupPhase(state))),
        (State::WaitSetupPhaseInputs(state), Event::PeerMessage { from, message }) => {
            collect(state, from, message)
        }
        (State::WaitExecutionPhaseInputs(state), Event::PeerMessage { from, message }) => {
            receive(state, from, message, Stage::WaitExecutionPhaseInputs, State::ExecutionPhase)
        }
        (State::SetupPhase(state), Event::Compute(inputs)) => setup_phase::<G>(state, inputs, context),
        (State::ExecutionPhase(state), Event::Compute(inputs)) => match state.setting().role {
            Role::NonAggregator => execution_phase::<G>(state, inputs, context),
            Role::Aggregator => execution_phase_at_aggregator::<G>(state, inputs, context),
        },
        (state, event) => Err(unexpected(&state, &event)),
    }
}

fn setup_phase<G: Group>(state: Confirmed, inputs: StageInputs, context: &KernelContext) -> Stepped<State> {
    let stage = Stage::SetupPhase;
    let role = state.setting().role;
    let output = match inputs.kept {
        Some(kept) => kept,
        None => {
            let senders = match role {
                Role::Aggregator => state.gathered.ring.non_aggregators().len(),
                Role::NonAggregator => 0,
            };
            require_messages(stage, &inputs.messages, senders)?;
            let mut combined_register_vector = joined(inputs.requisitions);
            let mut excessive_noise = Vec::new();
            for (message, payload) in inputs.messages.iter().enumerate() {
                let sender = || setup_sender(&state, message);
                let (registers, ciphertext) = take_apart::<G>(stage, sender, message, payload)?;
                combined_register_vector.extend_from_slice(registers);
                excessive_noise.extend_from_slice(ciphertext);
            }
            let request = protocol::CompleteReachOnlySetupPhaseRequest {
                combined_register_vector,
                curve_id: state.setting().parameters.curve_id,
                noise_parameters: state.setting().register_noise(Some(&state.keys.composite)),
                noise_mechanism: state.setting().noise_mechanism(),
                composite_el_gamal_public_key: Some(state.keys.composite.clone()),
                serialized_excessive_noise_ciphertext: excessive_noise,
                parallelism: context.parallelism(),
            };
            let response = match role {
                Role::Aggregator => {
                    super::complete_reach_only_setup_phase_at_aggregator::<G>(&request, context)
                }
                Role::NonAggregator => super::complete_reach_only_setup_phase::<G>(&request, context),
            }
            .map_err(|source| {
                // One ciphertext of each sender, in their order.
                let from = match &source {
                    KernelError::Ciphertext { field: excessive_noise::FIELD, record, .. } => {
                        setup_sender(&state, *record)
                    }
                    _ => None,
                };
                StepError::Kernel { stage, from, source }
            })?;
            join(response.combined_register_vector, &response.serialized_excessive_noise_ciphertext)
        }
    };
    let (to, message) = match role {
        Role::Aggregator => (next_in_ring(&state, stage)?, Message::ExecutionPhaseInput),
        Role::NonAggregator => (aggregator(&state, stage)?, Message::SetupPhaseInput),
    };
    Ok(Step { effects: keep_and_send(output, to, message), next: State::WaitExecutionPhaseInputs(state) })
}

fn execution_phase<G: Group>(
    state: Confirmed,
    inputs: StageInputs,
    context: &KernelContext,
) -> Stepped<State> {
    let stage = Stage::ExecutionPhase;
    let output = match inputs.kept {
        Some(kept) => kept,
        None => {
            let payload = only_message(stage, inputs.messages)?;
            let (registers, excessive_noise) =
                take_apart::<G>(stage, || previous_in_ring(&state), 0, &payload)?;
            let request = protocol::CompleteReachOnlyExecutionPhaseRequest {
                combined_register_vector: registers.to_vec(),
                local_el_gamal_key_pair: Some(state.gathered.keyed.local_key.clone()),
                curve_id: state.setting().parameters.curve_id,
                serialized_excessive_noise_ciphertext: excessive_noise.to_vec(),
                parallelism: context.parallelism(),
            };
            let response = super::complete_reach_only_execution_phase::<G>(&request, context)
                .map_err(refused(&state, stage))?;
            join(response.combined_register_vector, &response.serialized_excessive_noise_ciphertext)
        }
    };
    let to = next_in_ring(&state, stage)?;
    Ok(finished(state, keep_and_send(output, to, Message::ExecutionPhaseInput)))
}

/// What is kept is the kernel's response, which is never empty: no reach is 0. Where upstream's mill has kept an empty
/// output, it had handed its result to the Kingdom before.
fn execution_phase_at_aggregator<G: Group>(
    state: Confirmed,
    inputs: StageInputs,
    context: &KernelContext,
) -> Stepped<State> {
    let stage = Stage::ExecutionPhase;
    let response = match inputs.kept {
        Some(kept) if kept.is_empty() => return Ok(finished(state, Vec::new())),
        Some(kept) => protocol::CompleteReachOnlyExecutionPhaseAtAggregatorResponse::decode(kept.as_slice())
            .map_err(|_| StepError::KeptOutput(stage))?,
        None => {
            let payload = only_message(stage, inputs.messages)?;
            let request = aggregator_request::<G>(&state, &payload, context)?;
            super::complete_reach_only_execution_phase_at_aggregator::<G>(&request, context)
                .map_err(refused(&state, stage))?
        }
    };
    let kept = Effect::Keep(Payload::from(response.encode_to_vec()));
    let result = MeasurementResult { reach: response.reach, frequency: None, frequency_vector_size: None };
    Ok(finished(state, vec![kept, Effect::ReportResult(result)]))
}

fn aggregator_request<G: Group>(
    state: &Confirmed,
    payload: &[u8],
    context: &KernelContext,
) -> Result<protocol::CompleteReachOnlyExecutionPhaseAtAggregatorRequest, StepError> {
    let setting = state.setting();
    let (registers, excessive_noise) =
        take_apart::<G>(Stage::ExecutionPhase, || previous_in_ring(state), 0, payload)?;
    let baseline = setting.reach_noise().map(|noise| protocol::GlobalReachDpNoiseBaseline {
        contributors_count: setting.contributors_count(),
        global_reach_dp_noise: noise.global_reach_dp_noise,
    });
    Ok(protocol::CompleteReachOnlyExecutionPhaseAtAggregatorRequest {
        combined_register_vector: registers.to_vec(),
        local_el_gamal_key_pair: Some(state.gathered.keyed.local_key.clone()),
        curve_id: setting.parameters.curve_id,
        serialized_excessive_noise_ciphertext: excessive_noise.to_vec(),
        reach_dp_noise_baseline: baseline,
        sketch_parameters: Some(setting.parameters.sketch),
        vid_sampling_interval_width: setting.parameters.vid_sampling_width,
        noise_parameters: setting.register_noise(Some(&state.keys.composite)),
        noise_mechanism: setting.noise_mechanism(),
        parallelism: context.parallelism(),
    })
}

fn take_apart<G: Group>(
    stage: Stage,
    sender: impl FnOnce() -> Option<DuchyId>,
    message: usize,
    payload: &[u8],
) -> Result<(&[u8], &[u8]), StepError> {
    split::<G>(payload).ok_or_else(|| StepError::MessageLength {
        stage,
        from: sender(),
        message,
        length: payload.len(),
        ciphertext: Layout::REACH_ONLY_REGISTER.length::<G>(),
    })
}
