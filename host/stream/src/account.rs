//! ③⑥ Accounts: what a plugin did, as numbers. They never hold text.
//!
//! A link counts in plain fields while it is at work. When it is done with its exchange, however that ended, its
//! [`Account`] is logged and [settled](crate::stage::Plugin::settle), which adds it to its plugin's [`Total`].

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod histogram;

pub use histogram::Histogram;

/// What a link did in an exchange, or a plugin in many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// The exchanges that it is of.
    pub exchanges: u64,
    /// Calls of `process`, `open`, `push` and `finish`.
    pub calls: u64,
    /// The texts of requests; an event is an item that has one.
    pub request: Traffic,
    /// The texts of answers; an event is new text of a lane.
    pub answer: Traffic,
    /// The most bytes of an exchange that were held at once between two calls, all lanes together.
    pub held: u64,
    /// Bytes of answers that were held and never left: a stop or a failure came first, or the client had gone.
    pub dropped: u64,
    /// What the calls took.
    pub usage: Usage,
    /// Calls that gave no answer, by kind: `failed` in the plugin's own words, else a fault's
    /// [name](crate::stage::FaultKind::name).
    pub failures: BTreeMap<&'static str, u64>,
    /// Exchanges that it stopped, by kind: `reject`, `respond` or `block`.
    pub stops: BTreeMap<&'static str, u64>,
}

/// Text that came to a plugin's place, and what became of it there.
///
/// `bytes_in` and what the edits added is `bytes_out`, what the edits removed, and what was dropped. A request that
/// is stopped or fails has `bytes_in` only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Texts that came.
    pub events: u64,
    /// Bytes that came.
    pub bytes_in: u64,
    /// Bytes that went on.
    pub bytes_out: u64,
    /// Changes that were made.
    pub edits: u64,
    /// What was reported.
    pub findings: u64,
    /// The bytes among `bytes_out` that the plugin gave no answer about: it had failed and its `on_error` let
    /// them pass.
    pub unscanned: u64,
}

/// What calls took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, where the link is measured: that of a sandboxed one.
    pub cpu: Duration,
    /// Time from call to answer, waiting included.
    pub wall: Duration,
    /// HTTP requests.
    pub fetches: u64,
    /// Bytes of their bodies, both ways.
    pub fetched: u64,
    /// HTTP requests among `fetches`, or past their limit, that no grant covers.
    pub denied: u64,
}

impl Account {
    /// Adds what another has; of `held` it keeps the larger.
    pub fn add(&mut self, other: &Self) {
        self.exchanges += other.exchanges;
        self.calls += other.calls;
        self.request.add(&other.request);
        self.answer.add(&other.answer);
        self.held = self.held.max(other.held);
        self.dropped += other.dropped;
        self.usage.cpu += other.usage.cpu;
        self.usage.wall += other.usage.wall;
        self.usage.fetches += other.usage.fetches;
        self.usage.fetched += other.usage.fetched;
        self.usage.denied += other.usage.denied;
        for (all, new) in [(&mut self.failures, &other.failures), (&mut self.stops, &other.stops)] {
            for (kind, count) in new {
                *all.entry(kind).or_default() += count;
            }
        }
    }

    pub(crate) fn log(&self, plugin: &str) {
        let Self { calls, request, answer, held, dropped, usage, .. } = self;
        let unscanned = request.unscanned + answer.unscanned;
        tracing::info!(
            plugin,
            calls,
            request_events = request.events,
            request_in = request.bytes_in,
            request_out = request.bytes_out,
            request_edits = request.edits,
            answer_events = answer.events,
            answer_in = answer.bytes_in,
            answer_out = answer.bytes_out,
            answer_edits = answer.edits,
            findings = request.findings + answer.findings,
            held,
            dropped,
            unscanned,
            fetches = usage.fetches,
            fetched = usage.fetched,
            denied = usage.denied,
            cpu_us = micros(usage.cpu),
            wall_us = micros(usage.wall),
            "link done"
        );
        if unscanned > 0 {
            tracing::warn!(plugin, bytes = unscanned, "text left unscanned");
        }
    }
}

impl Traffic {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.edits += other.edits;
        self.findings += other.findings;
        self.unscanned += other.unscanned;
    }
}

/// The accounts of a plugin's exchanges, added up.
///
/// Locked once at the end of an exchange, never while text flows; so a [`snapshot`](Self::snapshot) has an
/// exchange as a whole or not at all.
#[derive(Debug, Default)]
pub struct Total(Mutex<(Account, Times)>);

/// What the calls of an exchange took together, for many exchanges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// CPU time.
    pub cpu: Histogram,
    /// Time from call to answer.
    pub wall: Histogram,
}

/// From an answer of a few pieces that nothing was found in to a page that was fetched slowly.
const BOUNDS: [Duration; 12] = [
    Duration::from_micros(10),
    Duration::from_micros(50),
    Duration::from_micros(250),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(10),
];

impl Default for Times {
    fn default() -> Self {
        Self { cpu: Histogram::new(&BOUNDS), wall: Histogram::new(&BOUNDS) }
    }
}

impl Times {
    /// Adds what another has.
    pub fn add(&mut self, other: &Self) {
        self.cpu.add(&other.cpu);
        self.wall.add(&other.wall);
    }
}

impl Total {
    /// Adds an account of one exchange.
    pub fn add(&self, account: &Account) {
        let (all, times) = &mut *self.lock();
        all.add(account);
        times.cpu.record(account.usage.cpu);
        times.wall.record(account.usage.wall);
    }

    /// What there is so far.
    pub fn snapshot(&self) -> Account {
        self.lock().0.clone()
    }

    /// What there is so far, with the times of the same exchanges.
    pub fn snapshot_with_times(&self) -> (Account, Times) {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, (Account, Times)> {
        // Additions do not panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
