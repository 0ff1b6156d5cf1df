//! Reloads: what a configuration's files say now takes the place of what they said before.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rust_proxy_core::config::{Config, Environment, Problems};
use rust_proxy_core::{Engine, Reload, StartError};
use tokio::sync::{Mutex, watch};
use tracing::Instrument;

use crate::app;
use crate::ingress::Bodies;
use crate::metrics::{Counters, Metrics};
use crate::serve::Live;
use crate::text::one_line;

/// Reloads a gateway from the file that it was started with. Cheap to clone.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    origin: Arc<Origin>,
    engine: Engine,
    live: Live,
    bodies: Bodies,
    counters: Counters,
    /// Held while files are read and loaded, so that what was read last serves last.
    busy: Mutex<()>,
    record: watch::Sender<Record>,
    /// The files of a configuration that was read and then refused.
    refused: ArcSwap<Vec<PathBuf>>,
}

/// Where a configuration comes from.
pub(crate) struct Origin {
    pub(crate) file: PathBuf,
    pub(crate) environment: Box<dyn Environment + Send + Sync>,
}

impl Origin {
    /// Reads it, off the threads that serve.
    pub(crate) async fn load(self: &Arc<Self>) -> Result<Config, Problems> {
        let origin = Arc::clone(self);
        let load = move || Config::load(&origin.file, &*origin.environment);
        match tokio::task::spawn_blocking(load).await {
            Ok(config) => config,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Why a reload was refused. Everything is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The configuration is wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(#[from] Problems),
    /// What it describes cannot be run here.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// How reloads went so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Those that put another generation in place.
    pub changed: u64,
    /// Those that found nothing different.
    pub unchanged: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Why the last one was refused; `None` once one was not.
    pub refusal: Option<String>,
}

impl Reloader {
    pub(crate) fn new(
        origin: Arc<Origin>,
        engine: Engine,
        live: Live,
        bodies: Bodies,
        counters: Counters,
    ) -> Self {
        Self(Arc::new(Inner {
            origin,
            engine,
            live,
            bodies,
            counters,
            busy: Mutex::default(),
            record: watch::Sender::default(),
            refused: ArcSwap::default(),
        }))
    }

    /// Reads the configuration's files again, and lets what they say serve from the next request on. Requests that
    /// are under way end with what they began with. `why` is for the log.
    ///
    /// # Errors
    /// [`ReloadError`] with every problem; what serves goes on to serve.
    ///
    /// # Cancellation
    /// The reload goes on to its end and is recorded: plugins that are being compiled could not be stopped.
    pub async fn reload(&self, why: &str) -> Result<Reload, ReloadError> {
        let (this, why) = (self.clone(), why.to_owned());
        let reload = async move {
            let reloaded = this.try_reload().await;
            this.0.record.send_modify(|record| note(record, &why, &reloaded));
            reloaded
        };
        match tokio::spawn(reload.in_current_span()).await {
            Ok(reloaded) => reloaded,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and this call with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// How reloads went so far; it changes with each.
    pub fn record(&self) -> watch::Receiver<Record> {
        self.0.record.subscribe()
    }

    /// The engine that it reloads.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// All that is counted.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::new(self.0.engine.clone(), &self.0.counters, self.record())
    }

    /// The files whose change would count: those of the present generation, the configuration itself, and what
    /// else it names that was refused.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let Inner { origin, engine, refused, .. } = &*self.0;
        let (sources, refused) = (engine.sources(), refused.load());
        let files = sources.files().map(PathBuf::from).chain([origin.file.clone()]);
        files.chain(refused.iter().cloned()).collect()
    }

    async fn try_reload(&self) -> Result<Reload, ReloadError> {
        let Inner { origin, engine, live, bodies, counters, busy, refused, .. } = &*self.0;
        let _one = busy.lock().await;
        let config = origin.load().await?;
        let reload = match engine.reload(&config).await {
            Ok(reload) => reload,
            Err(error) => {
                refused.store(Arc::new(config.sources.files().map(PathBuf::from).collect()));
                return Err(error.into());
            }
        };
        refused.store(Arc::default());
        if let Reload::Changed { .. } = &reload {
            let bodies = bodies.renewed(&config.server);
            live.replace(app::router_with(&config.server, engine.pinned(), bodies, counters.clone()));
            for notice in engine.notices() {
                tracing::warn!(%notice, "the configuration may not be meant like this");
            }
        }
        Ok(reload)
    }
}

/// Counts a reload, and logs it.
fn note(record: &mut Record, why: &str, reloaded: &Result<Reload, ReloadError>) {
    match reloaded {
        Ok(Reload::Changed { generation, changes }) => {
            record.changed += 1;
            record.refusal = None;
            let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
            tracing::info!(why, generation, changes = changes.join(", "), "reloaded");
        }
        Ok(_) => {
            record.unchanged += 1;
            record.refusal = None;
            tracing::debug!(why, "nothing to reload");
        }
        Err(error) => {
            record.refused += 1;
            let text = error.to_string();
            // Each change beside a mistake would say it again.
            if record.refusal.as_ref() != Some(&text) {
                let error = one_line(&text);
                tracing::error!(why, error, "not reloaded; what was there goes on to serve");
            }
            record.refusal = Some(text);
        }
    }
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("file", &self.0.origin.file).finish_non_exhaustive()
    }
}
