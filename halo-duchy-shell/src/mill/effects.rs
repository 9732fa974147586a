//! The effects of a step on the world outside the duchy. Each can be repeated.

use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_protocols::{DuchyId, Payload};
use prost::Message as _;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tonic::Code;

use super::observer::StageEvent;
use super::work::Work;
use super::{Inner, MillError};
use crate::audit::{Event, Outcome};
use crate::consent::{ConsentError, public_keyset, seal_result};
use crate::convert::{Hosted, SignedKey};
use crate::fail_point::around;
use crate::proto::api::measurement::Result as MeasurementResult;
use crate::proto::api::{EncryptionPublicKey, encryption_public_key};
use crate::proto::system::computation::State;
use crate::proto::system::computation_participant::RequisitionParams;
use crate::proto::system::{Computation, SetComputationResultRequest};
use crate::protocol_stages::PeerMessage;
use crate::retry::Backoff;
use crate::system_api::computation_name;

/// The pauses between looks at a peer's stage.
const POLLS: Backoff = Backoff::new(Duration::from_millis(50), 1.5, Duration::from_secs(30));

impl Work {
    /// Signs the key, if there is one, and tells the Kingdom that this duchy takes part with it.
    pub(super) async fn publish<P: Hosted>(&self, key: Option<Vec<u8>>) -> Result<(), MillError> {
        let Inner { parts, .. } = &*self.mill;
        let own = parts.consent.own.current();
        let sign = |key: Vec<u8>| {
            let signature = own.signer.sign(&key)?;
            Ok::<_, ConsentError>(SignedKey { key, signature })
        };
        let params = RequisitionParams {
            duchy_certificate: own.certificate_name.clone(),
            // The Kingdom fills it in from the certificate that it knows by this name.
            duchy_certificate_der: Vec::new(),
            protocol: Some(P::participation(key.map(sign).transpose()?)),
        };
        let computation = &self.token.global_computation_id;
        self.entry(Event::KeyUsed, Outcome::Done)
            .detail("key", own.certificate_name.as_str())
            .detail("purpose", "signing the public key")
            .record();
        let published = parts.kingdom.set_requisition_params(computation, params);
        around("kingdom.publish", self.stage_name(), published)
            .await
            .map_err(MillError::kingdom("publishing the key"))
    }

    pub(super) async fn confirm_participation(&self) -> Result<(), MillError> {
        let confirmed = self.mill.parts.kingdom.confirm(&self.token.global_computation_id);
        around("kingdom.confirm", self.stage_name(), confirmed)
            .await
            .map_err(MillError::kingdom("confirming the participation"))
    }

    /// Tells the Kingdom that this duchy cannot go on.
    pub(super) async fn fail_participation(&self, reason: &str) -> Result<(), MillError> {
        tracing::error!(reason, "the computation cannot go on");
        // A duchy that refuses to take part does so because of somebody's consent or key.
        self.entry(Event::ConsentRefused, Outcome::Refused).reason(reason).record();
        self.entry(Event::ComputationFailed, Outcome::Failed).reason(reason).record();
        self.observe(StageEvent::Failed { reason: reason.to_owned() });
        let failed = self.mill.fail_at_kingdom(&self.token, reason).await;
        failed.map_err(MillError::kingdom("reporting the failure"))
    }

    /// Hands the output to a peer once the peer awaits it, unless the peer has had it.
    pub(super) async fn send(
        &mut self,
        to: DuchyId,
        message: PeerMessage,
        payload: Payload,
    ) -> Result<(), MillError> {
        let bytes = payload.as_bytes().len();
        let begun = Instant::now();
        let patience = self.mill.options.peer_patience;
        let awaited = message.awaited_in();
        let mut looks = 0;
        let mut reported = false;
        let mut waiting_since = None;
        loop {
            let peers = self.mill.parts.peers.clone();
            let id = self.token.global_computation_id.clone();
            let stage =
                peers.stage(&to, &id).await.map_err(MillError::peer("asking a peer for its stage"))?;
            if stage.protocol() != awaited.protocol() {
                let reason = format!("{to} has {} in {}", stage.protocol().name(), stage.name());
                return Err(MillError::Permanent { what: "asking a peer for its stage", reason });
            }
            if stage.number() > awaited.number() {
                tracing::info!(peer = %to, at = stage.name(), "the peer has had this data");
                break;
            }
            let reason = if stage == awaited {
                self.slot.retake().await;
                let advanced = peers.advance(&to, &id, message, payload.clone());
                match around("peer.advance", self.stage_name(), advanced).await {
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
            let waiting_since = *waiting_since.get_or_insert_with(Instant::now);
            looks += 1;
            tokio::time::sleep(POLLS.pause(looks)).await;
            self.statistics.waiting = waiting_since.elapsed();
        }
        self.statistics.transmission = begun.elapsed();
        Ok(())
    }

    /// Signs the result, encrypts it to the measurement consumer, and hands it to the Kingdom.
    pub(super) async fn report_result(&self, result: &MeasurementResult) -> Result<(), MillError> {
        let Inner { parts, .. } = &*self.mill;
        let kingdom = self.token.computation_details.as_ref();
        let kingdom = kingdom.and_then(|details| details.kingdom_computation.clone()).unwrap_or_default();
        let consumer = EncryptionPublicKey {
            format: encryption_public_key::Format::TinkKeyset as i32,
            data: kingdom.measurement_public_key.unwrap_or_default().data,
        };
        let computation = &self.token.global_computation_id;
        // An earlier attempt may have handed in a result and never heard of it; the Kingdom does not say so. It takes a
        // second result that is signed by another key, which this duchy may have had then.
        let mine = format!("duchies/{}/certificates/", parts.duchy);
        let has_mine = |known: &Computation| {
            known.state() == State::Succeeded && known.aggregator_certificate.starts_with(&mine)
        };
        if self.token.attempt > 1
            && parts.kingdom.computation(computation).await.is_ok_and(|known| has_mine(&known))
        {
            return Ok(());
        }
        let own = parts.consent.own.current();
        let rng = &mut UnwrapErr(SysRng);
        let encrypted_result = seal_result(result, &own.signer, &public_keyset(&consumer)?, rng)?;
        let sent = self
            .entry(Event::ResultSent, Outcome::Done)
            .detail("key", own.certificate_name.as_str())
            .detail("sha256", hex::encode(Sha256::digest(&encrypted_result)))
            .detail("result_public_key_sha256", hex::encode(Sha256::digest(&consumer.data)));
        let request = SetComputationResultRequest {
            name: computation_name(computation),
            aggregator_certificate: own.certificate_name.clone(),
            result_public_key: consumer.encode_to_vec(),
            encrypted_result,
            public_api_version: kingdom.public_api_version,
        };
        match around("kingdom.result", self.stage_name(), parts.kingdom.set_result(request)).await {
            Ok(()) => {
                sent.record();
                Ok(())
            }
            Err(status) => match parts.kingdom.computation(computation).await {
                Ok(known) if has_mine(&known) => {
                    sent.record();
                    Ok(())
                }
                _ => Err(MillError::kingdom("reporting the result")(status)),
            },
        }
    }
}
