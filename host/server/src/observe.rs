//! The outermost layer: every request gets an id and a span, every answer the id and one closing log line.
//!
//! Bodies, keys and the values of headers are never logged.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::egress::{EndMark, HEARTBEAT};
use crate::metrics::{Counters, Ended, Open};
use crate::text::cut;

const REQUEST_ID: &str = "x-request-id";

/// The longest id that is taken over from a client.
const REQUEST_ID_MAX: usize = 128;

/// The longest path that is logged: far more than any of ours.
const PATH_MAX: usize = 256;

/// The request's id, among its extensions.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// The middleware around everything else.
///
/// # Cancellation
/// Dropped before the answer is there (the client went away), it writes the closing line without a status.
pub(crate) async fn observe(State(counters): State<Counters>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let path = cut(request.uri().path(), PATH_MAX);
    let span =
        tracing::info_span!("request", %id, method = %request.method(), path, key = Empty, model = Empty);
    let mut closing = Closing {
        span: span.clone(),
        route: Counters::route(request.uri().path()),
        counters,
        started: Instant::now(),
        first_byte: None,
        status: None,
        bytes: 0,
        end: "dropped",
    };
    let header = HeaderValue::from_str(&id).ok();
    request.extensions_mut().insert(RequestId(id));

    let mut response = next.run(request).instrument(span).await;
    closing.status = Some(response.status());
    if let Some(header) = header {
        response.headers_mut().insert(REQUEST_ID, header);
    }
    let mark = response.extensions_mut().remove::<EndMark>();
    let open = mark.as_ref().map(|_| closing.counters.open());
    response.map(|inner| Body::new(Observed { inner, mark, closing, _open: open }))
}

/// The client's own id where it is harmless, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let harmless = |id: &&str| {
        (1..=REQUEST_ID_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(harmless) {
        Some(id) => id.to_owned(),
        None => Uuid::now_v7().to_string(),
    }
}

/// The body of an answer: counts what goes out, and lends the span to whatever runs while it is polled.
struct Observed {
    inner: Body,
    mark: Option<EndMark>,
    closing: Closing,
    /// Where it is a stream.
    _open: Option<Open>,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let polled = this.closing.span.in_scope(|| Pin::new(&mut this.inner).poll_frame(cx));
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            this.closing.sent(data);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let failed = self.closing.status.is_some_and(|status| status.as_u16() >= 400);
        self.closing.end = match &self.mark {
            _ if !self.inner.is_end_stream() => "dropped",
            Some(mark) => mark.get().unwrap_or("dropped"),
            None if failed => "error",
            None => "whole",
        };
        // What the exchange says at its end belongs to the request too.
        let inner = std::mem::take(&mut self.inner);
        self.closing.span.in_scope(|| drop(inner));
    }
}

/// Writes the closing line when it is dropped, whichever way the request ended.
struct Closing {
    span: Span,
    counters: Counters,
    route: &'static str,
    started: Instant,
    /// Of the answer itself, not of a heartbeat.
    first_byte: Option<Duration>,
    status: Option<StatusCode>,
    bytes: u64,
    /// `whole` or `error` for an answer in one piece; `complete`, `stopped` or `failed` for a stream;
    /// `dropped` when the client went away, or the shutdown cut the connection, before the end.
    end: &'static str,
}

impl Closing {
    fn sent(&mut self, data: &Bytes) {
        self.bytes += data.len() as u64;
        if self.first_byte.is_none() && *data != HEARTBEAT {
            self.first_byte = Some(self.started.elapsed());
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let Self { route, status, first_byte, bytes, end, .. } = *self;
        let duration = self.started.elapsed();
        self.counters.ended(&Ended { route, status, end, bytes, first_byte, duration });
        let status = status.map(|status| status.as_u16());
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(parent: &self.span, status, end, ms, bytes, "answered");
    }
}

#[cfg(test)]
mod tests;
