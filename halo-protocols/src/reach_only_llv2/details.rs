//! A [`State`] as upstream's rows hold it: a stage and `ComputationDetails`.

use super::{DetailsError, Stage, State};
use crate::duchy_id::DuchyId;
use crate::kernel::KernelError;
use crate::liquid_legions::key_set::{KeySetError, Ring};
use crate::liquid_legions::{
    Collecting, Outcome, Parameters, RingComputation, Row, Setting, Surroundings, stored_participants,
};
use crate::noise_account::StageNoise;
use crate::proto::duchy::config::RoleInComputation;
use crate::proto::protocol::reach_only_liquid_legions_sketch_aggregation_v2::ComputationDetails;
use crate::proto::protocol::reach_only_liquid_legions_sketch_aggregation_v2::computation_details::{
    Parameters as StoredParameters, ReachEstimate,
};
use crate::role::Role;

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
        let stored = details.parameters.as_ref().ok_or_else(|| need("parameters"))?;
        let parameters =
            parameters(stored, surroundings.vid_sampling_width).ok_or_else(|| need("sketch parameters"))?;
        let row = Row {
            stage,
            setting: surroundings.setting(Role::try_from(details.role)?, parameters),
            local_key: details.local_elgamal_key.as_ref(),
            participants: &details.participant,
            composite: details.combined_public_key.as_ref(),
            partial: details.partially_combined_public_key.as_ref(),
            reach: details.reach_estimate.as_ref().map(|estimate| estimate.reach),
        };
        Ok(match stage {
            Stage::InitializationPhase => Self::InitializationPhase(row.created()),
            Stage::WaitRequisitionsAndKeySet => Self::WaitRequisitionsAndKeySet(row.keyed()?),
            Stage::ConfirmationPhase => Self::ConfirmationPhase(row.gathered()?),
            Stage::WaitToStart => Self::WaitToStart(row.confirmed()?),
            Stage::WaitSetupPhaseInputs => Self::WaitSetupPhaseInputs(Collecting {
                confirmed: row.confirmed()?,
                received: surroundings.received.into_iter().collect(),
            }),
            Stage::SetupPhase => Self::SetupPhase(row.confirmed()?),
            Stage::WaitExecutionPhaseInputs => Self::WaitExecutionPhaseInputs(row.confirmed()?),
            Stage::ExecutionPhase => Self::ExecutionPhase(row.confirmed()?),
            Stage::Complete => {
                let outcome = surroundings.outcome.ok_or_else(|| need("ending state"))?;
                Self::Complete(row.setting, outcome)
            }
        })
    }

    /// Writes what this state knows into a row's details; what it does not know stays as it is.
    ///
    /// # Errors
    /// If a participant's published key cannot be read; it was read when the participant was taken in.
    pub fn write_details(&self, details: &mut ComputationDetails) -> Result<(), KeySetError> {
        let known = self.known();
        details.role = RoleInComputation::from(known.setting.role) as i32;
        details.parameters = Some(stored_parameters(&known.setting.parameters));
        if let Some(key) = known.local_key {
            details.local_elgamal_key = Some(key.clone());
        }
        if let Some(ring) = known.ring {
            details.participant = stored_participants(ring)?;
        }
        if let Some(keys) = known.keys {
            details.combined_public_key = Some(keys.composite.clone());
            details.partially_combined_public_key = Some(keys.partial.clone());
            details.reach_estimate = known.reach.map(|reach| ReachEstimate { reach });
        }
        Ok(())
    }
}

fn parameters(stored: &StoredParameters, vid_sampling_width: f32) -> Option<Parameters> {
    Some(Parameters {
        curve_id: stored.elliptic_curve_id.into(),
        maximum_frequency: 1,
        sketch: stored.sketch_parameters?,
        vid_sampling_width,
        noise: stored.noise.filter(|noise| noise.reach_noise_config.is_some()),
    })
}

fn stored_parameters(parameters: &Parameters) -> StoredParameters {
    StoredParameters {
        sketch_parameters: Some(parameters.sketch),
        noise: parameters.noise,
        elliptic_curve_id: i32::try_from(parameters.curve_id).unwrap_or_default(),
    }
}

impl RingComputation for State {
    type Stage = Stage;
    type Details = ComputationDetails;

    fn new(setting: Setting) -> Self {
        Self::new(setting)
    }

    fn stage(&self) -> Stage {
        self.stage()
    }

    fn setting(&self) -> &Setting {
        self.setting()
    }

    fn ring(&self) -> Option<&Ring> {
        self.known().ring
    }

    fn received(&self) -> Vec<DuchyId> {
        match self {
            Self::WaitSetupPhaseInputs(state) => state.received.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Complete(_, outcome) => Some(*outcome),
            _ => None,
        }
    }

    fn local_secret_key(&self) -> Option<&[u8]> {
        self.known().local_key.map(|pair| pair.secret_key.as_slice())
    }

    fn stage_noise(&self) -> Result<StageNoise, KernelError> {
        let setting = self.setting();
        match self {
            Self::SetupPhase(_) => setting.reach_only_setup_noise(),
            _ => Ok(setting.no_stage_noise()),
        }
    }

    fn from_details(
        stage: Stage,
        details: &ComputationDetails,
        surroundings: Surroundings,
    ) -> Result<Self, DetailsError> {
        Self::from_details(stage, details, surroundings)
    }

    fn write_details(&self, details: &mut ComputationDetails) -> Result<(), KeySetError> {
        self.write_details(details)
    }
}
