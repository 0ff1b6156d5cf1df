//! `[plugins]`: which components there are and within which limits they run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use toml::de::DeValue;

pub use rust_proxy_stream::stage::OnError;
pub use rust_proxy_wasm::Limits;

use super::cache;
use super::grant::{self, Found, Granted};
use super::json::{self, Json};
use super::problems::nearest;
use super::reader::{Node, Table};
use super::sources::{Digest, digest};
use super::trust::{self, FileTrust, Signatures};

/// Room for a guest in Rust or C with many thousand words; interpreters (Python) need more.
const MEMORY: u64 = 16 << 20;
/// Calls take microseconds: this is a thousand times more, and still below what a reader notices.
const CPU: Duration = Duration::from_millis(20);
/// Ten times the CPU time, for a busy machine.
pub(super) const WALL: Duration = Duration::from_millis(200);
/// For a plugin with HTTP: a page that is not there by then is not worth the reader's wait.
const WALL_WITH_HTTP: Duration = Duration::from_secs(30);
/// More pages than a question is worth, and few enough that nobody is flooded in a user's name.
const REQUESTS: u64 = 20;
/// Some pages with all that is in them; less than an upstream's answer may be.
const FETCH: u64 = 8 << 20;
/// What a plugin has to say to people; the next exchange has as many again.
const LOG: u64 = 100;
/// More than a model writes in a whole answer.
const OUTPUT: u64 = 1 << 20;
/// Opening a stream takes an instance; the next ones are made off the request path.
const READY: u64 = 4;
/// One page of WebAssembly memory to all that 32 bits can address.
const MEMORY_RANGE: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 30;

/// A plugin that a pipeline uses.
#[derive(Clone)]
#[non_exhaustive]
pub struct Plugin {
    /// Its name in pipelines, in logs and in metrics: ASCII letters, digits, `-` and `_`.
    pub name: String,
    /// The component, as it can be opened; it was there when the configuration was read.
    pub file: PathBuf,
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
    /// What it may reach.
    pub grant: Option<Granted>,
    /// What happens when it fails.
    pub on_error: OnError,
    /// Configured instances kept ready; with 0 each is made when it is needed.
    pub ready: usize,
    /// Whether it is configured once, and instances are copies of that, where it can be copied.
    pub once: bool,
}

impl Plugin {
    /// What it is loaded from: its file, and all that it is given. Equal for two that need not be loaded twice.
    pub(crate) fn fingerprint(&self, file: &Digest) -> Digest {
        // Every field by name, so that none is forgotten. What is for people only does not count.
        let Self {
            name,
            file: _,
            config,
            config_shown: _,
            secrets: _,
            trust: _,
            limits,
            grant,
            on_error,
            ready,
            once,
        } = self;
        let grant = grant.as_ref().map(|Granted { http, directories, kv }| {
            (
                http.as_ref().map(|it| &it.value),
                directories.as_ref().map(|it| &it.value),
                kv.as_ref().map(|it| it.value),
            )
        });
        digest(
            format!("{:?}", (name, file, config.to_string(), limits, grant, on_error, ready, once))
                .as_bytes(),
        )
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name)
            .field("file", &self.file)
            .field("config", &self.config_shown)
            .field("trust", &self.trust)
            .field("limits", &self.limits)
            .field("grant", &self.grant)
            .field("on_error", &self.on_error)
            .field("ready", &self.ready)
            .field("configure_once", &self.once)
            .finish_non_exhaustive()
    }
}

/// What `[plugins]` comes to.
pub(super) struct Plugins<'a> {
    pub(super) plugins: BTreeMap<String, Plugin>,
    /// The directories that are granted.
    pub(super) directories: Vec<Found<'a>>,
    /// Folders of the gateway's own, of which nothing is granted.
    pub(super) folders: Vec<(&'static str, PathBuf)>,
    /// Where compiled code is kept.
    pub(super) cache: Option<PathBuf>,
    pub(super) signatures: Signatures,
}

/// Reads `[plugins]`; `uses` are the names in pipelines, each with the place of its first use.
pub(super) fn read<'a>(root: &mut Table<'a>, uses: &[(String, Node<'a>)]) -> Plugins<'a> {
    let secrets = grant::secrets(root);
    root.section("plugins", |t| {
        let mut directories = Vec::new();
        let taken = taken(t);
        let folder = t.get("folder").filter(|_| !taken.contains(&"folder")).and_then(|node| node.text());
        let folder = PathBuf::from(folder.map_or("plugins".to_owned(), |text| text.value));
        let cache = if taken.contains(&"cache") { None } else { cache::read(t) };
        let signatures = if SIGNATURES.iter().any(|key| taken.contains(key)) {
            Signatures::default()
        } else {
            trust::signatures(t)
        };
        let tables = t.rest();
        let mut plugins = BTreeMap::new();
        for (name, node) in &tables {
            let plugin = node.table(|t| plugin(name, &folder, t, &mut directories));
            plugins.insert(name.clone(), plugin);
            if !is_name(name) {
                node.problem::<()>("a plugin cannot have this name", NAME_FIX);
            } else if !uses.iter().any(|(used, _)| used == name) {
                node.notice("no pipeline uses this plugin");
            }
        }
        let resolved = uses.iter().filter_map(|(name, node)| {
            let plugin = plugins.remove(name);
            let plugin = plugin.or_else(|| {
                if !is_name(name) {
                    return node.problem(format!("a plugin cannot be named {name:?}"), NAME_FIX);
                }
                Some(node.absent(|t| self::plugin(name, &folder, t, &mut directories)))
            });
            let plugin = find(plugin?, node, &tables)?;
            Some((name.clone(), plugin))
        });
        let plugins = resolved.collect();
        directories.iter_mut().for_each(|found| found.hold_against(&secrets));
        let mut folders = vec![("the plugin folder", t.node.files().resolve(&folder))];
        folders.extend(cache.clone().map(|cache| ("the cache folder", cache)));
        Plugins { plugins, directories, folders, cache, signatures }
    })
}

/// The settings of signatures.
const SIGNATURES: [&str; 2] = ["keys", "require_signature"];

/// The settings of `[plugins]` itself that are written as if they were plugins. Each is reported.
fn taken(t: &mut Table<'_>) -> Vec<&'static str> {
    let is_table = |key: &&'static str| {
        let Some(node) = t.get(key) else { return false };
        let is_table = matches!(node.value(), Some(DeValue::Table(_)));
        if is_table {
            let message =
                format!("the name is taken: `{key}` is a setting of [plugins], so no plugin can have it");
            node.problem::<()>(message, format!("name the plugin otherwise, with file = \"{key}.wasm\""));
        }
        is_table
    };
    ["folder", "cache"].into_iter().chain(SIGNATURES).filter(is_table).collect()
}

const NAME_FIX: &str = "use letters, digits, - and _";

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Checks that the component is there, and makes its path one that can be opened.
fn find(plugin: Plugin, node: &Node<'_>, tables: &BTreeMap<String, Node<'_>>) -> Option<Plugin> {
    let Plugin { name, file, .. } = &plugin;
    let path = node.files().resolve(file);
    if node.files().is_file(file) {
        return Some(Plugin { file: path, ..plugin });
    }
    let message = format!("there is no plugin {name:?}: {} is not there", path.display());
    let others = tables.keys().map(String::as_str).filter(|known| known != name);
    let fix = match nearest(name, others) {
        Some(other) => format!("did you mean `{other}`?"),
        None => format!("put it there, or write [plugins.{name}] with file = \"…\""),
    };
    node.conflict(message, fix)
}

fn plugin<'a>(name: &str, folder: &Path, t: &mut Table<'a>, directories: &mut Vec<Found<'a>>) -> Plugin {
    let file = t.get("file").and_then(|node| node.text());
    let file = folder.join(file.map_or(format!("{name}.wasm"), |text| text.value));
    let grant = t.get("grant").and_then(|node| grant::read(&node, directories));
    let http = grant.as_ref().is_some_and(|granted| granted.http.is_some());
    let wall = if http { WALL_WITH_HTTP } else { WALL };
    let Json { real: config, shown: config_shown, secret: secrets } =
        t.get("config").map_or_else(Json::empty, |node| json::read(&node));
    let choices =
        [("fail_closed", OnError::FailClosed), ("fail_open", OnError::FailOpen), ("skip", OnError::Skip)];
    let on_error = t.get("on_error").and_then(|node| node.choice("a policy", &choices));
    Plugin {
        name: name.to_owned(),
        file,
        config,
        config_shown,
        secrets,
        trust: trust::read(t),
        limits: t.section("limits", |t| limits(t, wall)),
        grant,
        on_error: on_error.unwrap_or(OnError::FailClosed),
        ready: t.count("ready", 0..=10_000, READY) as usize,
        once: t.flag("configure_once", true),
    }
}

pub(super) fn limits(t: &mut Table<'_>, wall: Duration) -> Limits {
    Limits {
        memory: t.size("memory", MEMORY_RANGE, MEMORY),
        cpu: t.duration("cpu", CPU),
        wall: t.duration("wall", wall),
        output: t.size("output", 1..=4 << 30, OUTPUT),
        requests: u32::try_from(t.count("requests", 1..=10_000, REQUESTS)).unwrap_or(u32::MAX),
        fetch: t.size("fetch", 1..=4 << 30, FETCH),
        log: u32::try_from(t.count("log", 0..=10_000, LOG)).unwrap_or(u32::MAX),
    }
}
