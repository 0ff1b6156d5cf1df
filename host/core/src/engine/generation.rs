//! What one configuration describes, loaded: it serves the exchanges that begin while it is the present one.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rust_proxy_stream::chain::Pipeline;
use rust_proxy_stream::exchange::{Asking, Route, Routes};
use rust_proxy_stream::upstream::Backend;
use rust_proxy_wasm::{Component, Runtime};

use super::providers::Tallies;
use super::room::Room;
use super::sandbox::{self, Loaded, Plugins, Sandbox, Signers};
use super::upstreams::Upstreams;
use super::{Native, PluginInfo, SignerInfo, StartError, StartProblem, Totals, notices, providers, reload};
use crate::config::{Choice, Config, Digest, Notice, Sources};
use crate::kv::Stores;
use crate::trust::History;

/// A model at work.
pub(super) struct Model {
    pipelines: Choice<Arc<Pipeline>>,
    backend: Arc<dyn Backend>,
    tallies: Tallies,
}

/// What a generation uses of what outlives it.
#[derive(Clone, Copy)]
pub(super) struct Outside<'a> {
    pub(super) room: Room,
    pub(super) runtime: &'a OnceLock<Runtime>,
    pub(super) stores: &'a Stores,
    pub(super) upstreams: &'a Upstreams,
    pub(super) native: &'a Native,
}

pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) routes: BTreeMap<String, Model>,
    pub(super) plugins: Plugins,
    signers: Signers,
    pub(super) notices: Vec<Notice>,
    pub(super) headers: Arc<[String]>,
    pub(super) exchange_max: Duration,
    /// Those of the configuration, and the files of plugins and signers.
    pub(super) sources: Sources,
    /// What the next generation must have too.
    pub(super) fixed: Vec<(&'static str, Digest)>,
    chat_model: Option<String>,
    /// Up to this generation.
    history: History,
}

impl Generation {
    /// Loads what a configuration describes. What is the same in the generation `before` is taken from there.
    ///
    /// # Errors
    /// [`StartError`] with every problem; the generation before is as it was.
    ///
    /// # Cancellation
    /// Likewise.
    pub(super) async fn make(
        config: &Config,
        before: Option<&Self>,
        outside: Outside<'_>,
    ) -> Result<Self, StartError> {
        let Outside { room, runtime, stores, upstreams, native } = outside;
        let mut problems = Vec::new();
        let number = before.map_or(1, |before| before.number + 1);
        let mut sources = config.sources.clone();
        let runtime = sandbox::runtime(config, room, runtime, &mut problems);
        let mut history = before.map(|before| before.history.clone()).unwrap_or_default();
        let mut sandbox = Sandbox {
            runtime,
            number,
            stores,
            native,
            sources: &mut sources,
            history: &history,
            problems: &mut problems,
        };
        let plugins = sandbox.load_plugins(config, before.map(|before| &before.plugins)).await;
        let signers = sandbox.load_signers(config, before.map(|before| &before.signers)).await;
        sandbox::check_roles(config, &plugins, &mut problems);
        let mut pipelines = sandbox::Pipelines::new(&plugins, native);
        let mut routes = BTreeMap::new();
        for (name, model) in &config.models {
            let Some(choice) = config.choice(model, name) else {
                problems.push(StartProblem::Rules { model: name.clone() });
                continue;
            };
            let choice = choice.map(&mut |stages| pipelines.of(stages));
            let (backend, tallies) = providers::backend(name, model, &signers, upstreams, &mut problems);
            routes.insert(name.clone(), Model { pipelines: choice, backend, tallies });
        }
        if !problems.is_empty() {
            return Err(StartError(problems));
        }
        history.take_in(plugins.values().map(|loaded| (&*loaded.file, &loaded.standing)));
        history.take_in(signers.values().map(|loaded| (&*loaded.file, &loaded.standing)));
        Ok(Self {
            number,
            routes,
            notices: notices::notices(config, &plugins, stores, before.is_none()).await,
            plugins,
            signers,
            headers: providers::headers(config).into(),
            exchange_max: config.server.exchange_max,
            sources,
            fixed: reload::fixed(config),
            chat_model: config.server.chat_model.clone(),
            history,
        })
    }

    pub(super) fn infos(&self) -> Vec<PluginInfo> {
        let info = |(name, loaded): (&String, &Loaded<Component>)| PluginInfo {
            name: name.clone(),
            file: loaded.file.clone(),
            standing: loaded.standing.clone(),
            generation: loaded.generation,
            instances: loaded.it.instances(),
            description: loaded.it.description().to_owned(),
            imports: loaded.it.imports().clone(),
        };
        self.plugins.iter().map(info).collect()
    }

    pub(super) fn signer_infos(&self) -> Vec<SignerInfo> {
        let info = |(name, loaded): (&String, &Loaded<_>)| SignerInfo {
            name: name.clone(),
            file: loaded.file.clone(),
            standing: loaded.standing.clone(),
        };
        self.signers.iter().map(info).collect()
    }

    /// Counts what this generation loaded.
    pub(super) fn register(&self, totals: &Totals, upstreams: &Upstreams) {
        for (model, Model { tallies, .. }) in &self.routes {
            for (provider, tally) in tallies {
                upstreams.keep(model, provider, tally);
            }
        }
        for (name, loaded) in &self.plugins {
            if loaded.generation == self.number {
                totals.add(name, self.number, loaded.it.total(), loaded.it.population());
            }
        }
    }

    /// Gives back what this generation keeps ready and `next` does not use; exchanges that it has begun go on.
    pub(super) fn retire(&self, next: &Self) {
        for (name, loaded) in &self.plugins {
            if next.plugins.get(name).is_none_or(|new| new.generation != loaded.generation) {
                loaded.it.retire();
            }
        }
        for (name, loaded) in &self.signers {
            if next.signers.get(name).is_none_or(|new| new.generation != loaded.generation) {
                loaded.it.signer.retire();
            }
        }
    }
}

impl Routes for Generation {
    fn route(&self, model: &str, asking: Asking<'_>) -> Option<Route> {
        let Model { pipelines, backend, .. } = self.routes.get(model)?;
        Some(Route { pipeline: Arc::clone(pipelines.choose(asking)), backend: Arc::clone(backend) })
    }

    fn chat_model(&self) -> Option<&str> {
        self.chat_model.as_deref()
    }
}
