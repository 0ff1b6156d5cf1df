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
use std::path::Path;

mod environment;
mod files;
mod grant;
mod json;
mod models;
mod pipelines;
mod plugins;
mod problems;
mod reader;
mod reference;
mod secret;
mod server;
#[cfg(test)]
mod tests;
mod units;

pub use environment::{Environment, ProcessEnvironment};
pub(crate) use files::read as read_file;
pub use files::{FileSource, Folder};
pub use grant::Granted;
pub use models::{Model, Provider, Timeouts};
pub use pipelines::Pipeline;
pub use plugins::{Limits, OnError, Plugin};
pub use problems::{Notice, Place, Position, Problem, Problems};
pub use secret::Secret;
pub use server::{ClientKey, Server};

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
    /// The plugins that pipelines use, by name.
    pub plugins: BTreeMap<String, Plugin>,
    /// Plugins in the order in which they run, by pipeline.
    pub pipelines: BTreeMap<String, Pipeline>,
    /// What clients can ask for, by the name that they send.
    pub models: BTreeMap<String, Model>,
    /// What is not wrong but probably not meant, for the log.
    pub notices: Vec<Notice>,
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
            Ok(text) => Self::parse(&text, &name, &folder, env),
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
        let (config, notices) = reader::read(text, file_name, files, env, Self::read)?;
        Ok(Self { notices, ..config })
    }

    fn read(root: &mut Table<'_>) -> Self {
        let server = root.section("server", server::read);
        let (pipelines, uses) = pipelines::read(root);
        let plugins = plugins::read(root, &uses);
        let models = models::read(root, &pipelines);
        pipelines::note_unused(root, &models);
        Self { server, plugins, pipelines, models, notices: Vec::new() }
    }
}
