//! `plugins.NAME.grant`: what a plugin may reach, which is nothing unless it is written here.

use rust_proxy_stream::kv::{KEY_MAX, Quota, VALUE_MAX};
use rust_proxy_upstream::Grant;
use rust_proxy_wasm::Directory;
use toml::de::DeValue;

use super::problems::Place;
use super::reader::{Node, Table};

mod directories;
mod http;

pub(super) use directories::{Found, Protected, check, secrets};

/// Some hundred thousand counters of a byte each would be no store any more; a few thousand answers fit.
const QUOTA: u64 = 1 << 20;
/// At least one of the largest keys and values.
const QUOTA_RANGE: std::ops::RangeInclusive<u64> = (KEY_MAX + VALUE_MAX) as u64..=1 << 30;
/// One for each user of a large gateway; each takes some hundred bytes besides its own.
const KEYS: u64 = 10_000;

/// What a plugin was granted: at least one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Granted {
    /// Where its HTTP requests may go.
    pub http: Option<Written<Grant>>,
    /// The directories that it may use.
    pub directories: Option<Written<Vec<Directory>>>,
    /// How much it may keep in `kv`.
    pub kv: Option<Written<Quota>>,
}

/// A value, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written<T> {
    /// The value.
    pub value: T,
    /// Where it is written.
    pub place: Place,
}

impl<T> Written<T> {
    fn at(node: &Node<'_>, value: T) -> Self {
        Self { value, place: node.place() }
    }
}

/// Reads a grant; `None` where it is wrong, which is reported. The directories are added to `found`.
pub(super) fn read<'a>(node: &Node<'a>, found: &mut Vec<Found<'a>>) -> Option<Granted> {
    if !matches!(node.value(), Some(DeValue::Table(_))) {
        return node.wrong_type("a table", "write it like { http = [\"https://example.org\"] }");
    }
    node.table(|t| {
        let http = http::read(t);
        let directories = t.get("directories").map(|node| (directories::read(&node, found), node));
        let kv = t.get("kv").map(|node| (kv(&node), node));
        let empty = [
            http.as_ref().map(|(_, node)| node),
            directories.as_ref().map(|(_, node)| node),
            kv.as_ref().map(|(_, node)| node),
        ];
        if empty.into_iter().flatten().all(is_nothing) {
            return t.node.problem(
                "this grants nothing",
                "write http = [\"https://HOST\"], directories = [{ host = \"…\", guest = \"/…\" }] or kv = true, \
                 or remove it",
            );
        }
        let some = |node: &Node<'_>| !is_nothing(node);
        if let Some(private) = t.get("private")
            && !http.as_ref().is_some_and(|(_, node)| some(node))
        {
            private.problem::<()>("without `http` this grants nothing", "add http = [\"http://NAME:PORT\"]");
        }
        Some(Granted {
            http: http.filter(|(_, node)| some(node)).map(|(grant, node)| Written::at(&node, grant)),
            directories: directories
                .filter(|(_, node)| some(node))
                .map(|(directories, node)| Written::at(&node, directories)),
            kv: kv.and_then(|(quota, node)| Some(Written::at(&node, quota?))),
        })
    })
}

/// Whether a right value grants nothing.
fn is_nothing(node: &Node<'_>) -> bool {
    match node.value() {
        Some(DeValue::Array(items)) => items.is_empty(),
        Some(DeValue::Boolean(granted)) => !granted,
        _ => false,
    }
}

fn kv(node: &Node<'_>) -> Option<Quota> {
    match node.value() {
        Some(DeValue::Boolean(true)) => Some(node.absent(quota)),
        Some(DeValue::Boolean(false)) => None,
        Some(DeValue::Table(_)) => Some(node.table(quota)),
        _ => {
            node.wrong_type("true or a table", "write kv = true, or kv = { quota = \"1MiB\", keys = 10000 }")
        }
    }
}

fn quota(t: &mut Table<'_>) -> Quota {
    let keys = t.count("keys", 1..=1_000_000, KEYS);
    Quota { bytes: t.size("quota", QUOTA_RANGE, QUOTA), keys: u32::try_from(keys).unwrap_or(u32::MAX) }
}
