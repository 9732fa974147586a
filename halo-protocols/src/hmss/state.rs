//! [`State`]: where a share shuffle stands at one duchy, each stage with just what is known in it.

use std::collections::BTreeSet;

use halo_crypto::prg::PrngSeed;

use super::{Outcome, Role, Setting, SettingError, Stage};
use crate::duchy_id::DuchyId;
use crate::noise_account::StageNoise;
use crate::proto::duchy::EncryptionKeyPair;

/// A computation at rest: a variant per stage.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// To be worked on: publish the key.
    Initialized(Created),
    /// First worker: waits for the Kingdom.
    WaitToStart(Worker),
    /// Second worker: waits for the first.
    WaitOnShuffleInputPhaseOne(Worker),
    /// To be worked on: send the other worker what it needs.
    SetupPhase(Worker),
    /// First worker: waits for the second.
    WaitOnShuffleInputPhaseTwo(Worker),
    /// Aggregator: waits for both workers.
    WaitOnAggregationInput(Collecting),
    /// To be worked on: combine and permute shares.
    ShufflePhase(Worker),
    /// To be worked on: count.
    AggregationPhase(Setting),
    /// Over.
    Complete(Setting, Outcome),
}

/// What a worker is given when a computation is created, fresh for it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerKeys {
    /// This worker's half of the seed that the two have in common.
    pub random_seed: PrngSeed,
    /// The key that data providers encrypt seeds under, and the name of the private key, which the host keeps.
    pub encryption_key_pair: EncryptionKeyPair,
}

/// A computation that has just been created.
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// What is fixed.
    pub setting: Setting,
    /// At a worker, its keys.
    pub keys: Option<WorkerKeys>,
}

/// A computation at a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// What is fixed.
    pub setting: Setting,
    /// The worker's keys.
    pub keys: WorkerKeys,
}

impl Worker {
    /// The other worker.
    pub const fn peer(&self) -> &DuchyId {
        match self.setting.role {
            Role::SecondNonAggregator => self.setting.duchy_as(Role::FirstNonAggregator),
            _ => self.setting.duchy_as(Role::SecondNonAggregator),
        }
    }
}

/// An aggregator collecting the workers' shuffled shares.
#[derive(Clone, Debug, PartialEq)]
pub struct Collecting {
    /// What is fixed.
    pub setting: Setting,
    /// Who has sent.
    pub received: BTreeSet<DuchyId>,
}

impl State {
    /// The state of a new computation. The setting should have been validated; a worker needs keys, the aggregator has
    /// none.
    pub const fn new(setting: Setting, keys: Option<WorkerKeys>) -> Self {
        Self::Initialized(Created { setting, keys })
    }

    /// The stage this is.
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Initialized(_) => Stage::Initialized,
            Self::WaitToStart(_) => Stage::WaitToStart,
            Self::WaitOnShuffleInputPhaseOne(_) => Stage::WaitOnShuffleInputPhaseOne,
            Self::SetupPhase(_) => Stage::SetupPhase,
            Self::WaitOnShuffleInputPhaseTwo(_) => Stage::WaitOnShuffleInputPhaseTwo,
            Self::WaitOnAggregationInput(_) => Stage::WaitOnAggregationInput,
            Self::ShufflePhase(_) => Stage::ShufflePhase,
            Self::AggregationPhase(_) => Stage::AggregationPhase,
            Self::Complete(..) => Stage::Complete,
        }
    }

    /// What is fixed for the computation.
    pub const fn setting(&self) -> &Setting {
        match self {
            Self::Initialized(state) => &state.setting,
            Self::WaitToStart(state)
            | Self::WaitOnShuffleInputPhaseOne(state)
            | Self::SetupPhase(state)
            | Self::WaitOnShuffleInputPhaseTwo(state)
            | Self::ShufflePhase(state) => &state.setting,
            Self::WaitOnAggregationInput(state) => &state.setting,
            Self::AggregationPhase(setting) | Self::Complete(setting, _) => setting,
        }
    }

    /// What noise this duchy adds in the stage of the state.
    ///
    /// # Errors
    /// [`SettingError`] if the parameters define none; a validated setting's do.
    pub fn stage_noise(&self) -> Result<StageNoise, SettingError> {
        match self {
            Self::ShufflePhase(worker) => worker.setting.shuffle_noise(),
            other if other.setting().parameters.noise.is_none() => Ok(StageNoise::Disabled),
            _ => Ok(StageNoise::NotHere),
        }
    }

    /// The worker's keys, as long as they are needed.
    pub const fn keys(&self) -> Option<&WorkerKeys> {
        match self {
            Self::Initialized(state) => state.keys.as_ref(),
            Self::WaitToStart(state)
            | Self::WaitOnShuffleInputPhaseOne(state)
            | Self::SetupPhase(state)
            | Self::WaitOnShuffleInputPhaseTwo(state)
            | Self::ShufflePhase(state) => Some(&state.keys),
            Self::WaitOnAggregationInput(_) | Self::AggregationPhase(_) | Self::Complete(..) => None,
        }
    }
}
