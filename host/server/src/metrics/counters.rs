//! What the gateway itself counts: requests, and the streams that are open.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rust_proxy_stream::dialect::Dialect;

use crate::ingress::HEALTH;

/// From an answer of the gateway's own to one at `server.exchange_max`.
const SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 900.0];

/// Counts requests. Clones share what they count.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    requests: Family<Requests, Counter>,
    first_byte: Family<Route, Histogram>,
    duration: Family<Route, Histogram>,
    bytes: Family<Route, Counter>,
    streams: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Requests {
    route: &'static str,
    status: &'static str,
    end: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

/// A request that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// See [`route`](Counters::route).
    pub(crate) route: &'static str,
    /// `None` where the client had gone before.
    pub(crate) status: Option<StatusCode>,
    pub(crate) end: &'static str,
    pub(crate) bytes: u64,
    /// Until the first byte that was no heartbeat, if there was one.
    pub(crate) first_byte: Option<Duration>,
    pub(crate) duration: Duration,
}

/// A stream that is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Open(Gauge);

impl Default for Counters {
    fn default() -> Self {
        let histograms = || Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        let (requests, bytes, streams) = Default::default();
        Self { requests, first_byte: histograms(), duration: histograms(), bytes, streams }
    }
}

impl Counters {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { requests, first_byte, duration, bytes, streams } = self;
        registry.register(
            "requests",
            "Requests that have ended, by status and by how they ended",
            requests.clone(),
        );
        registry.register(
            "first_byte_seconds",
            "Time from a request to the first byte of its answer that is no heartbeat, where that is no error",
            first_byte.clone(),
        );
        registry.register("request_duration_seconds", "Time from a request to its end", duration.clone());
        registry.register("response_bytes", "Bytes of answers", bytes.clone());
        registry.register("streams_open", "Streamed answers that are under way", streams.clone());
    }

    /// The label of a path: one of ours, or `other`.
    pub(crate) fn route(path: &str) -> &'static str {
        let chats = Dialect::ALL.into_iter().map(Dialect::route);
        chats.chain(["/v1/models", HEALTH]).find(|route| *route == path).unwrap_or("other")
    }

    /// Counts a stream as open for as long as the guard is there.
    pub(crate) fn open(&self) -> Open {
        self.streams.inc();
        Open(self.streams.clone())
    }

    /// Counts a request. Called once, when it has ended.
    pub(crate) fn ended(&self, ended: &Ended) {
        let Ended { route, status, end, bytes, first_byte, duration } = *ended;
        self.requests.get_or_create(&Requests { route, status: class(status), end }).inc();
        let labels = Route { route };
        self.duration.get_or_create(&labels).observe(duration.as_secs_f64());
        self.bytes.get_or_create(&labels).inc_by(bytes);
        if let Some(first_byte) = first_byte.filter(|_| status.is_some_and(|status| status.is_success())) {
            self.first_byte.get_or_create(&labels).observe(first_byte.as_secs_f64());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn class(status: Option<StatusCode>) -> &'static str {
    match status.map(|status| status.as_u16()) {
        None => "none",
        Some(..200) => "1xx",
        Some(200..300) => "2xx",
        Some(300..400) => "3xx",
        Some(400..500) => "4xx",
        Some(500..) => "5xx",
    }
}
