//! What a stage means for a stored computation: its successor, its outputs, and whose messages it waits for.

use std::collections::BTreeMap;

use halo_protocols::liquid_legions::RingStage;
use halo_protocols::llv2::StageKind;
use halo_protocols::proto::duchy::config::RoleInComputation;
use halo_protocols::proto::protocol::honest_majority_share_shuffle as hmss_proto;
use halo_protocols::proto::protocol::liquid_legions_sketch_aggregation_v2 as llv2_proto;
use halo_protocols::proto::protocol::reach_only_liquid_legions_sketch_aggregation_v2 as reach_only_proto;
use halo_protocols::{Role, hmss, llv2, reach_only_llv2};
use llv2_proto::computation_details::ComputationParticipant;

use super::{Protocol, ProtocolError, ProtocolStage};
use crate::proto::internal::computation_details::Protocol as ProtocolDetails;
use crate::proto::internal::computation_stage_details::Detail;
use crate::proto::internal::{
    AdvanceComputationStageRequest, ComputationBlobDependency, ComputationDetails,
    ComputationStageBlobMetadata, ComputationStageDetails, ComputationToken,
};

/// What details say of the duchies of a computation.
#[derive(Clone, Copy)]
enum Cast<'d> {
    /// A duchy in a ring.
    Ring { role: Role, ring: &'d [ComputationParticipant] },
    /// A duchy of a share shuffle.
    ShareShuffle { role: hmss::Role, non_aggregators: &'d [String] },
}

impl<'d> Cast<'d> {
    fn of(details: &'d ComputationDetails, expected: Protocol) -> Result<Self, ProtocolError> {
        match (&details.protocol, expected) {
            (Some(ProtocolDetails::LiquidLegionsV2(details)), Protocol::LiquidLegionsV2) => {
                Ok(Self::Ring { role: Role::try_from(details.role)?, ring: &details.participant })
            }
            (
                Some(ProtocolDetails::ReachOnlyLiquidLegionsV2(details)),
                Protocol::ReachOnlyLiquidLegionsV2,
            ) => Ok(Self::Ring { role: Role::try_from(details.role)?, ring: &details.participant }),
            (
                Some(ProtocolDetails::HonestMajorityShareShuffle(details)),
                Protocol::HonestMajorityShareShuffle,
            ) => Ok(Self::ShareShuffle {
                role: hmss::Role::try_from(details.role)?,
                non_aggregators: &details.non_aggregators,
            }),
            _ => Err(ProtocolError::DetailsMismatch { expected }),
        }
    }
}

impl ProtocolStage {
    /// The stage that follows for the role in `details`; `None` if the computation can only be finished.
    ///
    /// # Errors
    /// [`ProtocolError`] if the details are of another protocol or have no role.
    pub fn next(self, details: &ComputationDetails) -> Result<Option<Self>, ProtocolError> {
        Ok(match (self, Cast::of(details, self.protocol())?) {
            (Self::LiquidLegionsV2(stage), Cast::Ring { role, .. }) => stage.next(role).map(Into::into),
            (Self::ReachOnlyLiquidLegionsV2(stage), Cast::Ring { role, .. }) => {
                stage.next(role).map(Into::into)
            }
            (Self::HonestMajorityShareShuffle(stage), Cast::ShareShuffle { role, .. }) => {
                stage.next(role).map(Into::into)
            }
            _ => return Err(ProtocolError::DetailsMismatch { expected: self.protocol() }),
        })
    }

    /// How many outputs this stage must have before the next.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn output_slots(self, details: &ComputationDetails) -> Result<usize, ProtocolError> {
        Ok(match (self, Cast::of(details, self.protocol())?) {
            (Self::LiquidLegionsV2(stage), Cast::Ring { ring, .. }) => stage.output_slots(ring.len()),
            (Self::ReachOnlyLiquidLegionsV2(stage), Cast::Ring { ring, .. }) => {
                stage.output_slots(ring.len())
            }
            (Self::HonestMajorityShareShuffle(stage), _) => stage.output_slots(),
            _ => return Err(ProtocolError::DetailsMismatch { expected: self.protocol() }),
        })
    }

    /// Whether the stage that follows works on this one's inputs instead of its outputs.
    pub const fn hands_inputs_on(self) -> bool {
        match self {
            Self::LiquidLegionsV2(_) | Self::ReachOnlyLiquidLegionsV2(_) => false,
            Self::HonestMajorityShareShuffle(stage) => stage.hands_inputs_on(),
        }
    }

    /// The duchies whose messages `receiver` collects in this stage: that of the first goes into the first output, and
    /// so on. Nobody's in a stage that waits for no message.
    pub(crate) fn senders<'d>(
        self,
        details: &'d ComputationDetails,
        receiver: &str,
    ) -> Result<Vec<&'d str>, ProtocolError> {
        Ok(match (self, Cast::of(details, self.protocol())?) {
            (Self::LiquidLegionsV2(stage), Cast::Ring { ring, .. }) => senders_in(ring, stage, receiver),
            (Self::ReachOnlyLiquidLegionsV2(stage), Cast::Ring { ring, .. }) => {
                senders_in(ring, stage, receiver)
            }
            (Self::HonestMajorityShareShuffle(stage), Cast::ShareShuffle { role, non_aggregators }) => {
                let [first, second] = non_aggregators else { return Ok(Vec::new()) };
                let worker = |role: &hmss::Role| match role {
                    hmss::Role::FirstNonAggregator => Some(first.as_str()),
                    hmss::Role::SecondNonAggregator => Some(second.as_str()),
                    hmss::Role::Aggregator => None,
                };
                stage.senders(role).iter().filter_map(worker).collect()
            }
            _ => return Err(ProtocolError::DetailsMismatch { expected: self.protocol() }),
        })
    }

    /// The stage in which `sender` sends what this one waits for. It leaves that stage when its message is acknowledged.
    /// `None` if this stage waits for no message.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(crate) fn sent_in(
        self,
        details: &ComputationDetails,
        sender: &str,
    ) -> Result<Option<Self>, ProtocolError> {
        if let Self::HonestMajorityShareShuffle(stage) = self {
            return Ok(match stage {
                hmss::Stage::WaitOnShuffleInputPhaseOne | hmss::Stage::WaitOnShuffleInputPhaseTwo => {
                    Some(hmss::Stage::SetupPhase.into())
                }
                hmss::Stage::WaitOnAggregationInput => Some(hmss::Stage::ShufflePhase.into()),
                _ => None,
            });
        }
        let Cast::Ring { ring, .. } = Cast::of(details, self.protocol())? else {
            return Err(ProtocolError::DetailsMismatch { expected: self.protocol() });
        };
        if !self.protocol().awaiting().contains(&self) {
            return Ok(None);
        }
        let mut computed = self.protocol().stages().filter(|stage| stage.kind() == StageKind::Compute);
        // The aggregator begins each round at the end of the one before; the others pass on what this stage waits for.
        Ok(match ring.last().is_some_and(|aggregator| aggregator.duchy_id == sender) {
            true => computed.take_while(|stage| stage.number() < self.number()).last(),
            false => computed.find(|stage| stage.number() > self.number()),
        })
    }

    /// The stage details of a computation that enters this stage: which participant fills which slot, where several do.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn details(
        self,
        details: &ComputationDetails,
    ) -> Result<Option<ComputationStageDetails>, ProtocolError> {
        let aggregator = participants(details).last().copied().unwrap_or_default();
        let senders = self.senders(details, aggregator)?;
        let external_duchy_local_blob_id: BTreeMap<String, i64> =
            senders.into_iter().map(str::to_owned).zip(0..).collect();
        let detail = match self {
            Self::LiquidLegionsV2(llv2::Stage::WaitSetupPhaseInputs) => {
                let waiting = llv2_proto::WaitSetupPhaseInputsDetails { external_duchy_local_blob_id };
                let detail = llv2_proto::stage_details::Detail::WaitSetupPhaseInputsDetails(waiting);
                Detail::LiquidLegionsV2(llv2_proto::StageDetails { detail: Some(detail) })
            }
            Self::ReachOnlyLiquidLegionsV2(reach_only_llv2::Stage::WaitSetupPhaseInputs) => {
                let waiting = reach_only_proto::WaitSetupPhaseInputsDetails { external_duchy_local_blob_id };
                let detail = reach_only_proto::stage_details::Detail::WaitSetupPhaseInputsDetails(waiting);
                Detail::ReachOnlyLiquidLegionsV2(reach_only_proto::StageDetails { detail: Some(detail) })
            }
            Self::HonestMajorityShareShuffle(hmss::Stage::WaitOnAggregationInput) => {
                let waiting = hmss_proto::WaitOnAggregationInputDetails { external_duchy_local_blob_id };
                let detail = hmss_proto::stage_details::Detail::WaitOnAggregationInputDetails(waiting);
                Detail::HonestMajorityShareShuffle(hmss_proto::StageDetails { detail: Some(detail) })
            }
            _ => return Ok(None),
        };
        Ok(Some(ComputationStageDetails { detail: Some(detail), ..Default::default() }))
    }

    /// Whether `sender` is a duchy whose message `receiver` awaits in this stage.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn awaits(
        self,
        details: &ComputationDetails,
        receiver: &str,
        sender: &str,
    ) -> Result<bool, ProtocolError> {
        Ok(self.senders(details, receiver)?.contains(&sender))
    }
}

fn senders_in<'d, S: RingStage>(
    ring: &'d [ComputationParticipant],
    stage: S,
    receiver: &str,
) -> Vec<&'d str> {
    let Some(receiver) = ring.iter().position(|participant| participant.duchy_id == receiver) else {
        return Vec::new();
    };
    let senders = ring.get(stage.senders(receiver, ring.len())).unwrap_or_default();
    senders.iter().map(|participant| participant.duchy_id.as_str()).collect()
}

/// The name of the duchy's role, such as `AGGREGATOR`; `None` if the details have none.
pub(crate) fn role_name(details: &ComputationDetails) -> Option<&'static str> {
    let role = match &details.protocol {
        Some(ProtocolDetails::LiquidLegionsV2(details)) => details.role,
        Some(ProtocolDetails::ReachOnlyLiquidLegionsV2(details)) => details.role,
        Some(ProtocolDetails::HonestMajorityShareShuffle(details)) => details.role,
        Some(ProtocolDetails::TrusTee(_)) | None => return None,
    };
    RoleInComputation::try_from(role).ok().map(|role| role.as_str_name())
}

/// The ids of the duchies that take part, in ring order; empty as long as they are not known. Of a share shuffle, whose
/// rows do not name the aggregator, the workers: only they call others.
pub fn participants(details: &ComputationDetails) -> Vec<&str> {
    fn ring(ring: &[ComputationParticipant]) -> Vec<&str> {
        ring.iter().map(|participant| participant.duchy_id.as_str()).collect()
    }
    match &details.protocol {
        Some(ProtocolDetails::LiquidLegionsV2(details)) => ring(&details.participant),
        Some(ProtocolDetails::ReachOnlyLiquidLegionsV2(details)) => ring(&details.participant),
        Some(ProtocolDetails::HonestMajorityShareShuffle(details)) => {
            details.non_aggregators.iter().map(String::as_str).collect()
        }
        Some(ProtocolDetails::TrusTee(_)) | None => Vec::new(),
    }
}

/// The slots of a stage that collects messages from several: which duchy's goes where. `None` for other stages.
pub fn slots(token: &ComputationToken) -> Option<&BTreeMap<String, i64>> {
    match token.stage_specific_details.as_ref()?.detail.as_ref()? {
        Detail::LiquidLegionsV2(llv2_proto::StageDetails {
            detail: Some(llv2_proto::stage_details::Detail::WaitSetupPhaseInputsDetails(waiting)),
        }) => Some(&waiting.external_duchy_local_blob_id),
        Detail::ReachOnlyLiquidLegionsV2(reach_only_proto::StageDetails {
            detail: Some(reach_only_proto::stage_details::Detail::WaitSetupPhaseInputsDetails(waiting)),
        }) => Some(&waiting.external_duchy_local_blob_id),
        Detail::HonestMajorityShareShuffle(hmss_proto::StageDetails {
            detail: Some(hmss_proto::stage_details::Detail::WaitOnAggregationInputDetails(waiting)),
        }) => Some(&waiting.external_duchy_local_blob_id),
        _ => None,
    }
}

/// The slot of the current stage that `sender` is to fill: its own where there is one for each sender, else the only
/// one. `None` if there is none.
pub fn slot_of<'t>(token: &'t ComputationToken, sender: &str) -> Option<&'t ComputationStageBlobMetadata> {
    let mut outputs =
        token.blobs.iter().filter(|blob| blob.dependency_type() == ComputationBlobDependency::Output);
    match slots(token) {
        Some(slots) => {
            let slot = slots.get(sender)?;
            outputs.find(|blob| blob.blob_id == *slot)
        }
        None => outputs.next().filter(|_| outputs.next().is_none()),
    }
}

/// Where the data is that a stage waits for, if all of it has come; `None` also if it waits for none.
pub fn received(token: &ComputationToken) -> Option<Vec<String>> {
    let slots = token.blobs.iter().filter(|blob| blob.dependency_type() == ComputationBlobDependency::Output);
    let paths: Vec<_> = slots.map(|blob| blob.path.clone()).collect();
    (!paths.is_empty() && !paths.iter().any(String::is_empty)).then_some(paths)
}

/// The request that takes the computation of `token` to `next`, with the blobs at `input_blobs` as its inputs: all
/// else in it follows from the stage.
///
/// # Errors
/// [`ProtocolError`] if the details are of another protocol or have no role.
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
