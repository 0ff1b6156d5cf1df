//! Keys and values in Redis, so that several gateways share them.
//!
//! # Time
//! Nobody waits for longer than [`RedisOptions::timeout`]. A Redis that cannot be reached, or does not answer in
//! that time, is left alone for a second: calls fail at once, then the next one tries again. A connection that was
//! lost is made anew by the next call. So nothing has to be done for a Redis that is back.
//!
//! # Quota
//! Changes are scripts (`kv/*.lua`), each of which runs as one step in Redis: no two gateways together get past a
//! quota. What Redis itself evicts (`maxmemory`), or somebody deletes by hand, stays counted until it would have
//! expired, is written or is deleted. What has expired by itself is dropped from the account by the plugin's next
//! changes, at most 1000 keys by each. So the account may be too high, for a moment or longer; it is too low only where
//! Redis evicts the account itself: with an `allkeys-…` policy it may, and then the plugin begins at nothing beside
//! the values that are still there. For an exact quota `maxmemory-policy` must be `noeviction` or a `volatile-…` one:
//! the account has no expiry. Gateways with different quotas each hold their own against the plugin's common account.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Client, IntoConnectionInfo, Script};
use rust_proxy_stream::kv::{KeyValue, KvError, Quota, no_count};

use self::server::Server;

mod server;

/// Where the keys and values are.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://`, `rediss://` or `redis+unix://`. **May hold a password.**
    pub url: String,
    /// What all keys begin with.
    pub prefix: String,
    /// How long a call may take, connecting included.
    pub timeout: Duration,
}

/// A Redis. Cheap to clone; clones share their connection.
#[derive(Clone)]
pub struct Redis {
    server: Arc<Server>,
    prefix: String,
}

/// The URL is none of a Redis. Does not repeat it: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the URL of a Redis")]
pub struct RedisUrlError;

impl Redis {
    /// Connects when it is first asked.
    ///
    /// # Errors
    /// [`RedisUrlError`].
    pub fn new(options: RedisOptions) -> Result<Self, RedisUrlError> {
        let RedisOptions { url, prefix, timeout } = options;
        let info = url.as_str().into_connection_info().map_err(|_| RedisUrlError)?;
        let client = Client::open(info).map_err(|_| RedisUrlError)?;
        Ok(Self { server: Arc::new(Server::new(client, timeout)), prefix })
    }

    /// The keys and values of one plugin.
    pub fn namespace(&self, plugin: &str, quota: Quota) -> Arc<dyn KeyValue> {
        // The braces let a cluster keep all of a plugin's keys in one place, which its scripts need.
        let base = format!("{}{{{plugin}}}", self.prefix);
        Arc::new(Namespace { server: Arc::clone(&self.server), base, quota })
    }

    /// Where it is, without credentials.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// Whether its URL has a password.
    pub fn has_password(&self) -> bool {
        self.server.has_password()
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub async fn ping(&self) -> Result<(), String> {
        let ping = async |connection: &mut MultiplexedConnection| {
            redis::cmd("PING").query_async::<redis::Value>(connection).await
        };
        self.server.call(ping).await.map(drop)
    }
}

/// One plugin's part of it.
struct Namespace {
    server: Arc<Server>,
    base: String,
    quota: Quota,
}

static SET: LazyLock<Script> = LazyLock::new(|| script(include_str!("kv/set.lua")));
static INCREMENT: LazyLock<Script> = LazyLock::new(|| script(include_str!("kv/increment.lua")));
static DELETE: LazyLock<Script> = LazyLock::new(|| script(include_str!("kv/delete.lua")));

fn script(body: &str) -> Script {
    Script::new(&format!("{}{body}", include_str!("kv/prelude.lua")))
}

impl Namespace {
    fn value_of(&self, key: &str) -> String {
        format!("{}:v:{key}", self.base)
    }

    /// Runs a script and gives its number.
    async fn run(
        &self,
        script: &Script,
        key: &str,
        argument: &[u8],
        expiry: Option<Duration>,
    ) -> Result<i64, KvError> {
        let mut call = script.key(self.value_of(key));
        call.key(format!("{}:sizes", self.base)).key(format!("{}:ends", self.base));
        let seconds = expiry.map(|expiry| expiry.as_secs().max(1).to_string()).unwrap_or_default();
        call.arg(key).arg(self.quota.bytes).arg(self.quota.keys).arg(argument).arg(seconds);
        let call = async |connection: &mut MultiplexedConnection| call.invoke_async(connection).await;
        self.server.call(call).await.map_err(|_| KvError::Unavailable)
    }
}

#[async_trait]
impl KeyValue for Namespace {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        let get = async |connection: &mut MultiplexedConnection| {
            redis::cmd("GET").arg(self.value_of(key)).query_async::<Option<Vec<u8>>>(connection).await
        };
        let value = self.server.call(get).await.map_err(|_| KvError::Unavailable)?;
        Ok(value.map(Bytes::from))
    }

    async fn set(&self, key: &str, value: Bytes, expiry: Option<Duration>) -> Result<(), KvError> {
        outcome(self.run(&SET, key, &value, expiry).await?).map(drop)
    }

    async fn increment(&self, key: &str, by: u32, expiry: Option<Duration>) -> Result<u32, KvError> {
        outcome(self.run(&INCREMENT, key, by.to_string().as_bytes(), expiry).await?)
    }

    async fn delete(&self, key: &str) -> Result<bool, KvError> {
        Ok(self.run(&DELETE, key, &[], None).await? == 1)
    }
}

/// What a script's number means.
fn outcome(number: i64) -> Result<u32, KvError> {
    match number {
        -1 => Err(KvError::Quota),
        -2 => Err(KvError::TooLarge),
        -3 => Err(no_count()),
        // The script keeps counts within 32 bits.
        count => u32::try_from(count).map_err(|_| KvError::Unavailable),
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, timeout, .. } = self;
        f.debug_struct("RedisOptions")
            .field("prefix", prefix)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("address", &self.address())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("base", &self.base).finish_non_exhaustive()
    }
}
