//! The transitions: one arm per (stage, event), each a line that names its phase.

use halo_crypto::{Group, P256, Ristretto255};
use prost::Message as _;

use super::event::{Event, Outcome, StageInputs};
use super::key_set::{CombinedKeys, KeySetError, Participant, PublishedKey, Ring};
use super::state::{Collecting, Confirmed, Created, Gathered, Keyed, State};
use super::{Message, Stage};
use crate::computation::{Computation, Step};
use crate::consent;
use crate::duchy_id::DuchyId;
use crate::effect::{Effect, MeasurementResult, Payload};
use crate::kernel::{KernelContext, KernelError};
use crate::llv2::Evidence;
use crate::proto::duchy::ElGamalPublicKey;
use crate::proto::protocol;
use crate::role::Role;

/// Why a step was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The event does not belong in this stage and role.
    #[error("{event} is not possible in {} as {role:?}", stage.name())]
    Unexpected {
        /// The stage of the state.
        stage: Stage,
        /// The part this duchy plays.
        role: Role,
        /// The event's name.
        event: &'static str,
    },
    /// A peer sent something other than what is awaited.
    #[error("{from} sent {found:?} to a duchy in {}", stage.name())]
    MessageMismatch {
        /// Who sent it.
        from: DuchyId,
        /// What it sent.
        found: Message,
        /// The stage of the state.
        stage: Stage,
    },
    /// Somebody sent what somebody else is to send.
    #[error("{from} is not the one to send this: {expected}")]
    WrongSender {
        /// Who sent it.
        from: DuchyId,
        /// Who is to send it.
        expected: String,
    },
    /// A stage was given another number of messages than it works on.
    #[error("{} works on {expected} messages, {found} were given", stage.name())]
    MessageCount {
        /// The stage.
        stage: Stage,
        /// How many it works on.
        expected: usize,
        /// How many it was given.
        found: usize,
    },
    /// The keys of the participants cannot be computed with.
    #[error("key set: {0}")]
    KeySet(#[from] KeySetError),
    /// The curve is not supported (a setting that was never validated).
    #[error("curve id {0} names no supported group")]
    Curve(i64),
    /// The state lacks what an earlier stage must have left.
    #[error("{}: {missing} is missing", stage.name())]
    Incomplete {
        /// The stage.
        stage: Stage,
        /// What is missing.
        missing: &'static str,
    },
    /// The output that an earlier attempt kept cannot be read.
    #[error("{}: the kept output cannot be read", .0.name())]
    KeptOutput(Stage),
    /// The data of a stage was refused.
    #[error("{}: {source}", stage.name())]
    Kernel {
        /// The stage.
        stage: Stage,
        /// What the kernel found.
        source: KernelError,
    },
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It can: the work was interrupted.
    Transient,
    /// It cannot: the same input gives the same error.
    Permanent,
}

impl StepError {
    /// The duchy whose doing it is, if it can be told.
    pub fn culprit(&self) -> Option<&DuchyId> {
        match self {
            Self::MessageMismatch { from, .. } | Self::WrongSender { from, .. } => Some(from),
            Self::KeySet(error) => error.culprit(),
            Self::Unexpected { .. }
            | Self::MessageCount { .. }
            | Self::Curve(_)
            | Self::Incomplete { .. }
            | Self::KeptOutput(_)
            | Self::Kernel { .. } => None,
        }
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Kernel { source: KernelError::Cancelled(_), .. } => Retry::Transient,
            Self::Kernel { .. }
            | Self::Unexpected { .. }
            | Self::MessageMismatch { .. }
            | Self::WrongSender { .. }
            | Self::MessageCount { .. }
            | Self::KeySet(_)
            | Self::Curve(_)
            | Self::Incomplete { .. }
            | Self::KeptOutput(_) => Retry::Permanent,
        }
    }
}

type Stepped = Result<Step<State>, StepError>;

impl Computation for State {
    type Event = Event;
    type Effect = Effect;
    type Error = StepError;
    type Context = KernelContext;

    fn step(self, event: Event, context: &KernelContext) -> Stepped {
        match self.setting().parameters.curve_id {
            P256::CURVE_ID => step::<P256>(self, event, context),
            Ristretto255::CURVE_ID => step::<Ristretto255>(self, event, context),
            other => Err(StepError::Curve(other)),
        }
    }
}

fn step<G: Group>(state: State, event: Event, context: &KernelContext) -> Stepped {
    match (state, event) {
        (state, Event::Stop(outcome)) => Ok(stopped(state, outcome)),
        (State::InitializationPhase(state), Event::Initialize) => initialize::<G>(state, context),
        // The Kingdom may be ahead of a duchy that published its key and crashed before it moved on.
        (
            State::InitializationPhase(Created { setting, local_key: Some(local_key) }),
            Event::KeySetPublished { aggregator, participants },
        ) => gather(Keyed { setting, local_key }, &aggregator, participants),
        (State::WaitRequisitionsAndKeySet(state), Event::KeySetPublished { aggregator, participants }) => {
            gather(state, &aggregator, participants)
        }
        (State::ConfirmationPhase(state), Event::Confirm(evidence)) => confirm::<G>(state, &evidence),
        (State::WaitToStart(state), Event::Start) => Ok(moved(State::SetupPhase(state))),
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
        (state, event) => Err(StepError::Unexpected {
            stage: state.stage(),
            role: state.setting().role,
            event: event.name(),
        }),
    }
}

fn moved(next: State) -> Step<State> {
    Step { next, effects: Vec::new() }
}

/// A computation that has ended stays as it ended.
fn stopped(state: State, outcome: Outcome) -> Step<State> {
    match state {
        State::Complete(..) => moved(state),
        running => moved(State::Complete(running.setting().clone(), outcome)),
    }
}

fn initialize<G: Group>(state: Created, context: &KernelContext) -> Stepped {
    let local_key = match state.local_key {
        Some(key) => key,
        None => {
            let request =
                protocol::CompleteInitializationPhaseRequest { curve_id: state.setting.parameters.curve_id };
            super::complete_initialization_phase::<G>(&request, context)
                .map_err(|source| StepError::Kernel { stage: Stage::InitializationPhase, source })?
                .el_gamal_key_pair
                .ok_or(StepError::Incomplete { stage: Stage::InitializationPhase, missing: "the key pair" })?
        }
    };
    let ElGamalPublicKey { generator, element } = local_key
        .public_key
        .clone()
        .ok_or(StepError::Incomplete { stage: Stage::InitializationPhase, missing: "the public key" })?;
    let published = PublishedKey { elliptic_curve_id: 0, generator, element }.encode_to_vec();
    Ok(Step {
        next: State::WaitRequisitionsAndKeySet(Keyed { setting: state.setting, local_key }),
        effects: vec![Effect::PublishKey { el_gamal_public_key: published }],
    })
}

fn gather(keyed: Keyed, aggregator: &DuchyId, participants: Vec<Participant>) -> Stepped {
    let Keyed { setting, .. } = &keyed;
    if participants.len() != setting.duchy_count {
        return Err(KeySetError::Count { found: participants.len(), expected: setting.duchy_count }.into());
    }
    if (setting.duchy == *aggregator) != (setting.role == Role::Aggregator) {
        return Err(KeySetError::Role(aggregator.clone()).into());
    }
    let ring = Ring::new(&setting.computation, aggregator, participants)?;
    if ring.index_of(&setting.duchy).is_none() {
        return Err(KeySetError::SelfMissing(setting.duchy.clone()).into());
    }
    Ok(moved(State::ConfirmationPhase(Gathered { keyed, ring })))
}

fn confirm<G: Group>(state: Gathered, evidence: &Evidence) -> Stepped {
    let setting = &state.keyed.setting;
    let mut findings = consent::findings(evidence);
    if evidence.requisitions.len() != setting.requisition_count {
        findings.push(format!(
            "{} requisitions, the computation was created with {}",
            evidence.requisitions.len(),
            setting.requisition_count
        ));
    }
    let keys = CombinedKeys::combine::<G>(&state.ring, &setting.duchy, &state.keyed.local_key)
        .map_err(|error| findings.push(error.to_string()));
    match keys {
        Ok(keys) if findings.is_empty() => {
            let role = setting.role;
            let confirmed = Confirmed { gathered: state, keys, reach: None };
            let next = match role {
                Role::Aggregator => {
                    State::WaitSetupPhaseInputs(Collecting { confirmed, received: Default::default() })
                }
                Role::NonAggregator => State::WaitToStart(confirmed),
            };
            Ok(Step { next, effects: vec![Effect::ConfirmParticipation] })
        }
        _ => Ok(Step {
            next: State::Complete(setting.clone(), Outcome::Failed),
            effects: vec![Effect::FailParticipation { reason: findings.join("; ") }],
        }),
    }
}

fn collect(mut state: Collecting, from: DuchyId, message: Message) -> Stepped {
    if message != Message::SetupPhaseInput {
        return Err(StepError::MessageMismatch { from, found: message, stage: Stage::WaitSetupPhaseInputs });
    }
    let senders = state.confirmed.gathered.ring.non_aggregators();
    if !senders.iter().any(|participant| participant.duchy == from) {
        return Err(StepError::WrongSender { from, expected: "one of the non-aggregators".to_owned() });
    }
    let expected = senders.len();
    state.received.insert(from);
    Ok(moved(if state.received.len() == expected {
        State::SetupPhase(state.confirmed)
    } else {
        State::WaitSetupPhaseInputs(state)
    }))
}

fn receive(
    state: Confirmed,
    from: DuchyId,
    message: Message,
    stage: Stage,
    next: fn(Confirmed) -> State,
) -> Stepped {
    if message.awaited_in() != stage {
        return Err(StepError::MessageMismatch { from, found: message, stage });
    }
    match state.gathered.ring.previous(&state.setting().duchy) {
        Some(previous) if *previous == from => Ok(moved(next(state))),
        previous => Err(StepError::WrongSender {
            from,
            expected: previous.map_or_else(|| "nobody".to_owned(), ToString::to_string),
        }),
    }
}

fn setup_phase<G: Group>(state: Confirmed, inputs: StageInputs, context: &KernelContext) -> Stepped {
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
            let request = protocol::CompleteSetupPhaseRequest {
                requisition_register_vector: inputs.requisitions.concat(),
                combined_register_vector: inputs.messages.concat(),
                noise_parameters: setting.register_noise(Some(&state.keys.composite)),
                maximum_frequency: setting.parameters.maximum_frequency,
                noise_mechanism: state.setting().noise_mechanism(),
                parallelism: parallelism(context),
            };
            super::complete_setup_phase::<G>(&request, context)
                .map_err(|source| StepError::Kernel { stage, source })?
                .combined_register_vector
        }
    };
    let message = match setting.role {
        Role::Aggregator => Message::ExecutionPhaseOneInput,
        Role::NonAggregator => Message::SetupPhaseInput,
    };
    let to = match setting.role {
        Role::Aggregator => next_in_ring(&state, stage)?,
        Role::NonAggregator => state
            .gathered
            .ring
            .aggregator()
            .cloned()
            .ok_or(StepError::Incomplete { stage, missing: "the aggregator" })?,
    };
    Ok(Step { effects: keep_and_send(output, to, message), next: State::WaitExecutionPhaseOneInputs(state) })
}

fn execution_phase_one<G: Group>(state: Confirmed, inputs: StageInputs, context: &KernelContext) -> Stepped {
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
                        parallelism: parallelism(context),
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
                        parallelism: parallelism(context),
                    };
                    super::complete_execution_phase_one_at_aggregator::<G>(&request, context)
                        .map(|response| response.flag_count_tuples)
                }
            }
            .map_err(|source| StepError::Kernel { stage, source })?
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
) -> Stepped {
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
                parallelism: parallelism(context),
            };
            super::complete_execution_phase_two::<G>(&request, context)
                .map_err(|source| StepError::Kernel { stage, source })?
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
    super::complete_execution_phase_two_at_aggregator::<G>(&request, context)
        .map_err(|source| StepError::Kernel { stage, source })
}

fn execution_phase_three<G: Group>(
    state: Confirmed,
    inputs: StageInputs,
    context: &KernelContext,
) -> Stepped {
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
                        parallelism: parallelism(context),
                    };
                    super::complete_execution_phase_three::<G>(&request, context)
                        .map_err(|source| StepError::Kernel { stage, source })?
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
                        .map_err(|source| StepError::Kernel { stage, source })?
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

fn finished(state: Confirmed, effects: Vec<Effect>) -> Step<State> {
    Step { next: State::Complete(state.gathered.keyed.setting, Outcome::Succeeded), effects }
}

fn keep_and_send(output: Vec<u8>, to: DuchyId, message: Message) -> Vec<Effect> {
    let payload = Payload::from(output);
    vec![Effect::Keep(payload.clone()), Effect::Send { to, message, payload }]
}

fn next_in_ring(state: &Confirmed, stage: Stage) -> Result<DuchyId, StepError> {
    state
        .gathered
        .ring
        .next(&state.setting().duchy)
        .cloned()
        .ok_or(StepError::Incomplete { stage, missing: "the next duchy in the ring" })
}

fn require_messages(stage: Stage, messages: &[Vec<u8>], expected: usize) -> Result<(), StepError> {
    if messages.len() == expected {
        Ok(())
    } else {
        Err(StepError::MessageCount { stage, expected, found: messages.len() })
    }
}

fn only_message(stage: Stage, mut messages: Vec<Vec<u8>>) -> Result<Vec<u8>, StepError> {
    require_messages(stage, &messages, 1)?;
    messages.pop().ok_or(StepError::MessageCount { stage, expected: 1, found: 0 })
}

/// What a request says of threads; ours run on those of the context.
fn parallelism(context: &KernelContext) -> i32 {
    i32::try_from(context.executor().threads()).unwrap_or(i32::MAX)
}
