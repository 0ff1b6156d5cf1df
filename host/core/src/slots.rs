//! The budget of exchanges: so many at once, so many that wait, and no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Gives each exchange its slot.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    max: usize,
    waiting: AtomicUsize,
    queue_max: usize,
    waited: AtomicU64,
    refused: AtomicU64,
}

/// The exchanges that there are at once, and what became of those that did not have their place at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotCounts {
    /// How many there can be.
    pub max: u64,
    /// How many there are.
    pub used: u64,
    /// How many wait.
    pub waiting: u64,
    /// How many have ever waited.
    pub waited: u64,
    /// How many were refused, because the queue was full.
    pub refused: u64,
}

/// A slot; dropping it gives it back.
pub(crate) type Slot = OwnedSemaphorePermit;

impl Slots {
    pub(crate) fn new(streams_max: usize, queue_max: usize) -> Self {
        let max = streams_max.min(Semaphore::MAX_PERMITS);
        let (waited, refused) = Default::default();
        Self {
            free: Arc::new(Semaphore::new(max)),
            max,
            waiting: AtomicUsize::new(0),
            queue_max,
            waited,
            refused,
        }
    }

    pub(crate) fn count(&self) -> SlotCounts {
        SlotCounts {
            max: self.max as u64,
            used: self.max.saturating_sub(self.free.available_permits()) as u64,
            // One that is about to be refused may be among them for a moment.
            waiting: self.waiting.load(Ordering::Relaxed).min(self.queue_max) as u64,
            waited: self.waited.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Takes a slot, waiting for one if the queue has room; `None` if not.
    ///
    /// # Cancellation
    /// Dropping the call leaves the queue.
    pub(crate) async fn take(&self) -> Option<Slot> {
        if let Ok(slot) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(slot);
        }
        let Some(_place) = Place::take(self) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.waited.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(slots: &'a Slots) -> Option<Self> {
        // Made first, so that a refusal gives back what it counted.
        let place = Self(&slots.waiting);
        (slots.waiting.fetch_add(1, Ordering::Relaxed) < slots.queue_max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn past_the_queue_there_is_no_waiting() {
        let slots = Slots::new(1, 1);
        let slot = slots.take().await.unwrap();
        let mut waits = Box::pin(slots.take());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        assert!(slots.take().await.is_none());
        // The refusal did not take the place of the one that waits, and one that leaves makes room.
        assert!(slots.take().await.is_none());
        drop(waits);
        let mut waits = pin!(slots.take());
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        let counts = SlotCounts { max: 1, used: 1, waiting: 1, waited: 2, refused: 2 };
        assert_eq!(slots.count(), counts);
        drop(slot);
        assert!(matches!(waits.as_mut().poll(&mut cx), Poll::Ready(Some(_))));
    }
}
