//! What a plugin may use, and how that is counted.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::runtime::TICK;

/// The limits of one plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, summed over an instance's memories.
    pub memory: u64,
    /// CPU time of one call. Counted in steps of 5 ms; a guest that waits uses none.
    pub cpu: Duration,
    /// Time that one call may take, waiting included.
    pub wall: Duration,
    /// Bytes of one answer.
    pub output: u64,
    /// HTTP requests of one exchange, if HTTP is granted.
    pub requests: u32,
    /// Bytes of HTTP bodies in one exchange, both ways.
    pub fetch: u64,
}

/// The most table elements of one instance, all tables together.
const TABLE_ELEMENTS_MAX: usize = 200_000;

/// Counts memory over all memories and tables of a store.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    left: u64,
    elements_left: usize,
}

/// Ends a guest that wants more memory than its limit.
#[derive(Debug, thiserror::Error)]
#[error("more memory than its limit")]
pub(crate) struct MemorySpent;

/// Ends a guest that has used up its CPU time.
#[derive(Debug, thiserror::Error)]
#[error("more CPU time than its limit")]
pub(crate) struct CpuSpent;

/// Ends a guest whose answer is larger than its limit.
#[derive(Debug, thiserror::Error)]
#[error("a larger answer than its limit")]
pub(crate) struct OutputSpent;

impl MemoryLimiter {
    pub(crate) fn new(bytes: u64) -> Self {
        Self { left: bytes, elements_left: TABLE_ELEMENTS_MAX }
    }

    /// Counts memory that the host keeps for the guest.
    ///
    /// # Errors
    /// [`MemorySpent`] where there is not as much left.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), MemorySpent> {
        self.left = self.left.checked_sub(bytes).ok_or(MemorySpent)?;
        Ok(())
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.take(desired.saturating_sub(current) as u64)?;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        self.elements_left = self.elements_left.checked_sub(more).ok_or(MemorySpent)?;
        Ok(true)
    }
}

/// Counts the CPU time of one call.
///
/// The guest runs on the thread that polls the call, so the thread's CPU time between the beginning of a poll
/// and a tick is the guest's. Reading that clock costs a system call, so the first poll does without: should
/// a tick come, a whole tick is counted. A call that ends before is not slowed down, and none is ended early by
/// more than one tick.
#[derive(Debug, Clone, Default)]
pub(crate) struct CpuMeter(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    /// Nanoseconds that are counted.
    used: AtomicU64,
    /// The thread's CPU time when the guest went on, in nanoseconds; 0 if it was not read.
    since: AtomicU64,
    limit: AtomicU64,
}

impl CpuMeter {
    /// Runs a call, which may use `limit` of CPU time.
    pub(crate) async fn measure<T>(&self, limit: Duration, call: impl Future<Output = T>) -> T {
        let counters = &self.0;
        counters.used.store(0, Ordering::Relaxed);
        counters.limit.store(nanoseconds(limit), Ordering::Relaxed);
        let mut first = true;
        let mut call = pin!(call);
        std::future::poll_fn(|cx| {
            let now = if std::mem::take(&mut first) { 0 } else { thread_cpu_time() };
            counters.since.store(now, Ordering::Relaxed);
            let poll = call.as_mut().poll(cx);
            if poll.is_pending() {
                self.count(0);
            }
            poll
        })
        .await
    }

    /// Called on the guest's thread at each tick.
    ///
    /// # Errors
    /// [`CpuSpent`] once the call has used more than its limit.
    pub(crate) fn tick(&self) -> Result<(), CpuSpent> {
        self.count(nanoseconds(TICK));
        let (used, limit) = (self.0.used.load(Ordering::Relaxed), self.0.limit.load(Ordering::Relaxed));
        if used > limit { Err(CpuSpent) } else { Ok(()) }
    }

    /// Counts the time since the guest went on, or `unknown` where that was not read.
    fn count(&self, unknown: u64) {
        let used = match self.0.since.swap(0, Ordering::Relaxed) {
            0 => unknown,
            since => thread_cpu_time().saturating_sub(since),
        };
        self.0.used.fetch_add(used, Ordering::Relaxed);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn thread_cpu_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // A thread's CPU time is never negative.
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
