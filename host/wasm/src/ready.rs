//! The configured instances that a component keeps ready, and how many instances it has.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rust_proxy_stream::chain::printable;
use tokio::sync::Notify;

use crate::component::Prepared;
use crate::instance::Instance;

/// The instances of a component.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Instances {
    /// Made so far.
    pub made: u64,
    /// Those that there are: ready, and at work.
    pub live: u64,
}

/// Counts the instances of a component.
#[derive(Debug, Clone, Default)]
pub struct Population(Arc<(AtomicU64, AtomicU64)>);

/// One of them, while it is there.
#[derive(Debug)]
pub(crate) struct Alive(Population);

impl Population {
    pub(crate) fn add(&self) -> Alive {
        let (made, live) = &*self.0;
        made.fetch_add(1, Ordering::Relaxed);
        live.fetch_add(1, Ordering::Relaxed);
        Alive(self.clone())
    }

    /// How many there are.
    pub fn count(&self) -> Instances {
        let (made, live) = &*self.0;
        Instances { made: made.load(Ordering::Relaxed), live: live.load(Ordering::Relaxed) }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let (_, live) = &*self.0.0;
        live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Configured instances, made by a task of their own so that no request waits for one.
pub(crate) struct Ready {
    instances: Mutex<Vec<Instance>>,
    /// How many there are to be: 0 once the component is retired.
    wanted: AtomicUsize,
    taken: Arc<Notify>,
}

impl Ready {
    /// Keeps `wanted` instances ready, of which there is one. Makes new ones in the place of those that are taken,
    /// for as long as this is there.
    pub(crate) fn keep(prepared: &Arc<Prepared>, first: Instance, wanted: usize) -> Arc<Self> {
        let taken = Arc::new(Notify::new());
        let ready =
            Self { instances: Mutex::new(vec![first]), wanted: wanted.into(), taken: Arc::clone(&taken) };
        let ready = Arc::new(ready);
        tokio::spawn(refill(Arc::clone(prepared), Arc::downgrade(&ready), taken));
        ready
    }

    /// Drops what is ready, and keeps none from now on.
    pub(crate) fn retire(&self) {
        self.wanted.store(0, Ordering::Relaxed);
        // Dropped outside of the lock.
        let ready = std::mem::take(&mut *self.instances());
        drop(ready);
    }

    fn instances(&self) -> MutexGuard<'_, Vec<Instance>> {
        // A push or pop leaves nothing half done.
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lacks(&self) -> bool {
        self.instances().len() < self.wanted.load(Ordering::Relaxed)
    }

    /// Keeps an instance, unless the component was retired while it was made.
    fn put(&self, instance: Instance) {
        let mut instances = self.instances();
        if instances.len() < self.wanted.load(Ordering::Relaxed) {
            instances.push(instance);
        }
    }

    /// One that is ready.
    pub(crate) fn take(&self) -> Option<Instance> {
        let instance = self.instances().pop();
        self.taken.notify_one();
        instance
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        // Ends the task.
        self.taken.notify_one();
    }
}

/// Holds what it fills only for moments, so that nothing is made for a component that is gone.
async fn refill(prepared: Arc<Prepared>, ready: Weak<Ready>, taken: Arc<Notify>) {
    while ready.strong_count() > 0 {
        while ready.upgrade().is_some_and(|ready| ready.lacks()) {
            match prepared.configured().await {
                Ok(instance) => {
                    if let Some(ready) = ready.upgrade() {
                        ready.put(instance);
                    }
                }
                Err(error) => {
                    let error = printable(&error.to_string());
                    tracing::warn!(plugin = &*prepared.name, error, "no instance could be made ready");
                    break;
                }
            }
        }
        taken.notified().await;
    }
}
