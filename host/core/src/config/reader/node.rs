//! A value, read as one of the types that settings have.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Reading, Table};
use crate::config::environment::Environment;
use crate::config::files::FileSource;
use crate::config::problems::{Notice, Place, suggest};

/// A value and its place.
#[derive(Clone)]
pub(in crate::config) struct Node<'a> {
    pub(super) reading: &'a Reading<'a>,
    /// `None` for the root and for a table that is not there.
    pub(super) value: Option<&'a DeValue<'a>>,
    pub(super) offset: usize,
    pub(super) key: String,
}

impl<'a> Node<'a> {
    pub(in crate::config) fn value(&self) -> Option<&'a DeValue<'a>> {
        self.value
    }

    pub(in crate::config) fn files(&self) -> &'a dyn FileSource {
        self.reading.files
    }

    pub(in crate::config) fn env(&self) -> &'a dyn Environment {
        self.reading.env
    }

    /// For variables that are no part of the configuration.
    pub(in crate::config) fn unrecorded_env(&self) -> &'a dyn Environment {
        self.reading.unrecorded_env
    }

    /// Remembers a file that was read.
    pub(in crate::config) fn note_read(&self, path: &Path) {
        self.reading.read.borrow_mut().insert(path.to_owned());
    }

    /// The files that were read so far, anywhere in the file.
    pub(in crate::config) fn read_files(&self) -> Vec<PathBuf> {
        self.reading.read.borrow().iter().cloned().collect()
    }

    /// Reports that this value is wrong. The `None` stands for the value, so that readers can end with it.
    pub(in crate::config) fn problem<T>(
        &self,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Option<T> {
        self.reading.report(self.offset, &self.key, message.into(), fix.into());
        None
    }

    /// Reports that something is missing or does not fit the rest of the file: not said of a file that
    /// is not TOML, where the other part may only be out of sight.
    pub(in crate::config) fn conflict<T>(
        &self,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Option<T> {
        if self.reading.broken.borrow().is_empty() {
            return self.problem(message, fix);
        }
        None
    }

    pub(in crate::config) fn place(&self) -> Place {
        self.reading.place(self.reading.position(self.offset), &self.key)
    }

    /// Notes what is not wrong but probably not meant.
    pub(in crate::config) fn notice(&self, message: impl Into<String>) {
        let place = self.place();
        self.reading.notices.borrow_mut().push(Notice { place, message: message.into() });
    }

    pub(in crate::config) fn wrong_type<T>(&self, expected: &str, fix: &str) -> Option<T> {
        let found = match self.value {
            None | Some(DeValue::Table(_)) => "a table",
            Some(DeValue::Array(_)) => "a list",
            Some(DeValue::String(_)) => "a string",
            Some(DeValue::Integer(_)) => "an integer",
            Some(DeValue::Float(_)) => "a float",
            Some(DeValue::Boolean(_)) => "a boolean",
            Some(DeValue::Datetime(_)) => "a date",
        };
        self.problem(format!("expected {expected}, found {found}"), fix)
    }

    /// The elements of a list.
    pub(in crate::config) fn items(&self) -> Vec<Self> {
        let Some(DeValue::Array(items)) = self.value else {
            return self.wrong_type("a list", "write it in brackets").unwrap_or_default();
        };
        let item = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| Self {
            reading: self.reading,
            value: Some(item.get_ref()),
            offset: item.span().start,
            key: format!("{}[{index}]", self.key),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// A string that is a name: taken as it stands, no references.
    pub(in crate::config) fn name(&self) -> Option<String> {
        match self.value {
            Some(DeValue::String(name)) => Some(name.clone().into_owned()),
            _ => self.wrong_type("a name", "write it in quotes"),
        }
    }

    /// A list of different names, each with its place.
    pub(in crate::config) fn names(&self) -> Vec<(String, Self)> {
        let mut names: Vec<(String, Self)> = Vec::new();
        for node in self.items() {
            match node.name() {
                Some(name) if names.iter().any(|(known, _)| *known == name) => {
                    node.problem::<()>(format!("{name:?} is named twice"), "remove one of them");
                }
                Some(name) => names.push((name, node)),
                None => {}
            }
        }
        names
    }

    /// A string, of which `parse` makes the value; `what` says what it should have been.
    pub(in crate::config) fn parse<T>(
        &self,
        what: &str,
        fix: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let Some(DeValue::String(_) | DeValue::Array(_)) = self.value else {
            return self.wrong_type(what, fix);
        };
        let text = self.text()?;
        parse(&text.value).or_else(|| self.problem(format!("{text} is not {what}"), fix))
    }

    /// A string that is one of `choices`.
    pub(in crate::config) fn choice<T: Copy>(&self, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let name = self.name()?;
        let found = choices.iter().find(|(choice, _)| *choice == name);
        found.map(|(_, value)| *value).or_else(|| {
            let fix = suggest(&name, choices.iter().map(|(choice, _)| *choice));
            self.problem(format!("{name:?} is not {what}"), fix)
        })
    }

    /// A table. Keys that `read` does not ask for are reported.
    pub(in crate::config) fn table<T>(&self, read: impl FnOnce(&mut Table<'a>) -> T) -> T {
        match self.value {
            Some(DeValue::Table(entries)) => self.read_table(entries, read),
            _ => {
                self.wrong_type::<()>("a table", "write it in [brackets] or { braces }");
                self.absent(read)
            }
        }
    }

    /// Lets every problem that `read` finds begin with `prefix`.
    pub(in crate::config) fn prefixed<T>(&self, prefix: &'static str, read: impl FnOnce() -> T) -> T {
        let before = self.reading.prefix.replace(prefix);
        let value = read();
        self.reading.prefix.set(before);
        value
    }

    /// What `read` makes of a table that is not there, at this place.
    pub(in crate::config) fn absent<T>(&self, read: impl FnOnce(&mut Table<'a>) -> T) -> T {
        self.read_table(&self.reading.empty, read)
    }

    pub(super) fn read_table<T>(
        &self,
        entries: &'a DeTable<'a>,
        read: impl FnOnce(&mut Table<'a>) -> T,
    ) -> T {
        let mut table = Table { node: self.clone(), entries, known: BTreeSet::new() };
        let value = read(&mut table);
        table.report_unknown();
        value
    }

    pub(super) fn within(&self, number: u64, range: &RangeInclusive<u64>, unit: &str) -> Option<u64> {
        if range.contains(&number) {
            return Some(number);
        }
        let (least, most) = (range.start(), range.end());
        let fix = format!("write one from {least} to {most}{unit}");
        self.problem("the number is out of range", fix)
    }

    pub(super) fn child(&self, key: &str) -> String {
        child(&self.key, key)
    }
}

/// The path of a key in a table.
pub(in crate::config) fn child(table: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let quoted = if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { format!("{key:?}") };
    if table.is_empty() { quoted } else { format!("{table}.{quoted}") }
}
