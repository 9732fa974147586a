//! The protocols that this duchy runs, behind one type: what the store and the services need to know of a stage
//! without knowing its protocol. The rules themselves are in `halo-protocols`; what they make of a stored row is in
//! `row`.

mod message;
mod row;

pub use message::PeerMessage;
pub(crate) use row::role_name;
pub use row::{advance_request, participants, received, slot_of, slots};

use halo_protocols::llv2::StageKind;
use halo_protocols::{hmss, llv2, reach_only_llv2, role};

use crate::proto::internal::advance_computation_stage_request::AfterTransition;
use crate::proto::internal::computation_details::Protocol as ProtocolDetails;
use crate::proto::internal::computation_stage::Stage as StageOneof;
use crate::proto::internal::computation_type_enum::ComputationType;
use crate::proto::internal::{ComputationDetails, ComputationStage, ComputationToken};
use crate::proto::system;

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Liquid Legions v2: reach and frequency.
    LiquidLegionsV2,
    /// Reach-only Liquid Legions v2.
    ReachOnlyLiquidLegionsV2,
    /// Honest-majority share shuffle: reach and frequency.
    HonestMajorityShareShuffle,
}

/// A stage of some protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolStage {
    /// A stage of Liquid Legions v2.
    LiquidLegionsV2(llv2::Stage),
    /// A stage of reach-only Liquid Legions v2.
    ReachOnlyLiquidLegionsV2(reach_only_llv2::Stage),
    /// A stage of the honest-majority share shuffle.
    HonestMajorityShareShuffle(hmss::Stage),
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
    /// The number is no stage of Liquid Legions v2.
    #[error(transparent)]
    LiquidLegionsV2Stage(#[from] llv2::stage::UnknownStage),
    /// The number is no stage of reach-only Liquid Legions v2.
    #[error(transparent)]
    ReachOnlyLiquidLegionsV2Stage(#[from] reach_only_llv2::stage::UnknownStage),
    /// The number is no stage of the share shuffle.
    #[error(transparent)]
    HonestMajorityShareShuffleStage(#[from] hmss::stage::UnknownStage),
    /// The details are of another protocol than the stage, or of none.
    #[error("the computation details are not of protocol {expected:?}")]
    DetailsMismatch {
        /// The protocol of the computation.
        expected: Protocol,
    },
    /// The details name no role of a Liquid Legions protocol.
    #[error(transparent)]
    Role(#[from] role::UnknownRole),
    /// The details name no role of the share shuffle.
    #[error(transparent)]
    ShareShuffleRole(#[from] hmss::UnknownRole),
}

impl Protocol {
    /// Every protocol that this duchy runs.
    pub const ALL: [Self; 3] =
        [Self::LiquidLegionsV2, Self::ReachOnlyLiquidLegionsV2, Self::HonestMajorityShareShuffle];

    /// The number of the computation type, on the wire and in databases.
    pub const fn number(self) -> i32 {
        self.computation_type() as i32
    }

    /// The computation type on the wire.
    pub const fn computation_type(self) -> ComputationType {
        match self {
            Self::LiquidLegionsV2 => ComputationType::LiquidLegionsSketchAggregationV2,
            Self::ReachOnlyLiquidLegionsV2 => ComputationType::ReachOnlyLiquidLegionsSketchAggregationV2,
            Self::HonestMajorityShareShuffle => ComputationType::HonestMajorityShareShuffle,
        }
    }

    /// The computation type's name on the wire, such as `HONEST_MAJORITY_SHARE_SHUFFLE`.
    pub fn type_name(self) -> &'static str {
        self.computation_type().as_str_name()
    }

    /// The protocol's name, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LiquidLegionsV2 => "Liquid Legions v2",
            Self::ReachOnlyLiquidLegionsV2 => "reach-only Liquid Legions v2",
            Self::HonestMajorityShareShuffle => "the honest-majority share shuffle",
        }
    }

    /// The protocol whose details these are.
    pub const fn of(details: &ComputationDetails) -> Option<Self> {
        match details.protocol {
            Some(ProtocolDetails::LiquidLegionsV2(_)) => Some(Self::LiquidLegionsV2),
            Some(ProtocolDetails::ReachOnlyLiquidLegionsV2(_)) => Some(Self::ReachOnlyLiquidLegionsV2),
            Some(ProtocolDetails::HonestMajorityShareShuffle(_)) => Some(Self::HonestMajorityShareShuffle),
            Some(ProtocolDetails::TrusTee(_)) | None => None,
        }
    }

    /// The stage of a new computation.
    pub const fn initial_stage(self) -> ProtocolStage {
        match self {
            Self::LiquidLegionsV2 => ProtocolStage::LiquidLegionsV2(llv2::Stage::INITIAL),
            Self::ReachOnlyLiquidLegionsV2 => {
                ProtocolStage::ReachOnlyLiquidLegionsV2(reach_only_llv2::Stage::INITIAL)
            }
            Self::HonestMajorityShareShuffle => {
                ProtocolStage::HonestMajorityShareShuffle(hmss::Stage::INITIAL)
            }
        }
    }

    /// The stage of an ended computation.
    pub const fn terminal_stage(self) -> ProtocolStage {
        match self {
            Self::LiquidLegionsV2 => ProtocolStage::LiquidLegionsV2(llv2::Stage::Complete),
            Self::ReachOnlyLiquidLegionsV2 => {
                ProtocolStage::ReachOnlyLiquidLegionsV2(reach_only_llv2::Stage::Complete)
            }
            Self::HonestMajorityShareShuffle => {
                ProtocolStage::HonestMajorityShareShuffle(hmss::Stage::Complete)
            }
        }
    }

    /// All stages in the order of time.
    pub fn stages(self) -> impl Iterator<Item = ProtocolStage> {
        let stages: Vec<ProtocolStage> = match self {
            Self::LiquidLegionsV2 => llv2::Stage::ALL.map(Into::into).into(),
            Self::ReachOnlyLiquidLegionsV2 => reach_only_llv2::Stage::ALL.map(Into::into).into(),
            Self::HonestMajorityShareShuffle => hmss::Stage::ALL.map(Into::into).into(),
        };
        stages.into_iter()
    }

    /// The stage with this number.
    ///
    /// # Errors
    /// The protocol's `UnknownStage`.
    pub fn stage(self, number: i32) -> Result<ProtocolStage, ProtocolError> {
        Ok(match self {
            Self::LiquidLegionsV2 => llv2::Stage::try_from(number)?.into(),
            Self::ReachOnlyLiquidLegionsV2 => reach_only_llv2::Stage::try_from(number)?.into(),
            Self::HonestMajorityShareShuffle => hmss::Stage::try_from(number)?.into(),
        })
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
            Self::ReachOnlyLiquidLegionsV2(_) => Protocol::ReachOnlyLiquidLegionsV2,
            Self::HonestMajorityShareShuffle(_) => Protocol::HonestMajorityShareShuffle,
        }
    }

    /// The number within the protocol. Later stages have greater numbers.
    pub const fn number(self) -> i32 {
        match self {
            Self::LiquidLegionsV2(stage) => stage.number(),
            Self::ReachOnlyLiquidLegionsV2(stage) => stage.number(),
            Self::HonestMajorityShareShuffle(stage) => stage.number(),
        }
    }

    /// Upstream's name, such as `EXECUTION_PHASE_ONE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::LiquidLegionsV2(stage) => stage.name(),
            Self::ReachOnlyLiquidLegionsV2(stage) => stage.name(),
            Self::HonestMajorityShareShuffle(stage) => stage.name(),
        }
    }

    /// Who moves a computation out of this stage.
    pub const fn kind(self) -> StageKind {
        match self {
            Self::LiquidLegionsV2(stage) => stage.kind(),
            Self::ReachOnlyLiquidLegionsV2(stage) => stage.kind(),
            Self::HonestMajorityShareShuffle(stage) => stage.kind(),
        }
    }

    /// Whether data providers may still hand in their data.
    pub const fn takes_requisitions(self) -> bool {
        match self {
            Self::LiquidLegionsV2(stage) => stage.takes_requisitions(),
            Self::ReachOnlyLiquidLegionsV2(stage) => stage.takes_requisitions(),
            Self::HonestMajorityShareShuffle(stage) => stage.takes_requisitions(),
        }
    }

    /// What the internal API calls the queueing that comes with entering this stage.
    pub const fn after_transition(self) -> AfterTransition {
        match self.kind() {
            StageKind::Compute => AfterTransition::AddUnclaimedToQueue,
            StageKind::Wait | StageKind::Terminal => AfterTransition::DoNotAddToQueue,
        }
    }

    /// The stage of a computation.
    ///
    /// # Errors
    /// [`ProtocolError`] if the token names none that this duchy knows.
    pub fn of(token: &ComputationToken) -> Result<Self, ProtocolError> {
        let stage = token.computation_stage.as_ref().ok_or(ProtocolError::UnsupportedStage)?;
        Self::try_from(stage)
    }
}

impl From<llv2::Stage> for ProtocolStage {
    fn from(stage: llv2::Stage) -> Self {
        Self::LiquidLegionsV2(stage)
    }
}

impl From<reach_only_llv2::Stage> for ProtocolStage {
    fn from(stage: reach_only_llv2::Stage) -> Self {
        Self::ReachOnlyLiquidLegionsV2(stage)
    }
}

impl From<hmss::Stage> for ProtocolStage {
    fn from(stage: hmss::Stage) -> Self {
        Self::HonestMajorityShareShuffle(stage)
    }
}

impl From<ProtocolStage> for ComputationStage {
    fn from(stage: ProtocolStage) -> Self {
        let number = stage.number();
        let stage = match stage.protocol() {
            Protocol::LiquidLegionsV2 => StageOneof::LiquidLegionsSketchAggregationV2(number),
            Protocol::ReachOnlyLiquidLegionsV2 => {
                StageOneof::ReachOnlyLiquidLegionsSketchAggregationV2(number)
            }
            Protocol::HonestMajorityShareShuffle => StageOneof::HonestMajorityShareShuffle(number),
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
            Some(StageOneof::ReachOnlyLiquidLegionsSketchAggregationV2(number)) => {
                Protocol::ReachOnlyLiquidLegionsV2.stage(number)
            }
            Some(StageOneof::HonestMajorityShareShuffle(number)) => {
                Protocol::HonestMajorityShareShuffle.stage(number)
            }
            Some(StageOneof::TrusTee(_)) | None => Err(ProtocolError::UnsupportedStage),
        }
    }
}

/// The stage as peers are told it: the numbers are the same.
impl From<ProtocolStage> for system::computation_stage::Stage {
    fn from(stage: ProtocolStage) -> Self {
        let number = stage.number();
        match stage.protocol() {
            Protocol::LiquidLegionsV2 => {
                Self::LiquidLegionsV2Stage(system::LiquidLegionsV2Stage { stage: number })
            }
            Protocol::ReachOnlyLiquidLegionsV2 => {
                Self::ReachOnlyLiquidLegionsStage(system::ReachOnlyLiquidLegionsV2Stage { stage: number })
            }
            Protocol::HonestMajorityShareShuffle => {
                Self::HonestMajorityShareShuffleStage(system::HonestMajorityShareShuffleStage {
                    stage: number,
                })
            }
        }
    }
}

impl TryFrom<&system::computation_stage::Stage> for ProtocolStage {
    type Error = ProtocolError;

    fn try_from(stage: &system::computation_stage::Stage) -> Result<Self, ProtocolError> {
        use system::computation_stage::Stage;
        match stage {
            Stage::LiquidLegionsV2Stage(stage) => Protocol::LiquidLegionsV2.stage(stage.stage),
            Stage::ReachOnlyLiquidLegionsStage(stage) => {
                Protocol::ReachOnlyLiquidLegionsV2.stage(stage.stage)
            }
            Stage::HonestMajorityShareShuffleStage(stage) => {
                Protocol::HonestMajorityShareShuffle.stage(stage.stage)
            }
        }
    }
}

#[cfg(test)]
mod tests;
