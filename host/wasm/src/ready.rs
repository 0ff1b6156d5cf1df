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
pub(crate) struct Alive {
    population: Population,
    /// Told when it is gone.
    missed: Option<Arc<Notify>>,
}

impl Population {
    pub(crate) fn add(&self) -> Alive {
        let (made, live) = &*self.0;
        made.fetch_add(1, Ordering::Relaxed);
        live.fetch_add(1, Ordering::Relaxed);
        Alive { population: self.clone(), missed: None }
    }

    /// How many there are.
    pub fn count(&self) -> Instances {
        let (made, live) = &*self.0;
        Instances { made: made.load(Ordering::Relaxed), live: live.load(Ordering::Relaxed) }
    }
}

impl Alive {
    /// Tells, once it is gone, that another one may be made.
    pub(crate) fn missed_by(&mut self, who: &Arc<Notify>) {
        self.missed = Some(Arc::clone(who));
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let (_, live) = &*self.population.0;
        live.fetch_sub(1, Ordering::Relaxed);
        if let Some(missed) = &self.missed {
            missed.notify_one();
        }
    }
}

/// Configured instances, made by a task of their own so that no request waits for one. A copy is made when an exchange
/// has ended, so that it does not wait either, or when fewer than half are left; what has to be configured takes
/// longer, and is made at once.
pub(crate) struct Ready {
    instances: Mutex<Vec<Instance>>,
    /// How many there are to be: 0 once the component is retired.
    wanted: AtomicUsize,
    /// With fewer left than these the next ones are made at once.
    few: usize,
    /// Told when instances may be lacking.
    missed: Arc<Notify>,
}

impl Ready {
    /// Keeps `wanted` instances ready, of which there is one. Makes new ones in the place of those that are taken,
    /// for as long as this is there.
    pub(crate) fn keep(prepared: &Arc<Prepared>, first: Instance, wanted: usize) -> Arc<Self> {
        let missed = Arc::new(Notify::new());
        let ready = Arc::new(Self {
            instances: Mutex::new(vec![first]),
            wanted: wanted.into(),
            few: if prepared.is_copied() { wanted.div_ceil(2) } else { wanted },
            missed: Arc::clone(&missed),
        });
        tokio::spawn(refill(Arc::clone(prepared), Arc::downgrade(&ready), missed));
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
        let (mut instance, left) = {
            let mut instances = self.instances();
            (instances.pop(), instances.len())
        };
        if left < self.few {
            self.missed.notify_one();
        }
        if let Some(instance) = &mut instance {
            instance.alive.missed_by(&self.missed);
        }
        instance
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        // Ends the task.
        self.missed.notify_one();
    }
}

/// Holds what it fills only for moments, so that nothing is made for a component that is gone.
async fn refill(prepared: Arc<Prepared>, ready: Weak<Ready>, missed: Arc<Notify>) {
    while ready.strong_count() > 0 {
        while ready.upgrade().is_some_and(|ready| ready.lacks()) {
            // Requests that came in meanwhile go first.
            tokio::task::yield_now().await;
            match prepared.configured(true).await {
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
        missed.notified().await;
    }
}
