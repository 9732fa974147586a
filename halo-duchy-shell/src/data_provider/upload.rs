//! Sends an encrypted sketch, or a share of a frequency vector, to a duchy.

use bytes::Bytes;
use futures::stream;
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
        let body = Bytes::from(body);
        let fulfilled = self.uploads.unary(|| {
            let (mut client, header, body) = (to.clone(), header.clone(), body.clone());
            async move { client.fulfill_requisition(stream::iter(messages(header, body))).await }
        });
        fulfilled.await.map_err(DataProviderError::Duchy)?;
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
