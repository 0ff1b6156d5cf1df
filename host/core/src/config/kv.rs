//! `[kv]`: where the keys and values of plugins are that were granted some.

use std::time::Duration;

use rust_proxy_upstream::{Redis, RedisOptions};

use super::problems::Place;
use super::reader::{Node, Table};
use super::secret::Secret;

/// What else is in a Redis should not be in the way.
const PREFIX: &str = "rust-proxy:";
/// Longer ones would only cost.
const PREFIX_MAX: usize = 100;
/// A hundred times what an answer takes, and half of what a call into a plugin may: so that a plugin is told, and
/// not ended, where there is none.
const TIMEOUT: Duration = Duration::from_millis(100);

/// Where keys and values are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Kv {
    /// `None` is the memory of this process.
    pub redis: Option<Secret>,
    /// Where that is written.
    pub place: Option<Place>,
    /// What all keys in Redis begin with.
    pub prefix: String,
    /// How long a call to Redis may take.
    pub timeout: Duration,
}

impl Kv {
    /// The Redis, which was checked when the configuration was read.
    pub(crate) fn connect(&self) -> Option<Redis> {
        Redis::new(self.options(self.redis.as_ref()?.expose())).ok()
    }

    fn options(&self, url: &str) -> RedisOptions {
        RedisOptions { url: url.to_owned(), prefix: self.prefix.clone(), timeout: self.timeout }
    }
}

pub(super) fn read(t: &mut Table<'_>) -> Kv {
    let redis = t.get("redis");
    let (prefix, timeout) = (t.get("prefix"), t.get("timeout"));
    for node in [&prefix, &timeout].into_iter().flatten() {
        if redis.is_none() {
            node.notice("without `redis` this does nothing");
        }
    }
    let mut kv = Kv {
        redis: None,
        place: redis.as_ref().map(Node::place),
        prefix: prefix.and_then(|node| self::prefix(&node)).unwrap_or_else(|| PREFIX.to_owned()),
        timeout: t.duration("timeout", TIMEOUT),
    };
    kv.redis = redis.and_then(|node| url(&node, &kv));
    kv
}

fn url(node: &Node<'_>, kv: &Kv) -> Option<Secret> {
    let text = node.text()?;
    // Neither message repeats it: it may hold a password.
    let Ok(redis) = Redis::new(kv.options(&text.value)) else {
        let fix =
            "write it like \"redis://127.0.0.1:6379\", \"rediss://HOST\" or \"redis+unix:///run/redis.sock\"";
        return node.problem("this is not the URL of a Redis", fix);
    };
    if text.is_literal() && redis.has_password() {
        let fix = "write \"env::NAME\" or \"path::FILE\"";
        return node.problem("a secret must not be written into this file", fix);
    }
    Some(Secret::new(text.value))
}

fn prefix(node: &Node<'_>) -> Option<String> {
    let prefix = node.name()?;
    let fits = |c: char| c.is_ascii_graphic() && c != '{' && c != '}';
    if prefix.len() <= PREFIX_MAX && prefix.chars().all(fits) {
        return Some(prefix);
    }
    node.problem(
        "this cannot begin a key",
        format!("use up to {PREFIX_MAX} ASCII characters without spaces and braces"),
    )
}
