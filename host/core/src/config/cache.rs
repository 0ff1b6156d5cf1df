//! `plugins.cache`: where compiled plugins and signers are kept.

use std::path::PathBuf;

use super::reader::Table;

/// Reads `cache` of `[plugins]`: a folder as it can be opened, if there is to be one.
pub(super) fn read(t: &mut Table<'_>) -> Option<PathBuf> {
    let Some(node) = t.get("cache") else { return default(t) };
    let text = node.text()?.value;
    match text.as_str() {
        "" => node.problem("the name is empty", "write a folder, or \"none\""),
        "none" => None,
        folder => Some(node.files().resolve(folder.as_ref())),
    }
}

/// As the XDG Base Directory Specification says, by which variables that are not absolute do not count.
fn default(t: &Table<'_>) -> Option<PathBuf> {
    // They are no part of the configuration: two processes that differ in them have the same.
    let env = t.node.unrecorded_env();
    let var = |name| env.var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")));
    caches.map(|caches| caches.join("rust-proxy"))
}
