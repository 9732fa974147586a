//! The bodies of requests: those that the client cancels, and those that it hardly sends.
//!
//! tonic ends the request stream of a cancelled call as if the client had sent all it had to send
//! (`StreamingInner::poll_frame` turns `CANCELLED` into the end). A service that then acts on what it has received acts
//! on a part, unless the server happens to drop the call first.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep, sleep};
use tonic::body::Body;
use tonic::{Code, Status};

/// A client that sends so many bytes in a second is never too slow.
const BYTES_PER_SECOND: u64 = 1 << 10;

/// The same body, but a cancelled stream ends with an error like any other that breaks, and so does one whose client
/// keeps the server waiting for longer than `patience` in all and another second for each KiB that it sends.
pub(super) fn checked(body: Body, patience: Duration) -> Body {
    let uncut = body.map_err(|status| match status.code() {
        Code::Cancelled => Status::aborted("the client cancelled the call"),
        _ => status,
    });
    Body::new(Paced { body: uncut, patience, waiting: None })
}

/// A body that is not waited for without end. What the server takes for its own work does not count.
struct Paced<B> {
    body: B,
    /// What is left of the time that the client may take.
    patience: Duration,
    /// Since when the next piece is waited for, and until when.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B: HttpBody<Data = Bytes, Error = Status> + Unpin> HttpBody for Paced<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(polled) => {
                if let Some((since, _)) = this.waiting.take() {
                    this.patience = this.patience.saturating_sub(since.elapsed());
                }
                if let Some(Ok(frame)) = &polled {
                    let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                    this.patience += Duration::from_millis(1000 * bytes / BYTES_PER_SECOND);
                }
                Poll::Ready(polled)
            }
            Poll::Pending => {
                let patience = this.patience;
                let (_, overdue) =
                    this.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(patience))));
                ready!(overdue.as_mut().poll(context));
                Poll::Ready(Some(Err(Status::deadline_exceeded("the client sends too slowly"))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
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
        Streaming::new_request(decoder, checked(Body::new(body), Duration::from_secs(60)), None, None)
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

    /// A body whose pieces, of so many bytes each, come after pauses.
    fn slow(pieces: impl Into<Vec<(Duration, usize)>>) -> Body {
        let pieces = pieces.into();
        let frames = futures::stream::unfold(pieces.into_iter(), async |mut pieces| {
            let (pause, bytes) = pieces.next()?;
            sleep(pause).await;
            Some((Ok::<_, Status>(Frame::data(Bytes::from(vec![0; bytes]))), pieces))
        });
        Body::new(StreamBody::new(Box::pin(frames)))
    }

    /// How many bytes come before the end, or before the client is too slow.
    async fn received(body: Body) -> (usize, bool) {
        let (mut body, mut received) = (checked(body, Duration::from_secs(10)), 0);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => received += frame.data_ref().map_or(0, Bytes::len),
                Err(status) => {
                    assert_eq!(status.code(), Code::DeadlineExceeded);
                    return (received, false);
                }
            }
        }
        (received, true)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_be_slow_for_a_while_or_for_as_long_as_it_sends() {
        let second = Duration::from_secs(1);
        assert_eq!(received(slow([(9 * second, 1)])).await, (1, true));
        assert_eq!(received(slow([(11 * second, 1)])).await, (0, false));
        // A byte in each second.
        assert_eq!(received(slow(vec![(second, 1); 60])).await, (10, false));
        // For minutes, at the slowest pace that there may be.
        assert_eq!(received(slow(vec![(second, 1 << 10); 300])).await, (300 << 10, true));
        assert!(!received(slow(vec![(second, 1 << 9); 300])).await.1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_servers_own_time_does_not_count() {
        let mut body = checked(slow(vec![(Duration::from_secs(3), 1); 3]), Duration::from_secs(10));
        while let Some(frame) = body.frame().await {
            assert!(frame.is_ok());
            sleep(Duration::from_secs(60)).await;
        }
    }
}
