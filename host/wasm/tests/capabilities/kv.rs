//! Keys and values. What stores them is scripted here: this crate stores nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rust_proxy_stream::kv::{KEY_MAX, KeyValue, KvError, VALUE_MAX};
use rust_proxy_stream::stage::{FaultKind, Plugin};
use rust_proxy_wasm::{KV, Limits, LoadError, Settings};
use tokio::sync::Semaphore;

use super::{LIMITS, ask, fault, load, settings, start};

/// Keeps values, notes what it was asked, and does what some keys are named after.
#[derive(Debug)]
struct Scripted {
    values: Mutex<BTreeMap<String, Bytes>>,
    seen: Mutex<Vec<String>>,
    /// A permit for each call of `wait` that is there.
    asked: Semaphore,
    /// A permit for each call of `wait` that may go on.
    gate: Semaphore,
}

impl Scripted {
    fn new() -> Arc<Self> {
        let none = || Semaphore::new(0);
        Arc::new(Self { values: Mutex::default(), seen: Mutex::default(), asked: none(), gate: none() })
    }

    async fn note(&self, call: &str, key: &str, expiry: Option<Duration>) -> Result<(), KvError> {
        let expiry = expiry.map_or(String::new(), |expiry| format!(" for {expiry:?}"));
        self.seen.lock().unwrap().push(format!("{call} {key}{expiry}"));
        match key {
            "full" => Err(KvError::Quota),
            "away" => Err(KvError::Unavailable),
            "wait" => {
                self.asked.add_permits(1);
                self.gate.acquire().await.unwrap().forget();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl KeyValue for Scripted {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        self.note("get", key, None).await?;
        Ok(self.values.lock().unwrap().get(key).cloned())
    }

    async fn set(&self, key: &str, value: Bytes, expiry: Option<Duration>) -> Result<(), KvError> {
        self.note("set", key, expiry).await?;
        self.values.lock().unwrap().insert(key.to_owned(), value);
        Ok(())
    }

    async fn increment(&self, key: &str, by: u32, expiry: Option<Duration>) -> Result<u32, KvError> {
        self.note("increment", key, expiry).await?;
        u32::MAX.checked_sub(by).ok_or(KvError::TooLarge)
    }

    async fn delete(&self, key: &str) -> Result<bool, KvError> {
        self.note("delete", key, None).await?;
        Ok(self.values.lock().unwrap().remove(key).is_some())
    }
}

fn granted(limits: Limits, store: &Arc<Scripted>) -> Settings {
    Settings { limits, kv: Some(Arc::clone(store) as Arc<dyn KeyValue>), ..settings("kv") }
}

#[tokio::test]
async fn without_a_grant_the_import_is_refused_with_the_line_that_grants_it() {
    let refused = load(settings("kv")).await.unwrap_err();
    assert!(matches!(refused, LoadError::NotGranted { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("`rust-proxy:plugin/kv@0.1."), "{text}");
    assert!(text.contains("write [plugins.kv] grant = { kv = true } if it may"), "{text}");
    let store = Scripted::new();
    assert!(load(granted(LIMITS, &store)).await.unwrap().imports().uses(KV));
    // The SDK has the store, and who does not use it does not import it.
    let other = load(Settings { name: "fault".to_owned(), ..granted(LIMITS, &store) }).await.unwrap();
    assert!(!other.imports().uses(KV), "{:?}", other.imports());
}

#[tokio::test]
async fn calls_and_their_answers_pass_as_values() {
    let store = Scripted::new();
    let mut link = start(granted(LIMITS, &store)).await;
    let text = "get a\nset a hello 60\nget a\nset a bye\ndelete a\ndelete a\nincrement n 5 1\nincrement n 0";
    let told = ask(&mut *link, text).await.unwrap();
    assert_eq!(told, "-\nok\nhello\nok\ntrue\nfalse\n4294967290\n4294967295");
    let seen = [
        "get a",
        "set a for 60s",
        "get a",
        "set a",
        "delete a",
        "delete a",
        "increment n for 1s",
        "increment n",
    ];
    assert_eq!(*store.seen.lock().unwrap(), seen);
}

#[tokio::test]
async fn errors_reach_the_guest_by_name() {
    let mut link = start(granted(LIMITS, &Scripted::new())).await;
    let told = ask(&mut *link, "set full x\nget away\nincrement away 1").await.unwrap();
    assert_eq!(told, "quota\nunavailable\nunavailable");
}

#[tokio::test]
async fn keys_and_values_have_bounds_that_the_store_need_not_check() {
    let store = Scripted::new();
    let mut link = start(granted(LIMITS, &store)).await;
    let (key, value) = (KEY_MAX + 1, VALUE_MAX + 1);
    let text = format!("get *{key}\nset *{key} x\nset k *{value}\nincrement *{key} 1\ndelete *{key}\nget ");
    let told = ask(&mut *link, &text).await.unwrap();
    assert_eq!(told, format!("{}\nother: the key is empty", ["too large"; 5].join("\n")));
    assert!(store.seen.lock().unwrap().is_empty(), "{:?}", store.seen);
    let largest = format!("set *{KEY_MAX} *{VALUE_MAX}\nget *{KEY_MAX}");
    assert_eq!(ask(&mut *link, &largest).await.unwrap(), "ok\n65536 bytes");
}

/// What a call brings to the host is bounded by `output`, like all that comes from a guest.
#[tokio::test]
async fn a_value_past_the_output_limit_is_a_fault() {
    let mut link = start(granted(Limits { output: 10_000, ..LIMITS }, &Scripted::new())).await;
    assert_eq!(fault(ask(&mut *link, "set k *20000").await).0, FaultKind::Output);
}

/// The guest is suspended until the gate opens, ten times longer than it may compute.
#[tokio::test]
async fn a_guest_that_waits_uses_no_cpu_time() {
    let limits = Limits { cpu: Duration::from_millis(20), ..LIMITS };
    let store = Scripted::new();
    let mut link = start(granted(limits, &store)).await;
    let script = Arc::clone(&store);
    let opening = tokio::spawn(async move {
        script.asked.acquire().await.unwrap().forget();
        // The guest's thread works meanwhile, and that is not billed to the guest.
        let since = tokio::time::Instant::now();
        while since.elapsed() < 10 * limits.cpu {
            tokio::task::yield_now().await;
        }
        script.gate.add_permits(1);
    });
    assert_eq!(ask(&mut *link, "get wait").await.unwrap(), "-");
    opening.await.unwrap();
}

#[tokio::test]
async fn waiting_counts_as_time_of_the_call() {
    let store = Scripted::new();
    let component =
        load(granted(Limits { wall: Duration::from_millis(200), ..LIMITS }, &store)).await.unwrap();
    let mut link = component.start().await.unwrap();
    assert_eq!(fault(ask(&mut *link, "get wait").await).0, FaultKind::Wall);
}
