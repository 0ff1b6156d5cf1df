//! Everything that a configuration describes, running.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rust_proxy_stream::ExchangeError;
use rust_proxy_stream::account::{Account, Times, Total};
use rust_proxy_stream::chain::Pipeline;
use rust_proxy_stream::exchange::{self, Asking, Incoming, Reply, Route, Routes};
use rust_proxy_stream::upstream::Backend;
use rust_proxy_upstream::EgressError;
use rust_proxy_wasm::{Component, Imports, LoadError};

use crate::config::{Choice, Config, Notice, Stages};
use crate::deadline::Kept;
use crate::slots::{SlotCounts, Slots};

mod providers;
mod sandbox;
mod upstreams;

pub use upstreams::ProviderCounts;
use upstreams::Upstreams;

/// Plugins, pipelines and models at work. Cheap to clone; clones share everything.
///
/// Has no state outside of itself, so that a process may have several. Needs a tokio runtime around it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    routes: BTreeMap<String, Model>,
    plugins: Vec<PluginInfo>,
    totals: BTreeMap<String, Arc<Total>>,
    upstreams: Upstreams,
    notices: Vec<Notice>,
    slots: Slots,
    exchange_max: Duration,
    chat_model: Option<String>,
    headers: Vec<String>,
}

/// A model at work.
struct Model {
    pipelines: Choice<Arc<Pipeline>>,
    backend: Arc<dyn Backend>,
}

/// What a loaded plugin says of itself, for people.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PluginInfo {
    /// Its name in the configuration.
    pub name: String,
    /// The component's file.
    pub file: PathBuf,
    /// Name, version and what it does, in one line.
    pub description: String,
    /// What it imports.
    pub imports: Imports,
}

/// A plugin as one generation loaded it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginGeneration {
    /// Its name in the configuration.
    pub name: String,
    /// The generation that loaded it.
    pub generation: u64,
    /// What it did in the exchanges that have ended.
    pub account: Account,
    /// What its calls took in each of them.
    pub times: Times,
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
    #[error("plugins.{name}.grant: {error}")]
    Fetch { name: String, error: EgressError },
    #[error("signers.{name}: Failed to get WasmSigner instance: {}: {reason}", file.display())]
    Signer { name: String, file: PathBuf, reason: String },
    #[error("server.streams_max: {0}; lower it")]
    Runtime(LoadError),
    #[error("models.{model}.providers.{provider}: {error}")]
    Provider { model: String, provider: String, error: EgressError },
    #[error("models.{model}.providers.{provider}: Failed to create DevApiClient: {error}")]
    DevApi { model: String, provider: String, error: EgressError },
}

impl Engine {
    /// Loads the plugins of a configuration and makes everything ready.
    ///
    /// # Errors
    /// [`StartError`] with every problem; nothing is left running.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let mut problems = Vec::new();
        let choices: BTreeMap<&String, Choice<Stages>> =
            config.models.iter().map(|(name, model)| (name, config.choice(model, name))).collect();
        let runtime = sandbox::sandbox(config, choices.values(), &mut problems);
        let totals: BTreeMap<String, Arc<Total>> =
            config.plugins.keys().map(|name| (name.clone(), Arc::default())).collect();
        let components = sandbox::load_plugins(config, runtime.as_ref(), &totals, &mut problems).await;
        sandbox::check_roles(config, &components, &mut problems);
        let mut pipelines = sandbox::Pipelines::new(&components);
        let signers = sandbox::load_signers(config, runtime.as_ref(), &mut problems).await;
        let mut routes = BTreeMap::new();
        let upstreams = Upstreams::default();
        for (name, choice) in choices {
            let Some(model) = config.models.get(name) else { continue };
            let pipelines = choice.map(&mut |stages| pipelines.of(stages));
            let (backend, tallies) = providers::backend(name, model, &signers, &upstreams, &mut problems);
            for (provider, tally) in &tallies {
                upstreams.keep(name, provider, tally);
            }
            routes.insert(name.clone(), Model { pipelines, backend });
        }
        if !problems.is_empty() {
            return Err(StartError(problems));
        }
        let info = |(name, component): (&String, &Component)| PluginInfo {
            name: name.clone(),
            file: config.plugins.get(name).map(|plugin| plugin.file.clone()).unwrap_or_default(),
            description: component.description().to_owned(),
            imports: component.imports().clone(),
        };
        let server = &config.server;
        Ok(Self(Arc::new(Inner {
            routes,
            plugins: components.iter().map(info).collect(),
            totals,
            upstreams,
            notices: sandbox::notices(config, &components),
            slots: Slots::new(server.streams_max, server.queue_max),
            exchange_max: server.exchange_max,
            chat_model: server.chat_model.clone(),
            headers: providers::headers(config),
        })))
    }

    /// The names of the models, sorted.
    pub fn models(&self) -> Vec<String> {
        self.0.routes.keys().cloned().collect()
    }

    /// The plugins that are loaded, by name.
    pub fn plugins(&self) -> &[PluginInfo] {
        &self.0.plugins
    }

    /// What each plugin did in all exchanges that have ended, by name.
    pub fn accounts(&self) -> BTreeMap<String, Account> {
        self.0.totals.iter().map(|(name, total)| (name.clone(), total.snapshot())).collect()
    }

    /// What each plugin did in all exchanges that have ended, by the generation that loaded it.
    pub fn plugin_generations(&self) -> Vec<PluginGeneration> {
        let one = |(name, total): (&String, &Arc<Total>)| {
            let (account, times) = total.snapshot_with_times();
            PluginGeneration { name: name.clone(), generation: 1, account, times }
        };
        self.0.totals.iter().map(one).collect()
    }

    /// What each provider of a model did.
    pub fn providers(&self) -> Vec<ProviderCounts> {
        self.0.upstreams.counts()
    }

    /// The exchanges that there are at once.
    pub fn slots(&self) -> SlotCounts {
        self.0.slots.count()
    }

    /// What is not wrong but probably not meant: in the configuration, and in what it says of the plugins.
    pub fn notices(&self) -> &[Notice] {
        &self.0.notices
    }

    /// The headers of clients' requests that the configuration asks for (`dynamic::NAME`, and the conditions of
    /// rules), in lower case: what [`Incoming::headers`] may hold.
    pub fn headers(&self) -> &[String] {
        &self.0.headers
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
        let inner = Arc::clone(&self.0);
        let exchange = async move {
            let slot = inner.slots.take().await.ok_or(ExchangeError::Overloaded)?;
            Ok((exchange::run(&*inner, incoming).await?, slot))
        };
        Kept::begin(exchange, self.0.exchange_max).reply().await
    }
}

impl Routes for Inner {
    fn route(&self, model: &str, asking: Asking<'_>) -> Option<Route> {
        let Model { pipelines, backend } = self.routes.get(model)?;
        Some(Route { pipeline: Arc::clone(pipelines.choose(asking)), backend: Arc::clone(backend) })
    }

    fn chat_model(&self) -> Option<&str> {
        self.chat_model.as_deref()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("models", &self.models()).field("plugins", &self.0.plugins).finish()
    }
}
