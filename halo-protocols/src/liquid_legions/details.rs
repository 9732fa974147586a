//! What upstream's rows of both protocols say, whatever the stage.

use super::event::Outcome;
use super::key_set::{CombinedKeys, KeySetError, Participant, Ring};
use super::state::{Confirmed, Created, Gathered, Keyed};
use super::{Parameters, RingStage, Setting};
use crate::duchy_id::DuchyId;
use crate::llv2::Stage;
use crate::proto::duchy::{ElGamalKeyPair, ElGamalPublicKey};
use crate::proto::protocol::liquid_legions_sketch_aggregation_v2::computation_details::ComputationParticipant;
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
pub enum DetailsError<S: RingStage = Stage> {
    /// Something that every row of this stage has is missing.
    #[error("a computation in {} has no {missing}", stage.name())]
    Missing {
        /// The stage of the row.
        stage: S,
        /// What is missing.
        missing: &'static str,
    },
    /// The role is none of this protocol.
    #[error(transparent)]
    Role(#[from] UnknownRole),
}

impl Surroundings {
    /// The setting of a row with this role and these parameters.
    pub(crate) fn setting(&self, role: Role, parameters: Parameters) -> Setting {
        Setting {
            computation: self.computation.clone(),
            duchy: self.duchy.clone(),
            role,
            duchy_count: self.duchy_count,
            requisition_count: self.requisition_count,
            parameters,
        }
    }
}

/// A row of either protocol, to be read as what its stage requires.
pub(crate) struct Row<'a, S: RingStage> {
    pub(crate) stage: S,
    pub(crate) setting: Setting,
    pub(crate) local_key: Option<&'a ElGamalKeyPair>,
    pub(crate) participants: &'a [ComputationParticipant],
    pub(crate) composite: Option<&'a ElGamalPublicKey>,
    pub(crate) partial: Option<&'a ElGamalPublicKey>,
    pub(crate) reach: Option<i64>,
}

impl<S: RingStage> Row<'_, S> {
    pub(crate) fn missing(&self, missing: &'static str) -> DetailsError<S> {
        DetailsError::Missing { stage: self.stage, missing }
    }

    pub(crate) fn created(self) -> Created {
        Created { setting: self.setting, local_key: self.local_key.cloned() }
    }

    pub(crate) fn keyed(&self) -> Result<Keyed, DetailsError<S>> {
        let local_key = self.local_key.cloned().ok_or_else(|| self.missing("key pair"))?;
        Ok(Keyed { setting: self.setting.clone(), local_key })
    }

    pub(crate) fn gathered(&self) -> Result<Gathered, DetailsError<S>> {
        let keyed = self.keyed()?;
        if self.participants.is_empty() {
            return Err(self.missing("participants"));
        }
        let ring = Ring::from_ordered(self.participants.iter().map(Participant::from).collect());
        Ok(Gathered { keyed, ring })
    }

    pub(crate) fn confirmed(&self) -> Result<Confirmed, DetailsError<S>> {
        let gathered = self.gathered()?;
        let composite = self.composite.cloned().ok_or_else(|| self.missing("combined key"))?;
        // Upstream leaves the aggregator's partial key out of some rows: it is the whole.
        let partial = self.partial.cloned().unwrap_or_else(|| composite.clone());
        Ok(Confirmed { gathered, keys: CombinedKeys { composite, partial }, reach: self.reach })
    }
}

/// The participants as rows hold them.
pub(crate) fn stored_participants(ring: &Ring) -> Result<Vec<ComputationParticipant>, KeySetError> {
    ring.participants().iter().map(ComputationParticipant::try_from).collect()
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
