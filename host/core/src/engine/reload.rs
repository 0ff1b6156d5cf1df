//! From one generation to the next, while exchanges run.

use std::sync::Arc;

use tokio::runtime::Handle;
use tracing::Span;

use super::generation::{Generation, Outside};
use super::{Engine, StartError, StartProblem};
use crate::config::{Config, Digest, Source, digest};

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
    /// It goes on to its end by itself.
    pub async fn reload(&self, config: &Config) -> Result<Reload, StartError> {
        let (engine, config, runtime) = (self.clone(), config.clone(), Handle::current());
        // Reads files and certificates and compiles: nothing for a thread that serves.
        let span = Span::current();
        let reload = move || span.in_scope(|| runtime.block_on(engine.reload_here(&config)));
        match tokio::task::spawn_blocking(reload).await {
            Ok(reloaded) => reloaded,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The process is about to end.
                Err(_) => std::future::pending().await,
            },
        }
    }

    async fn reload_here(&self, config: &Config) -> Result<Reload, StartError> {
        let shared = &*self.shared;
        let _one = shared.reloading.lock().await;
        let before = shared.current.load_full();
        let changed = before.fixed.iter().zip(fixed(config)).filter(|(before, now)| **before != *now);
        let mut problems: Vec<_> = changed.map(|(_, (key, _))| StartProblem::Fixed(key)).collect();
        shared.room.check(config, &mut problems);
        if !problems.is_empty() {
            return Err(StartError(problems));
        }
        let outside = Outside {
            room: shared.room,
            runtime: &shared.runtime,
            stores: &shared.stores,
            upstreams: &shared.upstreams,
            native: &shared.native,
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

/// The values of what is [fixed](needs_restart), wherever they came from.
pub(super) fn fixed(config: &Config) -> Vec<(&'static str, Digest)> {
    let Config { server, admin, kv, cache, .. } = config;
    let admin = admin.as_ref();
    let values = [
        ("admin.listen", format!("{:?}", admin.map(|admin| admin.listen))),
        ("admin.token", format!("{:?}", admin.map(|admin| admin.token.expose()))),
        ("kv.redis", format!("{:?}", kv.redis.as_ref().map(|redis| redis.expose()))),
        ("kv.prefix", kv.prefix.clone()),
        ("kv.timeout", format!("{:?}", kv.timeout)),
        ("plugins.cache", format!("{cache:?}")),
        ("server.bodies_max", server.bodies_max.to_string()),
        ("server.body_max", server.body_max.to_string()),
        ("server.connections_max", server.connections_max.to_string()),
        ("server.links_max", format!("{:?}", server.links_max)),
        ("server.listen", server.listen.to_string()),
        ("server.queue_max", server.queue_max.to_string()),
        ("server.ready_max", server.ready_max.to_string()),
        ("server.shutdown", format!("{:?}", server.shutdown)),
        ("server.streams_max", server.streams_max.to_string()),
        ("server.watch", server.watch.to_string()),
    ];
    values.into_iter().map(|(key, value)| (key, digest(value.as_bytes()))).collect()
}

/// Whether a setting counts when an engine, or the server around it, starts, and not after: a listener, a pool or a
/// budget that outlives generations. `key` is its path, such as `server.listen`.
pub fn needs_restart(key: &str) -> bool {
    FIXED.iter().any(|fixed| {
        key.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Folder;

    #[test]
    fn what_is_fixed_has_a_name_that_says_so() {
        let text = "[models.m]\nrouting = ['p']\nproviders.p = { type = 'openai', api_base = 'http://a', api_key_location = 'none' }";
        let nothing = std::collections::BTreeMap::<String, String>::new();
        let config = Config::parse(text, "c.toml", &Folder::new(""), &nothing).unwrap();
        let names: Vec<_> = fixed(&config).into_iter().map(|(key, _)| key).collect();
        assert!(names.iter().all(|key| needs_restart(key)), "{names:?}");
        let has = |fixed: &&str| names.iter().any(|key| key.starts_with(*fixed));
        assert!(FIXED.iter().all(has), "{names:?}");
        assert!(!needs_restart("server.heartbeat") && !needs_restart("server.listener"));
    }
}
