//! What a configuration was made of, so that two of them can be compared: its settings, and all that it looked
//! at outside of itself. Digests only: nothing in here can be read back.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::files::FileSource;

/// The SHA-256 of a value.
pub(crate) type Digest = [u8; 32];

/// One thing that a configuration was made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Source {
    /// What a setting says; its path, as problems have it.
    Setting(String),
    /// The text of a file, as a setting names it.
    File(PathBuf),
    /// The value of an environment variable.
    Variable(String),
    /// A plugin: its file, and all that it is given.
    Plugin(String),
    /// A signer, likewise.
    Signer(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(key) => f.write_str(key),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::Plugin(name) => write!(f, "the plugin {name}"),
            Self::Signer(name) => write!(f, "the signer {name}"),
        }
    }
}

/// All that a configuration was made of.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sources {
    digests: BTreeMap<Source, Digest>,
    /// Every file that was looked for, found or not.
    files: BTreeSet<PathBuf>,
}

impl Sources {
    /// Those that are in one of the two only, or differ.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> Vec<Source> {
        let (old, new) = (&self.digests, &newer.digests);
        let changed = new.iter().filter(|(source, digest)| old.get(source) != Some(digest));
        let gone = old.keys().filter(|source| !new.contains_key(source));
        let all: BTreeSet<&Source> = changed.map(|(source, _)| source).chain(gone).collect();
        all.into_iter().cloned().collect()
    }

    /// The files that were looked for, as they can be opened: where a change of one would count.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// Each by its name with a digest that only who has the key can compare with another: for a reader who may
    /// know what changed, but not guess at what a secret is.
    #[must_use]
    pub fn sealed(&self, key: &[u8]) -> BTreeMap<String, String> {
        let key = digest(key);
        let seal = |(source, digest): (&Source, &Digest)| {
            let name = source.to_string();
            let sealed = Sha256::new().chain_update(key).chain_update(digest).chain_update(&name).finalize();
            (name, hex(&sealed[..]))
        };
        self.digests.iter().map(seal).collect()
    }

    /// Adds a file whose change counts, though what it says is among the settings.
    pub(super) fn watch(&mut self, path: PathBuf) {
        self.files.insert(path);
    }

    pub(crate) fn add(&mut self, source: Source, digest: Digest) {
        self.digests.insert(source, digest);
    }

    pub(super) fn add_settings(&mut self, root: &DeTable<'_>) {
        for (key, value) in root {
            self.add_setting(&super::reader::child("", key.get_ref()), value.get_ref());
        }
    }

    /// A table is its settings, a list is one setting unless it is one of tables.
    fn add_setting(&mut self, key: &str, value: &DeValue<'_>) {
        match value {
            DeValue::Table(entries) if !entries.is_empty() => {
                for (name, value) in entries {
                    self.add_setting(&super::reader::child(key, name.get_ref()), value.get_ref());
                }
            }
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                for (index, item) in items.iter().enumerate() {
                    self.add_setting(&format!("{key}[{index}]"), item.get_ref());
                }
            }
            value => {
                let mut text = String::new();
                canonical(value, &mut text);
                self.add(Source::Setting(key.to_owned()), digest(text.as_bytes()));
            }
        }
    }
}

/// A value in one spelling, whatever its spaces and comments.
fn canonical(value: &DeValue<'_>, text: &mut String) {
    use fmt::Write;
    // Writing to a String cannot fail.
    let _ = match value {
        DeValue::String(string) => write!(text, "{string:?}"),
        DeValue::Integer(number) => write!(text, "{}:{}", number.radix(), number.as_str()),
        DeValue::Float(number) => write!(text, "{}", number.as_str()),
        DeValue::Boolean(boolean) => write!(text, "{boolean}"),
        DeValue::Datetime(date) => write!(text, "{date}"),
        DeValue::Array(items) => {
            for item in items {
                text.push(',');
                canonical(item.get_ref(), text);
            }
            write!(text, ";")
        }
        DeValue::Table(entries) => {
            text.push('{');
            for (key, value) in entries {
                let _ = write!(text, "{:?}=", key.get_ref());
                canonical(value.get_ref(), text);
                text.push(',');
            }
            write!(text, "}}")
        }
    };
}

impl fmt::Debug for Sources {
    /// Without the digests: that of a short secret can be guessed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.digests.keys()).finish()
    }
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// A digest as people write it.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Stands between a configuration and what it looks at, and takes note.
pub(super) struct Recorder<'a> {
    files: &'a dyn FileSource,
    env: &'a dyn Environment,
    sources: RefCell<Sources>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(files: &'a dyn FileSource, env: &'a dyn Environment) -> Self {
        Self { files, env, sources: RefCell::default() }
    }

    pub(super) fn into_sources(self) -> Sources {
        self.sources.into_inner()
    }
}

impl FileSource for Recorder<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        let read = self.files.read(path);
        let mut sources = self.sources.borrow_mut();
        sources.files.insert(self.files.resolve(path));
        if let Ok(text) = &read {
            sources.add(Source::File(path.to_owned()), digest(text.as_bytes()));
        }
        read
    }

    fn is_file(&self, path: &Path) -> bool {
        self.sources.borrow_mut().files.insert(self.files.resolve(path));
        self.files.is_file(path)
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.files.is_directory(path)
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        self.files.resolve(path)
    }
}

impl Environment for Recorder<'_> {
    fn var(&self, name: &str) -> Option<String> {
        let value = self.env.var(name);
        if let Some(value) = &value {
            self.sources.borrow_mut().add(Source::Variable(name.to_owned()), digest(value.as_bytes()));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(before: &str, after: &str) -> Vec<String> {
        let sources = |text: &str| {
            let mut sources = Sources::default();
            sources.add_settings(DeTable::parse(text).unwrap().get_ref());
            sources
        };
        let changes = sources(before).changes(&sources(after));
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_setting_says_counts_and_not_how_it_is_written() {
        let before = "[a]\nb = [1, 'x'] # why\n[[a.c]]\nd = 1\n";
        assert_eq!(changes(before, "a.b = [ 1,\n\"x\", ]\na.c = [{ d = 1 }]"), [""; 0]);
        assert_eq!(changes(before, &before.replace("'x'", "'y'")), ["a.b"]);
        assert_eq!(changes(before, &before.replace("d = 1", "d = 2")), ["a.c[0].d"]);
        assert_eq!(changes("a = [[{ b = 'c' }]]", "a = [[{ b = 'd' }]]"), ["a"]);
        assert_eq!(changes("a = 1", "b = 1"), ["a", "b"]);
        assert_eq!(changes("a = ['1', '2']", "a = ['1,2']"), ["a"]);
    }
}
