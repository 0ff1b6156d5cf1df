//! From one generation to the next, while exchanges run.

use std::sync::Arc;

use super::generation::{Generation, Outside};
use super::{Engine, StartError, StartProblem};
use crate::config::{Config, Source};

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reload {
    /// Nothing was different.
    Unchanged,
    /// Another generation serves new exchanges.
    Changed {
        /// Its number.
        generation: u64,
        /// What was different; a plugin or signer among them was loaded anew.
        changes: Vec<Source>,
    },
}

/// See [`needs_restart`].
const FIXED: [&str; 13] = [
    "admin",
    "kv",
    "plugins.cache",
    "server.bodies_max",
    "server.body_max",
    "server.connections_max",
    "server.links_max",
    "server.listen",
    "server.queue_max",
    "server.ready_max",
    "server.shutdown",
    "server.streams_max",
    "server.watch",
];

impl Engine {
    /// Puts what a configuration describes in the place of what there is.
    ///
    /// Everything is loaded and tried out first. Plugins whose file and settings did not change stay as they are,
    /// with the instances that they have ready. Exchanges that have begun end with what they began with. One reload
    /// runs at a time, others wait.
    ///
    /// # Errors
    /// [`StartError`] with every problem; everything is as it was.
    ///
    /// # Cancellation
    /// Everything is as it was.
    pub async fn reload(&self, config: &Config) -> Result<Reload, StartError> {
        let shared = &*self.0;
        let _one = shared.reloading.lock().await;
        let before = shared.current.load_full();
        let mut problems: Vec<_> = before
            .sources
            .changes(&config.sources)
            .into_iter()
            .filter(is_fixed)
            .map(StartProblem::Fixed)
            .collect();
        shared.room.check(config, &mut problems);
        if !problems.is_empty() {
            return Err(StartError(problems));
        }
        let outside = Outside {
            room: shared.room,
            runtime: &shared.runtime,
            stores: &shared.stores,
            upstreams: &shared.upstreams,
        };
        let next = Generation::make(config, Some(&before), outside).await?;
        let changes = before.sources.changes(&next.sources);
        if changes.is_empty() {
            return Ok(Reload::Unchanged);
        }
        let next = Arc::new(next);
        next.register(&shared.totals, &shared.upstreams);
        shared.current.store(Arc::clone(&next));
        before.retire(&next);
        Ok(Reload::Changed { generation: next.number, changes })
    }
}

fn is_fixed(source: &Source) -> bool {
    matches!(source, Source::Setting(key) if needs_restart(key))
}

/// Whether a setting counts when an engine, or the server around it, starts, and not after: a listener, a pool or a
/// budget that outlives generations. `key` is its path, such as `server.listen`.
pub fn needs_restart(key: &str) -> bool {
    FIXED.iter().any(|fixed| {
        key.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}
