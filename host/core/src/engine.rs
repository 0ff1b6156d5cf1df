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
use rust_proxy_stream::upstream::{Backend, Signer, TokenProvider};
use rust_proxy_upstream::dev_api::Signing;
use rust_proxy_upstream::{
    Client, DevApi, DevApiOptions, EgressError, GuardedFetch, OpenAi, Provider, Router, StaticToken,
};
use rust_proxy_wasm::{
    Component, Imports, LoadError, Roles, Runtime, RuntimeOptions, Settings, SignerSettings,
};
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
    chat_model: Option<String>,
    headers: Vec<String>,
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
        let runtime = sandbox(config, &mut problems);
        let components = load_plugins(config, runtime.as_ref(), &mut problems).await;
        check_roles(config, &components, &mut problems);
        let pipelines: BTreeMap<&str, Arc<Pipeline>> = config
            .pipelines
            .iter()
            .map(|(name, it)| (name.as_str(), Arc::new(pipeline(it, &components))))
            .collect();
        let signers = load_signers(config, runtime.as_ref(), &mut problems).await;
        let mut routes = BTreeMap::new();
        for (name, model) in &config.models {
            let pipeline =
                model.pipeline.as_deref().and_then(|name| pipelines.get(name)).cloned().unwrap_or_default();
            let backend = backend(name, model, &signers, &mut problems);
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
            chat_model: server.chat_model.clone(),
            headers: dynamic_headers(config),
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

    /// The headers of clients' requests that the configuration asks for (`dynamic::NAME`), in lower case: what
    /// [`Incoming::headers`] may hold.
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
    /// # Errors
    /// [`ExchangeError`] where the answer has not begun; afterwards the end of the stream says what went
    /// wrong.
    ///
    /// # Cancellation
    /// Dropping the call, or the stream that it returned, ends the exchange and frees everything of it.
    pub async fn exchange(&self, incoming: Incoming) -> Result<Reply, ExchangeError> {
        let deadline = Instant::now() + self.0.exchange_max;
        let exchange = async {
            let slot = self.0.slots.take().await.ok_or(ExchangeError::Overloaded)?;
            let reply = exchange::run(&*self.0, incoming).await?;
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

    fn chat_model(&self) -> Option<&str> {
        self.chat_model.as_deref()
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
    let signing = config.signers.len() * rust_proxy_wasm::Signer::SLOTS as usize;
    let kept = ready.saturating_add(signing).saturating_mul(2);
    let slots = config.server.streams_max.saturating_mul(links).saturating_add(kept);
    u32::try_from(slots).unwrap_or(u32::MAX)
}

/// The plugins of a pipeline, each once.
fn plugins_of(pipeline: &config::Pipeline) -> Vec<&str> {
    let mut names: Vec<&str> = pipeline.process.iter().chain(&pipeline.modify).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Where plugins and signers run; `None` where there are none, or where it could not be made.
fn sandbox(config: &Config, problems: &mut Vec<StartProblem>) -> Option<Runtime> {
    if config.plugins.is_empty() && config.signers.is_empty() {
        return None;
    }
    let runtime = Runtime::new(RuntimeOptions { slots: slots(config) });
    runtime.map_err(|error| problems.push(StartProblem::Runtime(error))).ok()
}

async fn load_plugins(
    config: &Config,
    runtime: Option<&Runtime>,
    problems: &mut Vec<StartProblem>,
) -> BTreeMap<String, Component> {
    let mut components = BTreeMap::new();
    let Some(runtime) = runtime else { return components };
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

/// The signers that loaded, each with what it gets and gives.
type Signers = BTreeMap<String, Signing>;

async fn load_signers(
    config: &Config,
    runtime: Option<&Runtime>,
    problems: &mut Vec<StartProblem>,
) -> Signers {
    let mut signers = BTreeMap::new();
    let Some(runtime) = runtime else { return signers };
    for (name, signer) in &config.signers {
        match load_signer(runtime, signer).await {
            Ok(loaded) => {
                let (arguments, results) = (signer.arguments.clone(), signer.results.clone());
                let signing = Signing { name: name.clone(), signer: loaded, arguments, results };
                signers.insert(name.clone(), signing);
            }
            Err(reason) => {
                let (name, file) = (name.clone(), signer.file.clone());
                problems.push(StartProblem::Signer { name, file, reason });
            }
        }
    }
    signers
}

/// Makes a signer of its file.
async fn load_signer(runtime: &Runtime, signer: &config::Signer) -> Result<Arc<dyn Signer>, String> {
    let bytes = config::read_file(&signer.file).map_err(|error| error.to_string())?;
    let settings = SignerSettings {
        name: signer.name.clone(),
        limits: signer.limits,
        config_json: signer.config.to_string(),
        export: signer.export.clone(),
        arguments: signer.arguments.iter().map(|argument| argument.name().to_owned()).collect(),
    };
    let loaded = runtime.load_signer(&bytes, settings).await.map_err(|error| error.to_string())?;
    Ok(Arc::new(loaded))
}

/// The headers that any provider asks for.
fn dynamic_headers(config: &Config) -> Vec<String> {
    let providers = config.models.values().flat_map(|model| model.providers.values());
    let headers = providers.flat_map(|provider| match provider {
        config::Provider::DevApi(provider) => provider.headers().map(str::to_owned).collect(),
        config::Provider::OpenAi(_) => Vec::new(),
    });
    let headers: std::collections::BTreeSet<String> = headers.collect();
    headers.into_iter().collect()
}

fn backend(
    name: &str,
    model: &config::Model,
    signers: &Signers,
    problems: &mut Vec<StartProblem>,
) -> Arc<dyn Backend> {
    let mut providers = Vec::with_capacity(model.routing.len());
    for provider in &model.routing {
        let made = match model.providers.get(provider) {
            Some(config::Provider::OpenAi(settings)) => openai(provider, settings),
            Some(config::Provider::DevApi(settings)) => dev_api(provider, settings, signers),
            None => continue,
        };
        match made {
            Ok(made) => providers.push(made),
            Err(error) => {
                let settings = model.providers.get(provider);
                let (model, provider) = (name.to_owned(), provider.clone());
                problems.push(match settings {
                    Some(config::Provider::DevApi(_)) => StartProblem::DevApi { model, provider, error },
                    _ => StartProblem::Provider { model, provider, error },
                });
            }
        }
    }
    Arc::new(Router::new(providers))
}

fn openai(name: &str, settings: &config::OpenAi) -> Result<Provider, EgressError> {
    let key = settings.api_key.as_ref();
    let token = key.map(|key| Arc::new(StaticToken::new(key.expose())) as Arc<dyn TokenProvider>);
    let client = Client::new(settings.timeouts)?;
    Ok(Provider::OpenAi(OpenAi::new(name, &settings.api_base, &settings.model_name, token, client)))
}

fn dev_api(name: &str, settings: &config::DevApi, signers: &Signers) -> Result<Provider, EgressError> {
    // A signer that did not load has been reported; nothing is started then.
    let signing = settings.signer.as_ref().and_then(|name| signers.get(name)).cloned();
    let options = DevApiOptions {
        name: name.to_owned(),
        endpoint: settings.endpoint.clone(),
        model: settings.model_name.clone(),
        device_id: settings.device_id.clone(),
        os_type: settings.os_type.clone(),
        sid: settings.sid.clone(),
        signing,
        request: settings.request.clone(),
        response: settings.response.clone(),
    };
    Ok(Provider::DevApi(DevApi::new(options, Client::new(settings.timeouts)?)))
}
