//! What a verbose log tells of an RPC's messages: their types and sizes, and the ids in them. Upstream's prints whole
//! messages with bytes cut at 100, and with them keys and seeds; here no field is printed that is not
//! known to be an id.

use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};
use tonic::codegen::Body as HttpBody;
use tracing::Span;

/// Larger messages are not looked into.
const LOOKED_INTO: usize = 64 << 10;

/// Further messages of a call in one direction are not told of: those of a large upload are many and alike.
const TOLD: usize = 16;

/// Further ids of one message are left out.
const IDS: usize = 16;

/// Longer ids are cut.
const ID_CHARACTERS: usize = 100;

/// How deep messages in messages are looked into.
const DEPTH: usize = 8;

/// gRPC's prefix of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A body whose messages are told of as they go by.
pub(super) struct Watched<B> {
    body: B,
    /// `None` if nobody listens.
    messages: Option<Messages>,
}

/// The messages of a call in one direction.
pub(super) struct Messages {
    direction: &'static str,
    /// Unknown if the RPC is.
    kind: Option<MessageDescriptor>,
    span: Span,
    prefix: [u8; PREFIX],
    /// How much of the prefix is there.
    prefixed: usize,
    /// The length of the current message, and how much of it is still to come.
    length: usize,
    left: usize,
    /// The current message, unless it is too large or compressed.
    seen: Vec<u8>,
    count: usize,
}

impl<B> Watched<B> {
    /// Tells of the messages of `body` in `span`, if the log is verbose.
    pub(super) fn new(
        body: B,
        direction: &'static str,
        kind: Option<&MessageDescriptor>,
        span: &Span,
    ) -> Self {
        let messages = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| Messages::new(direction, kind.cloned(), span.clone()));
        Self { body, messages }
    }
}

impl<B> HttpBody for Watched<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let (Poll::Ready(Some(Ok(frame))), Some(messages)) = (&polled, &mut self.messages)
            && let Some(data) = frame.data_ref()
        {
            messages.take(data, Messages::tell);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Messages {
    fn new(direction: &'static str, kind: Option<MessageDescriptor>, span: Span) -> Self {
        Self {
            direction,
            kind,
            span,
            prefix: [0; PREFIX],
            prefixed: 0,
            length: 0,
            left: 0,
            seen: Vec::new(),
            count: 0,
        }
    }

    /// Takes in bytes, and hands over each message that they complete.
    fn take(&mut self, mut data: &[u8], mut complete: impl FnMut(&Self)) {
        while self.count < TOLD {
            if self.prefixed < PREFIX {
                let (part, rest) = data.split_at(data.len().min(PREFIX - self.prefixed));
                self.prefix[self.prefixed..self.prefixed + part.len()].copy_from_slice(part);
                self.prefixed += part.len();
                data = rest;
                if self.prefixed < PREFIX {
                    return;
                }
                let [_, a, b, c, d] = self.prefix;
                self.length = u32::from_be_bytes([a, b, c, d]) as usize;
                self.left = self.length;
                self.seen.clear();
            }
            let (part, rest) = data.split_at(data.len().min(self.left));
            if self.is_readable() {
                self.seen.extend_from_slice(part);
            }
            self.left -= part.len();
            data = rest;
            if self.left > 0 {
                return;
            }
            self.count += 1;
            complete(self);
            self.prefixed = 0;
        }
    }

    fn is_readable(&self) -> bool {
        self.prefix[0] == 0 && self.length <= LOOKED_INTO
    }

    fn tell(&self) {
        let message_type = self.kind.as_ref().map_or("unknown", |kind| kind.full_name());
        let (direction, bytes, ids) = (self.direction, self.length, self.ids());
        self.span.in_scope(|| tracing::debug!(direction, message_type, bytes, %ids, "message"));
        if self.count == TOLD {
            self.span.in_scope(|| tracing::debug!(direction, "further messages are not told of"));
        }
    }

    /// The ids in the current message.
    fn ids(&self) -> String {
        let kind = self.kind.clone().filter(|_| self.is_readable());
        let message = kind.and_then(|kind| DynamicMessage::decode(kind, &self.seen[..]).ok());
        let mut ids = Vec::new();
        if let Some(message) = message {
            collect(&message, "", 0, &mut ids);
        }
        ids.join(" ")
    }
}

/// Whether a field's name says that it is an id, or tells two versions of something apart.
fn is_id(name: &str) -> bool {
    matches!(name, "name" | "parent" | "owner" | "lock_owner" | "version" | "attempt")
        || name.ends_with("_id")
        || name.ends_with("_ids")
}

fn collect(message: &DynamicMessage, path: &str, depth: usize, ids: &mut Vec<String>) {
    for (field, value) in message.fields() {
        let path = match path {
            "" => field.name().to_owned(),
            path => format!("{path}.{}", field.name()),
        };
        let values = match value {
            Value::List(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for value in values {
            if ids.len() >= IDS {
                return;
            }
            if let Value::Message(inner) = value {
                if depth < DEPTH {
                    collect(inner, &path, depth + 1, ids);
                }
            } else if is_id(field.name()) {
                ids.extend(written(&path, value));
            }
        }
    }
}

/// An id as the log has it; nothing for values that no id has.
fn written(path: &str, value: &Value) -> Option<String> {
    let mut text = format!("{path}=");
    match value {
        Value::String(id) => {
            let cut: String = id.chars().take(ID_CHARACTERS).collect();
            // A line break in an id must not begin a line of the log.
            write!(text, "{cut:?}").ok()?;
        }
        Value::I32(id) => write!(text, "{id}").ok()?,
        Value::I64(id) => write!(text, "{id}").ok()?,
        Value::U32(id) => write!(text, "{id}").ok()?,
        Value::U64(id) => write!(text, "{id}").ok()?,
        _ => return None,
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use halo_protocols::proto::duchy::ElGamalKeyPair;
    use halo_protocols::proto::protocol::liquid_legions_sketch_aggregation_v2::ComputationDetails as LiquidLegionsDetails;
    use prost::Message;

    use super::*;
    use crate::proto::POOL;
    use crate::proto::internal::{
        ComputationDetails, ComputationToken, ExternalRequisitionKey, GetComputationTokenResponse,
        RequisitionMetadata, computation_details,
    };
    use crate::proto::system::AdvanceComputationRequest;
    use crate::proto::system::advance_computation_request::{BodyChunk, Payload};

    fn messages(kind: &str) -> Messages {
        Messages::new("request", POOL.get_message_by_name(kind), Span::none())
    }

    fn framed(compressed: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("small").to_be_bytes();
        [&[compressed], &length[..], message].concat()
    }

    fn response() -> GetComputationTokenResponse {
        let token = ComputationToken {
            local_computation_id: 7,
            global_computation_id: "c\n1".into(),
            version: 9,
            attempt: 2,
            lock_owner: "x".repeat(200),
            computation_details: Some(ComputationDetails {
                blobs_storage_prefix: "another".into(),
                protocol: Some(computation_details::Protocol::LiquidLegionsV2(LiquidLegionsDetails {
                    local_elgamal_key: Some(ElGamalKeyPair {
                        public_key: None,
                        secret_key: b"a secret key".to_vec(),
                    }),
                    ..LiquidLegionsDetails::default()
                })),
                ..ComputationDetails::default()
            }),
            requisitions: vec![RequisitionMetadata {
                external_key: Some(ExternalRequisitionKey {
                    external_requisition_id: "r1".into(),
                    requisition_fingerprint: b"a fingerprint".to_vec(),
                }),
                ..RequisitionMetadata::default()
            }],
            ..ComputationToken::default()
        };
        GetComputationTokenResponse { token: Some(token) }
    }

    const TOKEN: &str = "wfa.measurement.internal.duchy.GetComputationTokenResponse";

    /// What is told of `bytes`, which come in pieces of `piece`: the length and ids of each message.
    fn told(kind: &str, bytes: &[u8], piece: usize) -> Vec<(usize, String)> {
        let (mut messages, mut told) = (messages(kind), Vec::new());
        for data in bytes.chunks(piece) {
            messages.take(data, |messages| told.push((messages.length, messages.ids())));
        }
        told
    }

    #[test]
    fn ids_are_told_and_nothing_else() {
        let message = response().encode_to_vec();
        let owner = format!("token.lock_owner={:?}", "x".repeat(ID_CHARACTERS));
        let mut expected = vec![
            "token.local_computation_id=7",
            r#"token.global_computation_id="c\n1""#,
            "token.attempt=2",
            "token.version=9",
            r#"token.requisitions.external_key.external_requisition_id="r1""#,
            owner.as_str(),
        ];
        expected.sort_unstable();
        let stream = [framed(0, &message), framed(0, &[]), framed(0, &message)].concat();
        for piece in [1, 2, 3, 7, 64, 100_000] {
            let told = told(TOKEN, &stream, piece);
            let lengths: Vec<_> = told.iter().map(|(length, _)| *length).collect();
            assert_eq!(lengths, [message.len(), 0, message.len()], "in pieces of {piece}");
            for at in [0, 2] {
                let mut ids: Vec<_> = told[at].1.split(' ').collect();
                ids.sort_unstable();
                assert_eq!(ids, expected);
            }
            assert_eq!(told[1].1, "");
        }
    }

    #[test]
    fn what_cannot_be_read_has_a_size_only() {
        let (message, large) = (response().encode_to_vec(), vec![0; LOOKED_INTO + 1]);
        for (kind, bytes, length) in [
            (TOKEN, framed(1, &message), message.len()),
            (TOKEN, framed(0, &[0xff; 30]), 30),
            (TOKEN, framed(0, &large), large.len()),
            ("no.such.Message", framed(0, &message), message.len()),
        ] {
            assert_eq!(told(kind, &bytes, 1000), [(length, String::new())]);
        }
    }

    #[test]
    fn large_messages_are_not_kept_and_many_not_told_of() {
        let mut messages = messages("wfa.measurement.system.v1alpha.AdvanceComputationRequest");
        let chunk = BodyChunk { partial_data: vec![7; LOOKED_INTO].into() };
        let request = AdvanceComputationRequest { payload: Some(Payload::BodyChunk(chunk)) };
        let (bytes, mut told) = (framed(0, &request.encode_to_vec()), 0);
        for _ in 0..2 * TOLD {
            messages.take(&bytes, |_| told += 1);
            assert_eq!(messages.seen.len(), 0);
        }
        assert_eq!(told, TOLD);
    }

    #[test]
    fn an_id_is_cut() {
        let told = written("owner", &Value::String("x".repeat(200))).expect("an id");
        assert_eq!(told.len(), "owner=\"\"".len() + ID_CHARACTERS);
        assert_eq!(written("seed_id", &Value::Bytes(Bytes::from_static(b"seed"))), None);
    }
}
