//! What an exchange holds, and its total deadline.
//!
//! Nobody polls an exchange whose client does not read: its connection waits for room to write. So the deadline
//! is a task of its own, which takes what the exchange holds and drops it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use rust_proxy_stream::ExchangeError;
use rust_proxy_stream::exchange::{End, Reply, ResponseStream, StreamEvent};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::Instrument;

use crate::slots::Slot;

type Running = Pin<Box<dyn Future<Output = Result<(Reply, Slot), ExchangeError>> + Send>>;

/// What an exchange holds.
enum Held {
    /// It has no answer yet.
    Running(Running),
    /// Its answer is a stream.
    Streaming { stream: ResponseStream, _slot: Slot },
    /// Its answer is whole, and is being sent.
    Sending { _slot: Slot },
    /// Nothing: it has ended.
    Nothing,
}

/// An exchange; dropping it, or its deadline, drops all that it holds.
pub(crate) struct Kept {
    held: Arc<Mutex<Held>>,
    /// Done at the deadline. `None` once that, or the end, was told.
    deadline: Option<JoinHandle<()>>,
}

impl Kept {
    /// Keeps an exchange for at most so long. What it logs at its deadline belongs to the current span.
    pub(crate) fn begin(
        exchange: impl Future<Output = Result<(Reply, Slot), ExchangeError>> + Send + 'static,
        most: Duration,
    ) -> Self {
        let held = Arc::new(Mutex::new(Held::Running(Box::pin(exchange))));
        let weak = Arc::downgrade(&held);
        let deadline = async move {
            sleep(most).await;
            if let Some(held) = weak.upgrade() {
                end(&held);
            }
        };
        Self { held, deadline: Some(tokio::spawn(deadline.in_current_span())) }
    }

    /// The answer, which keeps what it needs of the exchange.
    ///
    /// # Errors
    /// The exchange's, or [`ExchangeError::Deadline`].
    ///
    /// # Cancellation
    /// Drops the exchange.
    pub(crate) async fn reply(mut self) -> Result<Reply, ExchangeError> {
        Ok(match poll_fn(|cx| self.poll_reply(cx)).await? {
            Some(body) => Reply::Whole(Bytes::from_owner(Whole { body, _kept: self })),
            None => Reply::Stream(ResponseStream::from_events(self)),
        })
    }

    /// The whole body; `None` where it is a stream.
    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ExchangeError>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(ExchangeError::Deadline));
        }
        let mut held = lock(&self.held);
        let Held::Running(running) = &mut *held else { return Poll::Pending };
        let (reply, _slot) = ready!(running.as_mut().poll(cx))?;
        let (kept, body) = match reply {
            Reply::Whole(body) => (Held::Sending { _slot }, Some(body)),
            Reply::Stream(stream) => (Held::Streaming { stream, _slot }, None),
        };
        *held = kept;
        Poll::Ready(Ok(body))
    }

    /// Whether the deadline has passed; if not, its task will wake the caller.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let passed = self.deadline.as_mut().is_some_and(|task| Pin::new(task).poll(cx).is_ready());
        if passed {
            self.deadline = None;
        }
        passed
    }

    fn stop(&mut self) {
        if let Some(task) = self.deadline.take() {
            task.abort();
        }
        end(&self.held);
    }
}

impl Stream for Kept {
    type Item = StreamEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<StreamEvent>> {
        if self.is_over(cx) {
            return Poll::Ready(Some(StreamEvent::End(End::Failed(ExchangeError::Deadline))));
        }
        let event = match &mut *lock(&self.held) {
            Held::Streaming { stream, .. } => ready!(stream.poll_next_unpin(cx)),
            // The deadline's task has taken it, and is about to end.
            _ if self.deadline.is_some() => return Poll::Pending,
            _ => None,
        };
        if matches!(event, None | Some(StreamEvent::End(_))) {
            // Freed before the client has read the last bytes.
            self.stop();
        }
        Poll::Ready(event)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A whole answer; its bytes are dropped when they are sent, and the exchange with them.
struct Whole {
    body: Bytes,
    _kept: Kept,
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Drops what an exchange holds. Waits while it is polled: a guest yields within milliseconds.
fn end(held: &Mutex<Held>) {
    let held = std::mem::replace(&mut *lock(held), Held::Nothing);
    drop(held);
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    // After a panic it is only dropped.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};

    use super::*;
    use crate::slots::Slots;

    const MOST: Duration = Duration::from_secs(60);

    /// An exchange with this answer, which takes the only slot.
    async fn kept(slots: &Slots, reply: Reply) -> Reply {
        let slot = slots.take().await.unwrap();
        Kept::begin(async { Ok((reply, slot)) }, MOST).reply().await.unwrap()
    }

    fn endless() -> Reply {
        Reply::Stream(ResponseStream::from_events(stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_deadline_everything_is_free_though_nobody_polls() {
        let slots = Slots::new(1, 0);
        for reply in [endless(), Reply::Whole(Bytes::from_static(b"{}"))] {
            let reply = kept(&slots, reply).await;
            assert!(slots.take().await.is_none());
            sleep(MOST + Duration::from_millis(1)).await;
            assert!(slots.take().await.is_some());
            match reply {
                Reply::Whole(body) => assert_eq!(&body[..], b"{}"),
                Reply::Stream(mut events) => {
                    let end = events.next().now_or_never();
                    let failed =
                        |event: &_| matches!(event, StreamEvent::End(End::Failed(ExchangeError::Deadline)));
                    assert!(end.flatten().is_some_and(|event| failed(&event)));
                    assert!(events.next().await.is_none());
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_wakes_who_waits() {
        let slots = Slots::new(1, 0);
        let Reply::Stream(mut events) = kept(&slots, endless()).await else { panic!("a stream") };
        assert!(matches!(events.next().await, Some(StreamEvent::End(End::Failed(ExchangeError::Deadline)))));
        let never = Kept::begin(std::future::pending(), MOST).reply().await;
        assert!(matches!(never, Err(ExchangeError::Deadline)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_free_with_the_end_or_with_the_body() {
        let slots = Slots::new(1, 0);
        let ends = stream::iter([StreamEvent::End(End::Complete)]);
        let reply = kept(&slots, Reply::Stream(ResponseStream::from_events(ends))).await;
        let Reply::Stream(mut events) = reply else { panic!("a stream") };
        assert!(matches!(events.next().await, Some(StreamEvent::End(End::Complete))));
        assert!(slots.take().await.is_some());

        let Reply::Whole(mut body) = kept(&slots, Reply::Whole(Bytes::from_static(b"{}"))).await else {
            panic!("a whole body")
        };
        let rest = body.split_off(1);
        drop(body);
        assert!(slots.take().await.is_none(), "a part is not sent yet");
        drop(rest);
        assert!(slots.take().await.is_some());
        drop(kept(&slots, endless()).await);
        assert!(slots.take().await.is_some());
    }
}
