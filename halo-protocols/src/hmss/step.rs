//! The transitions: one arm per (stage, event), each a line that names its phase.

use std::collections::BTreeSet;

use halo_crypto::prg::{PrngSeed, PrngSeedError};
use prost::Message as _;

use super::aggregation_phase::{AggregationPhase, WORKERS};
use super::event::{AggregationInputs, Event, SetupInputs, ShuffleInputs};
use super::packed;
use super::requisition_shares::{RequisitionError, RequisitionShares};
use super::share::Values;
use super::shuffle_phase::{Order, ShufflePhase};
use super::state::{Collecting, Created, State, Worker};
use super::{FrequencyVectorParameters, Message, Outcome, Role, SettingError, ShareShuffleError, Stage};
use crate::computation::{Computation, Refusal, Step};
use crate::consent;
use crate::duchy_id::DuchyId;
use crate::effect::{MeasurementResult, Payload};
use crate::kernel::{KernelContext, KernelError};
pub use crate::llv2::Retry;
use crate::proto::protocol::honest_majority_share_shuffle::ShufflePhaseInput;
use crate::proto::protocol::honest_majority_share_shuffle::shuffle_phase_input::SecretSeed;

/// What a share shuffle asks of its host.
pub type Effect = crate::effect::Effect<Message>;

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
    #[error("{from} is not the one to send {message:?}")]
    WrongSender {
        /// Who sent it.
        from: DuchyId,
        /// What it sent.
        message: Message,
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
    /// What a peer sent cannot be read.
    #[error("what {from} sent is no {message}")]
    Malformed {
        /// Who sent it.
        from: DuchyId,
        /// The message it should be.
        message: &'static str,
    },
    /// The other worker's half of the common seed has another length than a seed.
    #[error("the random seed of {from}: {reason}")]
    PeerSeed {
        /// The other worker.
        from: DuchyId,
        /// What is wrong with it.
        #[source]
        reason: PrngSeedError,
    },
    /// The other worker sent this one's seed back: the common seed would be one that everybody can guess.
    #[error("the random seed of {0} is this worker's own")]
    EchoedSeed(DuchyId),
    /// A worker says that its vector has a number of registers that no vector of this computation can have.
    #[error("the share of {from}: {source}")]
    RegisterCount {
        /// The worker.
        from: DuchyId,
        /// Why not.
        source: Box<SettingError>,
    },
    /// The workers do not agree on the number of registers, and what each of them sent is as long as it says.
    #[error("the workers' vectors are of {} and {} registers", .0[0], .0[1])]
    RegisterCounts([i64; 2]),
    /// The share of a requisition is refused.
    #[error(transparent)]
    Requisition(#[from] RequisitionError),
    /// What the other worker passed on for a requisition is refused. It may be the data provider's doing.
    #[error("{source}")]
    PassedOn {
        /// The other worker.
        from: DuchyId,
        /// What is wrong.
        source: RequisitionError,
    },
    /// A worker's shuffled share is refused.
    #[error("the share of {from}: {source}")]
    Share {
        /// The worker.
        from: DuchyId,
        /// What the kernel found.
        source: KernelError,
    },
    /// The parameters are not possible for the data that has come.
    #[error("{}: {source}", stage.name())]
    Setting {
        /// The stage.
        stage: Stage,
        /// Why not.
        source: SettingError,
    },
    /// The state lacks what creation must have left.
    #[error("{}: {missing} is missing", stage.name())]
    Incomplete {
        /// The stage.
        stage: Stage,
        /// What is missing.
        missing: &'static str,
    },
    /// The work of a stage failed.
    #[error("{}: {source}", stage.name())]
    Kernel {
        /// The stage.
        stage: Stage,
        /// What the kernel found.
        source: KernelError,
    },
}

impl StepError {
    /// The duchy whose doing it is, if it can be told.
    pub const fn culprit(&self) -> Option<&DuchyId> {
        match self {
            Self::MessageMismatch { from, .. }
            | Self::WrongSender { from, .. }
            | Self::Malformed { from, .. }
            | Self::PeerSeed { from, .. }
            | Self::EchoedSeed(from)
            | Self::PassedOn { from, .. }
            | Self::RegisterCount { from, .. }
            | Self::Share { from, .. } => Some(from),
            Self::Unexpected { .. }
            | Self::MessageCount { .. }
            | Self::RegisterCounts(_)
            | Self::Requisition(_)
            | Self::Setting { .. }
            | Self::Incomplete { .. }
            | Self::Kernel { .. } => None,
        }
    }

    /// The requisition whose share is refused, if it is one.
    pub fn requisition(&self) -> Option<&str> {
        match self {
            Self::Requisition(error) | Self::PassedOn { source: error, .. } => error.requisition(),
            _ => None,
        }
    }

    /// Whether trying again can help.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Kernel { source: KernelError::Cancelled(_), .. } => Retry::Transient,
            Self::Unexpected { .. }
            | Self::MessageMismatch { .. }
            | Self::WrongSender { .. }
            | Self::MessageCount { .. }
            | Self::Malformed { .. }
            | Self::PeerSeed { .. }
            | Self::EchoedSeed(_)
            | Self::RegisterCount { .. }
            | Self::RegisterCounts(_)
            | Self::Requisition(_)
            | Self::PassedOn { .. }
            | Self::Share { .. }
            | Self::Setting { .. }
            | Self::Incomplete { .. }
            | Self::Kernel { .. } => Retry::Permanent,
        }
    }
}

impl Refusal for StepError {
    fn culprit(&self) -> Option<&DuchyId> {
        self.culprit()
    }

    fn retry(&self) -> Retry {
        self.retry()
    }
}

type Stepped = Result<Step<State>, StepError>;

impl Computation for State {
    type Event = Event;
    type Effect = Effect;
    type Error = StepError;
    type Context = KernelContext;

    fn step(self, event: Event, context: &KernelContext) -> Stepped {
        match (self, event) {
            (state, Event::Stop(outcome)) => Ok(stopped(state, outcome)),
            (Self::Initialized(state), Event::Initialize) => initialize(state),
            (Self::WaitToStart(state), Event::Start) => Ok(moved(Self::SetupPhase(state))),
            // The Kingdom may be ahead of a worker that published its key and crashed before it moved on.
            (Self::Initialized(Created { setting, keys: Some(keys) }), Event::Start)
                if setting.role == Role::FirstNonAggregator =>
            {
                Ok(moved(Self::SetupPhase(Worker { setting, keys })))
            }
            (Self::WaitOnShuffleInputPhaseOne(state), Event::PeerMessage { from, message }) => {
                receive(state, from, message, Stage::WaitOnShuffleInputPhaseOne, Self::SetupPhase)
            }
            (Self::WaitOnShuffleInputPhaseTwo(state), Event::PeerMessage { from, message }) => {
                receive(state, from, message, Stage::WaitOnShuffleInputPhaseTwo, Self::ShufflePhase)
            }
            (Self::WaitOnAggregationInput(state), Event::PeerMessage { from, message }) => {
                collect(state, from, message)
            }
            (Self::SetupPhase(state), Event::Setup(inputs)) => setup_phase(state, inputs),
            (Self::ShufflePhase(state), Event::Shuffle(inputs)) => shuffle_phase(state, inputs, context),
            (Self::AggregationPhase(setting), Event::Aggregate(inputs)) => {
                aggregation_phase(setting, &inputs, context)
            }
            (state, event) => Err(StepError::Unexpected {
                stage: state.stage(),
                role: state.setting().role,
                event: event.name(),
            }),
        }
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

fn initialize(Created { setting, keys }: Created) -> Stepped {
    let incomplete = |missing| StepError::Incomplete { stage: Stage::Initialized, missing };
    let worker = |setting, keys| {
        let worker = Worker { setting, keys };
        let key = worker.keys.encryption_key_pair.public_key.as_ref();
        // The public API's message has the same fields.
        let key = key.ok_or(incomplete("the public key"))?.encode_to_vec();
        Ok::<_, StepError>((worker, Some(key)))
    };
    let (next, encryption_public_key) = match (setting.role, keys) {
        (Role::Aggregator, _) => {
            (State::WaitOnAggregationInput(Collecting { setting, received: BTreeSet::new() }), None)
        }
        (_, None) => return Err(incomplete("the worker's seed and key pair")),
        (Role::FirstNonAggregator, Some(keys)) => {
            let (worker, key) = worker(setting, keys)?;
            (State::WaitToStart(worker), key)
        }
        (Role::SecondNonAggregator, Some(keys)) => {
            let (worker, key) = worker(setting, keys)?;
            (State::WaitOnShuffleInputPhaseOne(worker), key)
        }
    };
    Ok(Step { next, effects: vec![Effect::PublishEncryptionKey { encryption_public_key }] })
}

fn check_sender(
    setting: &super::Setting,
    from: &DuchyId,
    message: Message,
    stage: Stage,
) -> Result<(), StepError> {
    if message.awaited_in() != stage {
        return Err(StepError::MessageMismatch { from: from.clone(), found: message, stage });
    }
    if message.senders().iter().any(|role| setting.duchy_as(*role) == from) {
        Ok(())
    } else {
        Err(StepError::WrongSender { from: from.clone(), message })
    }
}

fn receive(
    state: Worker,
    from: DuchyId,
    message: Message,
    stage: Stage,
    next: fn(Worker) -> State,
) -> Stepped {
    check_sender(&state.setting, &from, message, stage)?;
    Ok(moved(next(state)))
}

fn collect(mut state: Collecting, from: DuchyId, message: Message) -> Stepped {
    check_sender(&state.setting, &from, message, Stage::WaitOnAggregationInput)?;
    state.received.insert(from);
    Ok(moved(if state.received.len() == WORKERS {
        State::AggregationPhase(state.setting)
    } else {
        State::WaitOnAggregationInput(state)
    }))
}

/// The seeds that the other worker passed on, in its `ShufflePhaseInput`: for the host to open, verify, and hand to the
/// shuffle phase.
///
/// # Errors
/// [`StepError::Malformed`] if these bytes are no such message.
pub fn secret_seeds(peer: &DuchyId, message: &[u8]) -> Result<Vec<SecretSeed>, StepError> {
    Ok(std::mem::take(&mut shuffle_phase_input(peer, message)?.secret_seeds))
}

fn shuffle_phase_input(peer: &DuchyId, message: &[u8]) -> Result<ShufflePhaseInput, StepError> {
    ShufflePhaseInput::decode(message)
        .map_err(|_| StepError::Malformed { from: peer.clone(), message: "ShufflePhaseInput" })
}

fn setup_phase(state: Worker, inputs: SetupInputs) -> Stepped {
    let SetupInputs { mut secret_seeds, evidence } = inputs;
    let findings = evidence.as_ref().map(consent::findings).unwrap_or_default();
    if !findings.is_empty() {
        return Ok(Step {
            next: State::Complete(state.setting, Outcome::Failed),
            effects: vec![Effect::FailParticipation { reason: findings.join("; ") }],
        });
    }
    let expected = state.setting.requisition_count;
    if secret_seeds.len() > expected {
        return Err(RequisitionError::Count { found: secret_seeds.len(), expected }.into());
    }
    secret_seeds.sort_by(|left, right| left.requisition_id.cmp(&right.requisition_id));
    if let Some(repeated) =
        secret_seeds.windows(2).find(|pair| pair[0].requisition_id == pair[1].requisition_id)
    {
        return Err(RequisitionError::Repeated(repeated[0].requisition_id.clone()).into());
    }
    if let Some(empty) = secret_seeds.iter().find(|seed| seed.secret_seed_ciphertext.is_empty()) {
        return Err(RequisitionError::NoSeed(empty.requisition_id.clone()).into());
    }
    let message =
        ShufflePhaseInput { peer_random_seed: state.keys.random_seed.as_bytes().to_vec(), secret_seeds };
    let payload = Payload::from(message.encode_to_vec());
    let to = state.peer().clone();
    let (next, message) = match state.setting.role {
        Role::SecondNonAggregator => (State::ShufflePhase(state), Message::ShufflePhaseInputTwo),
        _ => (State::WaitOnShuffleInputPhaseTwo(state), Message::ShufflePhaseInputOne),
    };
    Ok(Step { next, effects: vec![Effect::Send { to, message, payload }] })
}

fn shuffle_phase(state: Worker, mut inputs: ShuffleInputs, context: &KernelContext) -> Stepped {
    let output = match inputs.kept.take() {
        Some(kept) => kept,
        None => shuffled(&state, &inputs, context)?,
    };
    let payload = Payload::from(output);
    let to = state.setting.aggregator.clone();
    Ok(Step {
        next: State::Complete(state.setting, Outcome::Succeeded),
        effects: vec![
            Effect::Keep(payload.clone()),
            Effect::Send { to, message: Message::AggregationPhaseInput, payload },
        ],
    })
}

fn shuffled(state: &Worker, inputs: &ShuffleInputs, context: &KernelContext) -> Result<Vec<u8>, StepError> {
    let stage = Stage::ShufflePhase;
    let (setting, from) = (&state.setting, state.peer());
    let message = shuffle_phase_input(from, &inputs.peer_message)?;
    let peer_seed = PrngSeed::from_bytes(&message.peer_random_seed)
        .map_err(|reason| StepError::PeerSeed { from: from.clone(), reason })?;
    let own_seed = &state.keys.random_seed;
    if peer_seed == *own_seed {
        return Err(StepError::EchoedSeed(from.clone()));
    }
    let (found, expected) = (inputs.requisitions.len(), setting.requisition_count);
    if found != expected {
        return Err(RequisitionError::Count { found, expected }.into());
    }
    let shares = RequisitionShares::gather(
        &inputs.requisitions,
        &inputs.vectors,
        &message.secret_seeds,
        &inputs.seeds,
    )
    .map_err(|error| whose(from, &message.secret_seeds, error))?;
    let parameters = setting
        .frequency_vector_parameters(shares.register_count())
        .map_err(|source| StepError::Setting { stage, source })?;
    let order = match setting.role {
        Role::SecondNonAggregator => Order::Second,
        _ => Order::First,
    };
    let phase =
        ShufflePhase { parameters: &parameters, common_seed: own_seed.xor(&peer_seed), order: Some(order) };
    let registers = phase.complete(shares.iter().map(Ok), context).map_err(|source| match source {
        KernelError::ShareShuffle(reason) => match shares.name(reason) {
            Ok(named) => StepError::Requisition(named),
            Err(reason) => StepError::Kernel { stage, source: reason.into() },
        },
        source => StepError::Kernel { stage, source },
    })?;
    Ok(packed::aggregation_phase_input(registers, parameters.register_count()))
}

/// Names the other worker for what is wrong with a requisition for which it has passed on a seed.
fn whose(peer: &DuchyId, passed_on: &[SecretSeed], error: RequisitionError) -> StepError {
    let passed_on = |requisition| passed_on.iter().any(|seed| seed.requisition_id == requisition);
    if error.requisition().is_some_and(passed_on) {
        StepError::PassedOn { from: peer.clone(), source: error }
    } else {
        error.into()
    }
}

/// The parameters for as many registers as a worker says that there are, where what it sent can be such a vector: as long
/// as it should be. What is wrong with one message alone is laid to its sender, before the two are compared.
fn own_parameters(
    setting: &super::Setting,
    worker: usize,
    message: &[u8],
) -> Result<FrequencyVectorParameters, StepError> {
    let from = || setting.non_aggregators[worker].clone();
    let malformed = |_| StepError::Malformed { from: from(), message: "AggregationPhaseInput" };
    let register_count = packed::register_count(message).map_err(malformed)?;
    let parameters = setting
        .frequency_vector_parameters(register_count)
        .map_err(|source| StepError::RegisterCount { from: from(), source: Box::new(source) })?;
    let (expected, found) = (parameters.shuffled_length(), packed::value_count(message).map_err(malformed)?);
    if found != expected {
        let source = ShareShuffleError::ShareLength { share: worker, expected, found }.into();
        return Err(StepError::Share { from: from(), source });
    }
    Ok(parameters)
}

fn aggregation_phase(
    setting: super::Setting,
    inputs: &AggregationInputs,
    context: &KernelContext,
) -> Stepped {
    let stage = Stage::AggregationPhase;
    let [first, second] = inputs.messages.as_slice() else {
        return Err(StepError::MessageCount { stage, expected: WORKERS, found: inputs.messages.len() });
    };
    let [parameters, other] = [own_parameters(&setting, 0, first)?, own_parameters(&setting, 1, second)?];
    let register_counts = [&parameters, &other].map(|parameters| parameters.register_count() as i64);
    if register_counts[0] != register_counts[1] {
        return Err(StepError::RegisterCounts(register_counts));
    }
    let phase = AggregationPhase {
        parameters: &parameters,
        maximum_frequency: setting.parameters.maximum_frequency,
        vid_sampling_interval_width: setting.parameters.vid_sampling_width,
    };
    let shares = [first, second].map(|message| Values::serialised(message));
    let response = phase.complete(shares, context).map_err(|source| {
        let share = match &source {
            KernelError::ShareShuffle(reason) => reason.share(),
            _ => None,
        };
        match share.and_then(|share| setting.non_aggregators.get(share)) {
            Some(from) => StepError::Share { from: from.clone(), source },
            None => StepError::Kernel { stage, source },
        }
    })?;
    let result = MeasurementResult {
        reach: response.reach,
        frequency: (!setting.reach_only()).then_some(response.frequency_distribution),
        frequency_vector_size: Some(register_counts[0]),
    };
    Ok(Step {
        next: State::Complete(setting, Outcome::Succeeded),
        effects: vec![Effect::ReportResult(result)],
    })
}
