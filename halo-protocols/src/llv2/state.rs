//! [`State`]: where a Liquid Legions v2 computation stands at one duchy, each stage with just what is known in it.

use std::collections::BTreeSet;

use super::event::Outcome;
use super::key_set::{CombinedKeys, Ring};
use super::{Setting, Stage};
use crate::duchy_id::DuchyId;
use crate::proto::duchy::ElGamalKeyPair;

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

/// A computation that has just been created.
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// What is fixed.
    pub setting: Setting,
    /// The key pair, if an earlier attempt made one: it is published again instead of another.
    pub local_key: Option<ElGamalKeyPair>,
}

/// A computation with a key pair of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyed {
    /// What is fixed.
    pub setting: Setting,
    /// This duchy's key pair, fresh for this computation.
    pub local_key: ElGamalKeyPair,
}

/// A computation that knows who takes part, unchecked.
#[derive(Clone, Debug, PartialEq)]
pub struct Gathered {
    /// What is fixed, and the key pair.
    pub keyed: Keyed,
    /// The participants in ring order.
    pub ring: Ring,
}

/// A computation whose participants and keys are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Confirmed {
    /// What is fixed, the key pair and the participants.
    pub gathered: Gathered,
    /// The sums of the keys.
    pub keys: CombinedKeys,
    /// The reach, once the aggregator has estimated it.
    pub reach: Option<i64>,
}

/// An aggregator collecting the other duchies' registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Collecting {
    /// The computation so far.
    pub confirmed: Confirmed,
    /// Who has sent.
    pub received: BTreeSet<DuchyId>,
}

impl Confirmed {
    /// What is fixed.
    pub fn setting(&self) -> &Setting {
        &self.gathered.keyed.setting
    }
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
        match self {
            Self::InitializationPhase(state) => &state.setting,
            Self::WaitRequisitionsAndKeySet(state) => &state.setting,
            Self::ConfirmationPhase(state) => &state.keyed.setting,
            Self::WaitSetupPhaseInputs(state) => state.confirmed.setting(),
            Self::WaitToStart(state)
            | Self::SetupPhase(state)
            | Self::WaitExecutionPhaseOneInputs(state)
            | Self::ExecutionPhaseOne(state)
            | Self::WaitExecutionPhaseTwoInputs(state)
            | Self::ExecutionPhaseTwo(state)
            | Self::WaitExecutionPhaseThreeInputs(state)
            | Self::ExecutionPhaseThree(state) => state.setting(),
            Self::Complete(setting, _) => setting,
        }
    }
}
