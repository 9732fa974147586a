//! The phases that both protocols begin with: keys, ring, consent, and the registers that arrive at the aggregator.

use halo_crypto::Group;
use prost::Message as _;

use super::event::{Event, Evidence, Outcome};
use super::key_set::{CombinedKeys, KeySetError, Participant, PublishedKey, Ring};
use super::ring_computation::{MessageOf, RingComputation, RingStage};
use super::state::{Collecting, Confirmed, Created, Gathered, Keyed};
use super::{Setting, StepError};
use crate::computation::Step;
use crate::consent;
use crate::duchy_id::DuchyId;
use crate::effect::{Effect, Payload};
use crate::kernel::KernelError;
use crate::llv2::StageKind;
use crate::proto::duchy::{ElGamalKeyPair, ElGamalPublicKey};
use crate::role::Role;

/// What the phases here lead to, in either protocol's state.
pub(crate) enum Opening {
    WaitRequisitionsAndKeySet(Keyed),
    ConfirmationPhase(Gathered),
    WaitToStart(Confirmed),
    WaitSetupPhaseInputs(Collecting),
    SetupPhase(Confirmed),
    Complete(Setting, Outcome),
}

pub(crate) type Stepped<C> = Result<Step<C>, StepError<<C as RingComputation>::Stage>>;

/// A protocol that begins with these phases.
pub(crate) trait Opens: RingComputation + From<Opening> {}

impl<C: RingComputation + From<Opening>> Opens for C {}

/// Moves on without asking anything of the host.
pub(crate) fn moved<C: Opens>(next: impl Into<C>) -> Step<C> {
    Step { next: next.into(), effects: Vec::new() }
}

/// The event has no place in this state.
pub(crate) fn unexpected<C: Opens>(state: &C, event: &Event<MessageOf<C>>) -> StepError<C::Stage> {
    StepError::Unexpected { stage: state.stage(), role: state.setting().role, event: event.name() }
}

/// A computation that has ended stays as it ended.
pub(crate) fn stopped<C: Opens>(state: C, outcome: Outcome) -> Step<C> {
    match state.stage().kind() {
        StageKind::Terminal => moved(state),
        StageKind::Wait | StageKind::Compute => moved(Opening::Complete(state.setting().clone(), outcome)),
    }
}

/// Publishes this duchy's key, which `make_key` makes unless there is one from an earlier attempt.
pub(crate) fn initialize<C: Opens>(
    state: Created,
    make_key: impl FnOnce(i64) -> Result<Option<ElGamalKeyPair>, KernelError>,
) -> Stepped<C> {
    let stage = C::Stage::INITIALIZATION_PHASE;
    let Created { setting, local_key } = state;
    let local_key = match local_key {
        Some(key) => key,
        None => make_key(setting.parameters.curve_id)
            .map_err(|source| StepError::Kernel { stage, from: None, source })?
            .ok_or(StepError::Incomplete { stage, missing: "the key pair" })?,
    };
    let ElGamalPublicKey { generator, element } =
        local_key.public_key.clone().ok_or(StepError::Incomplete { stage, missing: "the public key" })?;
    let published = PublishedKey { elliptic_curve_id: 0, generator, element }.encode_to_vec();
    Ok(Step {
        next: Opening::WaitRequisitionsAndKeySet(Keyed { setting, local_key }).into(),
        effects: vec![Effect::PublishKey { el_gamal_public_key: published }],
    })
}

/// Puts the participants into ring order.
pub(crate) fn gather<C: Opens>(
    keyed: Keyed,
    aggregator: &DuchyId,
    participants: Vec<Participant>,
) -> Stepped<C> {
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
    Ok(moved(Opening::ConfirmationPhase(Gathered { keyed, ring })))
}

/// Combines the keys and confirms, or fails with everything that speaks against it.
pub(crate) fn confirm<G: Group, C: Opens>(state: Gathered, evidence: &Evidence) -> Stepped<C> {
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
                    Opening::WaitSetupPhaseInputs(Collecting { confirmed, received: Default::default() })
                }
                Role::NonAggregator => Opening::WaitToStart(confirmed),
            };
            Ok(Step { next: next.into(), effects: vec![Effect::ConfirmParticipation] })
        }
        _ => Ok(Step {
            next: Opening::Complete(setting.clone(), Outcome::Failed).into(),
            effects: vec![Effect::FailParticipation { reason: findings.join("; ") }],
        }),
    }
}

/// Takes note of one non-aggregator's registers.
pub(crate) fn collect<C: Opens>(mut state: Collecting, from: DuchyId, message: MessageOf<C>) -> Stepped<C> {
    if message != C::Stage::SETUP_PHASE_INPUT {
        let stage = C::Stage::WAIT_SETUP_PHASE_INPUTS;
        return Err(StepError::MessageMismatch { from, found: message, stage });
    }
    let senders = state.confirmed.gathered.ring.non_aggregators();
    if !senders.iter().any(|participant| participant.duchy == from) {
        return Err(StepError::WrongSender { from, expected: "one of the non-aggregators".to_owned() });
    }
    let expected = senders.len();
    state.received.insert(from);
    Ok(moved(if state.received.len() == expected {
        Opening::SetupPhase(state.confirmed)
    } else {
        Opening::WaitSetupPhaseInputs(state)
    }))
}

/// Takes note of what the previous duchy in the ring sent to one that is in `stage`.
pub(crate) fn receive<C: Opens>(
    state: Confirmed,
    from: DuchyId,
    message: MessageOf<C>,
    stage: C::Stage,
    next: fn(Confirmed) -> C,
) -> Stepped<C> {
    if C::Stage::awaiting(message) != stage {
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

/// This duchy has done its part.
pub(crate) fn finished<C: Opens>(state: Confirmed, effects: Vec<C::Effect>) -> Step<C> {
    Step { next: Opening::Complete(state.gathered.keyed.setting, Outcome::Succeeded).into(), effects }
}

/// Keeps a stage's output and sends it.
pub(crate) fn keep_and_send<M>(output: Vec<u8>, to: DuchyId, message: M) -> Vec<Effect<M>> {
    let payload = Payload::from(output);
    vec![Effect::Keep(payload.clone()), Effect::Send { to, message, payload }]
}

/// Whom this duchy sends to in an execution phase.
pub(crate) fn next_in_ring<S: RingStage>(state: &Confirmed, stage: S) -> Result<DuchyId, StepError<S>> {
    state
        .gathered
        .ring
        .next(&state.setting().duchy)
        .cloned()
        .ok_or(StepError::Incomplete { stage, missing: "the next duchy in the ring" })
}

/// Whom a non-aggregator sends to in the setup phase.
pub(crate) fn aggregator<S: RingStage>(state: &Confirmed, stage: S) -> Result<DuchyId, StepError<S>> {
    let aggregator = state.gathered.ring.aggregator().cloned();
    aggregator.ok_or(StepError::Incomplete { stage, missing: "the aggregator" })
}

/// What it means that a kernel refuses the data of an execution phase, where the previous duchy in the ring sends it.
pub(crate) fn refused<S: RingStage>(state: &Confirmed, stage: S) -> impl FnOnce(KernelError) -> StepError<S> {
    let previous = previous_in_ring(state);
    move |source| StepError::Kernel { stage, from: previous.filter(|_| source.is_of_message()), source }
}

/// Who sends to this duchy in an execution phase.
pub(crate) fn previous_in_ring(state: &Confirmed) -> Option<DuchyId> {
    state.gathered.ring.previous(&state.setting().duchy).cloned()
}

/// Which non-aggregator sent the message of this number to the aggregator's setup phase.
pub(crate) fn setup_sender(state: &Confirmed, message: usize) -> Option<DuchyId> {
    state.gathered.ring.non_aggregators().get(message).map(|sender| sender.duchy.clone())
}

/// Checks how many messages a stage was given.
pub(crate) fn require_messages<S: RingStage>(
    stage: S,
    messages: &[Vec<u8>],
    expected: usize,
) -> Result<(), StepError<S>> {
    if messages.len() == expected {
        Ok(())
    } else {
        Err(StepError::MessageCount { stage, expected, found: messages.len() })
    }
}

/// The registers of several senders one behind the other. Each sender's are given back as soon as they are copied, and
/// those of an only one are not copied.
pub(crate) fn joined(mut vectors: Vec<Vec<u8>>) -> Vec<u8> {
    if vectors.len() == 1 {
        return vectors.pop().unwrap_or_default();
    }
    let mut whole = Vec::with_capacity(vectors.iter().map(Vec::len).sum());
    for vector in vectors {
        whole.extend_from_slice(&vector);
    }
    whole
}

/// The message of a stage that works on one.
pub(crate) fn only_message<S: RingStage>(
    stage: S,
    mut messages: Vec<Vec<u8>>,
) -> Result<Vec<u8>, StepError<S>> {
    require_messages(stage, &messages, 1)?;
    messages.pop().ok_or(StepError::MessageCount { stage, expected: 1, found: 0 })
}
