//! Sends an encrypted sketch, or a share of a frequency vector, to a duchy.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};

use super::consent_check::Order;
use super::{DataProvider, DataProviderError, Fulfilled};
use crate::client::Channel;
use crate::consent;
use crate::proto::api::fulfill_requisition_request::{BodyChunk, Header, Payload, header};
use crate::proto::api::requisition_fulfillment_client::RequisitionFulfillmentClient;
use crate::proto::api::{FulfillRequisitionRequest, Requisition};

/// Bytes in a chunk of the body, as upstream's data providers send them.
pub(super) const CHUNK_BYTES: usize = 32 << 10;

/// What a data provider does with its uploads that it should not, to see what duchies make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Pauses before each chunk.
    Slow(Duration),
    /// Sends everything again once it has been taken.
    Duplicate,
    /// Inverts the first byte.
    Corrupt,
}

/// What a requisition is fulfilled with.
pub(super) struct Upload {
    /// Where to.
    pub(super) to: RequisitionFulfillmentClient<Channel>,
    /// What the header says for the protocol.
    pub(super) protocol: Option<header::Protocol>,
    pub(super) registers: usize,
    pub(super) body: Vec<u8>,
}

impl DataProvider {
    /// Sends the data, from the start again while the duchy is unavailable.
    pub(super) async fn upload(
        &self,
        requisition: &Requisition,
        order: &Order,
        upload: Upload,
    ) -> Result<Fulfilled, DataProviderError> {
        let Upload { to, protocol, registers, body } = upload;
        let header = Payload::Header(Header { protocol, ..header(requisition, order) });
        let mut body = body;
        let (mut times, mut pause) = (1, Duration::ZERO);
        match self.misbehaviour {
            Some(Misbehaviour::Slow(slow)) => pause = slow,
            Some(Misbehaviour::Duplicate) => times = 2,
            Some(Misbehaviour::Corrupt) => body.iter_mut().take(1).for_each(|byte| *byte = !*byte),
            None => {}
        }
        let body = Bytes::from(body);
        for _ in 0..times {
            let fulfilled = self.uploads.unary(|| {
                let (mut client, header, body) = (to.clone(), header.clone(), body.clone());
                let messages = stream::iter(messages(header, body)).then(move |message| async move {
                    if !pause.is_zero() && matches!(message.payload, Some(Payload::BodyChunk(_))) {
                        tokio::time::sleep(pause).await;
                    }
                    message
                });
                async move { client.fulfill_requisition(messages).await }
            });
            fulfilled.await.map_err(DataProviderError::Duchy)?;
        }
        Ok(Fulfilled { requisition: requisition.name.clone(), registers, bytes: body.len() })
    }
}

fn header(requisition: &Requisition, order: &Order) -> Header {
    let spec = requisition.measurement_spec.as_ref().map(consent::signed_bytes).unwrap_or_default();
    let encrypted_spec = requisition.encrypted_requisition_spec.as_ref();
    let spec_hash = Sha256::digest(encrypted_spec.map(|spec| spec.ciphertext.as_slice()).unwrap_or_default());
    Header {
        name: requisition.name.clone(),
        requisition_fingerprint: consent::requisition_fingerprint(spec, &spec_hash).to_vec(),
        nonce: order.nonce,
        protocol_config: Some(order.protocol_config.clone()),
        etag: requisition.etag.clone(),
        ..Header::default()
    }
}

/// The header, then the body in chunks that share its memory.
fn messages(header: Payload, body: Bytes) -> impl Iterator<Item = FulfillRequisitionRequest> {
    let chunks = (0..body.len()).step_by(CHUNK_BYTES).map(move |start| {
        let end = body.len().min(start + CHUNK_BYTES);
        Payload::BodyChunk(BodyChunk { data: body.slice(start..end) })
    });
    std::iter::once(header).chain(chunks).map(|payload| FulfillRequisitionRequest { payload: Some(payload) })
}
