//! `GET /metrics`: what the engine and the gateway count, in Prometheus' text format. `docs/metrics.md` has every
//! name.
//!
//! Nothing is kept for a scrape: the engine's own totals are read when one comes ([`Totals`]), and the gateway counts
//! a request once, when it has ended ([`Counters`]). There is no registry but that of a gateway, so that several in a
//! process stay apart. Labels are names of the configuration and words of ours, never a client's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use rust_proxy_core::{Engine, PluginGeneration, ProviderCounts};
use rust_proxy_stream::account::{Account, Histogram, Traffic};
use tokio::sync::watch;

use crate::reload::Record;

mod counters;

pub(crate) use counters::{Counters, Ended, Open};

/// What every name begins with.
const PREFIX: &str = "rust_proxy";

/// All that is counted of a gateway. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Registry>);

impl Metrics {
    pub(crate) fn new(engine: Engine, counters: &Counters, reloads: watch::Receiver<Record>) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        counters.register(&mut registry);
        registry.register_collector(Box::new(Totals { engine, reloads }));
        Self(Arc::new(registry))
    }

    /// What there is now, in Prometheus' text format.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.0)?;
        Ok(text)
    }

    /// The answer to a scrape.
    pub(crate) fn response(&self) -> Response {
        match self.text() {
            Ok(text) => {
                let kind = HeaderValue::from_static(prometheus_text::CONTENT_TYPE);
                ([(CONTENT_TYPE, kind)], text).into_response()
            }
            // Nothing of it is written to anything but a string.
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Reads an engine's totals, and how reloads went.
#[derive(Debug)]
struct Totals {
    engine: Engine,
    reloads: watch::Receiver<Record>,
}

impl Collector for Totals {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        plugins(&mut families, &self.engine.plugin_generations())?;
        providers(&mut families, &self.engine.providers())?;
        let slots = self.engine.slots();
        for (name, help, value) in [
            (
                "generation",
                "The generation that serves new requests, counted from 1",
                self.engine.generation(),
            ),
            ("exchanges_max", "Exchanges that there can be at once: server.streams_max", slots.max),
            ("exchanges", "Exchanges that there are", slots.used),
            ("exchanges_waiting", "Exchanges that wait for one of exchanges_max", slots.waiting),
        ] {
            families.write(name, help, MetricType::Gauge, [([], value)])?;
        }
        for (name, help, value) in [
            ("exchange_waits", "Exchanges that had to wait", slots.waited),
            (
                "exchange_refusals",
                "Exchanges that were refused because server.queue_max waited",
                slots.refused,
            ),
        ] {
            families.write(name, help, MetricType::Counter, [([], value)])?;
        }
        let Record { changed, unchanged, refused, .. } = *self.reloads.borrow();
        let reloads = [("changed", changed), ("unchanged", unchanged), ("refused", refused)];
        let reloads = reloads.map(|(result, count)| ([("result", result.to_owned())], count));
        families.write("reloads", "Reloads, by result", MetricType::Counter, reloads)
    }
}

/// A counter of accounts: its name, its help, and where it is.
type Count<T> = (&'static str, &'static str, fn(&T) -> u64);

const ACCOUNT: [Count<Account>; 6] = [
    ("plugin_exchanges", "Exchanges that a plugin was part of and that have ended", |it| it.exchanges),
    ("plugin_calls", "Calls of process, open, push and finish", |it| it.calls),
    ("plugin_dropped_bytes", "Bytes of answers that a plugin held and that never left", |it| it.dropped),
    ("plugin_fetches", "HTTP requests of a plugin", |it| it.usage.fetches),
    ("plugin_fetched_bytes", "Bytes of the bodies of those requests, both ways", |it| it.usage.fetched),
    ("plugin_egress_denied", "HTTP requests that no grant covers, or past the limit", |it| it.usage.denied),
];

const TRAFFIC: [Count<Traffic>; 6] = [
    ("plugin_texts", "Texts that came to a plugin", |it| it.events),
    ("plugin_in_bytes", "Bytes of texts that came to a plugin", |it| it.bytes_in),
    ("plugin_out_bytes", "Bytes of texts that went on from a plugin", |it| it.bytes_out),
    ("plugin_edits", "Changes that a plugin made", |it| it.edits),
    ("plugin_findings", "What a plugin reported", |it| it.findings),
    ("plugin_unscanned_bytes", "Bytes that went on although the plugin had failed", |it| it.unscanned),
];

fn plugins(families: &mut Families<'_>, plugins: &[PluginGeneration]) -> fmt::Result {
    let each = || plugins.iter().map(|plugin| (plugin, labels(plugin)));
    for (name, help, count) in ACCOUNT {
        let series = each().map(|(plugin, labels)| (labels, count(&plugin.account)));
        families.write(name, help, MetricType::Counter, series)?;
    }
    for (name, help, count) in TRAFFIC {
        let series = each().flat_map(|(PluginGeneration { account, .. }, labels)| {
            let directions = [("request", &account.request), ("answer", &account.answer)];
            directions.map(|(direction, traffic)| (with(&labels, "direction", direction), count(traffic)))
        });
        families.write(name, help, MetricType::Counter, series)?;
    }
    let failures = ("plugin_failures", "Calls that gave no answer, by kind of failure");
    let stops = ("plugin_stops", "Exchanges that a plugin stopped: reject, respond, block");
    let kinds: [(_, fn(&Account) -> &_); 2] = [(failures, |it| &it.failures), (stops, |it| &it.stops)];
    for ((name, help), counts) in kinds {
        let series = each().flat_map(|(plugin, labels)| {
            let kinds = counts(&plugin.account).iter();
            kinds.map(move |(kind, count)| (with(&labels, "kind", &kind.replace(' ', "_")), *count))
        });
        families.write(name, help, MetricType::Counter, series)?;
    }
    let held = each().map(|(plugin, labels)| (labels, plugin.account.held));
    let help = "The most bytes of one exchange that a plugin held at once";
    families.write("plugin_held_max_bytes", help, MetricType::Gauge, held)?;
    let help = "Instances that there are: ready, and at work";
    let live = each().map(|(plugin, labels)| (labels, plugin.instances.live));
    families.write("plugin_instances", help, MetricType::Gauge, live)?;
    let made = each().map(|(plugin, labels)| (labels, plugin.instances.made));
    families.write("plugin_instances_made", "Instances that were made", MetricType::Counter, made)?;
    let cpu = each().map(|(plugin, labels)| (labels, &plugin.times.cpu));
    families.histograms("plugin_cpu_seconds", "CPU time of a plugin's calls in an exchange", cpu)?;
    let wall = each().map(|(plugin, labels)| (labels, &plugin.times.wall));
    let help = "Time from call to answer of a plugin's calls in an exchange";
    families.histograms("plugin_wall_seconds", help, wall)
}

fn labels(plugin: &PluginGeneration) -> [(&'static str, String); 2] {
    [("plugin", plugin.name.clone()), ("generation", plugin.generation.to_string())]
}

fn providers(families: &mut Families<'_>, providers: &[ProviderCounts]) -> fmt::Result {
    let each = || {
        let labels = |it: &ProviderCounts| [("model", it.model.clone()), ("provider", it.provider.clone())];
        providers.iter().map(move |provider| (&provider.counts, labels(provider)))
    };
    let attempts = each().map(|(counts, labels)| (labels, counts.attempts));
    families.write("upstream_attempts", "Requests to a provider", MetricType::Counter, attempts)?;
    let errors = each().flat_map(|(counts, labels)| {
        counts.errors.iter().map(move |(kind, count)| (with(&labels, "kind", kind), *count))
    });
    let help = "Requests to a provider that failed, those whose answer had begun included, by kind";
    families.write("upstream_errors", help, MetricType::Counter, errors)?;
    let tokens = each().flat_map(|(counts, labels)| {
        let kinds = [("prompt", counts.tokens.prompt), ("completion", counts.tokens.completion)];
        kinds.map(|(kind, count)| (with(&labels, "kind", kind), count))
    });
    families.write("upstream_tokens", "Tokens, where a provider told them", MetricType::Counter, tokens)
}

/// Two labels and a third.
fn with(
    [first, second]: &[(&'static str, String); 2],
    name: &'static str,
    value: &str,
) -> [(&'static str, String); 3] {
    [first.clone(), second.clone(), (name, value.to_owned())]
}

/// Where families of metrics are written.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    /// A family of counters or gauges.
    fn write<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        series: impl IntoIterator<Item = ([(&'static str, String); N], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in series {
            let mut one = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => one.encode_counter::<NoLabelSet, _, f64>(&value, None)?,
                _ => one.encode_gauge(&value)?,
            }
        }
        Ok(())
    }

    fn histograms<'h, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([(&'static str, String); N], &'h Histogram)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, times) in series {
            let bound = |bound: Option<Duration>| bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64());
            let buckets: Vec<(f64, u64)> =
                times.buckets().map(|(most, count)| (bound(most), count)).collect();
            let (sum, count) = (times.sum().as_secs_f64(), times.count());
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
