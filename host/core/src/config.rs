//! The configuration file: TOML in, a validated [`Config`] or *every* problem out.
//!
//! The text is parsed into a tree whose values know their place. Sections read their own keys from it;
//! a wrong value is reported and its default stands in, so that reading goes on to the end of the file.
//! Then the parts are checked against each other. One problem is enough to refuse the whole file.
//!
//! A file that is not TOML is still read as far as it makes sense, but its parts are not checked against
//! each other, because what is missing may only be out of sight.
//!
//! Any setting that is a string may be `"env::NAME"`, `"path::FILE"`, or a list of these that ends with
//! a default (`["env::LISTEN", "127.0.0.1:3000"]`); an empty variable counts as unset. Secrets are never
//! written into the file. Relative paths start at the folder of the file; the operator who writes it is
//! trusted, so paths may lead anywhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

mod admin;
mod cache;
mod dev_api;
mod environment;
mod files;
mod grant;
mod json;
mod kv;
mod models;
mod pipelines;
mod plugins;
mod problems;
mod reader;
mod reference;
mod secret;
mod server;
mod signers;
mod sources;
#[cfg(test)]
mod tests;
mod trust;
mod units;

pub use admin::Admin;
pub use dev_api::DevApi;
pub use environment::{Environment, ProcessEnvironment};
pub use files::{FileSource, Folder};
pub(crate) use files::{read as read_file, read_up_to as read_file_up_to};
pub use grant::{Granted, Written};
pub use kv::Kv;
pub use models::{Model, OpenAi, Provider, Timeouts};
pub(crate) use pipelines::{Choice, Stages};
pub use pipelines::{Conditions, Effect, HeaderTest, Pipeline, Rule};
pub use plugins::{Limits, OnError, Plugin};
pub use problems::{Notice, Place, Position, Problem, Problems};
pub use secret::Secret;
pub use server::{ClientKey, Server};
pub use signers::Signer;
pub(crate) use sources::{Digest, digest};
pub use sources::{Source, Sources};
pub(crate) use trust::KEY_NAME;
pub use trust::{FileHash, FileTrust, Pin, Signatures, SigningKey};

use grant::Protected;
use plugins::Plugins;
use reader::Table;

/// A configuration in which every name resolves and every value is in range.
///
/// # Invariants
/// Made by [`load`](Self::load) and [`parse`](Self::parse) only: pipelines name plugins that are in
/// `plugins`, models name pipelines that are in `pipelines` and providers that they have.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// How clients reach the gateway.
    pub server: Server,
    /// The folder where compiled plugins are kept; `None` compiles them at each start.
    pub cache: Option<PathBuf>,
    /// Whose signatures of plugins and signers count.
    pub signatures: Signatures,
    /// How its operator does, if at all.
    pub admin: Option<Admin>,
    /// The plugins that pipelines use, by name.
    pub plugins: BTreeMap<String, Plugin>,
    /// Plugins in the order in which they run, by pipeline.
    pub pipelines: BTreeMap<String, Pipeline>,
    /// Where plugins' keys and values are.
    pub kv: Kv,
    /// The signers that providers use, by name.
    pub signers: BTreeMap<String, Signer>,
    /// What clients can ask for, by the name that they send.
    pub models: BTreeMap<String, Model>,
    /// What is not wrong but probably not meant, for the log.
    pub notices: Vec<Notice>,
    /// What all of this was made of.
    pub sources: Sources,
}

impl Config {
    /// Reads the file at `path`, and the files that it names.
    ///
    /// # Errors
    /// Returns every problem of the file; nothing of it may be used then.
    pub fn load(path: &Path, env: &dyn Environment) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let folder = Folder::new(path.parent().unwrap_or(Path::new("")));
        let file = Path::new(path.file_name().unwrap_or_default());
        match folder.read(file) {
            Ok(text) => {
                let mut config = Self::parse(&text, &name, &folder, env)?;
                config.sources.watch(path.to_owned());
                Ok(config)
            }
            Err(error) => Err(Problems::unreadable(name, &error)),
        }
    }

    /// Reads a configuration from `text`; `file_name` is what problems call it.
    ///
    /// # Errors
    /// Returns every problem of the text; nothing of it may be used then.
    pub fn parse(
        text: &str,
        file_name: &str,
        files: &dyn FileSource,
        env: &dyn Environment,
    ) -> Result<Self, Problems> {
        let (config, notices, sources) = reader::read(text, file_name, files, env, Self::read)?;
        Ok(Self { notices, sources, ..config })
    }

    /// The plugins that may run for a model, and for whom. `None` where its rules cannot be resolved, which is refused
    /// when a configuration is read.
    pub(crate) fn choice(&self, model: &Model, name: &str) -> Option<Choice<Stages>> {
        let keys = self.server.keys.iter().map(|key| key.name.as_str());
        let resolve =
            |pipeline: &String| pipelines::Resolver::new(&self.pipelines, keys).resolve(name, pipeline);
        model.pipeline.as_ref().map_or(Some(Choice::Run(Stages::default())), resolve)
    }

    /// The headers that rules ask for, in lower case.
    pub(crate) fn rule_headers(&self) -> impl Iterator<Item = &str> {
        pipelines::headers(&self.pipelines).map(|(name, _)| name)
    }

    fn read(root: &mut Table<'_>) -> Self {
        let mut server = root.section("server", server::read);
        let admin = admin::read(root, server.listen);
        let pipelines = pipelines::read(root);
        let Plugins { plugins, directories, folders, cache, signatures } =
            plugins::read(root, &pipelines.uses);
        let kv = root.section("kv", kv::read);
        let signers = signers::read(root);
        let models = models::read(root, &pipelines.by_name, &signers);
        server::resolve_chat_model(root, &mut server, &models);
        pipelines::check(&pipelines, &models, &server);
        pipelines::note_unused(&pipelines, &models);
        signers::note_unused(root, &models);
        let files = root.node.files();
        let read = root.node.read_files().into_iter().map(|file| files.resolve(&file));
        let components = plugins.values().map(|plugin| plugin.file.clone());
        let modules = signers.values().flatten().map(|signer| signer.file.clone());
        let files_read = read.chain(components).chain(modules).collect();
        let configuration = files.resolve(Path::new(""));
        grant::check(&directories, &Protected { configuration, folders, files: files_read });
        let used = |name: &String| models.values().any(|model| model.signers().any(|signer| signer == name));
        let signers = signers.into_iter().filter(|(name, _)| used(name));
        let signers = signers.filter_map(|(name, signer)| Some((name, signer?))).collect();
        Self {
            server,
            admin,
            cache,
            signatures,
            plugins,
            pipelines: pipelines.by_name,
            kv,
            signers,
            models,
            notices: Vec::new(),
            sources: Sources::default(),
        }
    }
}
