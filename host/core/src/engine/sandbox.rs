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
use crate::config::{self, Choice, Config, Granted, Notice, Stages};

/// How many instances there can be at once: those of every exchange, each with the longest pipeline that rules
/// come to, and two generations of ready and trial ones.
fn slots<'a>(config: &Config, choices: impl Iterator<Item = &'a Choice<Stages>>) -> u32 {
    let links = choices.flat_map(Choice::all).map(|stages| stages.plugins().len()).max().unwrap_or(0);
    let ready: usize = config.plugins.values().map(|plugin| plugin.ready + 1).sum();
    let signing = config.signers.len() * rust_proxy_wasm::Signer::SLOTS as usize;
    let kept = ready.saturating_add(signing).saturating_mul(2);
    let slots = config.server.streams_max.saturating_mul(links).saturating_add(kept);
    u32::try_from(slots).unwrap_or(u32::MAX)
}

/// Where plugins and signers run; `None` where there are none, or where it could not be made.
pub(super) fn sandbox<'a>(
    config: &Config,
    choices: impl Iterator<Item = &'a Choice<Stages>>,
    problems: &mut Vec<StartProblem>,
) -> Option<Runtime> {
    if config.plugins.is_empty() && config.signers.is_empty() {
        return None;
    }
    let runtime = Runtime::new(RuntimeOptions { slots: slots(config, choices) });
    runtime.map_err(|error| problems.push(StartProblem::Runtime(error))).ok()
}

pub(super) async fn load_plugins(
    config: &Config,
    runtime: Option<&Runtime>,
    totals: &BTreeMap<String, Arc<Total>>,
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
        let settings = match settings(plugin, total) {
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
        let mut check = |place: &str, stage: &str, interface, plugins: &[String], has: fn(Roles) -> bool| {
            for plugin in plugins {
                if components.get(plugin).is_some_and(|component| !has(component.roles())) {
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
        for (place, names, process, modify) in std::iter::once(own).chain(lists) {
            check(&place, names[0], "processor", process, |roles| roles.processor);
            check(&place, names[1], "response-modifier", modify, |roles| roles.modifier);
        }
    }
}

/// The pipelines of all models, each made once.
pub(super) struct Pipelines<'a> {
    components: &'a BTreeMap<String, Component>,
    made: BTreeMap<Stages, Arc<Pipeline>>,
}

impl<'a> Pipelines<'a> {
    pub(super) fn new(components: &'a BTreeMap<String, Component>) -> Self {
        Self { components, made: BTreeMap::new() }
    }

    pub(super) fn of(&mut self, stages: Stages) -> Arc<Pipeline> {
        let make = |stages: &Stages| Arc::new(pipeline(stages, self.components));
        Arc::clone(self.made.entry(stages).or_insert_with_key(make))
    }
}

fn pipeline(stages: &Stages, components: &BTreeMap<String, Component>) -> Pipeline {
    let names = stages.plugins();
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
