//! The two Liquid Legions protocols as [`Hosted`]: what they have in common, and what little differs.

use halo_protocols::liquid_legions::{
    DetailsError, Event, Outcome, RingComputation, RingStage, Surroundings,
};
use halo_protocols::{DuchyId, MeasurementResult, llv2, reach_only_llv2};

use super::ConvertError;
use super::hosted::{Hosted, SignedKey};
use super::result::{Methodology, measurement_result};
use super::token::{details, measurement_spec, outcome, participant_count, received};
use crate::config::{ProtocolsSetup, SketchSetup};
use crate::proto::api::measurement::Result as ApiResult;
use crate::proto::internal::computation_details::Protocol as StoredProtocol;
use crate::proto::internal::{ComputationDetails, ComputationToken};
use crate::proto::system::computation_participant::requisition_params::{
    LiquidLegionsV2, Protocol as ParamsProtocol,
};
use crate::protocol_stages::{PeerMessage, Protocol, ProtocolError, ProtocolStage, participants};

/// What duchies of a ring send one another.
pub type MessageOf<C> = <<C as RingComputation>::Stage as RingStage>::Message;

/// What tells one Liquid Legions protocol from the other.
pub trait RingProtocol:
    RingComputation<Stage: RingStage<Message: Into<PeerMessage>> + Into<ProtocolStage>> + Send + Sync + 'static
{
    /// Which one it is.
    const PROTOCOL: Protocol;

    /// A stage, if it is of this protocol.
    fn stage_in(stage: ProtocolStage) -> Option<Self::Stage>;

    /// Its details among those of a row.
    fn stored(protocol: &StoredProtocol) -> Option<&Self::Details>;

    /// The same, to be changed.
    fn stored_mut(protocol: &mut StoredProtocol) -> Option<&mut Self::Details>;

    /// The duchy's part in it.
    fn part(setup: &ProtocolsSetup) -> Option<&SketchSetup>;

    /// A duchy's key among what it has published.
    fn key_in(params: &ParamsProtocol) -> Option<&LiquidLegionsV2>;

    /// What a duchy publishes with its key.
    fn params(key: LiquidLegionsV2) -> ParamsProtocol;

    /// How many registers (tuples, matrix cells) a message holds, in the group with this curve id.
    fn records(message: MessageOf<Self>, curve_id: i64, payload: &[u8]) -> usize;

    /// Why a row describes no state.
    fn malformed(error: DetailsError<Self::Stage>) -> ConvertError;
}

impl RingProtocol for llv2::State {
    const PROTOCOL: Protocol = Protocol::LiquidLegionsV2;

    fn stage_in(stage: ProtocolStage) -> Option<llv2::Stage> {
        match stage {
            ProtocolStage::LiquidLegionsV2(stage) => Some(stage),
            _ => None,
        }
    }

    fn stored(protocol: &StoredProtocol) -> Option<&Self::Details> {
        match protocol {
            StoredProtocol::LiquidLegionsV2(details) => Some(details),
            _ => None,
        }
    }

    fn stored_mut(protocol: &mut StoredProtocol) -> Option<&mut Self::Details> {
        match protocol {
            StoredProtocol::LiquidLegionsV2(details) => Some(details),
            _ => None,
        }
    }

    fn part(setup: &ProtocolsSetup) -> Option<&SketchSetup> {
        setup.liquid_legions_v2.as_ref()
    }

    fn key_in(params: &ParamsProtocol) -> Option<&LiquidLegionsV2> {
        match params {
            ParamsProtocol::LiquidLegionsV2(key) => Some(key),
            _ => None,
        }
    }

    fn params(key: LiquidLegionsV2) -> ParamsProtocol {
        ParamsProtocol::LiquidLegionsV2(key)
    }

    fn records(message: llv2::Message, curve_id: i64, payload: &[u8]) -> usize {
        message.record_count(curve_id, payload)
    }

    fn malformed(error: DetailsError<llv2::Stage>) -> ConvertError {
        error.into()
    }
}

impl RingProtocol for reach_only_llv2::State {
    const PROTOCOL: Protocol = Protocol::ReachOnlyLiquidLegionsV2;

    fn stage_in(stage: ProtocolStage) -> Option<reach_only_llv2::Stage> {
        match stage {
            ProtocolStage::ReachOnlyLiquidLegionsV2(stage) => Some(stage),
            _ => None,
        }
    }

    fn stored(protocol: &StoredProtocol) -> Option<&Self::Details> {
        match protocol {
            StoredProtocol::ReachOnlyLiquidLegionsV2(details) => Some(details),
            _ => None,
        }
    }

    fn stored_mut(protocol: &mut StoredProtocol) -> Option<&mut Self::Details> {
        match protocol {
            StoredProtocol::ReachOnlyLiquidLegionsV2(details) => Some(details),
            _ => None,
        }
    }

    fn part(setup: &ProtocolsSetup) -> Option<&SketchSetup> {
        setup.reach_only_liquid_legions_v2.as_ref()
    }

    fn key_in(params: &ParamsProtocol) -> Option<&LiquidLegionsV2> {
        match params {
            ParamsProtocol::ReachOnlyLiquidLegionsV2(key) => Some(key),
            _ => None,
        }
    }

    fn params(key: LiquidLegionsV2) -> ParamsProtocol {
        ParamsProtocol::ReachOnlyLiquidLegionsV2(key)
    }

    fn records(message: reach_only_llv2::Message, curve_id: i64, payload: &[u8]) -> usize {
        message.record_count(curve_id, payload)
    }

    fn malformed(error: DetailsError<reach_only_llv2::Stage>) -> ConvertError {
        error.into()
    }
}

impl From<llv2::Message> for PeerMessage {
    fn from(message: llv2::Message) -> Self {
        Self::LiquidLegionsV2(message)
    }
}

impl From<reach_only_llv2::Message> for PeerMessage {
    fn from(message: reach_only_llv2::Message) -> Self {
        Self::ReachOnlyLiquidLegionsV2(message)
    }
}

impl<C: RingProtocol> Hosted for C {
    type Message = MessageOf<C>;

    fn read(token: &ComputationToken, duchy: &str, _setup: &ProtocolsSetup) -> Result<Self, ConvertError> {
        let details = details(token)?;
        let mismatch = ProtocolError::DetailsMismatch { expected: C::PROTOCOL };
        let stored = details.protocol.as_ref().and_then(C::stored).ok_or_else(|| mismatch.clone())?;
        let stage = C::stage_in(ProtocolStage::of(token)?).ok_or(mismatch)?;
        let spec = measurement_spec(token)?;
        let surroundings = Surroundings {
            computation: token.global_computation_id.clone(),
            duchy: DuchyId::from(duchy),
            // Rows of old do not count the participants.
            duchy_count: match participant_count(token)? {
                0 => participants(details).len(),
                count => count,
            },
            requisition_count: token.requisitions.len(),
            vid_sampling_width: spec.vid_sampling_interval.unwrap_or_default().width,
            received: received(token),
            outcome: outcome(token),
        };
        <C as RingComputation>::from_details(stage, stored, surroundings).map_err(C::malformed)
    }

    fn write(&self, details: &mut ComputationDetails) -> Result<(), ConvertError> {
        let stored = details.protocol.as_mut().and_then(C::stored_mut);
        let stored = stored.ok_or(ProtocolError::DetailsMismatch { expected: C::PROTOCOL })?;
        Ok(self.write_details(stored)?)
    }

    fn stage(&self) -> ProtocolStage {
        RingComputation::stage(self).into()
    }

    fn outcome(&self) -> Option<Outcome> {
        RingComputation::outcome(self)
    }

    fn waits_to_start_in(&self) -> Option<ProtocolStage> {
        let waiting = C::Stage::WAIT_TO_START;
        waiting.next(self.setting().role).map(|_| waiting.into())
    }

    fn started() -> Self::Event {
        Event::Start
    }

    fn participation(key: Option<SignedKey>) -> ParamsProtocol {
        C::params(key.map_or_else(LiquidLegionsV2::default, |SignedKey { key, signature }| LiquidLegionsV2 {
            el_gamal_public_key: key,
            el_gamal_public_key_signature: signature.bytes,
            el_gamal_public_key_signature_algorithm_oid: signature.algorithm_oid,
        }))
    }

    fn record_count(&self, message: MessageOf<C>, payload: &[u8]) -> usize {
        C::records(message, self.setting().parameters.curve_id, payload)
    }

    fn measurement_result(&self, result: &MeasurementResult) -> ApiResult {
        let noise = self.setting().parameters.noise.as_ref().map(|noise| noise.noise_mechanism);
        // The reach-only protocol has a methodology of its own in the public API, which upstream does not use.
        measurement_result(result, noise, Methodology::LiquidLegionsV2)
    }
}
