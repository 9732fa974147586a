//! The other duchies of a computation: which stage they are in, and handing them data.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use halo_protocols::{DuchyId, Payload};
use tonic::Status;

use crate::client::{CallPolicy, Channel, channel};
use crate::config::DuchyDirectory;
use crate::proto::system::advance_computation_request::{self, BodyChunk, Header};
use crate::proto::system::computation_control_client::ComputationControlClient;
use crate::proto::system::{AdvanceComputationRequest, GetComputationStageRequest};
use crate::protocol_stages::{PeerMessage, ProtocolStage};
use crate::retry::deadline;
use crate::system_api::{computation_name, participant_name};
use crate::tls::{TlsError, TlsIdentity};

/// How data is handed to peers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeerOptions {
    /// For unary calls.
    pub policy: CallPolicy,
    /// Bytes of data in one message of a stream.
    pub bytes_per_chunk: usize,
    /// For a whole stream.
    pub advance_deadline: Duration,
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self {
            policy: CallPolicy::default(),
            bytes_per_chunk: 32 << 10,
            advance_deadline: Duration::from_secs(30 * 60),
        }
    }
}

/// Channels to the other duchies, opened when first used.
#[derive(Clone, Debug)]
pub struct Peers {
    clients: BTreeMap<String, ComputationControlClient<Channel>>,
    options: PeerOptions,
}

impl Peers {
    /// The duchies by their ids, with the targets of their computation control servers.
    ///
    /// # Errors
    /// If a target is malformed.
    pub fn new<'t>(
        tls: &TlsIdentity,
        directory: &DuchyDirectory,
        targets: impl IntoIterator<Item = (&'t str, &'t str)>,
        options: PeerOptions,
    ) -> Result<Self, TlsError> {
        let clients = targets.into_iter().map(|(duchy, target)| {
            let host = directory.get(duchy).map(|entry| entry.cert_host.as_str());
            Ok((duchy.to_owned(), ComputationControlClient::new(channel(tls, target, host)?)))
        });
        Ok(Self { clients: clients.collect::<Result<_, TlsError>>()?, options })
    }

    /// The duchies by their ids, over channels that somebody else has made.
    #[cfg(test)]
    pub(crate) fn over(channels: impl IntoIterator<Item = (String, Channel)>, options: PeerOptions) -> Self {
        let clients = channels.into_iter();
        let clients = clients.map(|(duchy, channel)| (duchy, ComputationControlClient::new(channel)));
        Self { clients: clients.collect(), options }
    }

    fn client(&self, duchy: &DuchyId) -> Result<ComputationControlClient<Channel>, Status> {
        self.clients.get(duchy.as_str()).cloned().ok_or_else(|| {
            Status::failed_precondition(format!("no --duchy-computation-control-target for {duchy}"))
        })
    }

    /// The stage that the computation is in at `duchy`.
    ///
    /// # Errors
    /// The peer's status; `INTERNAL` if its answer is no stage.
    pub async fn stage(&self, duchy: &DuchyId, computation: &str) -> Result<ProtocolStage, Status> {
        let client = self.client(duchy)?;
        let name = format!("{}/stage", participant_name(computation, duchy.as_str()));
        let request = GetComputationStageRequest { name };
        let answer = self
            .options
            .policy
            .unary(|| {
                let (mut client, request) = (client.clone(), request.clone());
                async move { client.get_computation_stage(request).await }
            })
            .await?;
        let stage = answer.stage.ok_or_else(|| Status::internal(format!("{duchy} names no stage")))?;
        ProtocolStage::try_from(&stage)
            .map_err(|error| Status::internal(format!("{duchy} says that its {error}")))
    }

    /// Hands `payload` to `duchy`.
    ///
    /// # Errors
    /// The peer's status, or `DEADLINE_EXCEEDED`.
    pub async fn advance(
        &self,
        duchy: &DuchyId,
        computation: &str,
        message: PeerMessage,
        payload: Payload,
    ) -> Result<(), Status> {
        let mut client = self.client(duchy)?;
        let header = Header { name: computation_name(computation), protocol: Some(message.into()) };
        let limit = self.options.advance_deadline;
        let messages = tokio_stream::iter(stream(header, payload, self.options.bytes_per_chunk));
        deadline::within(limit, client.advance_computation(messages))
            .await
            .map_err(|_| Status::deadline_exceeded(format!("data not taken within {limit:?}")))??;
        Ok(())
    }
}

/// The header, then the bytes in chunks that share one buffer. Nothing at all is one empty chunk, for a stream without
/// chunks is one that was cut off.
fn stream(
    header: Header,
    payload: Payload,
    bytes_per_chunk: usize,
) -> impl Iterator<Item = AdvanceComputationRequest> + Send {
    let bytes = Bytes::from_owner(payload);
    let step = bytes_per_chunk.max(1);
    let chunks = (0..bytes.len().max(1)).step_by(step).map(move |start| {
        let partial_data = bytes.slice(start..bytes.len().min(start + step));
        advance_computation_request::Payload::BodyChunk(BodyChunk { partial_data })
    });
    std::iter::once(advance_computation_request::Payload::Header(header))
        .chain(chunks)
        .map(|payload| AdvanceComputationRequest { payload: Some(payload) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_header_and_the_bytes_in_order() {
        let bytes: Vec<u8> = (0..=250).collect();
        for (per_chunk, chunks) in [(100, 3), (251, 1), (1000, 1), (0, 251)] {
            let header = Header { name: "computations/1".into(), protocol: None };
            let mut requests = stream(header, Payload::from(bytes.clone()), per_chunk);
            let first = requests.next().and_then(|request| request.payload);
            assert!(matches!(first, Some(advance_computation_request::Payload::Header(_))));
            let mut received = Vec::new();
            let mut count = 0;
            for request in requests {
                let Some(advance_computation_request::Payload::BodyChunk(chunk)) = request.payload else {
                    panic!("only the first message is a header");
                };
                received.extend_from_slice(&chunk.partial_data);
                count += 1;
            }
            assert_eq!((received, count), (bytes.clone(), chunks));
        }
    }

    #[test]
    fn an_empty_payload_is_one_empty_chunk() {
        let header = Header { name: "computations/1".into(), protocol: None };
        let requests: Vec<_> = stream(header, Payload::from(Vec::new()), 100).collect();
        let Some(advance_computation_request::Payload::BodyChunk(chunk)) = &requests[1].payload else {
            panic!("{requests:?}");
        };
        assert_eq!((requests.len(), chunk.partial_data.len()), (2, 0));
    }
}
