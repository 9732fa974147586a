//! The honest-majority share shuffle as [`Hosted`], and what a worker passes on and puts together.

use halo_protocols::hmss::{self, Event, Evidence, Outcome, Surroundings};
use halo_protocols::proto::protocol::honest_majority_share_shuffle as proto;
use halo_protocols::proto::protocol::honest_majority_share_shuffle::shuffle_phase_input::SecretSeed;
use halo_protocols::{DuchyId, MeasurementResult};

use super::ConvertError;
use super::hosted::{Hosted, SignedKey};
use super::result::{Methodology, measurement_result};
use super::token::{
    details, evidence, measurement_spec, outcome, own_requisitions, received, requisition_id,
};
use crate::config::ProtocolsSetup;
use crate::proto::api::measurement::Result as ApiResult;
use crate::proto::internal::computation_details::Protocol as StoredProtocol;
use crate::proto::internal::requisition_details::requisition_protocol::{
    HonestMajorityShareShuffle as SeedDetails, Protocol as RequisitionProtocol,
};
use crate::proto::internal::{ComputationDetails, ComputationToken, RequisitionMetadata};
use crate::proto::system::computation_participant::requisition_params::{
    HonestMajorityShareShuffle, Protocol as ParamsProtocol,
};
use crate::protocol_stages::{PeerMessage, Protocol, ProtocolError, ProtocolStage};

const MISMATCH: ProtocolError =
    ProtocolError::DetailsMismatch { expected: Protocol::HonestMajorityShareShuffle };

impl From<hmss::Message> for PeerMessage {
    fn from(message: hmss::Message) -> Self {
        Self::HonestMajorityShareShuffle(message)
    }
}

/// The details of a share shuffle among those of a row.
pub fn share_shuffle_details(details: &ComputationDetails) -> Option<&proto::ComputationDetails> {
    match &details.protocol {
        Some(StoredProtocol::HonestMajorityShareShuffle(details)) => Some(details),
        _ => None,
    }
}

impl Hosted for hmss::State {
    type Message = hmss::Message;

    fn read(token: &ComputationToken, duchy: &str, setup: &ProtocolsSetup) -> Result<Self, ConvertError> {
        let stored = share_shuffle_details(details(token)?).ok_or(MISMATCH)?;
        let ProtocolStage::HonestMajorityShareShuffle(stage) = ProtocolStage::of(token)? else {
            return Err(MISMATCH.into());
        };
        let part = setup.honest_majority_share_shuffle.as_ref();
        let part = part.ok_or(ConvertError::Protocol(Protocol::HonestMajorityShareShuffle.name()))?;
        let spec = measurement_spec(token)?;
        let surroundings = Surroundings {
            computation: token.global_computation_id.clone(),
            duchy: DuchyId::from(duchy),
            aggregator: DuchyId::from(part.aggregator.as_str()),
            requisition_count: token.requisitions.len(),
            vid_sampling_width: spec.vid_sampling_interval.unwrap_or_default().width,
            received: received(token),
            outcome: outcome(token),
        };
        Ok(Self::from_details(stage, stored, surroundings)?)
    }

    fn write(&self, details: &mut ComputationDetails) -> Result<(), ConvertError> {
        match &mut details.protocol {
            Some(StoredProtocol::HonestMajorityShareShuffle(details)) => self.write_details(details),
            _ => return Err(MISMATCH.into()),
        }
        Ok(())
    }

    fn stage(&self) -> ProtocolStage {
        self.stage().into()
    }

    fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Complete(_, outcome) => Some(*outcome),
            _ => None,
        }
    }

    fn waits_to_start_in(&self) -> Option<ProtocolStage> {
        let waiting = hmss::Stage::WaitToStart;
        waiting.next(self.setting().role).map(|_| waiting.into())
    }

    fn started() -> Event {
        Event::Start
    }

    fn participation(key: Option<SignedKey>) -> ParamsProtocol {
        let key = key.map_or_else(HonestMajorityShareShuffle::default, |SignedKey { key, signature }| {
            HonestMajorityShareShuffle {
                tink_public_key: key,
                tink_public_key_signature: signature.bytes,
                tink_public_key_signature_algorithm_oid: signature.algorithm_oid,
            }
        });
        ParamsProtocol::HonestMajorityShareShuffle(key)
    }

    fn record_count(&self, message: hmss::Message, payload: &[u8]) -> usize {
        message.record_count(payload)
    }

    fn measurement_result(&self, result: &MeasurementResult) -> ApiResult {
        let noise = self.setting().parameters.noise.as_ref().map(|noise| noise.mechanism);
        let frequency_vector_size = result.frequency_vector_size.unwrap_or_default();
        measurement_result(result, noise, Methodology::HonestMajorityShareShuffle { frequency_vector_size })
    }
}

/// What data providers encrypted to the other worker when they handed their data to `duchy`.
pub fn secret_seeds(token: &ComputationToken, duchy: &str) -> Vec<SecretSeed> {
    let seed = |requisition: &RequisitionMetadata| {
        let SeedDetails { secret_seed_ciphertext, register_count, data_provider_certificate } =
            seed_details(requisition).unwrap_or_default();
        SecretSeed {
            requisition_id: requisition_id(requisition).to_owned(),
            secret_seed_ciphertext,
            register_count,
            data_provider_certificate,
        }
    };
    own_requisitions(token, duchy).map(seed).collect()
}

/// What is known about the consent of the data providers. The first worker is started with their nonces; the second
/// hears of them from the Kingdom at the same time, or not before the first has sent its seeds.
///
/// # Errors
/// If the measurement spec cannot be read.
pub fn known_evidence(
    token: &ComputationToken,
    duchy: &str,
    role: hmss::Role,
) -> Result<Option<Evidence>, ConvertError> {
    let evidence = evidence(token, duchy, Vec::new())?;
    let told = evidence.requisitions.iter().any(|requisition| requisition.nonce.is_some());
    Ok((told || role == hmss::Role::FirstNonAggregator).then_some(evidence))
}

/// What a data provider sent beside its share, where it has.
pub fn seed_details(requisition: &RequisitionMetadata) -> Option<SeedDetails> {
    match requisition.details.as_ref()?.protocol.as_ref()?.protocol.as_ref()? {
        RequisitionProtocol::HonestMajorityShareShuffle(details) => Some(details.clone()),
        RequisitionProtocol::TrusTee(_) => None,
    }
}
