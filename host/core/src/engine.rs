//! Everything that a configuration describes, running.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rust_proxy_stream::ExchangeError;
use rust_proxy_stream::chain::Pipeline;
use rust_proxy_stream::exchange::{self, Incoming, Reply, Route, Routes};
use rust_proxy_stream::fetch::Fetch;
use rust_proxy_stream::upstream::{Backend, TokenProvider};
use rust_proxy_upstream::{Client, EgressError, GuardedFetch, OpenAi, Router, StaticToken};
use rust_proxy_wasm::{Component, Imports, LoadError, Roles, Runtime, RuntimeOptions, Settings};
use tokio::time::{Instant, timeout_at};

use crate::config::{self, Config, Granted, Notice};
use crate::deadline::limited;
use crate::slots::Slots;

/// Plugins, pipelines and models at work. Cheap to clone; clones share everything.
///
/// Has no state outside of itself, so that a process may have several. Needs a tokio runtime around it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    routes: BTreeMap<String, Route>,
    plugins: Vec<PluginInfo>,
    notices: Vec<Notice>,
    slots: Slots,
    exchange_max: Duration,
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
    Role { pipeline: String, stage: &'static str, plugin: String, interface: &'static str },
    #[error("plugins.{name}.grant: {error}")]
    Fetch { name: String, error: EgressError },
    #[error("server.streams_max: {0}; lower it")]
    Runtime(LoadError),
    #[error("models.{model}.providers.{provider}: {error}")]
    Provider { model: String, provider: String, error: EgressError },
}

impl Engine {
    /// Loads the plugins of a configuration and makes everything ready.
    ///
    /// # Errors
    /// [`StartError`] with every problem; nothing is left running.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let mut problems = Vec::new();
        let components = load_plugins(config, &mut problems).await;
        check_roles(config, &components, &mut problems);
        let pipelines: BTreeMap<&str, Arc<Pipeline>> = config
            .pipelines
            .iter()
            .map(|(name, it)| (name.as_str(), Arc::new(pipeline(it, &components))))
            .collect();
        let mut routes = BTreeMap::new();
        for (name, model) in &config.models {
            let pipeline =
                model.pipeline.as_deref().and_then(|name| pipelines.get(name)).cloned().unwrap_or_default();
            let backend = backend(name, model, &mut problems);
            routes.insert(name.clone(), Route { pipeline, backend });
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
            notices: notices(config, &components),
            slots: Slots::new(server.streams_max, server.queue_max),
            exchange_max: server.exchange_max,
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

    /// What is not wrong but probably not meant: in the configuration, and in what it says of the plugins.
    pub fn notices(&self) -> &[Notice] {
        &self.0.notices
    }

    /// Runs one chat exchange.
    ///
    /// # Errors
    /// [`ExchangeError`] where the answer has not begun; afterwards the end of the stream says what went
    /// wrong.
    ///
    /// # Cancellation
    /// Dropping the call, or the stream that it returned, ends the exchange and frees everything of it.
    pub async fn chat(&self, request_id: String, body: Bytes) -> Result<Reply, ExchangeError> {
        let deadline = Instant::now() + self.0.exchange_max;
        let exchange = async {
            let slot = self.0.slots.take().await.ok_or(ExchangeError::Overloaded)?;
            let reply = exchange::run(&*self.0, Incoming { request_id, body }).await?;
            Ok(match reply {
                Reply::Whole(body) => Reply::Whole(body),
                Reply::Stream(stream) => Reply::Stream(limited(stream, slot, deadline)),
            })
        };
        timeout_at(deadline, exchange).await.unwrap_or(Err(ExchangeError::Deadline))
    }
}

impl Routes for Inner {
    fn route(&self, model: &str) -> Option<Route> {
        self.routes.get(model).cloned()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("models", &self.models()).field("plugins", &self.0.plugins).finish()
    }
}

/// How many instances there can be at once: those of every exchange, and two generations of ready and trial
/// ones.
fn slots(config: &Config) -> u32 {
    let links = config.pipelines.values().map(|pipeline| plugins_of(pipeline).len()).max().unwrap_or(0);
    let ready: usize = config.plugins.values().map(|plugin| plugin.ready + 1).sum();
    let slots = config.server.streams_max.saturating_mul(links).saturating_add(ready.saturating_mul(2));
    u32::try_from(slots).unwrap_or(u32::MAX)
}

/// The plugins of a pipeline, each once.
fn plugins_of(pipeline: &config::Pipeline) -> Vec<&str> {
    let mut names: Vec<&str> = pipeline.process.iter().chain(&pipeline.modify).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

async fn load_plugins(config: &Config, problems: &mut Vec<StartProblem>) -> BTreeMap<String, Component> {
    let mut components = BTreeMap::new();
    if config.plugins.is_empty() {
        return components;
    }
    let runtime = match Runtime::new(RuntimeOptions { slots: slots(config) }) {
        Ok(runtime) => runtime,
        Err(error) => {
            problems.push(StartProblem::Runtime(error));
            return components;
        }
    };
    for (name, plugin) in &config.plugins {
        let (name, file) = (name.clone(), plugin.file.clone());
        let bytes = match config::read_file(&file) {
            Ok(bytes) => bytes,
            Err(error) => {
                problems.push(StartProblem::Unreadable { name, file, error });
                continue;
            }
        };
        let settings = match settings(plugin) {
            Ok(settings) => settings,
            Err(error) => {
                problems.push(StartProblem::Fetch { name, error });
                continue;
            }
        };
        match runtime.load(&bytes, settings).await {
            Ok(component) => {
                components.insert(name, component);
            }
            Err(error) => problems.push(StartProblem::Plugin { name, file, error }),
        }
    }
    components
}

fn settings(plugin: &config::Plugin) -> Result<Settings, EgressError> {
    let fetch = |granted: &Granted| GuardedFetch::new(granted.http.clone(), plugin.limits.wall);
    let fetch = plugin.grant.as_ref().map(fetch).transpose()?;
    Ok(Settings {
        name: plugin.name.clone(),
        config_json: plugin.config.to_string(),
        limits: plugin.limits,
        on_error: plugin.on_error,
        ready: plugin.ready,
        fetch: fetch.map(|fetch| Arc::new(fetch) as Arc<dyn Fetch>),
    })
}

/// Those of the configuration, and the grants that their plugins do not use.
fn notices(config: &Config, components: &BTreeMap<String, Component>) -> Vec<Notice> {
    let mut notices = config.notices.clone();
    for (name, plugin) in &config.plugins {
        let uses_http = components.get(name).is_some_and(|component| !component.imports().granted.is_empty());
        if let Some(granted) = &plugin.grant
            && !uses_http
        {
            let message = "the plugin does not import wasi:http, so this does nothing".to_owned();
            notices.push(Notice { place: granted.place.clone(), message });
        }
    }
    notices
}

/// A plugin stands only where it does something.
fn check_roles(config: &Config, components: &BTreeMap<String, Component>, problems: &mut Vec<StartProblem>) {
    for (pipeline, stages) in &config.pipelines {
        let mut check = |stage, interface, plugins: &[String], has: fn(Roles) -> bool| {
            for plugin in plugins {
                if components.get(plugin).is_some_and(|component| !has(component.roles())) {
                    let (pipeline, plugin) = (pipeline.clone(), plugin.clone());
                    problems.push(StartProblem::Role { pipeline, stage, plugin, interface });
                }
            }
        };
        check("process", "processor", &stages.process, |roles| roles.processor);
        check("modify", "response-modifier", &stages.modify, |roles| roles.modifier);
    }
}

fn pipeline(stages: &config::Pipeline, components: &BTreeMap<String, Component>) -> Pipeline {
    let names = plugins_of(stages);
    let places = |plugins: &[String]| {
        plugins.iter().filter_map(|plugin| names.iter().position(|name| name == plugin)).collect::<Vec<_>>()
    };
    let (process, modify) = (places(&stages.process), places(&stages.modify));
    // A plugin that did not load has been reported; nothing is started then.
    let plugins =
        names.iter().filter_map(|name| components.get(*name)).map(|it| Arc::new(it.clone()) as Arc<_>);
    Pipeline { plugins: plugins.collect(), process, modify }
}

fn backend(name: &str, model: &config::Model, problems: &mut Vec<StartProblem>) -> Arc<dyn Backend> {
    let mut providers = Vec::with_capacity(model.routing.len());
    for provider in &model.routing {
        let Some(settings) = model.providers.get(provider) else { continue };
        let key = settings.api_key.as_ref();
        let token = key.map(|key| Arc::new(StaticToken::new(key.expose())) as Arc<dyn TokenProvider>);
        match Client::new(settings.timeouts) {
            Ok(client) => {
                providers.push(OpenAi::new(
                    provider,
                    &settings.api_base,
                    &settings.model_name,
                    token,
                    client,
                ));
            }
            Err(error) => {
                let (model, provider) = (name.to_owned(), provider.clone());
                problems.push(StartProblem::Provider { model, provider, error });
            }
        }
    }
    Arc::new(Router::new(providers))
}
