//! ⑦ What an exchange gives as an HTTP answer: a JSON body, an SSE body, or a failure.
//!
//! The head is held back until the first event or the first heartbeat, so that an early failure is still an
//! HTTP status. From then on the body polls the exchange directly: no channel, no task, so a client that
//! reads slowly slows the exchange down, and one that goes away drops it. A heartbeat is a comment, sent when
//! nothing else was for a while; polling is resumed after it, never begun anew.
//!
//! ```text
//! wait ─ frame, terminal or heartbeat ─► open ─ frames and heartbeats ─► done
//!   └─── failed ─► status                 └──── failed ─► one error event, no terminal
//! ```

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::future::Either;
use futures_util::{Stream, StreamExt, stream};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::body::{Frame, SizeHint};
use rust_proxy_stream::dialect::openai_chat::TERMINAL;
use rust_proxy_stream::exchange::{End, StreamEvent};
use rust_proxy_stream::{ExchangeError, UpstreamError};
use tokio::time::{Instant, Sleep};

use crate::app::{Answer, json_response};
use crate::respond::{self, ApiError};

/// A comment to every client, so that nobody on the way takes a thinking model for a dead connection.
pub(crate) const HEARTBEAT: Bytes = Bytes::from_static(b": ping\n\n");

/// How many bytes of frames that are there already leave as one part of the body.
pub(crate) const JOINED_MAX: usize = 16 << 10;

/// How a stream ended, told to the one who writes the closing log line; empty while it has not.
#[derive(Debug, Clone, Default)]
pub(crate) struct EndMark(Arc<OnceLock<&'static str>>);

impl EndMark {
    /// `complete`, `stopped` or `failed`.
    pub(crate) fn get(&self) -> Option<&'static str> {
        self.0.get().copied()
    }
}

/// Waits for what an exchange gives, or for the first heartbeat, then answers.
///
/// `streaming` tells whether the client asked for a stream; it is asked once, and only when a heartbeat is
/// due before the exchange has told it. A streamed answer has its [`EndMark`] among its extensions.
///
/// # Cancellation
/// Drops the exchange, as dropping the body of the answer does.
pub(crate) async fn answer<S>(
    exchange: impl Future<Output = Result<Answer<S>, ExchangeError>> + Send + 'static,
    streaming: impl FnOnce() -> bool,
    heartbeat: Duration,
) -> Response
where
    S: Stream<Item = StreamEvent> + Send + Unpin + 'static,
{
    let mut exchange = Box::pin(exchange);
    let mut pulse = Pulse::new(heartbeat);
    let answered = tokio::select! {
        biased;
        answered = &mut exchange => answered,
        () = &mut pulse.timer => {
            if streaming() {
                pulse.restart();
                return EventBody::new(late(exchange), pulse).response(Some(HEARTBEAT));
            }
            exchange.await
        }
    };
    match answered {
        Ok(Answer::Whole(body)) => json_response(body),
        Ok(Answer::Events(events)) => first(EventBody::new(events, pulse)).await,
        Err(error) => respond::refuse(&error).into_response(),
    }
}

/// The events of an exchange that has told nothing yet.
fn late<S, E>(exchange: E) -> impl Stream<Item = StreamEvent> + Send + Unpin + 'static
where
    S: Stream<Item = StreamEvent> + Send + Unpin + 'static,
    E: Future<Output = Result<Answer<S>, ExchangeError>> + Send + Unpin + 'static,
{
    let events = |answered| {
        let error = match answered {
            Ok(Answer::Events(events)) => return Either::Left(events),
            Ok(Answer::Whole(_)) => UpstreamError::Protocol("it is no stream".into()).into(),
            Err(error) => error,
        };
        Either::Right(stream::iter([StreamEvent::End(End::Failed(error))]))
    };
    stream::once(exchange).map(events).flatten()
}

/// Holds the head back until there is something to send.
async fn first<S>(mut body: EventBody<S>) -> Response
where
    S: Stream<Item = StreamEvent> + Send + Unpin + 'static,
{
    match poll_fn(|cx| body.poll_event(cx)).await {
        Some(Sent::Bytes(bytes)) => body.response(Some(bytes)),
        Some(Sent::Failure(error)) => error.into_response(),
        None => body.response(None),
    }
}

/// When the next heartbeat is due.
struct Pulse {
    timer: Pin<Box<Sleep>>,
    heartbeat: Duration,
}

impl Pulse {
    fn new(heartbeat: Duration) -> Self {
        Self { timer: Box::pin(tokio::time::sleep(heartbeat)), heartbeat }
    }

    fn restart(&mut self) {
        self.timer.as_mut().reset(Instant::now() + self.heartbeat);
    }
}

/// The body of a stream.
struct EventBody<S> {
    /// None once it has ended: everything of the exchange is freed before the client has read the last bytes.
    events: Option<S>,
    pulse: Pulse,
    /// What the head was waiting for, or what came behind a frame and could not go with it.
    next: Option<Sent>,
    mark: EndMark,
}

/// What goes out next.
enum Sent {
    Bytes(Bytes),
    /// The end of a stream that failed.
    Failure(ApiError),
}

impl<S: Stream<Item = StreamEvent> + Unpin> EventBody<S> {
    fn new(events: S, pulse: Pulse) -> Self {
        Self { events: Some(events), pulse, next: None, mark: EndMark::default() }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        let Some(events) = &mut self.events else {
            return Poll::Ready(None);
        };
        let end = match Pin::new(events).poll_next(cx) {
            Poll::Ready(Some(StreamEvent::Frame(frame))) => return self.send(frame),
            Poll::Ready(Some(StreamEvent::End(end))) => end,
            // Against the contract of the stream; and a cut stream never looks complete.
            Poll::Ready(None) => End::Failed(UpstreamError::Incomplete("no end was reported".into()).into()),
            Poll::Pending if self.pulse.timer.as_mut().poll(cx).is_ready() => return self.send(HEARTBEAT),
            Poll::Pending => return Poll::Pending,
        };
        self.events = None;
        Poll::Ready(Some(self.finish(end)))
    }

    /// A frame with those behind it that are there already: each part of a body passes many hands, and has a head of
    /// its own on the wire.
    fn joined(&mut self, first: Bytes, cx: &mut Context<'_>) -> Bytes {
        let mut all = BytesMut::new();
        while all.len().max(first.len()) < JOINED_MAX && first != HEARTBEAT {
            let more = match self.poll_event(cx) {
                Poll::Ready(Some(Sent::Bytes(more))) if more != HEARTBEAT => more,
                Poll::Ready(Some(other)) => {
                    self.next = Some(other);
                    break;
                }
                Poll::Ready(None) | Poll::Pending => break,
            };
            if all.is_empty() {
                all.reserve(JOINED_MAX.min(16 * first.len()) + more.len());
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&more);
        }
        if all.is_empty() { first } else { all.freeze() }
    }

    fn send(&mut self, bytes: Bytes) -> Poll<Option<Sent>> {
        self.pulse.restart();
        Poll::Ready(Some(Sent::Bytes(bytes)))
    }

    fn finish(&self, end: End) -> Sent {
        let (name, sent) = match end {
            End::Complete => ("complete", Sent::Bytes(Bytes::from_static(TERMINAL))),
            End::Stopped => ("stopped", Sent::Bytes(Bytes::from_static(TERMINAL))),
            End::Failed(error) => ("failed", Sent::Failure(respond::refuse(&error))),
        };
        // Set once: `events` is gone.
        let _ = self.mark.0.set(name);
        sent
    }
}

impl<S: Stream<Item = StreamEvent> + Send + Unpin + 'static> EventBody<S> {
    fn response(mut self, first: Option<Bytes>) -> Response {
        self.next = first.map(Sent::Bytes);
        let mark = self.mark.clone();
        let mut response = Response::new(Body::new(self));
        response.extensions_mut().insert(mark);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // Else nginx gathers the events and hands them on in heaps.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }
}

impl<S: Stream<Item = StreamEvent> + Send + Unpin> HttpBody for EventBody<S> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let sent = match self.next.take() {
            Some(sent) => Poll::Ready(Some(sent)),
            None => self.poll_event(cx),
        };
        sent.map(|sent| {
            let bytes = match sent? {
                Sent::Bytes(first) => self.joined(first, cx),
                Sent::Failure(error) => error.event(),
            };
            Some(Ok(Frame::data(bytes)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.events.is_none() && self.next.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests;
