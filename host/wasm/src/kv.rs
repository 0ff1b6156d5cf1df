//! `kv` for guests: from the guest's calls to a [`KeyValue`] and back.
//!
//! This crate stores nothing. What a call may ask for is checked here; how much a plugin may store is the
//! `KeyValue`'s affair. A guest that waits is suspended on its fiber.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rust_proxy_stream::kv::{KeyValue, KvError, check_key, check_value, expiry};

use crate::bindings::kv;

/// The keys and values of one instance's plugin.
pub(crate) struct Store {
    plugin: Arc<str>,
    store: Option<Arc<dyn KeyValue>>,
    /// Whether the log has been told of the quota.
    told: bool,
    /// Whether anything was asked of it.
    asked: bool,
}

impl Store {
    pub(crate) fn new(plugin: Arc<str>, store: Option<Arc<dyn KeyValue>>) -> Self {
        Self { plugin, store, told: false, asked: false }
    }

    pub(crate) fn was_asked(&self) -> bool {
        self.asked
    }

    /// The store, for a key that can be one.
    fn at(&mut self, key: &str) -> Result<&dyn KeyValue, KvError> {
        self.asked = true;
        check_key(key)?;
        // Without a grant the interface is not linked.
        self.store.as_deref().ok_or_else(|| KvError::Other("kv is not granted".to_owned()))
    }

    /// What the guest is told.
    fn tell<T>(&mut self, answer: Result<T, KvError>) -> Result<T, kv::Error> {
        answer.map_err(|error| match error {
            KvError::Quota => {
                // Once an exchange: a guest that goes on trying is no news.
                if !std::mem::replace(&mut self.told, true) {
                    let plugin = &*self.plugin;
                    tracing::warn!(
                        plugin,
                        "the quota of kv is used up; grant = {{ kv = {{ quota = \"…\", keys = … }} }} would allow more"
                    );
                }
                kv::Error::Quota
            }
            KvError::Unavailable => kv::Error::Unavailable,
            KvError::TooLarge => kv::Error::TooLarge,
            KvError::Other(text) => kv::Error::Other(text),
        })
    }
}

impl kv::Host for Store {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, kv::Error> {
        let answer = async { self.at(&key)?.get(&key).await }.await;
        self.tell(answer).map(|value| value.map(Vec::from))
    }

    async fn set(&mut self, key: String, value: Vec<u8>, seconds: Option<u32>) -> Result<(), kv::Error> {
        let answer = async {
            check_value(&value)?;
            self.at(&key)?.set(&key, Bytes::from(value), expiry(seconds)?).await
        };
        let answer = answer.await;
        self.tell(answer)
    }

    async fn increment(&mut self, key: String, by: u32, seconds: Option<u32>) -> Result<u32, kv::Error> {
        let answer = async { self.at(&key)?.increment(&key, by, expiry(seconds)?).await }.await;
        self.tell(answer)
    }

    async fn delete(&mut self, key: String) -> Result<bool, kv::Error> {
        let answer = async { self.at(&key)?.delete(&key).await }.await;
        self.tell(answer)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}
