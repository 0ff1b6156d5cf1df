//! How much there is room for. It is settled when an engine starts, since its pool of slots outlives reloads.

use super::StartProblem;
use crate::config::{Choice, Config, Stages};

/// The room of an engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    streams: usize,
    /// Plugins of one exchange.
    links: usize,
    /// Instances of one generation that are kept ready or tried out, and those of its signers.
    ready: usize,
}

impl Room {
    /// What a configuration asks for, and at least what it needs.
    pub(super) fn of(config: &Config) -> Self {
        let (server, links) = (&config.server, links(config));
        Self {
            streams: server.streams_max,
            // Each takes some gigabytes of address space a stream, so that there is little to give away.
            links: server.links_max.unwrap_or(links + 1).max(links),
            ready: server.ready_max.max(ready(config)),
        }
    }

    /// Instances at once: those of every exchange, and what two generations keep, since the one that leaves has
    /// its own until the next is there.
    pub(super) fn slots(&self) -> u32 {
        let slots = self.streams.saturating_mul(self.links).saturating_add(self.ready.saturating_mul(2));
        u32::try_from(slots).unwrap_or(u32::MAX)
    }

    /// Holds the next configuration against the room that there is.
    pub(super) fn check(&self, config: &Config, problems: &mut Vec<StartProblem>) {
        let (links, ready) = (links(config), ready(config));
        if links > self.links {
            problems.push(StartProblem::Links { links, room: self.links });
        }
        if ready > self.ready {
            problems.push(StartProblem::Ready { ready, room: self.ready });
        }
    }
}

/// The most plugins that a pipeline has, or that its rules come to for a model.
fn links(config: &Config) -> usize {
    let longest = |choice: &Choice<Stages>| choice.all().iter().map(|stages| stages.plugins().len()).max();
    let own = config.pipelines.values().map(|pipeline| pipeline.own().plugins().len());
    let resolved = config.models.iter().filter_map(|(name, model)| longest(&config.choice(model, name)?));
    own.chain(resolved).max().unwrap_or(0)
}

fn ready(config: &Config) -> usize {
    // One more is tried out.
    let plugins: usize = config.plugins.values().map(|plugin| plugin.ready.saturating_add(1)).sum();
    plugins.saturating_add(config.signers.len().saturating_mul(rust_proxy_wasm::Signer::SLOTS as usize))
}
