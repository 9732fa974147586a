//! The effects of a step on the world outside the duchy. Each can be repeated.

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_protocols::llv2::{Message, Setting};
use halo_protocols::{DuchyId, MeasurementResult, Payload};
use prost::Message as _;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

use super::observer::{StageEvent, records};
use super::work::Work;
use super::{Inner, MillError};
use crate::consent::{public_keyset, seal_result};
use crate::convert;
use crate::proto::api::{EncryptionPublicKey, encryption_public_key};
use crate::proto::system::SetComputationResultRequest;
use crate::proto::system::computation::State;
use crate::proto::system::computation_participant::RequisitionParams;
use crate::proto::system::computation_participant::requisition_params::{LiquidLegionsV2, Protocol};
use crate::system_api::computation_name;

/// The first pause between two looks at a peer's stage.
const FIRST_POLL: Duration = Duration::from_millis(50);
const LONGEST_POLL: Duration = Duration::from_secs(30);

impl Work {
    pub(super) async fn publish_key(&self, el_gamal_public_key: Vec<u8>) -> Result<(), MillError> {
        let Inner { parts, .. } = &*self.mill;
        let signature = parts.consent.signer.sign(&el_gamal_public_key)?;
        let params = RequisitionParams {
            duchy_certificate: parts.consent.certificate_name.clone(),
            // The Kingdom fills it in from the certificate that it knows by this name.
            duchy_certificate_der: Vec::new(),
            protocol: Some(Protocol::LiquidLegionsV2(LiquidLegionsV2 {
                el_gamal_public_key,
                el_gamal_public_key_signature: signature.bytes,
                el_gamal_public_key_signature_algorithm_oid: signature.algorithm_oid,
            })),
        };
        let computation = &self.token.global_computation_id;
        let published = parts.kingdom.set_requisition_params(computation, params).await;
        published.map_err(MillError::kingdom("publishing the key"))
    }

    pub(super) async fn confirm_participation(&self) -> Result<(), MillError> {
        let confirmed = self.mill.parts.kingdom.confirm(&self.token.global_computation_id).await;
        confirmed.map_err(MillError::kingdom("confirming the participation"))
    }

    /// Tells the Kingdom that this duchy cannot go on.
    pub(super) async fn fail_participation(&self, reason: &str) -> Result<(), MillError> {
        tracing::error!(
            computation = self.token.global_computation_id,
            reason,
            "the computation cannot go on"
        );
        self.observe(StageEvent::Failed { reason: reason.to_owned() });
        let failed = self.mill.fail_at_kingdom(&self.token, reason).await;
        failed.map_err(MillError::kingdom("reporting the failure"))
    }

    /// Hands the output to a peer once the peer awaits it, unless the peer has had it.
    pub(super) async fn send(
        &mut self,
        to: DuchyId,
        message: Message,
        payload: Payload,
        curve_id: i64,
    ) -> Result<(), MillError> {
        let bytes = payload.as_bytes().len();
        self.statistics.registers = records(message, curve_id, bytes);
        let begun = Instant::now();
        let patience = self.mill.options.peer_patience;
        let awaited = message.awaited_in();
        let mut pause = FIRST_POLL;
        let mut reported = false;
        loop {
            let peers = self.mill.parts.peers.clone();
            let id = self.token.global_computation_id.clone();
            let stage =
                peers.stage(&to, &id).await.map_err(MillError::peer("asking a peer for its stage"))?;
            if stage > awaited {
                tracing::info!(computation = id, peer = %to, stage = stage.name(), "the peer has had this data");
                break;
            }
            let reason = if stage == awaited {
                self.slot.retake().await;
                match peers.advance(&to, &id, message, payload.clone()).await {
                    Ok(()) => {
                        self.statistics.sent_bytes = bytes as u64;
                        break;
                    }
                    // The peer may have been stopped, or its stage may have changed since it was asked.
                    Err(status) if matches!(status.code(), Code::Unavailable | Code::FailedPrecondition) => {
                        status.message().to_owned()
                    }
                    Err(status) => return Err(MillError::peer("sending to a peer")(status)),
                }
            } else {
                format!("it is in {}", stage.name())
            };
            let waited = begun.elapsed();
            if waited >= patience {
                return Err(MillError::PeerNotReady { peer: to.to_string(), waited, reason });
            }
            if !reported {
                self.observe(StageEvent::Waiting { peer: to.to_string() });
                reported = true;
            }
            // Others may work meanwhile: two duchies whose only places wait for one another would wait for ever.
            self.slot.leave();
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_POLL);
        }
        self.statistics.transmission = begun.elapsed();
        Ok(())
    }

    /// Signs the result, encrypts it to the measurement consumer, and hands it to the Kingdom.
    pub(super) async fn report_result(
        &self,
        result: &MeasurementResult,
        setting: &Setting,
    ) -> Result<(), MillError> {
        let Inner { parts, .. } = &*self.mill;
        let kingdom = self.token.computation_details.as_ref();
        let kingdom = kingdom.and_then(|details| details.kingdom_computation.clone()).unwrap_or_default();
        let consumer = EncryptionPublicKey {
            format: encryption_public_key::Format::TinkKeyset as i32,
            data: kingdom.measurement_public_key.unwrap_or_default().data,
        };
        let result = convert::measurement_result(result, setting);
        let rng = &mut UnwrapErr(SysRng);
        let encrypted_result = seal_result(&result, &parts.consent.signer, &public_keyset(&consumer)?, rng)?;
        let computation = &self.token.global_computation_id;
        let request = SetComputationResultRequest {
            name: computation_name(computation),
            aggregator_certificate: parts.consent.certificate_name.clone(),
            result_public_key: consumer.encode_to_vec(),
            encrypted_result,
            public_api_version: kingdom.public_api_version,
        };
        match parts.kingdom.set_result(request).await {
            Ok(()) => Ok(()),
            // An earlier attempt may have handed in a result and never heard of it; the Kingdom does not say so.
            Err(status) => match parts.kingdom.computation(computation).await {
                Ok(known)
                    if known.state() == State::Succeeded
                        && known.aggregator_certificate == parts.consent.certificate_name =>
                {
                    Ok(())
                }
                _ => Err(MillError::kingdom("reporting the result")(status)),
            },
        }
    }
}
