//! gRPC's messages as protocol buffers, none of which makes much of little.
//!
//! Two bytes are an empty message among repeated ones, which has hundreds in memory: 4 MiB from a peer would be as many
//! hundred megabytes, for each of its streams. So what a message consists of is counted before it is decoded.

use std::marker::PhantomData;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{Message, Name};
use prost_reflect::{Kind, MessageDescriptor};
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::proto::POOL;

/// Messages, texts and byte strings within a message, and entries of maps, at any depth.
const MAX_PARTS: usize = 1 << 16;

/// A part takes two bytes at least, so that shorter messages need not be counted: chunks of data among them.
const UNCOUNTED_BYTES: usize = 2 * MAX_PARTS;

/// How deep messages in messages are counted. Deeper ones are not decoded.
const DEPTH: usize = 100;

/// Encodes `T` and decodes `U`.
#[derive(Clone, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Bounded<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Bounded<U> {
        Bounded(PhantomData)
    }
}

/// Decodes `U`, unless it has too many parts.
#[derive(Debug)]
pub struct Bounded<U>(PhantomData<U>);

impl<U: Message + Name + Default + 'static> Decoder for Bounded<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        use bytes::Buf as _;
        let length = buffer.remaining();
        if length > UNCOUNTED_BYTES {
            // The buffer is one piece of memory.
            check(U::full_name().as_str(), buffer.chunk())?;
        }
        ProstCodec::<(), U>::raw_decoder(BufferSettings::default()).decode(buffer)
    }
}

/// Refuses a message of the type called `name` that consists of too many parts.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn check(name: &str, bytes: &[u8]) -> Result<(), Status> {
    let kind = POOL.get_message_by_name(name);
    let kind = kind.ok_or_else(|| Status::internal(format!("{name} is not among the descriptors")))?;
    let mut parts = 0;
    count(&kind, bytes, &mut parts, DEPTH);
    if parts <= MAX_PARTS {
        return Ok(());
    }
    let length = bytes.len();
    Err(Status::resource_exhausted(format!("a {name} of {length} bytes has more than {MAX_PARTS} parts")))
}

/// Adds to `parts` what is in a message, until it is malformed or there are too many.
fn count(kind: &MessageDescriptor, mut bytes: &[u8], parts: &mut usize, depth: usize) {
    while !bytes.is_empty() && *parts <= MAX_PARTS {
        let Ok((number, wire)) = decode_key(&mut bytes) else { return };
        let field = kind.get_field(number).map(|field| field.kind());
        let (WireType::LengthDelimited, Some(field)) = (wire, field) else {
            if skip_field(wire, number, &mut bytes, DecodeContext::default()).is_err() {
                return;
            }
            continue;
        };
        let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
        let Some((content, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else { return };
        bytes = rest;
        match field {
            Kind::Message(kind) => {
                *parts += 1;
                if depth > 0 {
                    count(&kind, content, parts, depth - 1);
                }
            }
            Kind::String | Kind::Bytes => *parts += 1,
            // Packed numbers, of which none takes more than eight times what it takes here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::proto::api::fulfill_requisition_request::{BodyChunk, Header, Payload};
    use crate::proto::api::protocol_config::Protocol;
    use crate::proto::api::{FulfillRequisitionRequest, ProtocolConfig};
    use crate::proto::internal::GetComputationIdsResponse;

    fn checked<M: Message + Name>(message: &M) -> Result<(), Status> {
        check(&M::full_name(), &message.encode_to_vec())
    }

    fn header(protocols: usize) -> FulfillRequisitionRequest {
        let config =
            ProtocolConfig { protocols: vec![Protocol::default(); protocols], ..ProtocolConfig::default() };
        let header = Header { protocol_config: Some(config), ..Header::default() };
        FulfillRequisitionRequest { payload: Some(Payload::Header(header)) }
    }

    #[test]
    fn messages_of_many_small_parts_are_refused() {
        // The header and its configuration are parts, too.
        assert!(checked(&header(MAX_PARTS - 2)).is_ok());
        let refused = checked(&header(MAX_PARTS - 1)).expect_err("one too many");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("FulfillRequisitionRequest of"), "{refused}");
        let ids = |count| GetComputationIdsResponse { global_ids: vec![String::new(); count] };
        assert!(checked(&ids(MAX_PARTS)).is_ok());
        assert!(checked(&ids(MAX_PARTS + 1)).is_err());
    }

    #[test]
    fn a_large_message_of_few_parts_is_none_of_them() {
        let chunk = BodyChunk { data: vec![0x0a; 4 << 20].into() };
        let message = FulfillRequisitionRequest { payload: Some(Payload::BodyChunk(chunk)) };
        assert!(checked(&message).is_ok());
    }

    #[test]
    fn what_is_malformed_is_for_the_decoder_to_tell() {
        let mut cut = header(1000).encode_to_vec();
        cut.truncate(1001);
        for bytes in [&cut[..], &[0x0b], &[0xff; 20], &[0x0a, 0x7f]] {
            assert!(check(&FulfillRequisitionRequest::full_name(), bytes).is_ok());
        }
    }

    /// What a peer can have a server hold by one message.
    #[test]
    fn the_largest_message_that_is_not_refused_takes_some_megabytes() {
        let part = size_of::<Protocol>();
        assert!(MAX_PARTS * part <= 32 << 20, "{part} bytes each");
    }
}
