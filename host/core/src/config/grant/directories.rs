//! `grant.directories`: which folders of the machine a plugin sees.
//!
//! A plugin that may write must not get at what decides what runs: the folders of the gateway itself, the files
//! that its configuration reads, and the paths by which other plugins' directories are opened. None, whether it may
//! write or only read, gets at the files that hold secrets.

use std::path::{Path, PathBuf};

use rust_proxy_wasm::Directory;
use toml::de::DeValue;

use crate::config::files::real;
use crate::config::reader::{Node, Table};

/// Longer ones are a mistake.
const GUEST_MAX: usize = 256;

/// A directory that is granted, and where.
pub(in crate::config) struct Found<'a> {
    node: Node<'a>,
    directory: Directory,
    /// A file in it that is named as secrets are.
    secret: Option<PathBuf>,
}

/// The files that the configuration names as `path::FILE`, where they really are: those of all alternatives, so that
/// what may be granted does not hang on which of them is there. A secret in a file has no other form; that some of
/// them hold no secret, nobody can tell. Public keys are none.
pub(in crate::config) fn secrets(root: &mut Table<'_>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for section in ["admin", "kv", "models", "pipelines", "plugins", "server", "signers"] {
        match root.get(section).and_then(|node| node.value()) {
            Some(DeValue::Table(entries)) if section == "plugins" => {
                let others = entries.iter().filter(|(key, _)| key.get_ref() != "keys");
                others.for_each(|(_, value)| named(value.get_ref(), &mut found));
            }
            Some(value) => named(value, &mut found),
            None => {}
        }
    }
    found.iter().map(|file| real(&root.node.files().resolve(Path::new(file)))).collect()
}

fn named<'a>(value: &'a DeValue<'_>, found: &mut Vec<&'a str>) {
    match value {
        DeValue::String(text) => found.extend(text.strip_prefix("path::")),
        DeValue::Array(items) => items.iter().for_each(|item| named(item.get_ref(), found)),
        DeValue::Table(entries) => entries.iter().for_each(|(_, value)| named(value.get_ref(), found)),
        _ => {}
    }
}

impl Found<'_> {
    /// Takes note of which of `secrets` is in it.
    pub(in crate::config) fn hold_against(&mut self, secrets: &[PathBuf]) {
        self.secret = secrets.iter().find(|file| file.starts_with(&self.directory.host)).cloned();
    }
}

pub(super) fn read<'a>(node: &Node<'a>, found: &mut Vec<Found<'a>>) -> Vec<Directory> {
    let mut directories: Vec<Directory> = Vec::new();
    for item in node.items() {
        let Some(directory) = directory(&item) else { continue };
        if directories.iter().any(|known| known.guest == directory.guest) {
            let message = format!("the plugin has a directory {:?} already", directory.guest);
            item.problem::<()>(message, "give each a `guest` of its own");
        }
        found.push(Found { node: item, directory: directory.clone(), secret: None });
        directories.push(directory);
    }
    directories
}

fn directory(node: &Node<'_>) -> Option<Directory> {
    if !matches!(node.value(), Some(DeValue::Table(_))) {
        return node.wrong_type("a table", "write it like { host = \"data\", guest = \"/data\" }");
    }
    node.table(|t| {
        let host = t.require("host", "write host = \"…\": the directory here").and_then(|node| host(&node));
        let guest = t.require("guest", "write guest = \"/…\": what the plugin calls it");
        let guest = guest.and_then(|node| guest_path(&node));
        let write = t.flag("write", false);
        Some(Directory { host: host?, guest: guest?, write })
    })
}

fn host(node: &Node<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(node.text()?.value);
    let shown = node.files().resolve(&path);
    if node.files().is_directory(&path) {
        return Some(real(&shown));
    }
    let message = format!("{} is not a directory that can be opened", shown.display());
    node.problem(message, "make it; paths start at the folder of this file")
}

fn guest_path(node: &Node<'_>) -> Option<String> {
    let path = node.name()?;
    let part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    let parts = path.strip_prefix('/');
    if path.len() <= GUEST_MAX && parts.is_some_and(|parts| parts.is_empty() || parts.split('/').all(part)) {
        return Some(path);
    }
    node.problem(format!("{path:?} is not a path for a plugin"), "write it like \"/data\"")
}

/// What directories are held against.
pub(in crate::config) struct Protected {
    /// The configuration's folder: what is in it may be granted, it itself not.
    pub(in crate::config) configuration: PathBuf,
    /// Folders of which nothing may be granted.
    pub(in crate::config) folders: Vec<(&'static str, PathBuf)>,
    /// Files that the gateway reads: no plugin may change them.
    pub(in crate::config) files: Vec<PathBuf>,
}

/// Refuses directories by which a plugin would get at what is not its own.
pub(in crate::config) fn check(found: &[Found<'_>], protected: &Protected) {
    let Protected { configuration, folders, files } = protected;
    let files: Vec<PathBuf> = files.iter().map(|file| real(file)).collect();
    for Found { node, directory: Directory { host, write, .. }, secret } in found {
        let shown = host.display();
        if let Some(what) = overlaps(host, folders) {
            node.problem::<()>(format!("{shown} overlaps {what}"), "grant a folder of its own");
            continue;
        }
        if real(configuration).starts_with(host) {
            node.problem::<()>(format!("{shown} holds this configuration"), "grant a folder of its own");
            continue;
        }
        if let Some(secret) = secret {
            let secret = secret.display();
            let message =
                format!("{shown} holds {secret}, which this configuration names as path::, as secrets are");
            node.problem::<()>(message, "move one of them: no plugin may read it");
            continue;
        }
        if !write {
            continue;
        }
        if let Some(file) = files.iter().find(|file| file.starts_with(host)) {
            let message = format!("a plugin that may write to {shown} could change {}", file.display());
            node.problem::<()>(message, "move one of them, or leave out `write`");
        }
        // A link in place of the inner one would lead out of the outer one.
        let inner = found.iter().map(|other| &other.directory.host);
        if let Some(inner) = inner.filter(|inner| *inner != host).find(|inner| inner.starts_with(host)) {
            let message = format!(
                "{} is granted too, and a plugin that may write to {shown} could replace it",
                inner.display()
            );
            node.problem::<()>(message, "grant folders that do not hold each other, or leave out `write`");
        }
    }
}

/// Which of `folders` has the directory in it, or is in the directory.
pub(in crate::config) fn overlaps(
    directory: &Path,
    folders: &[(&'static str, PathBuf)],
) -> Option<&'static str> {
    let touches = |folder: &Path| folder.starts_with(directory) || directory.starts_with(folder);
    folders.iter().find(|(_, folder)| touches(&real(folder))).map(|(what, _)| *what)
}
