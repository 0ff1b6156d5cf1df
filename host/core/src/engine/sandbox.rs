//! ③④⑥ Plugins and signers: from files to what runs in the sandbox.

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_proxy_stream::account::Total;
use rust_proxy_stream::chain::Pipeline;
use rust_proxy_stream::fetch::Fetch;
use rust_proxy_stream::upstream::Signer;
use rust_proxy_upstream::dev_api::Signing;
use rust_proxy_upstream::{EgressError, GuardedFetch};
use rust_proxy_wasm::{
    Cache, CacheError, Component, Roles, Runtime, RuntimeOptions, Settings, SignerSettings,
};

use super::{PluginInfo, SignerInfo, StartProblem};
use crate::config::{self, Config, Granted, Notice};
use crate::trust::{self, File, History, Rules};

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
pub(super) fn sandbox(config: &Config, problems: &mut Vec<StartProblem>) -> Option<Runtime> {
    if config.plugins.is_empty() && config.signers.is_empty() {
        return None;
    }
    let runtime = Runtime::new(RuntimeOptions { slots: slots(config), cache: cache(config, problems) });
    runtime.map_err(|error| problems.push(StartProblem::Runtime(error))).ok()
}

/// Where compiled code is kept. A folder that is not there is no problem; one that is not safe is.
fn cache(config: &Config, problems: &mut Vec<StartProblem>) -> Option<Cache> {
    match Cache::open(config.folders.cache.as_deref()?) {
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

/// The plugins that loaded.
#[derive(Default)]
pub(super) struct Plugins {
    pub(super) components: BTreeMap<String, Component>,
    pub(super) infos: Vec<PluginInfo>,
}

/// `before` is what the running gateway has loaded.
pub(super) async fn load_plugins(
    config: &Config,
    runtime: Option<&Runtime>,
    totals: &BTreeMap<String, Arc<Total>>,
    before: &History,
    problems: &mut Vec<StartProblem>,
) -> Plugins {
    let mut plugins = Plugins::default();
    let Some(runtime) = runtime else { return plugins };
    for (name, plugin) in &config.plugins {
        let (name, file) = (name.clone(), plugin.file.clone());
        let read = match File::read(&file, &config.signatures) {
            Ok(read) => read,
            Err(error) => {
                problems.push(StartProblem::Unreadable { name, file, error });
                continue;
            }
        };
        let rules = Rules::of_plugin(plugin, &config.signatures);
        let standing = match trust::admit(before.of(&file), &read, rules) {
            Ok(standing) => standing,
            Err(refusal) => {
                problems.push(StartProblem::Refused(refusal));
                continue;
            }
        };
        let total = totals.get(&name).cloned().unwrap_or_default();
        let settings = match settings(plugin, total) {
            Ok(settings) => settings,
            Err(error) => {
                problems.push(StartProblem::Fetch { name, error });
                continue;
            }
        };
        match runtime.load(&read.bytes, settings).await {
            Ok(component) => {
                let (description, imports) =
                    (component.description().to_owned(), component.imports().clone());
                plugins.infos.push(PluginInfo { name: name.clone(), file, description, imports, standing });
                plugins.components.insert(name, component);
            }
            Err(error) => problems.push(StartProblem::Plugin { name, file, error }),
        }
    }
    plugins
}

fn settings(plugin: &config::Plugin, total: Arc<Total>) -> Result<Settings, EgressError> {
    let fetch = |granted: &Granted| GuardedFetch::new(granted.http.clone(), plugin.limits.wall);
    let fetch = plugin.grant.as_ref().map(fetch).transpose()?;
    Ok(Settings {
        name: plugin.name.clone(),
        config_json: plugin.config.to_string(),
        limits: plugin.limits,
        on_error: plugin.on_error,
        ready: plugin.ready,
        fetch: fetch.map(|fetch| Arc::new(fetch) as Arc<dyn Fetch>),
        total,
    })
}

/// Those of the configuration, and the grants that their plugins do not use.
pub(super) fn notices(config: &Config, components: &BTreeMap<String, Component>) -> Vec<Notice> {
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
pub(super) fn check_roles(
    config: &Config,
    components: &BTreeMap<String, Component>,
    problems: &mut Vec<StartProblem>,
) {
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

pub(super) fn pipeline(stages: &config::Pipeline, components: &BTreeMap<String, Component>) -> Pipeline {
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
#[derive(Default)]
pub(super) struct Signers {
    pub(super) signers: BTreeMap<String, Signing>,
    pub(super) infos: Vec<SignerInfo>,
}

/// As [`load_plugins`].
pub(super) async fn load_signers(
    config: &Config,
    runtime: Option<&Runtime>,
    before: &History,
    problems: &mut Vec<StartProblem>,
) -> Signers {
    let mut signers = Signers::default();
    let Some(runtime) = runtime else { return signers };
    for (name, signer) in &config.signers {
        match load_signer(config, runtime, signer, before).await {
            Ok((loaded, info)) => {
                let (arguments, results) = (signer.arguments.clone(), signer.results.clone());
                let signing = Signing { name: name.clone(), signer: loaded, arguments, results };
                signers.signers.insert(name.clone(), signing);
                signers.infos.push(info);
            }
            Err(problem) => problems.push(problem),
        }
    }
    signers
}

/// Makes a signer of its file.
async fn load_signer(
    config: &Config,
    runtime: &Runtime,
    signer: &config::Signer,
    before: &History,
) -> Result<(Arc<dyn Signer>, SignerInfo), StartProblem> {
    let (name, file) = (signer.name.clone(), signer.file.clone());
    let unusable = |reason: String| StartProblem::Signer { name: name.clone(), file: file.clone(), reason };
    let read = File::read(&file, &config.signatures).map_err(|error| unusable(error.to_string()))?;
    let rules = Rules::of_signer(signer, &config.signatures);
    let standing = trust::admit(before.of(&file), &read, rules).map_err(StartProblem::Refused)?;
    let settings = SignerSettings {
        name: signer.name.clone(),
        limits: signer.limits,
        config_json: signer.config.to_string(),
        export: signer.export.clone(),
        arguments: signer.arguments.iter().map(|argument| argument.name().to_owned()).collect(),
    };
    let loaded = runtime.load_signer(&read.bytes, settings).await;
    let loaded = loaded.map_err(|error| unusable(error.to_string()))?;
    let description = loaded.description().to_owned();
    Ok((Arc::new(loaded), SignerInfo { name, file, description, standing }))
}
