//! The protocols that this duchy runs, behind one type: what the store and the services need to know of a stage
//! without knowing its protocol. The rules themselves are in `halo-protocols`.

use std::collections::BTreeMap;

use halo_protocols::llv2;
use halo_protocols::llv2::stage::UnknownStage;
use halo_protocols::proto::protocol::liquid_legions_sketch_aggregation_v2 as llv2_proto;
use halo_protocols::role::UnknownRole;
use halo_protocols::{Role, llv2::StageKind};

use crate::proto::internal::advance_computation_stage_request::AfterTransition;
use crate::proto::internal::computation_details::Protocol as ProtocolDetails;
use crate::proto::internal::computation_stage::Stage as StageOneof;
use crate::proto::internal::computation_stage_details::Detail;
use crate::proto::internal::computation_type_enum::ComputationType;
use crate::proto::internal::{
    AdvanceComputationStageRequest, ComputationBlobDependency, ComputationDetails, ComputationStage,
    ComputationStageBlobMetadata, ComputationStageDetails, ComputationToken,
};
use crate::proto::system;

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Liquid Legions v2: reach and frequency.
    LiquidLegionsV2,
}

/// A stage of some protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolStage {
    /// A stage of Liquid Legions v2.
    LiquidLegionsV2(llv2::Stage),
}

/// Why something does not name a protocol, a stage, or a place in one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The type is not one that this duchy runs.
    #[error("computation type {0} is not supported")]
    UnknownType(i32),
    /// No stage is set, or one of a protocol that this duchy does not run.
    #[error("the computation stage is missing or of a protocol that is not supported")]
    UnsupportedStage,
    /// The number is no stage of its protocol.
    #[error(transparent)]
    UnknownStage(#[from] UnknownStage),
    /// The details are of another protocol than the stage, or of none.
    #[error("the computation details are not of protocol {expected:?}")]
    DetailsMismatch {
        /// The protocol of the computation.
        expected: Protocol,
    },
    /// The details name no role of this protocol.
    #[error(transparent)]
    UnknownRole(#[from] UnknownRole),
}

impl Protocol {
    /// Every protocol that this duchy runs.
    pub const ALL: [Self; 1] = [Self::LiquidLegionsV2];

    /// The number of the computation type, on the wire and in databases.
    pub const fn number(self) -> i32 {
        self.computation_type() as i32
    }

    /// The computation type on the wire.
    pub const fn computation_type(self) -> ComputationType {
        match self {
            Self::LiquidLegionsV2 => ComputationType::LiquidLegionsSketchAggregationV2,
        }
    }

    /// The protocol whose details these are.
    pub fn of(details: &ComputationDetails) -> Option<Self> {
        match details.protocol {
            Some(ProtocolDetails::LiquidLegionsV2(_)) => Some(Self::LiquidLegionsV2),
            _ => None,
        }
    }

    /// The stage of a new computation.
    pub const fn initial_stage(self) -> ProtocolStage {
        match self {
            Self::LiquidLegionsV2 => ProtocolStage::LiquidLegionsV2(llv2::Stage::INITIAL),
        }
    }

    /// The stage of an ended computation.
    pub const fn terminal_stage(self) -> ProtocolStage {
        match self {
            Self::LiquidLegionsV2 => ProtocolStage::LiquidLegionsV2(llv2::Stage::Complete),
        }
    }

    /// All stages in the order of time.
    pub fn stages(self) -> impl Iterator<Item = ProtocolStage> {
        match self {
            Self::LiquidLegionsV2 => llv2::Stage::ALL.into_iter().map(ProtocolStage::LiquidLegionsV2),
        }
    }

    /// The stage with this number.
    ///
    /// # Errors
    /// [`ProtocolError::UnknownStage`].
    pub fn stage(self, number: i32) -> Result<ProtocolStage, ProtocolError> {
        match self {
            Self::LiquidLegionsV2 => Ok(ProtocolStage::LiquidLegionsV2(number.try_into()?)),
        }
    }
}

impl TryFrom<i32> for Protocol {
    type Error = ProtocolError;

    fn try_from(number: i32) -> Result<Self, ProtocolError> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.number() == number)
            .ok_or(ProtocolError::UnknownType(number))
    }
}

impl ProtocolStage {
    /// Whose stage this is.
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::LiquidLegionsV2(_) => Protocol::LiquidLegionsV2,
        }
    }

    /// The number within the protocol. Later stages have greater numbers.
    pub const fn number(self) -> i32 {
        match self {
            Self::LiquidLegionsV2(stage) => stage.number(),
        }
    }

    /// Upstream's name, such as `EXECUTION_PHASE_ONE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::LiquidLegionsV2(stage) => stage.name(),
        }
    }

    /// Who moves a computation out of this stage.
    pub const fn kind(self) -> StageKind {
        match self {
            Self::LiquidLegionsV2(stage) => stage.kind(),
        }
    }

    /// What the internal API calls the queueing that comes with entering this stage.
    pub const fn after_transition(self) -> AfterTransition {
        match self.kind() {
            StageKind::Compute => AfterTransition::AddUnclaimedToQueue,
            StageKind::Wait | StageKind::Terminal => AfterTransition::DoNotAddToQueue,
        }
    }

    /// The stage that follows for the role in `details`; `None` if the computation can only be finished.
    ///
    /// # Errors
    /// [`ProtocolError`] if the details are of another protocol or have no role.
    pub fn next(self, details: &ComputationDetails) -> Result<Option<Self>, ProtocolError> {
        match self {
            Self::LiquidLegionsV2(stage) => {
                let role = Role::try_from(self.llv2_details(details)?.role)?;
                Ok(stage.next(role).map(Self::LiquidLegionsV2))
            }
        }
    }

    /// How many outputs this stage must have before the next.
    ///
    /// # Errors
    /// [`ProtocolError::DetailsMismatch`].
    pub fn output_slots(self, details: &ComputationDetails) -> Result<usize, ProtocolError> {
        match self {
            Self::LiquidLegionsV2(stage) => {
                Ok(stage.output_slots(self.llv2_details(details)?.participant.len()))
            }
        }
    }

    /// The stage details of a computation that enters this stage: which participant fills which slot, where it
    /// matters. The last participant in the ring is the aggregator, which waits for all others.
    ///
    /// # Errors
    /// [`ProtocolError::DetailsMismatch`].
    pub fn details(
        self,
        details: &ComputationDetails,
    ) -> Result<Option<ComputationStageDetails>, ProtocolError> {
        let Self::LiquidLegionsV2(stage) = self;
        if stage != llv2::Stage::WaitSetupPhaseInputs {
            return Ok(None);
        }
        let others =
            self.llv2_details(details)?.participant.split_last().map_or(&[][..], |(_, others)| others);
        let slots: BTreeMap<_, _> =
            others.iter().zip(0..).map(|(participant, slot)| (participant.duchy_id.clone(), slot)).collect();
        let waiting = llv2_proto::WaitSetupPhaseInputsDetails { external_duchy_local_blob_id: slots };
        let detail = llv2_proto::stage_details::Detail::WaitSetupPhaseInputsDetails(waiting);
        Ok(Some(ComputationStageDetails {
            detail: Some(Detail::LiquidLegionsV2(llv2_proto::StageDetails { detail: Some(detail) })),
        }))
    }

    /// Whether `sender` is the duchy whose message `receiver` awaits in this stage: any other participant where the
    /// aggregator gathers the sketches, the predecessor in the ring afterwards.
    ///
    /// # Errors
    /// [`ProtocolError::DetailsMismatch`].
    pub fn awaits(
        self,
        details: &ComputationDetails,
        receiver: &str,
        sender: &str,
    ) -> Result<bool, ProtocolError> {
        let Self::LiquidLegionsV2(stage) = self;
        let ring = &self.llv2_details(details)?.participant;
        let position = |duchy| ring.iter().position(|participant| participant.duchy_id == duchy);
        let (Some(receiver), Some(sender)) = (position(receiver), position(sender)) else {
            return Ok(false);
        };
        Ok(match stage {
            llv2::Stage::WaitSetupPhaseInputs => receiver == ring.len() - 1 && sender != receiver,
            llv2::Stage::WaitExecutionPhaseOneInputs
            | llv2::Stage::WaitExecutionPhaseTwoInputs
            | llv2::Stage::WaitExecutionPhaseThreeInputs => {
                sender != receiver && (sender + 1) % ring.len() == receiver
            }
            _ => false,
        })
    }

    fn llv2_details(
        self,
        details: &ComputationDetails,
    ) -> Result<&llv2_proto::ComputationDetails, ProtocolError> {
        match &details.protocol {
            Some(ProtocolDetails::LiquidLegionsV2(details)) => Ok(details),
            _ => Err(ProtocolError::DetailsMismatch { expected: self.protocol() }),
        }
    }
}

/// The ids of the duchies that take part, in ring order; empty as long as they are not known.
pub fn participants(details: &ComputationDetails) -> Vec<&str> {
    match &details.protocol {
        Some(ProtocolDetails::LiquidLegionsV2(details)) => {
            details.participant.iter().map(|participant| participant.duchy_id.as_str()).collect()
        }
        _ => Vec::new(),
    }
}

/// The slot of the current stage that `sender` is to fill: its own where there is one for each sender, else the only
/// one. `None` if there is none.
pub fn slot_of<'t>(token: &'t ComputationToken, sender: &str) -> Option<&'t ComputationStageBlobMetadata> {
    let mut outputs =
        token.blobs.iter().filter(|blob| blob.dependency_type() == ComputationBlobDependency::Output);
    let detail = token.stage_specific_details.as_ref().and_then(|details| details.detail.as_ref());
    match detail {
        Some(Detail::LiquidLegionsV2(llv2_proto::StageDetails {
            detail: Some(llv2_proto::stage_details::Detail::WaitSetupPhaseInputsDetails(waiting)),
        })) => {
            let slot = waiting.external_duchy_local_blob_id.get(sender)?;
            outputs.find(|blob| blob.blob_id == *slot)
        }
        _ => outputs.next().filter(|_| outputs.next().is_none()),
    }
}

/// The request that takes the computation of `token` to `next`, with the blobs at `input_blobs` as its inputs: all
/// else in it follows from the stage.
///
/// # Errors
/// [`ProtocolError::DetailsMismatch`].
pub fn advance_request(
    token: ComputationToken,
    next: ProtocolStage,
    input_blobs: Vec<String>,
) -> Result<AdvanceComputationStageRequest, ProtocolError> {
    let details = token.computation_details.clone().unwrap_or_default();
    let outputs = i32::try_from(next.output_slots(&details)?).unwrap_or(i32::MAX);
    Ok(AdvanceComputationStageRequest {
        next_computation_stage: Some(next.into()),
        input_blobs,
        output_blobs: outputs,
        stage_details: next.details(&details)?,
        after_transition: next.after_transition() as i32,
        pass_through_blobs: Vec::new(),
        lock_extension: None,
        token: Some(token),
    })
}

impl From<ProtocolStage> for ComputationStage {
    fn from(stage: ProtocolStage) -> Self {
        let stage = match stage {
            ProtocolStage::LiquidLegionsV2(stage) => {
                StageOneof::LiquidLegionsSketchAggregationV2(stage.number())
            }
        };
        Self { stage: Some(stage) }
    }
}

impl TryFrom<&ComputationStage> for ProtocolStage {
    type Error = ProtocolError;

    fn try_from(stage: &ComputationStage) -> Result<Self, ProtocolError> {
        match stage.stage {
            Some(StageOneof::LiquidLegionsSketchAggregationV2(number)) => {
                Protocol::LiquidLegionsV2.stage(number)
            }
            _ => Err(ProtocolError::UnsupportedStage),
        }
    }
}

/// The stage as peers are told it: the numbers are the same.
impl From<ProtocolStage> for system::computation_stage::Stage {
    fn from(stage: ProtocolStage) -> Self {
        match stage {
            ProtocolStage::LiquidLegionsV2(stage) => {
                Self::LiquidLegionsV2Stage(system::LiquidLegionsV2Stage { stage: stage.number() })
            }
        }
    }
}

#[cfg(test)]
mod tests;
