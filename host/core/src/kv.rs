//! Plugins' keys and values: in memory, or in Redis.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rust_proxy_stream::kv::{KeyValue, KvError, Quota, count, no_count};
use rust_proxy_upstream::Redis;
use tokio::time::Instant;

/// Where plugins keep what outlives an exchange.
#[derive(Debug)]
pub(crate) struct Stores {
    /// What a reload hands on, so that it loses nothing.
    pub(crate) memory: Arc<Memory>,
    pub(crate) redis: Option<Redis>,
}

impl Stores {
    /// The keys and values of one plugin.
    pub(crate) fn namespace(&self, plugin: &str, quota: Quota) -> Arc<dyn KeyValue> {
        match &self.redis {
            Some(redis) => redis.namespace(plugin, quota),
            None => self.memory.namespace(plugin, quota),
        }
    }
}

/// How many expired entries one call frees at most: others wait for it meanwhile, and so many take about a
/// millisecond. As a call adds one entry at most, what has expired is soon gone all the same.
const SWEEP_MAX: usize = 1000;

/// The memory of this process. A plugin's part of it lives as long as something holds its namespace.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<String, Weak<Space>>>);

impl Memory {
    /// The keys and values of one plugin; those that are there already, if it is named again.
    pub(crate) fn namespace(&self, plugin: &str, quota: Quota) -> Arc<dyn KeyValue> {
        let mut spaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spaces.retain(|_, space| space.strong_count() > 0);
        let space = spaces.get(plugin).and_then(Weak::upgrade).unwrap_or_default();
        spaces.insert(plugin.to_owned(), Arc::downgrade(&space));
        Arc::new(Namespace { space, quota })
    }
}

/// One plugin's part, as far as a quota lets it.
struct Namespace {
    space: Arc<Space>,
    quota: Quota,
}

#[derive(Default)]
struct Space(Mutex<Entries>);

/// Bounded by the quota: bytes count keys and values, and each key has one entry here and at most one in `ends`.
#[derive(Default)]
struct Entries {
    values: HashMap<Arc<str>, Entry>,
    /// When those expire that do.
    ends: BTreeSet<(Instant, Arc<str>)>,
    /// Of all keys and values.
    bytes: u64,
}

struct Entry {
    value: Bytes,
    end: Option<Instant>,
}

impl Namespace {
    /// What is there now, for a call on `key`: what has expired is freed by whoever comes next, the key itself in any
    /// case. Of the others some may be left, so that the account is too high for a moment.
    fn entries(&self, key: &str) -> MutexGuard<'_, Entries> {
        // A panic could only come from the allocator.
        let mut entries = self.space.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        entries.expire(now);
        if entries.values.get(key).and_then(|entry| entry.end).is_some_and(|end| end <= now) {
            entries.remove(key);
        }
        entries
    }
}

impl Entries {
    fn expire(&mut self, now: Instant) {
        for _ in 0..SWEEP_MAX {
            match self.ends.first().cloned() {
                Some((end, key)) if end <= now => self.remove(&key),
                _ => break,
            };
        }
    }

    fn put(&mut self, key: &str, value: Bytes, end: Option<Instant>, quota: Quota) -> Result<(), KvError> {
        let size = size(key, &value);
        let old = self.values.get(key).map_or(0, |entry| self::size(key, &entry.value));
        let bytes = self.bytes.saturating_sub(old).saturating_add(size);
        let new = old == 0;
        // What shrinks always may, whatever the quota has become.
        if (bytes > quota.bytes && size > old) || (new && self.values.len() >= quota.keys as usize) {
            return Err(KvError::Quota);
        }
        self.remove(key);
        let key: Arc<str> = key.into();
        if let Some(end) = end {
            self.ends.insert((end, Arc::clone(&key)));
        }
        self.values.insert(key, Entry { value, end });
        self.bytes = bytes;
        Ok(())
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some((key, Entry { value, end })) = self.values.remove_entry(key) else { return false };
        self.bytes = self.bytes.saturating_sub(size(&key, &value));
        if let Some(end) = end {
            self.ends.remove(&(end, key));
        }
        true
    }
}

/// Keys are never empty, so this is never 0.
fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

fn end(expiry: Option<Duration>) -> Option<Instant> {
    // An expiry beyond the clock's end is never.
    expiry.and_then(|expiry| Instant::now().checked_add(expiry))
}

#[async_trait]
impl KeyValue for Namespace {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        Ok(self.entries(key).values.get(key).map(|entry| entry.value.clone()))
    }

    async fn set(&self, key: &str, value: Bytes, expiry: Option<Duration>) -> Result<(), KvError> {
        self.entries(key).put(key, value, end(expiry), self.quota)
    }

    async fn increment(&self, key: &str, by: u32, expiry: Option<Duration>) -> Result<u32, KvError> {
        let mut entries = self.entries(key);
        let (old, end) = match entries.values.get(key) {
            Some(entry) => (count(&entry.value).ok_or_else(no_count)?, entry.end),
            None => (0, end(expiry)),
        };
        let sum = old.checked_add(by).ok_or(KvError::TooLarge)?;
        entries.put(key, Bytes::from(sum.to_string()), end, self.quota)?;
        Ok(sum)
    }

    async fn delete(&self, key: &str) -> Result<bool, KvError> {
        Ok(self.entries(key).remove(key))
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Space")
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("quota", &self.quota).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { bytes: 100, keys: 3 };
    const SECOND: Option<Duration> = Some(Duration::from_secs(1));

    fn namespace(memory: &Memory, plugin: &str) -> Arc<dyn KeyValue> {
        memory.namespace(plugin, QUOTA)
    }

    fn text(value: &'static str) -> Bytes {
        Bytes::from_static(value.as_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn what_expires_is_gone_then_and_no_sooner() {
        let kv = namespace(&Memory::default(), "a");
        kv.set("short", text("x"), SECOND).await.unwrap();
        kv.set("kept", text("x"), SECOND).await.unwrap();
        kv.set("kept", text("y"), None).await.unwrap();
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(kv.get("short").await, Ok(Some(text("x"))));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(kv.get("short").await, Ok(None));
        assert_eq!(kv.delete("short").await, Ok(false));
        assert_eq!(kv.get("kept").await, Ok(Some(text("y"))));
        assert_eq!((kv.delete("kept").await, kv.get("kept").await), (Ok(true), Ok(None)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_has_the_expiry_that_it_began_with() {
        let kv = namespace(&Memory::default(), "a");
        assert_eq!(kv.increment("n", 2, SECOND).await, Ok(2));
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(kv.increment("n", 3, SECOND).await, Ok(5));
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(kv.increment("n", 7, None).await, Ok(7));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(kv.get("n").await, Ok(Some(text("7"))));
    }

    #[tokio::test]
    async fn a_count_stays_within_32_bits_and_other_values_are_none() {
        let kv = namespace(&Memory::default(), "a");
        assert_eq!(kv.increment("n", u32::MAX, None).await, Ok(u32::MAX));
        assert_eq!(kv.increment("n", 1, None).await, Err(KvError::TooLarge));
        assert_eq!(kv.increment("n", 0, None).await, Ok(u32::MAX));
        kv.set("n", text("07"), None).await.unwrap();
        assert_eq!(kv.increment("n", 1, None).await, Err(no_count()));
        assert_eq!(kv.get("n").await, Ok(Some(text("07"))));
    }

    #[tokio::test(start_paused = true)]
    async fn the_quota_counts_keys_and_values_and_frees_what_is_gone() {
        let kv = namespace(&Memory::default(), "a");
        let big = Bytes::from(vec![b'x'; 90]);
        kv.set("a", big.clone(), SECOND).await.unwrap();
        assert_eq!(kv.set("b", Bytes::from(vec![b'y'; 9]), None).await, Err(KvError::Quota));
        assert_eq!(kv.get("b").await, Ok(None));
        kv.set("b", Bytes::from(vec![b'y'; 8]), None).await.unwrap();
        // One digit more than fits.
        assert_eq!(kv.increment("c", 1, None).await, Err(KvError::Quota));
        tokio::time::advance(Duration::from_secs(1)).await;
        kv.set("a", big.clone(), None).await.unwrap();
        assert!(kv.delete("a").await.unwrap());
        for key in ["c", "d"] {
            assert_eq!(kv.increment(key, 1, None).await, Ok(1));
        }
        assert_eq!(kv.increment("e", 1, None).await, Err(KvError::Quota));
        assert_eq!(kv.increment("d", 1, None).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_frees_so_many_and_sees_nothing_that_has_expired() {
        let quota = Quota { bytes: 1 << 20, keys: 10 * SWEEP_MAX as u32 };
        let kv = Namespace { space: Arc::default(), quota };
        let left = || kv.space.0.lock().unwrap().values.len();
        for number in 0..5 * SWEEP_MAX {
            kv.set(&format!("{number:05}"), text("5"), SECOND).await.unwrap();
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        // The last in the order in which they are freed.
        let last = |back: usize| format!("{:05}", 5 * SWEEP_MAX - back);
        assert_eq!(kv.get(&last(1)).await, Ok(None));
        assert_eq!(left(), 4 * SWEEP_MAX - 1);
        assert_eq!(kv.delete(&last(2)).await, Ok(false));
        assert_eq!(left(), 3 * SWEEP_MAX - 2);
        assert_eq!(kv.increment(&last(3), 1, None).await, Ok(1));
        assert_eq!(left(), 2 * SWEEP_MAX - 2);
        // What has expired does not let its key grow past a quota.
        let smaller = Namespace { space: Arc::clone(&kv.space), quota: Quota { bytes: 1, keys: 1 } };
        assert_eq!(smaller.set(&last(4), text(""), None).await, Err(KvError::Quota));
        assert_eq!(left(), SWEEP_MAX - 3);
        kv.set(&last(4), text("x"), None).await.unwrap();
        assert_eq!(left(), 2);
        assert_eq!(kv.get(&last(3)).await, Ok(Some(text("1"))));
    }

    #[tokio::test]
    async fn a_quota_that_was_lowered_lets_nothing_grow() {
        let memory = Memory::default();
        let before = namespace(&memory, "a");
        before.set("a", Bytes::from(vec![b'x'; 90]), None).await.unwrap();
        let after = memory.namespace("a", Quota { bytes: 10, keys: 1 });
        assert_eq!(after.set("b", text("x"), None).await, Err(KvError::Quota));
        assert_eq!(after.set("a", Bytes::from(vec![b'x'; 91]), None).await, Err(KvError::Quota));
        after.set("a", Bytes::from(vec![b'x'; 50]), None).await.unwrap();
    }

    #[tokio::test]
    async fn plugins_share_nothing_and_a_plugin_shares_with_itself_only_while_it_is_there() {
        let memory = Memory::default();
        let (one, other, again) = (namespace(&memory, "a"), namespace(&memory, "b"), namespace(&memory, "a"));
        one.set("k", text("x"), None).await.unwrap();
        assert_eq!(other.get("k").await, Ok(None));
        assert_eq!(again.get("k").await, Ok(Some(text("x"))));
        drop((one, again));
        assert_eq!(namespace(&memory, "a").get("k").await, Ok(None));
    }
}
