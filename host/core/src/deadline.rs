//! What an exchange holds until its stream ends: its slot, and its total deadline.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use rust_proxy_stream::ExchangeError;
use rust_proxy_stream::exchange::{End, ResponseStream, StreamEvent};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::slots::Slot;

/// A response that ends at its deadline, however busy it is.
struct Limited {
    /// `None` once it has ended: its links and connections are gone then, and its slot is free.
    open: Option<(ResponseStream, Slot)>,
    deadline: Pin<Box<Sleep>>,
}

/// `stream` with a deadline, keeping `slot` until its end.
pub(crate) fn limited(stream: ResponseStream, slot: Slot, deadline: Instant) -> ResponseStream {
    ResponseStream::from_events(Limited {
        open: Some((stream, slot)),
        deadline: Box::pin(sleep_until(deadline)),
    })
}

impl Stream for Limited {
    type Item = StreamEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<StreamEvent>> {
        let Self { open, deadline } = &mut *self;
        let Some((stream, _)) = open else { return Poll::Ready(None) };
        if deadline.as_mut().poll(cx).is_ready() {
            *open = None;
            return Poll::Ready(Some(StreamEvent::End(End::Failed(ExchangeError::Deadline))));
        }
        let event = stream.poll_next_unpin(cx);
        if matches!(event, Poll::Ready(None | Some(StreamEvent::End(_)))) {
            *open = None;
        }
        event
    }
}
