//! The transitions: one arm per (stage, event), each a line that names its phase.

use halo_crypto::{Group, P256, Ristretto255};
use prost::Message as _;

use super::{Event, Message, Stage, StageInputs, State, StepError};
use crate::computation::{Computation, Step};
use crate::effect::{Effect, MeasurementResult, Payload};
use crate::kernel::KernelContext;
use crate::liquid_legions::{
    Confirmed, Created, Keyed, Opening, Stepped, aggregator, collect, confirm, finished, gather, initialize,
    joined, keep_and_send, moved, next_in_ring, only_message, receive, refused, require_messages,
    setup_sender, stopped, unexpected,
};
use crate::proto::protocol;
use crate::role::Role;
use crate::sketch::Layout;

impl Computation for State {
    type Event = Event;
    type Effect = Effect;
    type Error = StepError;
    type Context = KernelContext;

    fn step(self, event: Event, context: &KernelContext) -> Stepped<State> {
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
            let request = protocol::CompleteInitializationPhaseRequest { curve_id };
            let response = super::complete_initialization_phase::<G>(&request, context)?;
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
        (State::WaitExecutionPhaseOneInputs(state), Event::PeerMessage { from, message }) => {
            receive(state, from, message, Stage::WaitExecutionPhaseOneInputs, State::ExecutionPhaseOne)
        }
        (State::WaitExecutionPhaseTwoInputs(state), Event::PeerMessage { from, message }) => {
            receive(state, from, message, Stage::WaitExecutionPhaseTwoInputs, State::ExecutionPhaseTwo)
        }
        (State::WaitExecutionPhaseThreeInputs(state), Event::PeerMessage { from, message }) => {
            receive(state, from, message, Stage::WaitExecutionPhaseThreeInputs, State::ExecutionPhaseThree)
        }
        (State::SetupPhase(state), Event::Compute(inputs)) => setup_phase::<G>(state, inputs, context),
        (State::ExecutionPhaseOne(state), Event::Compute(inputs)) => {
            execution_phase_one::<G>(state, inputs, context)
        }
        (State::ExecutionPhaseTwo(state), Event::Compute(inputs)) => {
            execution_phase_two::<G>(state, inputs, context)
        }
        (State::ExecutionPhaseThree(state), Event::Compute(inputs)) => {
            execution_phase_three::<G>(state, inputs, context)
        }
        (state, event) => Err(unexpected(&state, &event)),
    }
}

fn setup_phase<G: Group>(state: Confirmed, inputs: StageInputs, context: &KernelContext) -> Stepped<State> {
    let stage = Stage::SetupPhase;
    let setting = state.setting();
    let expected = match setting.role {
        Role::Aggregator => state.gathered.ring.non_aggregators().len(),
        Role::NonAggregator => 0,
    };
    let output = match inputs.kept {
        Some(kept) => kept,
        None => {
            require_messages(stage, &inputs.messages, expected)?;
            for (message, registers) in inputs.messages.iter().enumerate() {
                // Joined, what one sender cuts off would spoil the registers of all that follow.
                Layout::REGISTER.count::<G>("combined_register_vector", registers).map_err(|source| {
                    StepError::Kernel { stage, from: setup_sender(&state, message), source }
                })?;
            }
            let request = protocol::CompleteSetupPhaseRequest {
                requisition_register_vector: joined(inputs.requisitions),
                combined_register_vector: joined(inputs.messages),
                noise_parameters: setting.register_noise(Some(&state.keys.composite)),
                maximum_frequency: setting.parameters.maximum_frequency,
                noise_mechanism: state.setting().noise_mechanism(),
                parallelism: context.parallelism(),
            };
            super::complete_setup_phase::<G>(&request, context)
                .map_err(|source| StepError::Kernel { stage, from: None, source })?
                .combined_register_vector
        }
    };
    let message = match setting.role {
        Role::Aggregator => Message::ExecutionPhaseOneInput,
        Role::NonAggregator => Message::SetupPhaseInput,
    };
    let to = match setting.role {
        Role::Aggregator => next_in_ring(&state, stage)?,
        Role::NonAggregator => aggregator(&state, stage)?,
    };
    Ok(Step { effects: keep_and_send(output, to, message), next: State::WaitExecutionPhaseOneInputs(state) })
}

fn execution_phase_one<G: Group>(
    state: Confirmed,
    inputs: StageInputs,
    context: &KernelContext,
) -> Stepped<State> {
    let stage = Stage::ExecutionPhaseOne;
    let parameters = &state.setting().parameters;
    let role = state.setting().role;
    let output = match inputs.kept {
        Some(kept) => kept,
        None => {
            let combined_register_vector = only_message(stage, inputs.messages)?;
            let local_el_gamal_key_pair = Some(state.gathered.keyed.local_key.clone());
            let composite_el_gamal_public_key = Some(state.keys.composite.clone());
            match role {
                Role::NonAggregator => {
                    let request = protocol::CompleteExecutionPhaseOneRequest {
                        combined_register_vector,
                        local_el_gamal_key_pair,
                        composite_el_gamal_public_key,
                        curve_id: parameters.curve_id,
                        parallelism: context.parallelism(),
                    };
                    super::complete_execution_phase_one::<G>(&request, context)
                        .map(|response| response.combined_register_vector)
                }
                Role::Aggregator => {
                    let request = protocol::CompleteExecutionPhaseOneAtAggregatorRequest {
                        combined_register_vector,
                        local_el_gamal_key_pair,
                        composite_el_gamal_public_key,
                        curve_id: parameters.curve_id,
                        noise_parameters: state.setting().tuple_noise(),
                        total_sketches_count: state.setting().requisition_count as i32,
                        noise_mechanism: state.setting().noise_mechanism(),
                        parallelism: context.parallelism(),
                    };
                    super::complete_execution_phase_one_at_aggregator::<G>(&request, context)
                        .map(|response| response.flag_count_tuples)
                }
            }
            .map_err(refused(&state, stage))?
        }
    };
    let message = match role {
        Role::Aggregator => Message::ExecutionPhaseTwoInput,
        Role::NonAggregator => Message::ExecutionPhaseOneInput,
    };
    let effects = keep_and_send(output, next_in_ring(&state, stage)?, message);
    Ok(Step { next: State::WaitExecutionPhaseTwoInputs(state), effects })
}

fn execution_phase_two<G: Group>(
    mut state: Confirmed,
    inputs: StageInputs,
    context: &KernelContext,
) -> Stepped<State> {
    let stage = Stage::ExecutionPhaseTwo;
    let role = state.setting().role;
    let output = match (inputs.kept, role, state.reach) {
        (Some(kept), Role::NonAggregator, _) | (Some(kept), Role::Aggregator, Some(_)) => kept,
        (_, Role::NonAggregator, _) => {
            let request = protocol::CompleteExecutionPhaseTwoRequest {
                flag_count_tuples: only_message(stage, inputs.messages)?,
                local_el_gamal_key_pair: Some(state.gathered.keyed.local_key.clone()),
                curve_id: state.setting().parameters.curve_id,
                composite_el_gamal_public_key: Some(state.keys.composite.clone()),
                partial_composite_el_gamal_public_key: Some(state.keys.partial.clone()),
                noise_parameters: state.setting().tuple_noise(),
                noise_mechanism: state.setting().noise_mechanism(),
                parallelism: context.parallelism(),
            };
            super::complete_execution_phase_two::<G>(&request, context)
                .map_err(refused(&state, stage))?
                .flag_count_tuples
        }
        // The reach and the matrix are kept together, so a kept matrix without its reach is of no use.
        (_, Role::Aggregator, _) => {
            let response = execution_phase_two_at_aggregator::<G>(&state, inputs.messages, context)?;
            state.reach = Some(response.reach);
            response.same_key_aggregator_matrix
        }
    };
    let reach_only = state.setting().reach_only();
    Ok(match (role, reach_only) {
        (Role::Aggregator, true) => {
            let reach = state.reach.ok_or(StepError::Incomplete { stage, missing: "the reach" })?;
            finished(
                state,
                vec![Effect::ReportResult(MeasurementResult {
                    reach,
                    frequency: None,
                    frequency_vector_size: None,
                })],
            )
        }
        (Role::Aggregator, false) => {
            let to = next_in_ring(&state, stage)?;
            let effects = keep_and_send(output, to, Message::ExecutionPhaseThreeInput);
            Step { next: State::WaitExecutionPhaseThreeInputs(state), effects }
        }
        (Role::NonAggregator, _) => {
            let to = next_in_ring(&state, stage)?;
            let effects = keep_and_send(output, to, Message::ExecutionPhaseTwoInput);
            if reach_only {
                finished(state, effects)
            } else {
                Step { next: State::WaitExecutionPhaseThreeInputs(state), effects }
            }
        }
    })
}

fn execution_phase_two_at_aggregator<G: Group>(
    state: &Confirmed,
    messages: Vec<Vec<u8>>,
    context: &KernelContext,
) -> Result<protocol::CompleteExecutionPhaseTwoAtAggregatorResponse, StepError> {
    let stage = Stage::ExecutionPhaseTwo;
    let parameters = &state.setting().parameters;
    let reach_noise = parameters
        .noise
        .as_ref()
        .and_then(|noise| noise.reach_noise_config.as_ref())
        .and_then(|noise| noise.global_reach_dp_noise);
    let request = protocol::CompleteExecutionPhaseTwoAtAggregatorRequest {
        flag_count_tuples: only_message(stage, messages)?,
        local_el_gamal_key_pair: Some(state.gathered.keyed.local_key.clone()),
        composite_el_gamal_public_key: Some(state.keys.composite.clone()),
        curve_id: parameters.curve_id,
        maximum_frequency: parameters.maximum_frequency,
        sketch_parameters: Some(parameters.sketch),
        reach_dp_noise_baseline: reach_noise.map(|noise| protocol::GlobalReachDpNoiseBaseline {
            contributors_count: state.setting().duchy_count as i32,
            global_reach_dp_noise: Some(noise),
        }),
        frequency_noise_parameters: state.setting().tuple_noise(),
        vid_sampling_interval_width: parameters.vid_sampling_width,
        noise_mechanism: state.setting().noise_mechanism(),
    };
    super::complete_execution_phase_two_at_aggregator::<G>(&request, context).map_err(refused(state, stage))
}

fn execution_phase_three<G: Group>(
    state: Confirmed,
    inputs: StageInputs,
    context: &KernelContext,
) -> Stepped<State> {
    let stage = Stage::ExecutionPhaseThree;
    let parameters = &state.setting().parameters;
    let local_el_gamal_key_pair = Some(state.gathered.keyed.local_key.clone());
    match state.setting().role {
        Role::NonAggregator => {
            let output = match inputs.kept {
                Some(kept) => kept,
                None => {
                    let request = protocol::CompleteExecutionPhaseThreeRequest {
                        same_key_aggregator_matrix: only_message(stage, inputs.messages)?,
                        local_el_gamal_key_pair,
                        curve_id: parameters.curve_id,
                        parallelism: context.parallelism(),
                    };
                    super::complete_execution_phase_three::<G>(&request, context)
                        .map_err(refused(&state, stage))?
                        .same_key_aggregator_matrix
                }
            };
            let to = next_in_ring(&state, stage)?;
            Ok(finished(state, keep_and_send(output, to, Message::ExecutionPhaseThreeInput)))
        }
        Role::Aggregator => {
            let reach = state.reach.ok_or(StepError::Incomplete { stage, missing: "the reach" })?;
            let response = match inputs.kept {
                Some(kept) => {
                    protocol::CompleteExecutionPhaseThreeAtAggregatorResponse::decode(kept.as_slice())
                        .map_err(|_| StepError::KeptOutput(stage))?
                }
                None => {
                    let request = protocol::CompleteExecutionPhaseThreeAtAggregatorRequest {
                        same_key_aggregator_matrix: only_message(stage, inputs.messages)?,
                        local_el_gamal_key_pair,
                        curve_id: parameters.curve_id,
                        maximum_frequency: parameters.maximum_frequency,
                        global_frequency_dp_noise_per_bucket: state.setting().frequency_noise().map(
                            |noise| protocol::PerBucketFrequencyDpNoiseBaseline {
                                contributors_count: state.setting().duchy_count as i32,
                                dp_params: Some(noise),
                            },
                        ),
                        noise_mechanism: state.setting().noise_mechanism(),
                    };
                    super::complete_execution_phase_three_at_aggregator::<G>(&request, context)
                        .map_err(refused(&state, stage))?
                }
            };
            let kept = Effect::Keep(Payload::from(response.encode_to_vec()));
            let result = MeasurementResult {
                reach,
                frequency: Some(response.frequency_distribution),
                frequency_vector_size: None,
            };
            Ok(finished(state, vec![kept, Effect::ReportResult(result)]))
        }
    }
}
