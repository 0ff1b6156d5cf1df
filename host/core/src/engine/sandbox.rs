//! ③④⑥ Plugins and signers: from files to what runs in the sandbox.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rust_proxy_stream::chain::Pipeline;
use rust_proxy_stream::fetch::Fetch;
use rust_proxy_upstream::dev_api::Signing;
use rust_proxy_upstream::{EgressError, GuardedFetch};
use rust_proxy_wasm::{
    Cache, CacheError, Component, Roles, Runtime, RuntimeOptions, Settings, Signer, SignerSettings,
};

use super::room::Room;
use super::{Native, StartProblem};
use crate::config::{self, Config, Digest, Source, Sources, Stages};
use crate::kv::Stores;
use crate::trust::{self, File, History, Rules, Standing};

/// Something that was loaded from a file, and what it was loaded from.
#[derive(Clone)]
pub(super) struct Loaded<T> {
    pub(super) it: T,
    pub(super) file: PathBuf,
    pub(super) standing: Standing,
    /// Of the file and all settings.
    fingerprint: Digest,
    /// The generation that loaded it.
    pub(super) generation: u64,
}

/// By name.
pub(super) type Plugins = BTreeMap<String, Loaded<Component>>;
/// By name.
pub(super) type Signers = BTreeMap<String, Loaded<AtWork>>;

/// A signer, and what it gets and gives.
#[derive(Clone)]
pub(super) struct AtWork {
    pub(super) signing: Signing,
    pub(super) signer: Signer,
}

/// Where plugins and signers run; `None` where there are none, or where it could not be made.
pub(super) fn runtime<'a>(
    config: &Config,
    room: Room,
    runtime: &'a OnceLock<Runtime>,
    problems: &mut Vec<StartProblem>,
) -> Option<&'a Runtime> {
    if config.plugins.is_empty() && config.signers.is_empty() {
        return None;
    }
    if let Some(made) = runtime.get() {
        return Some(made);
    }
    match Runtime::new(RuntimeOptions { slots: room.slots(), cache: cache(config, problems) }) {
        Ok(made) => Some(runtime.get_or_init(|| made)),
        Err(error) => {
            problems.push(StartProblem::Runtime(error));
            None
        }
    }
}

/// Where compiled code is kept. A folder that is not there is no problem; one that is not safe is.
fn cache(config: &Config, problems: &mut Vec<StartProblem>) -> Option<Cache> {
    match Cache::open(config.cache.as_deref()?) {
        Ok(cache) => Some(cache),
        Err(error @ CacheError::Unusable { .. }) => {
            let error = error.to_string();
            tracing::warn!(error, "there is no cache, so each start compiles; see `cache` of [plugins]");
            None
        }
        Err(error) => {
            problems.push(StartProblem::Cache(error));
            None
        }
    }
}

/// Loads the files of a generation.
pub(super) struct Sandbox<'a> {
    pub(super) runtime: Option<&'a Runtime>,
    /// The generation's.
    pub(super) number: u64,
    pub(super) stores: &'a Stores,
    /// What is not loaded.
    pub(super) native: &'a Native,
    /// Where what was loaded is noted.
    pub(super) sources: &'a mut Sources,
    /// What the gateway has loaded before.
    pub(super) history: &'a History,
    pub(super) problems: &'a mut Vec<StartProblem>,
}

impl Sandbox<'_> {
    /// Loads the plugins; those that are in `before` with the same file and settings are taken from there.
    pub(super) async fn load_plugins(&mut self, config: &Config, before: Option<&Plugins>) -> Plugins {
        let mut plugins = BTreeMap::new();
        for (name, plugin) in config.plugins.iter().filter(|(name, _)| !self.native.contains_key(*name)) {
            match self.load_plugin(config, plugin, before.and_then(|before| before.get(name))).await {
                Ok(loaded) => plugins.extend(loaded.map(|loaded| (name.clone(), loaded))),
                Err(problem) => self.problems.push(problem),
            }
        }
        plugins
    }

    /// `None` where there is nothing to load it with, which has been reported.
    async fn load_plugin(
        &mut self,
        config: &Config,
        plugin: &config::Plugin,
        before: Option<&Loaded<Component>>,
    ) -> Result<Option<Loaded<Component>>, StartProblem> {
        let (name, file) = (|| plugin.name.clone(), || plugin.file.clone());
        let read = File::read(&plugin.file, &config.signatures)
            .map_err(|error| StartProblem::Unreadable { name: name(), file: file(), error })?;
        let rules = Rules::of_plugin(plugin, &config.signatures);
        let standing = trust::admit(self.history.of(&plugin.file), &read, rules);
        let standing = standing.map_err(StartProblem::Refused)?;
        let fingerprint = plugin.fingerprint(standing.sha256.bytes());
        self.sources.add(Source::Plugin(name()), standing.with(fingerprint));
        if let Some(same) = before.filter(|before| before.fingerprint == fingerprint) {
            return Ok(Some(Loaded { file: file(), standing, ..same.clone() }));
        }
        let Some(runtime) = self.runtime else { return Ok(None) };
        let settings =
            settings(plugin, self.stores).map_err(|error| StartProblem::Fetch { name: name(), error })?;
        let it = runtime.load(&read.bytes, settings).await;
        let it = it.map_err(|error| StartProblem::Plugin { name: name(), file: file(), error })?;
        Ok(Some(Loaded { it, file: file(), standing, fingerprint, generation: self.number }))
    }

    /// Loads the signers, likewise.
    pub(super) async fn load_signers(&mut self, config: &Config, before: Option<&Signers>) -> Signers {
        let mut signers = BTreeMap::new();
        for (name, signer) in &config.signers {
            match self.load_signer(config, signer, before.and_then(|before| before.get(name))).await {
                Ok(loaded) => signers.extend(loaded.map(|loaded| (name.clone(), loaded))),
                Err(problem) => self.problems.push(problem),
            }
        }
        signers
    }

    async fn load_signer(
        &mut self,
        config: &Config,
        signer: &config::Signer,
        before: Option<&Loaded<AtWork>>,
    ) -> Result<Option<Loaded<AtWork>>, StartProblem> {
        let unusable = |reason: String| {
            let (name, file) = (signer.name.clone(), signer.file.clone());
            StartProblem::Signer { name, file, reason }
        };
        let read =
            File::read(&signer.file, &config.signatures).map_err(|error| unusable(error.to_string()))?;
        let rules = Rules::of_signer(signer, &config.signatures);
        let standing = trust::admit(self.history.of(&signer.file), &read, rules);
        let standing = standing.map_err(StartProblem::Refused)?;
        let fingerprint = signer.fingerprint(standing.sha256.bytes());
        self.sources.add(Source::Signer(signer.name.clone()), standing.with(fingerprint));
        if let Some(same) = before.filter(|before| before.fingerprint == fingerprint) {
            return Ok(Some(Loaded { file: signer.file.clone(), standing, ..same.clone() }));
        }
        let Some(runtime) = self.runtime else { return Ok(None) };
        let settings = SignerSettings {
            name: signer.name.clone(),
            limits: signer.limits,
            config_json: signer.config.to_string(),
            export: signer.export.clone(),
            arguments: signer.arguments.iter().map(|argument| argument.name().to_owned()).collect(),
        };
        let made = runtime.load_signer(&read.bytes, settings).await;
        let made = made.map_err(|error| unusable(error.to_string()))?;
        let signing = Signing {
            name: signer.name.clone(),
            signer: Arc::new(made.clone()),
            arguments: signer.arguments.clone(),
            results: signer.results.clone(),
        };
        let it = AtWork { signing, signer: made };
        let file = signer.file.clone();
        Ok(Some(Loaded { it, file, standing, fingerprint, generation: self.number }))
    }
}

fn settings(plugin: &config::Plugin, stores: &Stores) -> Result<Settings, EgressError> {
    let granted = plugin.grant.as_ref();
    let http = granted.and_then(|granted| granted.http.as_ref());
    let fetch = http.map(|http| GuardedFetch::new(http.value.clone(), plugin.limits.wall)).transpose()?;
    let directories = granted.and_then(|granted| granted.directories.as_ref());
    let kv = granted.and_then(|granted| granted.kv.as_ref());
    Ok(Settings {
        name: plugin.name.clone(),
        config_json: plugin.config.to_string(),
        limits: plugin.limits,
        on_error: plugin.on_error,
        ready: plugin.ready,
        once: plugin.once,
        secret: plugin.secrets,
        fetch: fetch.map(|fetch| Arc::new(fetch) as Arc<dyn Fetch>),
        directories: directories.map(|directories| directories.value.clone()).unwrap_or_default(),
        kv: kv.map(|quota| stores.namespace(&plugin.name, quota.value)),
        total: Arc::default(),
    })
}

/// A plugin stands only where it does something.
pub(super) fn check_roles(config: &Config, plugins: &Plugins, problems: &mut Vec<StartProblem>) {
    for (pipeline, stages) in &config.pipelines {
        let mut check = |place: &str, stage: &str, interface, names: &[String], has: fn(Roles) -> bool| {
            for plugin in names {
                if plugins.get(plugin).is_some_and(|loaded| !has(loaded.it.roles())) {
                    let (pipeline, plugin) = (format!("{pipeline}{place}"), plugin.clone());
                    let stage = stage.to_owned();
                    problems.push(StartProblem::Role { pipeline, stage, plugin, interface });
                }
            }
        };
        let lists = stages.when.iter().enumerate().filter_map(|(number, rule)| match &rule.effect {
            config::Effect::Add { process, modify } => {
                Some((format!(".when[{number}]"), ["process_also", "modify_also"], process, modify))
            }
            config::Effect::Use(_) => None,
        });
        let own = (String::new(), ["process", "modify"], &stages.process, &stages.modify);
        for (place, [first, second], process, modify) in std::iter::once(own).chain(lists) {
            check(&place, first, "processor", process, |roles| roles.processor);
            check(&place, second, "response-modifier", modify, |roles| roles.modifier);
        }
    }
}

/// The pipelines of all models, each made once.
pub(super) struct Pipelines<'a> {
    plugins: &'a Plugins,
    native: &'a Native,
    made: BTreeMap<Stages, Arc<Pipeline>>,
}

impl<'a> Pipelines<'a> {
    pub(super) fn new(plugins: &'a Plugins, native: &'a Native) -> Self {
        Self { plugins, native, made: BTreeMap::new() }
    }

    pub(super) fn of(&mut self, stages: Stages) -> Arc<Pipeline> {
        let make = |stages: &Stages| Arc::new(pipeline(stages, self.plugins, self.native));
        Arc::clone(self.made.entry(stages).or_insert_with_key(make))
    }
}

fn pipeline(stages: &Stages, plugins: &Plugins, native: &Native) -> Pipeline {
    let names = stages.plugins();
    let places = |links: &[String]| {
        links.iter().filter_map(|plugin| names.iter().position(|name| name == plugin)).collect::<Vec<_>>()
    };
    let (process, modify) = (places(&stages.process), places(&stages.modify));
    // A plugin that did not load has been reported; nothing is started then.
    let plugin = |name: &&str| match native.get(*name) {
        Some(native) => Some(Arc::clone(native)),
        None => plugins.get(*name).map(|loaded| Arc::new(loaded.it.clone()) as Arc<_>),
    };
    Pipeline { plugins: names.iter().filter_map(plugin).collect(), process, modify }
}
