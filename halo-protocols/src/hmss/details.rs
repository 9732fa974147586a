//! A [`State`] as upstream's rows hold it: a stage and `ComputationDetails`.

use halo_crypto::prg::{PrngSeed, PrngSeedError};

use super::role::UnknownRole;
use super::setting::{Noise, Parameters, Setting};
use super::state::{Collecting, Created, State, Worker, WorkerKeys};
use super::{Outcome, Role, Stage};
use crate::duchy_id::DuchyId;
use crate::proto::duchy::NoiseMechanism;
use crate::proto::duchy::config::RoleInComputation;
use crate::proto::protocol::honest_majority_share_shuffle::ComputationDetails;
use crate::proto::protocol::honest_majority_share_shuffle::computation_details::Parameters as StoredParameters;

/// What a row of a computation says beside its `ComputationDetails`.
#[derive(Clone, Debug, PartialEq)]
pub struct Surroundings {
    /// The computation's global id.
    pub computation: String,
    /// The duchy whose row it is.
    pub duchy: DuchyId,
    /// The aggregator, from the setup configuration.
    pub aggregator: DuchyId,
    /// How many requisitions the computation has.
    pub requisition_count: usize,
    /// Width of the VID sampling interval, from the measurement spec.
    pub vid_sampling_width: f32,
    /// Who has sent, in `WAIT_ON_AGGREGATION_INPUT`.
    pub received: Vec<DuchyId>,
    /// How it ended, in `COMPLETE`.
    pub outcome: Option<Outcome>,
}

/// A row that describes no state.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DetailsError {
    /// Something that every row of this stage has is missing.
    #[error("a computation in {} has no {missing}", stage.name())]
    Missing {
        /// The stage of the row.
        stage: Stage,
        /// What is missing.
        missing: &'static str,
    },
    /// There are two workers.
    #[error("{0} non-aggregators are named, there must be 2")]
    NonAggregators(usize),
    /// The stored seed has another length than a seed.
    #[error("random seed: {0}")]
    RandomSeed(#[from] PrngSeedError),
    /// The role is none of this protocol.
    #[error(transparent)]
    Role(#[from] UnknownRole),
}

impl State {
    /// Reads a state from a row.
    ///
    /// # Errors
    /// [`DetailsError`] if the row lacks what a computation in this stage has.
    pub fn from_details(
        stage: Stage,
        details: &ComputationDetails,
        surroundings: Surroundings,
    ) -> Result<Self, DetailsError> {
        let need = |missing| DetailsError::Missing { stage, missing };
        let Surroundings { computation, duchy, aggregator, requisition_count, vid_sampling_width, .. } =
            surroundings;
        let stored = details.parameters.as_ref().ok_or_else(|| need("parameters"))?;
        let non_aggregators: Vec<_> = details.non_aggregators.iter().cloned().map(DuchyId::from).collect();
        let setting = Setting {
            computation,
            duchy,
            role: Role::try_from(details.role)?,
            non_aggregators: non_aggregators
                .try_into()
                .map_err(|found: Vec<_>| DetailsError::NonAggregators(found.len()))?,
            aggregator,
            requisition_count,
            parameters: parameters(stored, vid_sampling_width).ok_or_else(|| need("reach noise"))?,
        };
        let keys = match &details.encryption_key_pair {
            Some(pair) if !details.random_seed.is_empty() => Some(WorkerKeys {
                random_seed: PrngSeed::from_bytes(&details.random_seed)?,
                encryption_key_pair: pair.clone(),
            }),
            _ => None,
        };
        let worker = |setting, keys: Option<WorkerKeys>| {
            Ok::<_, DetailsError>(Worker { setting, keys: keys.ok_or_else(|| need("seed and key pair"))? })
        };
        Ok(match stage {
            Stage::Initialized => Self::Initialized(Created { setting, keys }),
            Stage::WaitToStart => Self::WaitToStart(worker(setting, keys)?),
            Stage::WaitOnShuffleInputPhaseOne => Self::WaitOnShuffleInputPhaseOne(worker(setting, keys)?),
            Stage::SetupPhase => Self::SetupPhase(worker(setting, keys)?),
            Stage::WaitOnShuffleInputPhaseTwo => Self::WaitOnShuffleInputPhaseTwo(worker(setting, keys)?),
            Stage::ShufflePhase => Self::ShufflePhase(worker(setting, keys)?),
            Stage::WaitOnAggregationInput => Self::WaitOnAggregationInput(Collecting {
                setting,
                received: surroundings.received.into_iter().collect(),
            }),
            Stage::AggregationPhase => Self::AggregationPhase(setting),
            Stage::Complete => {
                Self::Complete(setting, surroundings.outcome.ok_or_else(|| need("ending state"))?)
            }
        })
    }

    /// Writes what this state knows into a row's details; what it does not know stays as it is.
    pub fn write_details(&self, details: &mut ComputationDetails) {
        let setting = self.setting();
        details.role = RoleInComputation::from(setting.role) as i32;
        details.parameters = Some(stored_parameters(&setting.parameters));
        details.non_aggregators = setting.non_aggregators.iter().map(ToString::to_string).collect();
        if let Some(keys) = self.keys() {
            details.random_seed = keys.random_seed.as_bytes().to_vec();
            details.encryption_key_pair = Some(keys.encryption_key_pair.clone());
        }
    }
}

/// `None` if there is a mechanism without parameters.
fn parameters(stored: &StoredParameters, vid_sampling_width: f32) -> Option<Parameters> {
    let noise = if stored.noise_mechanism == NoiseMechanism::None as i32 {
        None
    } else {
        Some(Noise {
            mechanism: stored.noise_mechanism,
            reach: stored.reach_dp_params?,
            frequency: stored.frequency_dp_params,
        })
    };
    Some(Parameters {
        maximum_frequency: stored.maximum_frequency,
        ring_modulus: stored.ring_modulus,
        vid_sampling_width,
        noise,
    })
}

fn stored_parameters(parameters: &Parameters) -> StoredParameters {
    let noise = parameters.noise;
    StoredParameters {
        maximum_frequency: parameters.maximum_frequency,
        ring_modulus: parameters.ring_modulus,
        reach_dp_params: noise.map(|noise| noise.reach),
        frequency_dp_params: noise.and_then(|noise| noise.frequency),
        noise_mechanism: noise.map_or(NoiseMechanism::None as i32, |noise| noise.mechanism),
    }
}
