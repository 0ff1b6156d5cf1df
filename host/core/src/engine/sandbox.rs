//! ③④⑥ Plugins and signers: from files to what runs in the sandbox.

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_proxy_stream::account::Total;
use rust_proxy_stream::chain::Pipeline;
use rust_proxy_stream::fetch::Fetch;
use rust_proxy_stream::upstream::Signer;
use rust_proxy_upstream::dev_api::Signing;
use rust_proxy_upstream::{EgressError, GuardedFetch};
use rust_proxy_wasm::{Component, Roles, Runtime, RuntimeOptions, Settings, SignerSettings};

use super::StartProblem;
use crate::config::{self, Config};
use crate::kv::Stores;

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
    let runtime = Runtime::new(RuntimeOptions { slots: slots(config) });
    runtime.map_err(|error| problems.push(StartProblem::Runtime(error))).ok()
}

pub(super) async fn load_plugins(
    config: &Config,
    runtime: Option<&Runtime>,
    totals: &BTreeMap<String, Arc<Total>>,
    stores: &Stores,
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
        let total = totals.get(&name).cloned().unwrap_or_default();
        let settings = match settings(plugin, total, stores) {
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

fn settings(plugin: &config::Plugin, total: Arc<Total>, stores: &Stores) -> Result<Settings, EgressError> {
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
        fetch: fetch.map(|fetch| Arc::new(fetch) as Arc<dyn Fetch>),
        directories: directories.map(|directories| directories.value.clone()).unwrap_or_default(),
        kv: kv.map(|quota| stores.namespace(&plugin.name, quota.value)),
        total,
    })
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
pub(super) type Signers = BTreeMap<String, Signing>;

pub(super) async fn load_signers(
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
