//! The folders that decide what runs: of the configuration, of plugins, of their compiled code.

use std::io;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::reader::Table;

/// Where the gateway finds what it runs, as it can be opened from the working directory.
///
/// No plugin may be granted any of it: [`check_grant`](Self::check_grant).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Folders {
    /// Where relative paths start: the folder of the configuration.
    pub configuration: PathBuf,
    /// Where plugins are looked for.
    pub plugins: PathBuf,
    /// Where compiled code is kept; `None` compiles at each start.
    pub cache: Option<PathBuf>,
    /// Whether that is to be settled.
    pub(super) default_cache: bool,
}

/// Why a folder cannot be granted to a plugin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Whoever can write there decides what runs, and whoever can read there sees what others are told.
    #[error("it overlaps the {kind} folder, {}; grant another one", folder.display())]
    Overlap {
        /// Whose folder it is.
        kind: &'static str,
        /// The folder.
        folder: PathBuf,
    },
    /// One of the folders cannot be looked at.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Folders {
    /// Puts compiled code where the system wants it, unless a setting says otherwise: as the XDG Base Directory
    /// Specification says, by which variables that are not absolute do not count.
    ///
    /// Apart from reading, because what was read counts as part of the configuration, which these variables are not:
    /// two processes that differ in them have the same.
    pub(super) fn settle(&mut self, env: &dyn Environment) {
        if std::mem::take(&mut self.default_cache) {
            let var = |name| env.var(name).map(PathBuf::from).filter(|path| path.is_absolute());
            let caches = var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")));
            self.cache = caches.map(|caches| caches.join("rust-proxy"));
        }
    }

    /// Whether a plugin may be given `path`: neither one of these folders, nor one in it, nor one around it.
    ///
    /// Folders are told apart by what they are, not by name, so that links, `..` and bind mounts hide nothing.
    /// What is not there yet counts as the folder in which it would be.
    ///
    /// # Errors
    /// [`GrantError`], which says what it overlaps.
    pub fn check_grant(&self, path: &Path) -> Result<(), GrantError> {
        let granted = chain(path)?;
        let cache = self.cache.as_deref().map(|cache| ("cache", cache));
        let folders = [("configuration", &*self.configuration), ("plugin", &*self.plugins)];
        for (kind, folder) in folders.into_iter().chain(cache) {
            let own = chain(folder)?;
            let (inside, around) =
                (own.first().map(|it| granted.contains(it)), granted.first().map(|it| own.contains(it)));
            if inside == Some(true) || around == Some(true) {
                return Err(GrantError::Overlap { kind, folder: folder.to_owned() });
            }
        }
        Ok(())
    }
}

/// Device and inode of a folder and of all those around it, the innermost first.
fn chain(path: &Path) -> Result<Vec<(u64, u64)>, GrantError> {
    let stat = |path: &Path| match rustix::fs::stat(path) {
        #[expect(clippy::useless_conversion, reason = "the types differ between platforms")]
        Ok(stat) => Ok(Some((u64::from(stat.st_dev), u64::from(stat.st_ino)))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(GrantError::Unreadable { path: path.to_owned(), error: error.into() }),
    };
    // What is there begins at the root or in the working directory.
    let mut at = Path::new(".").join(path);
    while stat(&at)?.is_none() && at.pop() {}
    let mut chain = Vec::new();
    while let Some(folder) = stat(&at)? {
        // The root is its own parent.
        if chain.last() == Some(&folder) {
            break;
        }
        chain.push(folder);
        at.push("..");
    }
    Ok(chain)
}

/// Reads `folder` and `cache` of `[plugins]`.
pub(super) fn read(t: &mut Table<'_>) -> (PathBuf, Folders) {
    let written = t.get("folder").and_then(|node| node.text());
    let folder = PathBuf::from(written.map_or("plugins".to_owned(), |text| text.value));
    let written = t.get("cache");
    let default_cache = written.is_none();
    let cache = match written {
        Some(node) => match node.text().map(|text| text.value) {
            Some(text) if text.is_empty() => node.problem("the name is empty", "write a folder, or \"none\""),
            text => text.filter(|text| text != "none").map(PathBuf::from),
        },
        None => None,
    };
    let files = t.node.files();
    let folders = Folders {
        configuration: files.resolve(Path::new("")),
        plugins: files.resolve(&folder),
        cache: cache.map(|cache| files.resolve(&cache)),
        default_cache,
    };
    (folder, folders)
}
