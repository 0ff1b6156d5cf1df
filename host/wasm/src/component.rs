//! A component: loading, and the configured instances that are kept ready.

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use rust_proxy_stream::account::{Account, Total};
use rust_proxy_stream::chain::printable;
use rust_proxy_stream::fetch::Fetch;
use rust_proxy_stream::kv::KeyValue;
use rust_proxy_stream::stage::{Link, OnError, Plugin, StageError};
use wasmtime::component::{self, InstancePre, Linker};

use crate::bindings::{lifecycle, processor, response_modifier, signer};
use crate::compile::Compiler;
use crate::files::Directory;
use crate::imports::{self, HTTP, Imports, KV};
use crate::instance::{Host, Instance};
use crate::limits::Limits;
use crate::log::Rate;
use crate::ready::{Instances, Population, Ready};
use crate::snapshot;

/// How a component is to be run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The plugin's name in the configuration.
    pub name: String,
    /// What its `configure` gets: a JSON object.
    pub config_json: String,
    /// Its limits.
    pub limits: Limits,
    /// What becomes of an exchange when it fails.
    pub on_error: OnError,
    /// How many configured instances are kept ready.
    pub ready: usize,
    /// Whether it is configured once, and each instance is a copy of it behind that. What cannot be copied is
    /// configured in each instance nevertheless.
    pub once: bool,
    /// Whether `config_json` has secrets: nothing that is made of it goes to the cache.
    pub secret: bool,
    /// Its HTTP, if that is granted.
    pub fetch: Option<Arc<dyn Fetch>>,
    /// The directories that it is granted.
    pub directories: Vec<Directory>,
    /// Its keys and values, if they are granted.
    pub kv: Option<Arc<dyn KeyValue>>,
    /// What its exchanges add up to.
    pub total: Arc<Total>,
}

impl Settings {
    /// Those of a plugin that is granted nothing: it fails closed, and each instance is made when it is needed, and
    /// configured by itself.
    #[must_use]
    pub fn new(name: &str, config_json: &str, limits: Limits) -> Self {
        Self {
            name: name.to_owned(),
            config_json: config_json.to_owned(),
            limits,
            on_error: OnError::FailClosed,
            ready: 0,
            once: false,
            secret: false,
            fetch: None,
            directories: Vec::new(),
            kv: None,
            total: Arc::default(),
        }
    }

    /// Whether something that is refused otherwise is granted.
    pub(crate) fn grants(&self, grant: &str) -> bool {
        match grant {
            HTTP => self.fetch.is_some(),
            KV => self.kv.is_some(),
            _ => false,
        }
    }
}

/// What a component exports of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It can stand in `process`.
    pub processor: bool,
    /// It can stand in `modify`.
    pub modifier: bool,
    /// It signs requests.
    pub signer: bool,
}

/// Why a component cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no room for the engine. The operator can lower `streams_max`.
    #[error("the sandbox cannot be set up: {0}")]
    Engine(String),
    /// The file holds no WebAssembly component.
    #[error("not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// It has more memories, tables or instances, or larger ones, than the sandbox has room for.
    #[error("needs more than the sandbox gives a plugin: {0}")]
    TooLarge(String),
    /// It imports what this host does not have.
    #[error("imports `{}`, which this version cannot grant", .0.join("`, `"))]
    Imports(Vec<String>),
    /// It imports what it was not granted. The operator can grant it.
    #[error("imports `{}`, which is not granted; write {line} if it may have that", .imports.join("`, `"))]
    NotGranted {
        /// The imports.
        imports: Vec<String>,
        /// The setting that would grant them.
        line: String,
    },
    /// It does not export what a plugin must export.
    #[error("not a plugin: {0}; build it against `wit/` of this version")]
    Exports(String),
    /// It does not fit the sandbox, or failed when it was tried out.
    #[error("failed when it was tried out: {0}")]
    Trial(StageError),
    /// The file of a signer is none.
    #[error(
        "not a signer: {0}; it must be a component of the world `signer-plugin`, or a wasm-bindgen module (`NAME_bg.wasm`)"
    )]
    NotASigner(String),
    /// A module imports what only a browser's page has.
    #[error("imports `{}`, which needs a browser page; build the module without it", .0.join("`, `"))]
    Browser(Vec<String>),
    /// A module imports JavaScript functions that this host does not have.
    #[error("imports `{}` of JavaScript, which this host does not give; {cure}", names.join("`, `"))]
    JavaScript {
        /// Their names.
        names: Vec<String>,
        /// What to do.
        cure: &'static str,
    },
    /// The settings of a signer do not fit its file.
    #[error("{0}")]
    Signer(String),
    /// It refused its configuration.
    #[error("refuses its `config`: {0}")]
    Configuration(String),
}

/// A loaded component. Cheap to clone; all clones share their ready instances.
#[derive(Clone)]
pub struct Component {
    prepared: Arc<Prepared>,
    ready: Arc<Ready>,
    description: Arc<str>,
    imports: Arc<Imports>,
}

/// What every instance is made of.
pub(crate) struct Prepared {
    pub(crate) name: Arc<str>,
    pub(crate) limits: Limits,
    pub(crate) fetch: Option<Arc<dyn Fetch>>,
    pub(crate) directories: Vec<Directory>,
    pub(crate) kv: Option<Arc<dyn KeyValue>>,
    pub(crate) log_rate: Arc<Rate>,
    /// The component as its file has it.
    exports: Arc<Exports>,
    /// The component as it is behind `configure`, where that could be copied.
    copy: OnceLock<Arc<Exports>>,
    roles: Roles,
    config_json: String,
    on_error: OnError,
    total: Arc<Total>,
    pub(crate) population: Population,
}

/// What is instantiated, and where in it the contract's exports are.
pub(crate) struct Exports {
    pub(crate) pre: InstancePre<Host>,
    pub(crate) lifecycle: lifecycle::GuestIndices,
    pub(crate) processor: Option<processor::GuestIndices>,
    pub(crate) modifier: Option<response_modifier::GuestIndices>,
    pub(crate) signer: Option<signer::GuestIndices>,
}

impl Exports {
    fn new(linker: &Linker<Host>, component: &component::Component, roles: Roles) -> wasmtime::Result<Self> {
        let pre = linker.instantiate_pre(component)?;
        Ok(Self {
            lifecycle: lifecycle::GuestIndices::new(&pre)?,
            processor: roles.processor.then(|| processor::GuestIndices::new(&pre)).transpose()?,
            modifier: roles.modifier.then(|| response_modifier::GuestIndices::new(&pre)).transpose()?,
            signer: roles.signer.then(|| signer::GuestIndices::new(&pre)).transpose()?,
            pre,
        })
    }
}

impl Component {
    pub(crate) async fn load(
        compiler: &Compiler,
        linker: &Linker<Host>,
        bytes: &[u8],
        settings: Settings,
        usage: Usage,
    ) -> Result<Self, LoadError> {
        let component = compile(compiler, &settings.name, bytes).await?;
        let imports = imports::classify(&compiler.engine, &component, &settings, usage)?;
        let roles = Roles {
            processor: exported(&component, "processor"),
            modifier: exported(&component, "response-modifier"),
            signer: exported(&component, "signer"),
        };
        usage.check(roles)?;
        let unfit = |error: wasmtime::Error| LoadError::Exports(format!("{error:#}"));
        let linker = imports::linker(linker, &settings).map_err(unfit)?;
        let prepared = Prepared {
            exports: Arc::new(Exports::new(&linker, &component, roles).map_err(unfit)?),
            copy: OnceLock::new(),
            name: settings.name.into(),
            limits: settings.limits,
            fetch: settings.fetch,
            directories: settings.directories,
            kv: settings.kv,
            log_rate: Arc::default(),
            roles,
            config_json: settings.config_json,
            on_error: settings.on_error,
            total: settings.total,
            population: Population::default(),
        };
        let mut trial = Instance::new(&prepared, &prepared.exports).await.map_err(LoadError::Trial)?;
        trial.check().await.map_err(LoadError::Trial)?;
        let description = trial.describe().await.map_err(LoadError::Trial)?;
        match trial.configure(&prepared.config_json).await {
            Ok(()) => {}
            Err(StageError::Failed(text)) => return Err(LoadError::Configuration(printable(&text))),
            Err(error) => return Err(LoadError::Trial(error)),
        }
        let description = format!("{} {}: {}", description.name, description.version, description.summary);
        let prepared = Arc::new(prepared);
        if settings.once && usage == Usage::Plugin {
            match prepared.copy(compiler, &linker, bytes, settings.secret).await {
                Ok(Some(copy)) => trial = copy,
                Ok(None) => {}
                Err(error) => {
                    let (plugin, error) = (&*prepared.name, printable(&format!("{error:#}")));
                    tracing::warn!(
                        plugin,
                        error,
                        "it cannot be copied, so it is configured in each instance"
                    );
                }
            }
        }
        Ok(Self {
            ready: Ready::keep(&prepared, trial, settings.ready),
            prepared,
            description: description.into(),
            imports: Arc::new(imports),
        })
    }

    /// What the component exports.
    pub fn roles(&self) -> Roles {
        self.prepared.roles
    }

    /// What the plugin says of itself, in one line.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What the component imports.
    pub fn imports(&self) -> &Imports {
        &self.imports
    }

    /// Whether instances are copies of one that was configured.
    pub fn is_copied(&self) -> bool {
        self.prepared.is_copied()
    }

    /// Its instances.
    pub fn instances(&self) -> Instances {
        self.prepared.population.count()
    }

    /// What counts its instances, which may be kept longer than the component.
    pub fn population(&self) -> Population {
        self.prepared.population.clone()
    }

    /// What its exchanges add up to.
    pub fn total(&self) -> Arc<Total> {
        Arc::clone(&self.prepared.total)
    }

    /// Drops the instances that are ready, and keeps none from now on: for a component that others take the place
    /// of. Exchanges that have begun go on; one that begins nevertheless gets an instance of its own.
    pub fn retire(&self) {
        self.ready.retire();
    }

    /// A configured instance: one that is ready, else a new one.
    pub(crate) async fn instance(&self) -> Result<Instance, StageError> {
        match self.ready.take() {
            Some(instance) => Ok(instance),
            None => self.prepared.configured(false).await,
        }
    }
}

/// What a component is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    /// A link of a pipeline.
    Plugin,
    /// Signing requests.
    Signer,
}

impl Usage {
    fn check(self, roles: Roles) -> Result<(), LoadError> {
        let in_pipelines = roles.processor || roles.modifier;
        let text = match self {
            Self::Plugin if in_pipelines => return Ok(()),
            Self::Signer if roles.signer => return Ok(()),
            Self::Plugin if roles.signer => "it is a signer, whose place is `[signers.NAME]`",
            Self::Plugin => "exports neither `processor` nor `response-modifier`",
            Self::Signer if in_pipelines => "it is a plugin for pipelines, whose place is `[plugins.NAME]`",
            Self::Signer => "exports no `signer`",
        };
        Err(match self {
            Self::Plugin => LoadError::Exports(text.to_owned()),
            Self::Signer => LoadError::NotASigner(text.to_owned()),
        })
    }
}

impl Prepared {
    /// A configured instance; one that is made ahead is warmed up.
    pub(crate) async fn configured(&self, ahead: bool) -> Result<Instance, StageError> {
        let Some(copy) = self.copy.get() else {
            let mut instance = Instance::new(self, &self.exports).await?;
            instance.configure(&self.config_json).await?;
            return Ok(instance);
        };
        let mut instance = Instance::new(self, copy).await?;
        if ahead {
            instance.warm_up().await?;
        }
        Ok(instance)
    }

    pub(crate) fn config_json(&self) -> &str {
        &self.config_json
    }

    /// Whether instances are copies, which are made in microseconds.
    pub(crate) fn is_copied(&self) -> bool {
        self.copy.get().is_some()
    }

    /// Makes the copy, and an instance of it; `None` where there can be none.
    async fn copy(
        self: &Arc<Self>,
        compiler: &Compiler,
        linker: &Linker<Host>,
        bytes: &[u8],
        secret: bool,
    ) -> wasmtime::Result<Option<Instance>> {
        let Some(copy) = snapshot::configured(compiler, linker, bytes, self, secret).await? else {
            return Ok(None);
        };
        let exports = Arc::new(Exports::new(linker, &copy, self.roles)?);
        let mut instance = Instance::new(self, &exports).await.map_err(wasmtime::Error::new)?;
        instance.check().await.map_err(wasmtime::Error::new)?;
        instance.warm_up().await.map_err(wasmtime::Error::new)?;
        // Set here only, and once.
        let _ = self.copy.set(exports);
        Ok(Some(instance))
    }
}

#[async_trait]
impl Plugin for Component {
    fn name(&self) -> &str {
        &self.prepared.name
    }

    fn on_error(&self) -> OnError {
        self.prepared.on_error
    }

    async fn start(&self) -> Result<Box<dyn Link>, StageError> {
        let instance = self.instance().await?;
        instance.begin();
        Ok(Box::new(instance))
    }

    fn settle(&self, account: &Account) {
        self.prepared.total.add(account);
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component").field("name", &self.prepared.name).field("roles", &self.roles()).finish()
    }
}

async fn compile(compiler: &Compiler, name: &str, bytes: &[u8]) -> Result<component::Component, LoadError> {
    if bytes.get(..4) == Some(b"\0asm") && bytes.get(4..8) == Some(&[1, 0, 0, 0]) {
        return Err(LoadError::NotAComponent(
            "it is a core module; build it with `--target wasm32-wasip2`".to_owned(),
        ));
    }
    compiler.load(name, bytes).await.map_err(|error| not_compiled(bytes, &error))
}

fn not_compiled(bytes: &[u8], error: &wasmtime::Error) -> LoadError {
    let error = format!("{error:#}");
    if !bytes.starts_with(b"\0asm") {
        return LoadError::NotAComponent("it does not begin like one; build or copy it again".to_owned());
    }
    // wasmtime has no type for what exceeds its pool.
    if error.contains("pooling allocator") {
        return LoadError::TooLarge(printable(&error));
    }
    LoadError::NotAComponent(format!("{}; build or copy it again", printable(&error)))
}

/// Whether a component exports an interface of the contract.
fn exported(component: &component::Component, interface: &str) -> bool {
    let prefix = format!("rust-proxy:plugin/{interface}@");
    let kind = component.component_type();
    kind.exports(component.engine()).any(|(name, _)| name.starts_with(&prefix))
}
