//! The stages of a computation, as one table: what each is, what follows it for each role, how many messages it
//! collects. Numbers and names are upstream's (`ReachOnlyLiquidLegionsSketchAggregationV2.Stage`), since they travel to
//! peers and to the Kingdom and lie in databases.

use super::Message;
use crate::liquid_legions::RingStage;
use crate::llv2::stage::{AfterTransition, StageKind};
use crate::proto::protocol::reach_only_liquid_legions_sketch_aggregation_v2 as proto;
use crate::role::Role;

/// A stage of a reach-only Liquid Legions v2 computation at one duchy. The order is the order in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Draw the ElGamal key of this computation and announce it.
    InitializationPhase,
    /// Until the Kingdom knows the keys of all duchies and the requisitions are fulfilled.
    WaitRequisitionsAndKeySet,
    /// Check signatures, nonces and data; combine the keys; confirm.
    ConfirmationPhase,
    /// Non-aggregator: until the Kingdom says that everybody has confirmed.
    WaitToStart,
    /// Aggregator: until every other duchy has sent its sketch.
    WaitSetupPhaseInputs,
    /// Gather the sketches, add noise registers.
    SetupPhase,
    /// Until the ring predecessor has sent the combined register vector.
    WaitExecutionPhaseInputs,
    /// Blind and shuffle the registers; the aggregator estimates the reach.
    ExecutionPhase,
    /// Succeeded, failed or cancelled.
    Complete,
}

/// A stage number that reach-only Liquid Legions v2 does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stage {0} is not a stage of reach-only Liquid Legions v2")]
pub struct UnknownStage(
    /// The number found.
    pub i32,
);

impl Stage {
    /// All stages in the order of time.
    pub const ALL: [Self; 9] = [
        Self::InitializationPhase,
        Self::WaitRequisitionsAndKeySet,
        Self::ConfirmationPhase,
        Self::WaitToStart,
        Self::WaitSetupPhaseInputs,
        Self::SetupPhase,
        Self::WaitExecutionPhaseInputs,
        Self::ExecutionPhase,
        Self::Complete,
    ];

    /// The stage of a new computation.
    pub const INITIAL: Self = Self::InitializationPhase;

    /// The number on the wire and in databases: the position in time, from 1.
    pub const fn number(self) -> i32 {
        self.proto() as i32
    }

    /// Upstream's name, such as `EXECUTION_PHASE`.
    pub fn name(self) -> &'static str {
        self.proto().as_str_name()
    }

    /// The generated enum's value.
    pub const fn proto(self) -> proto::Stage {
        match self {
            Self::InitializationPhase => proto::Stage::InitializationPhase,
            Self::WaitRequisitionsAndKeySet => proto::Stage::WaitRequisitionsAndKeySet,
            Self::ConfirmationPhase => proto::Stage::ConfirmationPhase,
            Self::WaitToStart => proto::Stage::WaitToStart,
            Self::WaitSetupPhaseInputs => proto::Stage::WaitSetupPhaseInputs,
            Self::SetupPhase => proto::Stage::SetupPhase,
            Self::WaitExecutionPhaseInputs => proto::Stage::WaitExecutionPhaseInputs,
            Self::ExecutionPhase => proto::Stage::ExecutionPhase,
            Self::Complete => proto::Stage::Complete,
        }
    }

    /// Who moves a computation out of this stage.
    pub const fn kind(self) -> StageKind {
        match self {
            Self::InitializationPhase | Self::ConfirmationPhase | Self::SetupPhase | Self::ExecutionPhase => {
                StageKind::Compute
            }
            Self::WaitRequisitionsAndKeySet
            | Self::WaitToStart
            | Self::WaitSetupPhaseInputs
            | Self::WaitExecutionPhaseInputs => StageKind::Wait,
            Self::Complete => StageKind::Terminal,
        }
    }

    /// The role that alone passes through this stage, if one does.
    pub const fn role(self) -> Option<Role> {
        match self {
            Self::WaitToStart => Some(Role::NonAggregator),
            Self::WaitSetupPhaseInputs => Some(Role::Aggregator),
            _ => None,
        }
    }

    /// The stage that follows this one for `role`. `None` where a computation can only be finished, and for a stage
    /// that the role does not pass through. Finishing ([`Stage::Complete`]) is possible from every stage and is not a
    /// successor in this sense.
    pub fn next(self, role: Role) -> Option<Self> {
        if self.role().is_some_and(|only| only != role) {
            return None;
        }
        match (self, role) {
            (Self::InitializationPhase, _) => Some(Self::WaitRequisitionsAndKeySet),
            (Self::WaitRequisitionsAndKeySet, _) => Some(Self::ConfirmationPhase),
            (Self::ConfirmationPhase, Role::Aggregator) => Some(Self::WaitSetupPhaseInputs),
            (Self::ConfirmationPhase, Role::NonAggregator) => Some(Self::WaitToStart),
            (Self::WaitToStart | Self::WaitSetupPhaseInputs, _) => Some(Self::SetupPhase),
            (Self::SetupPhase, _) => Some(Self::WaitExecutionPhaseInputs),
            (Self::WaitExecutionPhaseInputs, _) => Some(Self::ExecutionPhase),
            (Self::ExecutionPhase | Self::Complete, _) => None,
        }
    }

    /// Whether data providers may still hand in their data.
    pub const fn takes_requisitions(self) -> bool {
        matches!(self, Self::InitializationPhase | Self::WaitRequisitionsAndKeySet)
    }

    /// Whether a computation entering this stage becomes work for a mill.
    pub const fn after_transition(self) -> AfterTransition {
        match self.kind() {
            StageKind::Compute => AfterTransition::AddUnclaimedToQueue,
            StageKind::Wait | StageKind::Terminal => AfterTransition::DoNotAddToQueue,
        }
    }

    /// The number of blobs that this stage must have produced (compute) or received (wait) before the next one.
    /// `participants` counts the duchies of the computation, this one included.
    pub const fn output_slots(self, participants: usize) -> usize {
        match self {
            Self::InitializationPhase
            | Self::WaitRequisitionsAndKeySet
            | Self::ConfirmationPhase
            | Self::WaitToStart
            | Self::Complete => 0,
            Self::WaitSetupPhaseInputs => participants.saturating_sub(1),
            Self::SetupPhase | Self::WaitExecutionPhaseInputs | Self::ExecutionPhase => 1,
        }
    }
}

impl RingStage for Stage {
    type Message = Message;

    const INITIALIZATION_PHASE: Self = Self::InitializationPhase;
    const WAIT_REQUISITIONS_AND_KEY_SET: Self = Self::WaitRequisitionsAndKeySet;
    const CONFIRMATION_PHASE: Self = Self::ConfirmationPhase;
    const WAIT_TO_START: Self = Self::WaitToStart;
    const WAIT_SETUP_PHASE_INPUTS: Self = Self::WaitSetupPhaseInputs;
    const SETUP_PHASE: Self = Self::SetupPhase;
    const SETUP_PHASE_INPUT: Message = Message::SetupPhaseInput;
    const MESSAGES: &'static [Message] = &Message::ALL;

    fn name(self) -> &'static str {
        self.name()
    }

    fn kind(self) -> StageKind {
        self.kind()
    }

    fn next(self, role: Role) -> Option<Self> {
        self.next(role)
    }

    fn awaiting(message: Message) -> Self {
        message.awaited_in()
    }
}

impl TryFrom<i32> for Stage {
    type Error = UnknownStage;

    fn try_from(number: i32) -> Result<Self, UnknownStage> {
        usize::try_from(number)
            .ok()
            .and_then(|position| Self::ALL.get(position.checked_sub(1)?))
            .copied()
            .ok_or(UnknownStage(number))
    }
}

#[cfg(test)]
mod tests;
