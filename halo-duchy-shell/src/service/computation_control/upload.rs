//! The stream of one message: a header, then chunks.

use bytes::Bytes;
use tonic::Streaming;

use super::AdvanceLimits;
use crate::blob::BlobError;
use crate::config::is_valid_id;
use crate::error::ShellError;
use crate::proto::system::AdvanceComputationRequest;
use crate::proto::system::advance_computation_request::{Header, Payload};
use crate::protocol_stages::{PeerMessage, ProtocolStage};
use crate::service::uploads::next_that_brings;

/// What is left of a stream after its header.
pub(super) struct Upload {
    stream: Streaming<AdvanceComputationRequest>,
    limits: AdvanceLimits,
    /// Whether there has been a chunk.
    pub(super) has_body: bool,
    length: u64,
}

impl Upload {
    /// Reads the header.
    pub(super) async fn begin(
        stream: Streaming<AdvanceComputationRequest>,
        limits: AdvanceLimits,
    ) -> Result<(Self, Header), ShellError> {
        let mut upload = Self { stream, limits, has_body: false, length: 0 };
        match upload.payload().await? {
            Some(Payload::Header(header)) => Ok((upload, header)),
            Some(Payload::BodyChunk(_)) => Err(ShellError::invalid("header", "is not first")),
            None => Err(ShellError::invalid("header", "is missing")),
        }
    }

    /// The next chunk, or the end. After the first, chunks without bytes are passed over.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ShellError> {
        match self.payload().await? {
            None => Ok(None),
            Some(Payload::Header(_)) => Err(ShellError::invalid("header", "comes twice")),
            Some(Payload::BodyChunk(chunk)) => {
                self.has_body = true;
                self.length += chunk.partial_data.len() as u64;
                if self.length > self.limits.max_bytes {
                    return Err(BlobError::TooLarge { limit: self.limits.max_bytes }.into());
                }
                Ok(Some(chunk.partial_data))
            }
        }
    }

    async fn payload(&mut self) -> Result<Option<Payload>, ShellError> {
        let brings_something = |message: &AdvanceComputationRequest| match &message.payload {
            Some(Payload::BodyChunk(chunk)) => !self.has_body || !chunk.partial_data.is_empty(),
            _ => true,
        };
        let message = next_that_brings(&mut self.stream, self.limits.idle, brings_something).await?;
        let missing = || ShellError::invalid("payload", "is missing");
        message.map(|message| message.payload.ok_or_else(missing)).transpose()
    }
}

/// The computation that a header names: `computations/{computation}`.
pub(super) fn computation_id(header: &Header) -> Result<&str, ShellError> {
    let id = header.name.strip_prefix("computations/").filter(|id| is_valid_id(id));
    id.ok_or_else(|| ShellError::invalid("header.name", "is not computations/{computation}"))
}

/// The computation whose stage at `duchy` a name means: `computations/{computation}/participants/{duchy}/stage`.
pub(super) fn stage_name<'n>(name: &'n str, duchy: &str) -> Result<&'n str, ShellError> {
    let parts: Vec<_> = name.split('/').collect();
    match parts[..] {
        ["computations", id, "participants", participant, "stage"]
            if is_valid_id(id) && participant == duchy =>
        {
            Ok(id)
        }
        _ => Err(ShellError::invalid("name", "is not the name of a stage of this duchy")),
    }
}

/// The stage that waits for what a header describes.
pub(super) fn awaiting_stage(header: &Header) -> Result<ProtocolStage, ShellError> {
    let protocol =
        header.protocol.as_ref().ok_or_else(|| ShellError::invalid("header.protocol", "is missing"))?;
    let message = PeerMessage::try_from(protocol)
        .map_err(|error| ShellError::invalid("header.description", format!("is unknown: {error}")))?;
    Ok(message.awaited_in())
}
