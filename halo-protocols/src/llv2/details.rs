//! A [`State`] as upstream's rows hold it: a stage and `ComputationDetails`.

use super::Stage;
use super::event::Outcome;
use super::key_set::{CombinedKeys, KeySetError, Participant, Ring};
use super::setting::{Parameters, Setting};
use super::state::{Collecting, Confirmed, Created, Gathered, Keyed, State};
use crate::duchy_id::DuchyId;
use crate::proto::duchy::config::RoleInComputation;
use crate::proto::protocol::liquid_legions_sketch_aggregation_v2::ComputationDetails;
use crate::proto::protocol::liquid_legions_sketch_aggregation_v2::computation_details::{
    ComputationParticipant, Parameters as StoredParameters, ReachEstimate,
};
use crate::role::{Role, UnknownRole};

/// What a row of a computation says beside its `ComputationDetails`.
#[derive(Clone, Debug, PartialEq)]
pub struct Surroundings {
    /// The computation's global id.
    pub computation: String,
    /// The duchy whose row it is.
    pub duchy: DuchyId,
    /// How many duchies take part.
    pub duchy_count: usize,
    /// How many requisitions the computation has.
    pub requisition_count: usize,
    /// Width of the VID sampling interval, from the measurement spec.
    pub vid_sampling_width: f32,
    /// Who has sent, in `WAIT_SETUP_PHASE_INPUTS`.
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
        let stored = details.parameters.as_ref().ok_or_else(|| need("parameters"))?;
        let Surroundings { received, outcome, .. } = surroundings.clone();
        let setting = setting(stored, Role::try_from(details.role)?, surroundings)
            .ok_or_else(|| need("sketch parameters"))?;
        let local_key = details.local_elgamal_key.clone();
        if stage == Stage::InitializationPhase {
            return Ok(Self::InitializationPhase(Created { setting, local_key }));
        }
        if stage == Stage::Complete {
            return Ok(Self::Complete(setting, outcome.ok_or_else(|| need("ending state"))?));
        }
        let keyed = Keyed { setting, local_key: local_key.ok_or_else(|| need("key pair"))? };
        if stage == Stage::WaitRequisitionsAndKeySet {
            return Ok(Self::WaitRequisitionsAndKeySet(keyed));
        }
        if details.participant.is_empty() {
            return Err(need("participants"));
        }
        let ring = Ring::from_ordered(details.participant.iter().map(Participant::from).collect());
        let gathered = Gathered { keyed, ring };
        if stage == Stage::ConfirmationPhase {
            return Ok(Self::ConfirmationPhase(gathered));
        }
        let composite = details.combined_public_key.clone().ok_or_else(|| need("combined key"))?;
        // Upstream leaves the aggregator's partial key out of some rows: it is the whole.
        let partial = details.partially_combined_public_key.clone().unwrap_or_else(|| composite.clone());
        let reach = details.reach_estimate.as_ref().map(|estimate| estimate.reach);
        let confirmed = Confirmed { gathered, keys: CombinedKeys { composite, partial }, reach };
        Ok(match stage {
            Stage::WaitToStart => Self::WaitToStart(confirmed),
            Stage::WaitSetupPhaseInputs => {
                Self::WaitSetupPhaseInputs(Collecting { confirmed, received: received.into_iter().collect() })
            }
            Stage::SetupPhase => Self::SetupPhase(confirmed),
            Stage::WaitExecutionPhaseOneInputs => Self::WaitExecutionPhaseOneInputs(confirmed),
            Stage::ExecutionPhaseOne => Self::ExecutionPhaseOne(confirmed),
            Stage::WaitExecutionPhaseTwoInputs => Self::WaitExecutionPhaseTwoInputs(confirmed),
            Stage::ExecutionPhaseTwo => Self::ExecutionPhaseTwo(confirmed),
            Stage::WaitExecutionPhaseThreeInputs => Self::WaitExecutionPhaseThreeInputs(confirmed),
            Stage::ExecutionPhaseThree => Self::ExecutionPhaseThree(confirmed),
            Stage::InitializationPhase
            | Stage::WaitRequisitionsAndKeySet
            | Stage::ConfirmationPhase
            | Stage::Complete => return Err(need("state")),
        })
    }

    /// Writes what this state knows into a row's details; what it does not know stays as it is.
    ///
    /// # Errors
    /// If a participant's published key cannot be read; it was read when the participant was taken in.
    pub fn write_details(&self, details: &mut ComputationDetails) -> Result<(), KeySetError> {
        let setting = self.setting();
        details.role = RoleInComputation::from(setting.role) as i32;
        details.parameters = Some(stored_parameters(&setting.parameters));
        match self {
            Self::Complete(..) => {}
            Self::InitializationPhase(state) => details.local_elgamal_key = state.local_key.clone(),
            Self::WaitRequisitionsAndKeySet(state) => write_keyed(state, details),
            Self::ConfirmationPhase(state) => write_gathered(state, details)?,
            Self::WaitSetupPhaseInputs(state) => write_confirmed(&state.confirmed, details)?,
            Self::WaitToStart(state)
            | Self::SetupPhase(state)
            | Self::WaitExecutionPhaseOneInputs(state)
            | Self::ExecutionPhaseOne(state)
            | Self::WaitExecutionPhaseTwoInputs(state)
            | Self::ExecutionPhaseTwo(state)
            | Self::WaitExecutionPhaseThreeInputs(state)
            | Self::ExecutionPhaseThree(state) => write_confirmed(state, details)?,
        }
        Ok(())
    }
}

fn setting(stored: &StoredParameters, role: Role, surroundings: Surroundings) -> Option<Setting> {
    Some(Setting {
        computation: surroundings.computation,
        duchy: surroundings.duchy,
        role,
        duchy_count: surroundings.duchy_count,
        requisition_count: surroundings.requisition_count,
        parameters: Parameters {
            curve_id: stored.elliptic_curve_id.into(),
            // Zero is how upstream stores a measurement of reach only.
            maximum_frequency: stored.maximum_frequency.max(1),
            sketch: stored.sketch_parameters?,
            vid_sampling_width: surroundings.vid_sampling_width,
            noise: stored.noise.filter(|noise| noise.reach_noise_config.is_some()),
        },
    })
}

fn stored_parameters(parameters: &Parameters) -> StoredParameters {
    StoredParameters {
        maximum_frequency: parameters.maximum_frequency,
        sketch_parameters: Some(parameters.sketch),
        noise: parameters.noise,
        elliptic_curve_id: i32::try_from(parameters.curve_id).unwrap_or_default(),
    }
}

fn write_keyed(state: &Keyed, details: &mut ComputationDetails) {
    details.local_elgamal_key = Some(state.local_key.clone());
}

fn write_gathered(state: &Gathered, details: &mut ComputationDetails) -> Result<(), KeySetError> {
    write_keyed(&state.keyed, details);
    details.participant =
        state.ring.participants().iter().map(ComputationParticipant::try_from).collect::<Result<_, _>>()?;
    Ok(())
}

fn write_confirmed(state: &Confirmed, details: &mut ComputationDetails) -> Result<(), KeySetError> {
    write_gathered(&state.gathered, details)?;
    details.combined_public_key = Some(state.keys.composite.clone());
    details.partially_combined_public_key = Some(state.keys.partial.clone());
    details.reach_estimate = state.reach.map(|reach| ReachEstimate { reach });
    Ok(())
}

impl From<&ComputationParticipant> for Participant {
    fn from(stored: &ComputationParticipant) -> Self {
        Self {
            duchy: DuchyId::from(stored.duchy_id.clone()),
            el_gamal_public_key: stored.el_gamal_public_key.clone(),
            signature: stored.el_gamal_public_key_signature.clone(),
            signature_algorithm_oid: stored.el_gamal_public_key_signature_algorithm_oid.clone(),
            certificate_der: stored.duchy_certificate_der.clone(),
        }
    }
}

impl TryFrom<&Participant> for ComputationParticipant {
    type Error = KeySetError;

    fn try_from(participant: &Participant) -> Result<Self, KeySetError> {
        Ok(Self {
            duchy_id: participant.duchy.to_string(),
            public_key: Some(participant.public_key()?),
            el_gamal_public_key: participant.el_gamal_public_key.clone(),
            el_gamal_public_key_signature: participant.signature.clone(),
            duchy_certificate_der: participant.certificate_der.clone(),
            el_gamal_public_key_signature_algorithm_oid: participant.signature_algorithm_oid.clone(),
        })
    }
}
