//! Streams that the client cancels.
//!
//! tonic ends the request stream of a cancelled call as if the client had sent all it had to send
//! (`StreamingInner::poll_frame` turns `CANCELLED` into the end). A service that then acts on what it has received acts
//! on a part, unless the server happens to drop the call first.

use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::{Code, Status};

/// The same body, but a cancelled stream ends with an error like any other that breaks.
pub(super) fn uncut(body: Body) -> Body {
    Body::new(body.map_err(|status| match status.code() {
        Code::Cancelled => Status::aborted("the client cancelled the call"),
        _ => status,
    }))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{Full, StreamBody};
    use prost::Message;
    use tonic::Streaming;
    use tonic::codec::Codec;
    use tonic_prost::ProstCodec;

    use super::*;
    use crate::proto::api::FulfillRequisitionRequest;
    use crate::proto::api::fulfill_requisition_request::{BodyChunk, Payload};

    /// A stream of one message that ends with `end`.
    async fn stream(end: Option<Status>) -> Streaming<FulfillRequisitionRequest> {
        let payload = Payload::BodyChunk(BodyChunk { data: Bytes::from_static(b"data") });
        let message = FulfillRequisitionRequest { payload: Some(payload) }.encode_to_vec();
        let length = u32::try_from(message.len()).expect("small").to_be_bytes();
        let framed = [&[0], &length[..], &message].concat();
        let frame = Full::new(Bytes::from(framed)).frame().await.expect("a frame").expect("infallible");
        let frames = std::iter::once(Ok(frame)).chain(end.map(Err));
        let body = StreamBody::new(futures::stream::iter(frames));
        let decoder = ProstCodec::<(), FulfillRequisitionRequest>::default().decoder();
        Streaming::new_request(decoder, uncut(Body::new(body)), None, None)
    }

    #[tokio::test]
    async fn a_cancelled_stream_is_not_a_whole_one() {
        for (end, code) in [
            (Status::cancelled("RST_STREAM"), Code::Aborted),
            (Status::unknown("the connection broke"), Code::Unknown),
        ] {
            let mut cut = stream(Some(end)).await;
            assert!(cut.message().await.expect("whole").is_some());
            assert_eq!(cut.message().await.expect_err("cut").code(), code);
        }
        let mut whole = stream(None).await;
        assert!(whole.message().await.expect("whole").is_some());
        assert!(whole.message().await.expect("the end").is_none());
    }
}
