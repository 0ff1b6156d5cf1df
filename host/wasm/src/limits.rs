//! What a plugin may use, and how that is counted.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::ResourceLimiter;

use crate::runtime::TICK;

/// The limits of one plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, summed over an instance's memories.
    pub memory: u64,
    /// CPU time of one call. Looked at every 5 ms; a guest that waits uses none.
    pub cpu: Duration,
    /// Time that one call may take, waiting included.
    pub wall: Duration,
    /// Bytes of one answer.
    pub output: u64,
    /// HTTP requests of one exchange, if HTTP is granted.
    pub requests: u32,
    /// Bytes of HTTP bodies in one exchange, both ways.
    pub fetch: u64,
    /// Lines that one exchange may print to the log.
    pub log: u32,
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

/// Counts the time that calls take, and ends one that used too much of the CPU.
///
/// The guest runs on the thread that polls the call, so the thread's CPU time between the beginning of a poll
/// and its end or a tick is the guest's. That clock costs a system call, so the first poll goes by the wall
/// clock, of which at most two ticks are counted: no poll is longer, but for time that other threads had. A call
/// that does not wait costs two looks at the wall clock.
#[derive(Debug, Clone)]
pub(crate) struct Meter(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    /// From where on wall time is counted.
    origin: Instant,
    /// Nanoseconds of CPU time so far.
    cpu: AtomicU64,
    /// What `cpu` may be at most in this call.
    limit: AtomicU64,
    /// The thread's CPU time when the guest went on; [`FIRST_POLL`], or 0 where it waits.
    since: AtomicU64,
    /// Nanoseconds of wall time of the calls that have ended.
    wall: AtomicU64,
    /// When the call began, behind `origin`; 0 where none runs.
    began: AtomicU64,
}

/// The time since `began` is the CPU time of the first poll.
const FIRST_POLL: u64 = u64::MAX;

impl Meter {
    pub(crate) fn new() -> Self {
        let zero = AtomicU64::default;
        let (cpu, limit, since, wall, began) = (zero(), zero(), zero(), zero(), zero());
        Self(Arc::new(Counters { origin: Instant::now(), cpu, limit, since, wall, began }))
    }

    /// Begins anew.
    pub(crate) fn reset(&self) {
        self.0.cpu.store(0, Ordering::Relaxed);
        self.0.wall.store(0, Ordering::Relaxed);
    }

    /// CPU and wall time of the calls so far, one that did not return included.
    pub(crate) fn spent(&self) -> (Duration, Duration) {
        let counters = &self.0;
        let running = match counters.began.load(Ordering::Relaxed) {
            0 => 0,
            began => counters.at(Instant::now()).saturating_sub(began),
        };
        let wall = counters.wall.load(Ordering::Relaxed).saturating_add(running);
        (Duration::from_nanos(counters.cpu.load(Ordering::Relaxed)), Duration::from_nanos(wall))
    }

    /// Runs a call that begins `now`, which may use `limit` of CPU time.
    pub(crate) async fn measure<T>(&self, now: Instant, limit: Duration, call: impl Future<Output = T>) -> T {
        let counters = &self.0;
        let (used, began) = (counters.cpu.load(Ordering::Relaxed), counters.at(now));
        counters.limit.store(used.saturating_add(nanoseconds(limit)), Ordering::Relaxed);
        counters.began.store(began, Ordering::Relaxed);
        let mut first = true;
        let mut call = pin!(call);
        std::future::poll_fn(|cx| {
            let since = if std::mem::take(&mut first) { FIRST_POLL } else { thread_cpu_time() };
            counters.since.store(since, Ordering::Relaxed);
            let poll = call.as_mut().poll(cx);
            let now = counters.at(Instant::now());
            counters.count(now);
            if poll.is_ready() {
                counters.began.store(0, Ordering::Relaxed);
                counters.wall.fetch_add(now.saturating_sub(began), Ordering::Relaxed);
            }
            poll
        })
        .await
    }

    /// Called on the guest's thread at each tick. Answers whether the guest has had the thread for a tick.
    ///
    /// # Errors
    /// [`CpuSpent`] once the call has used more than its limit.
    pub(crate) fn tick(&self) -> Result<bool, CpuSpent> {
        let counters = &self.0;
        let now = counters.at(Instant::now());
        if counters.since.load(Ordering::Relaxed) == FIRST_POLL
            && now.saturating_sub(counters.began.load(Ordering::Relaxed)) < nanoseconds(TICK)
        {
            return Ok(false);
        }
        counters.count(now);
        let (used, limit) = (counters.cpu.load(Ordering::Relaxed), counters.limit.load(Ordering::Relaxed));
        if used > limit { Err(CpuSpent) } else { Ok(true) }
    }
}

impl Counters {
    /// Counts the CPU time since the guest went on.
    fn count(&self, now: u64) {
        let used = match self.since.swap(0, Ordering::Relaxed) {
            0 => return,
            FIRST_POLL => now.saturating_sub(self.began.load(Ordering::Relaxed)).min(2 * nanoseconds(TICK)),
            since => thread_cpu_time().saturating_sub(since),
        };
        self.cpu.fetch_add(used, Ordering::Relaxed);
    }

    fn at(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.origin)).max(1)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a tick answers in the first poll of a call that began so long ago.
    async fn tick(ago: Duration, limit: Duration) -> Option<bool> {
        let meter = Meter::new();
        tokio::time::advance(Duration::from_secs(1)).await;
        let ticked = meter.measure(Instant::now() - ago, limit, async { meter.tick().ok() }).await;
        // No more than a first poll can take is counted of it.
        assert!(meter.spent().0 <= 2 * TICK);
        ticked
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_has_only_begun_keeps_its_turn_and_none_keeps_it_for_two_ticks() {
        let limit = Duration::from_millis(20);
        assert_eq!(tick(Duration::from_millis(1), limit).await, Some(false));
        assert_eq!(tick(TICK, limit).await, Some(true));
        assert_eq!(tick(3 * TICK, TICK).await, None, "it has used more than its limit");
    }
}
