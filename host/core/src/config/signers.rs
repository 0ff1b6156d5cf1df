//! `[signers]`: WebAssembly modules and components that sign requests for a provider.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use rust_proxy_upstream::dev_api::{Argument, Place, Results};
use serde_json::Value;
use toml::de::DeValue;

use super::dev_api::{body_pointer, settable_header};
use super::json::{self, Json};
use super::models::Model;
use super::plugins::{self, Limits};
use super::problems::suggest;
use super::reader::{Node, Table};
use super::sources::{Digest, digest};
use super::trust::{self, FileTrust};

/// What the seeds' signer takes, in its order.
const ARGUMENTS: [Argument; 4] =
    [Argument::Nonce, Argument::Timestamp, Argument::DeviceId, Argument::Content];

/// A signer that providers use.
#[derive(Clone)]
#[non_exhaustive]
pub struct Signer {
    /// Its name in providers and logs.
    pub name: String,
    /// The component or module, as it can be opened; it was there when the configuration was read.
    pub file: PathBuf,
    /// The function of a module; `None` stands for `sign`.
    pub export: Option<String>,
    /// What it gets, in this order.
    pub arguments: Vec<Argument>,
    /// Where its results go.
    pub results: Results,
    /// What `configure` gets, always an object. **May hold secrets.**
    pub config: Value,
    /// The same for people: secrets and the text of files left out.
    pub config_shown: Value,
    /// Whether there are secrets in it.
    pub secrets: bool,
    /// Which file it may be.
    pub trust: FileTrust,
    /// What it may use.
    pub limits: Limits,
}

impl Signer {
    /// What it is loaded from: its file, and all that it is given. Equal for two that need not be loaded twice.
    pub(crate) fn fingerprint(&self, file: &Digest) -> Digest {
        // Every field by name, so that none is forgotten. What is for people only does not count.
        let Self {
            name,
            file: _,
            export,
            arguments,
            results,
            config,
            config_shown: _,
            secrets: _,
            trust: _,
            limits,
        } = self;
        digest(
            format!("{:?}", (name, file, export, arguments, results, config.to_string(), limits)).as_bytes(),
        )
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("name", &self.name)
            .field("file", &self.file)
            .field("export", &self.export)
            .field("arguments", &self.arguments)
            .field("results", &self.results)
            .field("config", &self.config_shown)
            .field("trust", &self.trust)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// By name; `None` for one that has a problem, which was reported.
pub(super) type Signers = BTreeMap<String, Option<Signer>>;

pub(super) fn read(root: &mut Table<'_>) -> Signers {
    let signers = root.section("signers", Table::rest);
    let read = |(name, node): (String, Node<'_>)| {
        let signer = node.table(|t| signer(&name, t));
        (name, signer)
    };
    signers.into_iter().map(read).collect()
}

/// Notes the signers that no provider uses.
pub(super) fn note_unused(root: &mut Table<'_>, models: &BTreeMap<String, Model>) {
    for (name, node) in root.section("signers", Table::rest) {
        let mut providers = models.values().flat_map(|model| model.providers.values());
        if !providers.any(|provider| provider.signer() == Some(name.as_str())) {
            node.notice("no provider uses this signer");
        }
    }
}

fn signer(name: &str, t: &mut Table<'_>) -> Option<Signer> {
    let file = t.require("file", "write file = \"….wasm\": a component, or a module of wasm-bindgen");
    let file = file.and_then(|node| file_of(&node));
    let export = t.get("export").and_then(|node| node.name());
    let arguments = t.get("arguments").map(|node| arguments(&node));
    let results = results(t);
    let Json { real: config, shown: config_shown, secret: secrets } =
        t.get("config").map_or_else(Json::empty, |node| json::read(&node));
    let limits = t.section("limits", |t| plugins::limits(t, plugins::WALL));
    let trust = trust::read(t);
    Some(Signer {
        name: name.to_owned(),
        file: file?,
        export,
        arguments: arguments.unwrap_or_else(|| ARGUMENTS.to_vec()),
        results: results?,
        config,
        config_shown,
        secrets,
        trust,
        limits,
    })
}

fn file_of(node: &Node<'_>) -> Option<PathBuf> {
    let file = PathBuf::from(node.text()?.value);
    let path = node.files().resolve(&file);
    if node.files().is_file(&file) {
        return Some(path);
    }
    let message = format!("Failed to get WasmSigner instance: {} is not there", path.display());
    node.problem(message, "put it there, or name another file")
}

fn arguments(node: &Node<'_>) -> Vec<Argument> {
    let argument = |(name, node): (String, Node<'_>)| {
        let found = Argument::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, argument)| *argument).or_else(|| {
            let fix = suggest(&name, Argument::ALL.iter().map(|(known, _)| *known));
            node.problem(format!("{name:?} is not an argument"), fix)
        })
    };
    node.names().into_iter().filter_map(argument).collect()
}

fn results(t: &mut Table<'_>) -> Option<Results> {
    const FIX: &str = "write result = { header = \"sign\" }, or results = { NAME = { … } } for several";
    match (t.get("result"), t.get("results")) {
        (Some(one), None) => place(&one).map(Results::One),
        (None, Some(named)) => {
            let mut places: BTreeMap<String, Place> = BTreeMap::new();
            for (name, node) in named.table(Table::rest) {
                let Some(place) = place(&node) else { continue };
                if let Some((other, _)) = places.iter().find(|(_, other)| other.collides(&place)) {
                    node.problem::<()>(
                        format!("{place} is the place of {other:?} already"),
                        "give each its own",
                    );
                }
                places.insert(name, place);
            }
            if places.is_empty() {
                return named.conflict("nothing of what it gives would be sent", FIX);
            }
            Some(Results::Named(places))
        }
        (Some(_), Some(named)) => named.problem("stands beside `result`", "write one of them"),
        (None, None) => t.node.conflict("`result` is missing", FIX),
    }
}

/// A place for a value: `{ header = "…" }`, `{ query = "…" }` or `{ body = "/…" }`.
pub(super) fn place(node: &Node<'_>) -> Option<Place> {
    const FIX: &str = "write { header = \"NAME\" }, { query = \"NAME\" } or { body = \"/POINTER\" }";
    let Some(DeValue::Table(_)) = node.value() else {
        return node.wrong_type("a place", FIX);
    };
    node.table(|t| match (t.get("header"), t.get("query"), t.get("body")) {
        (Some(header), None, None) => settable_header(&header, &header.name()?).map(Place::Header),
        (None, Some(query), None) => query.name().map(Place::Query),
        (None, None, Some(body)) => body_pointer(&body, &body.name()?).map(Place::Body),
        _ => node.problem("a value has one place", FIX),
    })
}
