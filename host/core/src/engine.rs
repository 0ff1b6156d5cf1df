//! Everything that a configuration describes, running.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use rust_proxy_stream::ExchangeError;
use rust_proxy_stream::account::Account;
use rust_proxy_stream::exchange::{self, Incoming, Reply};
use rust_proxy_stream::stage::Plugin;
use rust_proxy_upstream::EgressError;
use rust_proxy_wasm::{Cache, CacheCounts, CacheError, Imports, Instances, LoadError, Runtime};

use crate::config::{Config, Notice, Sources};
use crate::deadline::Kept;
use crate::kv::Stores;
use crate::slots::{SlotCounts, Slots};
use crate::trust::{Refusal, Standing};

mod generation;
mod notices;
mod providers;
mod reload;
mod room;
mod sandbox;
mod totals;
mod upstreams;

use generation::{Generation, Outside};
pub use reload::{Reload, needs_restart};
use room::Room;
pub use totals::PluginGeneration;
use totals::Totals;
pub use upstreams::ProviderCounts;
use upstreams::Upstreams;

/// Plugins, pipelines and models at work. Cheap to clone; clones share everything.
///
/// What a configuration describes is a *generation*. [`reload`](Self::reload) puts another in its place; exchanges
/// that have begun end with the one that they began with.
///
/// Has no state outside of itself, so that a process may have several. Needs a tokio runtime around it.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    /// What it serves, where reloads do not change that.
    pinned: Option<Arc<Generation>>,
}

/// What outlives every generation.
struct Shared {
    current: ArcSwap<Generation>,
    /// Held while a generation is made, so that there is one at a time.
    reloading: tokio::sync::Mutex<()>,
    room: Room,
    /// Where plugins and signers run; made when the first is loaded.
    runtime: OnceLock<Runtime>,
    /// What plugins keep, which is not a generation's.
    stores: Stores,
    native: Native,
    slots: Slots,
    totals: Totals,
    upstreams: Upstreams,
}

/// Plugins that are code of this program, by name.
type Native = BTreeMap<String, Arc<dyn Plugin>>;

/// What a loaded plugin says of itself, for people.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PluginInfo {
    /// Its name in the configuration.
    pub name: String,
    /// The component's file.
    pub file: PathBuf,
    /// What that file is, and who vouches for it.
    pub standing: Standing,
    /// The generation in which it was loaded: what did not change since is not loaded anew.
    pub generation: u64,
    /// Its instances.
    pub instances: Instances,
    /// Name, version and what it does, in one line.
    pub description: String,
    /// What it imports.
    pub imports: Imports,
}

/// What a loaded signer is, for people.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SignerInfo {
    /// Its name in the configuration.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// What that file is, and who vouches for it.
    pub standing: Standing,
}

/// Why a configuration could not be started: one block per problem.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct StartError(Vec<StartProblem>);

/// One thing that keeps a configuration from starting.
#[derive(Debug, thiserror::Error)]
enum StartProblem {
    #[error("plugins.{name}: {}: {error}", file.display())]
    Unreadable { name: String, file: PathBuf, error: std::io::Error },
    #[error("plugins.{name}: {}: {error}", file.display())]
    Plugin { name: String, file: PathBuf, error: LoadError },
    #[error(
        "pipelines.{pipeline}.{stage}: the plugin `{plugin}` does not export `{interface}`; take it out of `{stage}`"
    )]
    Role { pipeline: String, stage: String, plugin: String, interface: &'static str },
    #[error("models.{model}.pipeline: its rules come to too many combinations; write fewer")]
    Rules { model: String },
    #[error("plugins.{name}.grant: {error}")]
    Fetch { name: String, error: EgressError },
    #[error("signers.{name}: Failed to get WasmSigner instance: {}: {reason}", file.display())]
    Signer { name: String, file: PathBuf, reason: String },
    #[error("{0}")]
    Refused(Refusal),
    #[error("plugins.cache: {0}, or write cache = \"none\"")]
    Cache(CacheError),
    #[error("server.streams_max: {0}; lower it")]
    Runtime(LoadError),
    #[error("models.{model}.providers.{provider}: {error}")]
    Provider { model: String, provider: String, error: EgressError },
    #[error("models.{model}.providers.{provider}: Failed to create DevApiClient: {error}")]
    DevApi { model: String, provider: String, error: EgressError },
    #[error("{0}: changes with a restart only; restart, or set it back")]
    Fixed(&'static str),
    #[error(
        "pipelines: one has {links} plugins, and there is room for {room}; restart with server.links_max = {links}"
    )]
    Links { links: usize, room: usize },
    #[error(
        "plugins and signers keep {ready} instances ready, and there is room for {room}; lower `ready`, or restart with \
         server.ready_max = {ready}"
    )]
    Ready { ready: usize, room: usize },
}

impl Engine {
    /// Loads the plugins of a configuration and makes everything ready.
    ///
    /// # Errors
    /// [`StartError`] with every problem; nothing is left running.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(config, []).await
    }

    /// As [`start`](Self::start), with plugins that are code of this program: each stands in for the plugin of its
    /// name, in pipelines and reloads. That one's file must be there but is not read, and its settings go unused.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(
        config: &Config,
        native: impl IntoIterator<Item = Arc<dyn Plugin>>,
    ) -> Result<Self, StartError> {
        let native: Native = native.into_iter().map(|plugin| (plugin.name().to_owned(), plugin)).collect();
        let (room, runtime) = (Room::of(config), OnceLock::new());
        let (totals, upstreams) = (Totals::default(), Upstreams::default());
        let stores = Stores { memory: Arc::default(), redis: config.kv.connect() };
        let outside =
            Outside { room, runtime: &runtime, stores: &stores, upstreams: &upstreams, native: &native };
        let generation = Generation::make(config, None, outside).await?;
        generation.register(&totals, &upstreams);
        let server = &config.server;
        let shared = Shared {
            current: ArcSwap::from_pointee(generation),
            reloading: tokio::sync::Mutex::default(),
            room,
            runtime,
            stores,
            native,
            slots: Slots::new(server.streams_max, server.queue_max),
            totals,
            upstreams,
        };
        Ok(Self { shared: Arc::new(shared), pinned: None })
    }

    /// This engine as it is now: what it serves does not change with reloads. For who takes parts of a request by one
    /// generation (a key, headers), and must not have the rest done by another.
    #[must_use]
    pub fn pinned(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), pinned: Some(self.current()) }
    }

    fn current(&self) -> Arc<Generation> {
        self.pinned.clone().unwrap_or_else(|| self.shared.current.load_full())
    }

    /// The number of the generation that serves new exchanges, counted from 1.
    pub fn generation(&self) -> u64 {
        self.current().number
    }

    /// The names of the models, sorted.
    pub fn models(&self) -> Vec<String> {
        self.current().routes.keys().cloned().collect()
    }

    /// The plugins that are loaded, by name.
    pub fn plugins(&self) -> Vec<PluginInfo> {
        self.current().infos()
    }

    /// The signers that are loaded, by name.
    pub fn signers(&self) -> Vec<SignerInfo> {
        self.current().signer_infos()
    }

    /// What the cache of compiled code did; `None` where there is no cache.
    pub fn cache(&self) -> Option<CacheCounts> {
        self.shared.runtime.get()?.cache().map(Cache::counts)
    }

    /// What each plugin did in all exchanges that have ended, by name.
    pub fn accounts(&self) -> BTreeMap<String, Account> {
        self.shared.totals.by_name()
    }

    /// Each plugin as each of the last generations loaded it, by name, the oldest first.
    pub fn plugin_generations(&self) -> Vec<PluginGeneration> {
        self.shared.totals.by_generation()
    }

    /// What each provider of a model did, in all generations.
    pub fn providers(&self) -> Vec<ProviderCounts> {
        self.shared.upstreams.counts()
    }

    /// The exchanges that there are at once.
    pub fn slots(&self) -> SlotCounts {
        self.shared.slots.count()
    }

    /// What is not wrong but probably not meant: in the configuration, and in what it says of the plugins.
    pub fn notices(&self) -> Vec<Notice> {
        self.current().notices.clone()
    }

    /// The headers of clients' requests that the configuration asks for (`dynamic::NAME`, and the conditions of
    /// rules), in lower case: what [`Incoming::headers`] may hold.
    pub fn headers(&self) -> Arc<[String]> {
        Arc::clone(&self.current().headers)
    }

    /// What the present generation was made of, its plugins' files included.
    pub fn sources(&self) -> Sources {
        self.current().sources.clone()
    }

    /// Runs one exchange in OpenAI's chat dialect, without headers.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange).
    ///
    /// # Cancellation
    /// As [`exchange`](Self::exchange).
    pub async fn chat(&self, request_id: String, body: Bytes) -> Result<Reply, ExchangeError> {
        self.exchange(Incoming { request_id, body, ..Incoming::default() }).await
    }

    /// Runs one exchange.
    ///
    /// It has its slot of `streams_max` until its stream has ended or its whole body is dropped. At its deadline
    /// everything of it is freed, whether somebody polls it or not.
    ///
    /// # Errors
    /// [`ExchangeError`] where the answer has not begun; afterwards the end of the stream says what went
    /// wrong.
    ///
    /// # Cancellation
    /// Dropping the call, or the stream that it returned, ends the exchange and frees everything of it.
    pub async fn exchange(&self, incoming: Incoming) -> Result<Reply, ExchangeError> {
        let engine = self.clone();
        let most = engine.current().exchange_max;
        let exchange = async move {
            let slot = engine.shared.slots.take().await.ok_or(ExchangeError::Overloaded)?;
            let generation = engine.current();
            Ok((exchange::run(&*generation, incoming).await?, slot))
        };
        Kept::begin(exchange, most).reply().await
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.current();
        f.debug_struct("Engine")
            .field("generation", &generation.number)
            .field("models", &self.models())
            .finish()
    }
}
