//! Letting others have their turn.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Gives way to the tasks that are ready.
///
/// tokio's `yield_now` is over when it is polled again, whoever does that: hyper polls a body again within the same
/// turn. This one is over when the runtime says so.
#[derive(Debug, Default)]
pub(crate) struct Turn(Arc<Others>);

#[derive(Debug, Default)]
struct Others {
    had_theirs: AtomicBool,
    waiting: AtomicWaker,
}

impl Turn {
    /// Waits until all tasks that are ready now have run.
    ///
    /// # Cancellation
    /// Nothing stays behind.
    pub(crate) async fn give(&self) {
        let others = &self.0;
        others.had_theirs.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(others));
        // Its first poll is what asks the runtime.
        let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
        poll_fn(|cx| {
            others.waiting.register(cx.waker());
            if others.had_theirs.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Wake for Others {
    fn wake(self: Arc<Self>) {
        self.had_theirs.store(true, Ordering::Release);
        self.waiting.wake();
    }
}
