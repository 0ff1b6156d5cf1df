//! A table, asked for its keys one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::Node;
use crate::config::problems::suggest;
use crate::config::units;

/// A table whose keys are being asked for.
///
/// A key with a default is read by a method that takes it: a wrong value is reported, the default stands
/// in, and the result is thrown away with the whole file.
pub(in crate::config) struct Table<'a> {
    /// The table's own place.
    pub(in crate::config) node: Node<'a>,
    pub(super) entries: &'a DeTable<'a>,
    pub(super) known: BTreeSet<&'a str>,
}

impl<'a> Table<'a> {
    pub(in crate::config) fn get(&mut self, key: &'static str) -> Option<Node<'a>> {
        self.known.insert(key);
        let value = self.entries.get(key)?;
        Some(Node {
            reading: self.node.reading,
            value: Some(value.get_ref()),
            offset: value.span().start,
            key: self.node.child(key),
        })
    }

    /// A key that reads like `default` when it is left out.
    pub(in crate::config) fn get_or(&mut self, key: &'static str, default: &'a DeValue<'a>) -> Node<'a> {
        let absent = Node { value: Some(default), key: self.node.child(key), ..self.node.clone() };
        self.get(key).unwrap_or(absent)
    }

    pub(in crate::config) fn require(&mut self, key: &'static str, fix: &str) -> Option<Node<'a>> {
        self.get(key).or_else(|| self.node.conflict(format!("`{key}` is missing"), fix))
    }

    /// All keys that were not asked for by name.
    pub(in crate::config) fn rest(&mut self) -> BTreeMap<String, Node<'a>> {
        let mut rest = BTreeMap::new();
        for (key, value) in self.entries {
            let key: &'a str = key.get_ref();
            if self.known.insert(key) {
                let node = Node {
                    reading: self.node.reading,
                    value: Some(value.get_ref()),
                    offset: value.span().start,
                    key: self.node.child(key),
                };
                rest.insert(key.to_owned(), node);
            }
        }
        rest
    }

    /// A table that may be left out, which reads like an empty one.
    pub(in crate::config) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        match self.get(key) {
            Some(node) => node.table(read),
            None => self.node.absent(read),
        }
    }

    pub(in crate::config) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        let read = |node: Node<'a>| {
            let duration =
                node.parse("a duration", "write it like \"20ms\", \"15s\" or \"5m\"", units::duration)?;
            if duration.is_zero() {
                return node.problem("must be longer than zero", format!("leave it out for {default:?}"));
            }
            Some(duration)
        };
        self.get(key).and_then(read).unwrap_or(default)
    }

    pub(in crate::config) fn size(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let read = |node: Node<'a>| {
            let size = node.parse("a size", "write it like \"16MiB\"", units::size)?;
            node.within(size, &range, " bytes")
        };
        self.get(key).and_then(read).unwrap_or(default)
    }

    pub(in crate::config) fn count(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let read = |node: Node<'a>| {
            let Some(DeValue::Integer(integer)) = node.value else {
                return node.wrong_type("a whole number", "write it without quotes");
            };
            let count = u64::from_str_radix(integer.as_str(), integer.radix());
            node.within(count.unwrap_or(u64::MAX), &range, "")
        };
        self.get(key).and_then(read).unwrap_or(default)
    }

    pub(in crate::config) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let read = |node: Node<'a>| match node.value {
            Some(DeValue::Boolean(flag)) => Some(*flag),
            _ => node.wrong_type("true or false", "write it without quotes"),
        };
        self.get(key).and_then(read).unwrap_or(default)
    }

    pub(super) fn report_unknown(&self) {
        for (key, _) in self.entries {
            let name: &str = key.get_ref();
            if !self.known.contains(name) {
                let fix = suggest(name, self.known.iter().copied());
                let key_path = self.node.child(name);
                let message = "unknown key".to_owned();
                self.node.reading.report(key.span().start, &key_path, message, fix);
            }
        }
    }
}
