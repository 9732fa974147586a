//! [`State`]: where a Liquid Legions v2 computation stands at one duchy, each stage with just what is known in it.

use super::{Outcome, Setting, Stage};
use crate::liquid_legions::{Collecting, Confirmed, Created, Gathered, Keyed, Known, Opening};

/// A computation at rest: a variant per stage.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// To be worked on: make a key pair and publish it.
    InitializationPhase(Created),
    /// Waits for the Kingdom: all keys, all requisitions.
    WaitRequisitionsAndKeySet(Keyed),
    /// To be worked on: check consent and combine the keys.
    ConfirmationPhase(Gathered),
    /// Non-aggregator: waits for the Kingdom to start everyone.
    WaitToStart(Confirmed),
    /// Aggregator: waits for every non-aggregator's registers.
    WaitSetupPhaseInputs(Collecting),
    /// To be worked on: registers with noise, sorted.
    SetupPhase(Confirmed),
    /// Waits for the combined register vector.
    WaitExecutionPhaseOneInputs(Confirmed),
    /// To be worked on: blind the registers; at the aggregator, join them.
    ExecutionPhaseOne(Confirmed),
    /// Waits for the flag-count tuples.
    WaitExecutionPhaseTwoInputs(Confirmed),
    /// To be worked on: take a layer off the flags; at the aggregator, count.
    ExecutionPhaseTwo(Confirmed),
    /// Waits for the matrix.
    WaitExecutionPhaseThreeInputs(Confirmed),
    /// To be worked on: take a layer off the matrix; at the aggregator, read the frequencies.
    ExecutionPhaseThree(Confirmed),
    /// Over.
    Complete(Setting, Outcome),
}

impl State {
    /// The state of a new computation. The setting should have been validated.
    pub fn new(setting: Setting) -> Self {
        Self::InitializationPhase(Created { setting, local_key: None })
    }

    /// The stage this is.
    pub const fn stage(&self) -> Stage {
        match self {
            Self::InitializationPhase(_) => Stage::InitializationPhase,
            Self::WaitRequisitionsAndKeySet(_) => Stage::WaitRequisitionsAndKeySet,
            Self::ConfirmationPhase(_) => Stage::ConfirmationPhase,
            Self::WaitToStart(_) => Stage::WaitToStart,
            Self::WaitSetupPhaseInputs(_) => Stage::WaitSetupPhaseInputs,
            Self::SetupPhase(_) => Stage::SetupPhase,
            Self::WaitExecutionPhaseOneInputs(_) => Stage::WaitExecutionPhaseOneInputs,
            Self::ExecutionPhaseOne(_) => Stage::ExecutionPhaseOne,
            Self::WaitExecutionPhaseTwoInputs(_) => Stage::WaitExecutionPhaseTwoInputs,
            Self::ExecutionPhaseTwo(_) => Stage::ExecutionPhaseTwo,
            Self::WaitExecutionPhaseThreeInputs(_) => Stage::WaitExecutionPhaseThreeInputs,
            Self::ExecutionPhaseThree(_) => Stage::ExecutionPhaseThree,
            Self::Complete(..) => Stage::Complete,
        }
    }

    /// What is fixed for the computation.
    pub fn setting(&self) -> &Setting {
        self.known().setting
    }

    /// What is known in this state.
    pub(super) fn known(&self) -> Known<'_> {
        match self {
            Self::InitializationPhase(state) => state.known(),
            Self::WaitRequisitionsAndKeySet(state) => state.known(),
            Self::ConfirmationPhase(state) => state.known(),
            Self::WaitSetupPhaseInputs(state) => state.confirmed.known(),
            Self::WaitToStart(state)
            | Self::SetupPhase(state)
            | Self::WaitExecutionPhaseOneInputs(state)
            | Self::ExecutionPhaseOne(state)
            | Self::WaitExecutionPhaseTwoInputs(state)
            | Self::ExecutionPhaseTwo(state)
            | Self::WaitExecutionPhaseThreeInputs(state)
            | Self::ExecutionPhaseThree(state) => state.known(),
            Self::Complete(setting, _) => Known::of(setting),
        }
    }
}

impl From<Opening> for State {
    fn from(opening: Opening) -> Self {
        match opening {
            Opening::WaitRequisitionsAndKeySet(state) => Self::WaitRequisitionsAndKeySet(state),
            Opening::ConfirmationPhase(state) => Self::ConfirmationPhase(state),
            Opening::WaitToStart(state) => Self::WaitToStart(state),
            Opening::WaitSetupPhaseInputs(state) => Self::WaitSetupPhaseInputs(state),
            Opening::SetupPhase(state) => Self::SetupPhase(state),
            Opening::Complete(setting, outcome) => Self::Complete(setting, outcome),
        }
    }
}
