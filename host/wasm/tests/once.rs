//! A component is configured once where it can be, and nobody can tell by what its instances do.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; reads the guests that `cargo xtask build-plugins` made"
)]

mod common;

use std::path::Path;
use std::time::Duration;

use rust_proxy_stream::item::{Body, Change, Item};
use rust_proxy_stream::stage::Plugin;
use rust_proxy_wasm::{Cache, Component, Directory, Limits, LoadError, Runtime, RuntimeOptions, Settings};

const LIMITS: Limits = Limits {
    memory: 16 << 20,
    cpu: Duration::from_millis(500),
    wall: Duration::from_secs(20),
    output: 1 << 20,
    requests: 0,
    fetch: 0,
    log: 10,
};

fn settings(config_json: &str) -> Settings {
    Settings { ready: 1, once: true, ..Settings::new("once", config_json, LIMITS) }
}

async fn load(settings: Settings, folder: Option<&Path>) -> Result<Component, LoadError> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/guests/once.wasm");
    let bytes = std::fs::read(path)
        .unwrap_or_else(|error| panic!("{path}: {error}; run `cargo xtask build-plugins`"));
    let cache = folder.map(|folder| Cache::open(folder).unwrap());
    Runtime::new(RuntimeOptions { slots: 8, cache }).unwrap().load(&bytes, settings).await
}

/// What an instance says in an exchange of its own.
async fn exchange(component: &Component) -> String {
    let mut link = component.start().await.unwrap();
    let item = Item { id: 0, message: 0, role: "user".to_owned(), body: Body::Text("hello".to_owned()) };
    let decision = link.processor().unwrap().process(&common::context(), &[item]).await.unwrap();
    match &decision.changes[..] {
        [Change::SetText { text, .. }] => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn instances_are_copies_of_what_configure_left_and_share_nothing() {
    // Five megabytes: more than the memory that a module begins with.
    let config = r#"{"do": "hash", "fill": 5000000}"#;
    let copied = load(settings(config), None).await.unwrap();
    let each = load(Settings { once: false, ..settings(config) }, None).await.unwrap();
    assert_eq!((copied.is_copied(), each.is_copied()), (true, false));
    for component in [&copied, &each] {
        for _ in 0..3 {
            assert_eq!(exchange(component).await, "1 1 0 637493856");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_copied_is_configured_in_each_instance() {
    let random = load(settings(r#"{"do": "random"}"#), None).await.unwrap();
    assert!(!random.is_copied());
    assert_ne!(exchange(&random).await, exchange(&random).await);
    let timed = load(settings(r#"{"do": "time"}"#), None).await.unwrap();
    assert!(!timed.is_copied());
    assert_eq!(exchange(&timed).await, "1 1 1 0");
    // Standard output is a handle of the instance that opened it.
    let printing = load(settings(r#"{"do": "print"}"#), None).await.unwrap();
    assert!(!printing.is_copied());
    assert_eq!(exchange(&printing).await, "1 1 0 0");
}

#[tokio::test]
async fn a_plugin_with_directories_reads_them_in_each_instance() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory { host: folder.path().to_owned(), guest: "/data".to_owned(), write: false };
    let granted = Settings { directories: vec![directory], ..settings(r#"{"do": "nothing"}"#) };
    let component = load(granted, None).await.unwrap();
    assert!(!component.is_copied());
    assert_eq!(exchange(&component).await, "1 1 0 0");
}

#[tokio::test]
async fn memory_in_too_many_pieces_is_not_copied() {
    // Every second byte of the five megabytes is zero.
    let component =
        load(settings(r#"{"do": "nothing", "fill": 5000000, "gaps": true}"#), None).await.unwrap();
    assert!(!component.is_copied());
    assert!(exchange(&component).await.starts_with("1 1 0 "));
}

#[tokio::test]
async fn a_refused_configuration_is_refused() {
    let refused = load(settings(r#"{"do": "sing"}"#), None).await.err();
    assert!(matches!(refused, Some(LoadError::Configuration(_))), "{refused:?}");
}

#[tokio::test]
async fn copies_are_kept_by_file_and_configuration_but_for_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    let counts = async |settings: Settings, copied: bool| {
        let cache = Cache::open(&folder).unwrap();
        let runtime = Runtime::new(RuntimeOptions { slots: 8, cache: Some(cache.clone()) }).unwrap();
        let bytes =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/guests/once.wasm")).unwrap();
        let component = runtime.load(&bytes, settings).await.unwrap();
        assert_eq!(component.is_copied(), copied);
        assert!(exchange(&component).await.starts_with("1 1 "));
        (cache.counts().hits, cache.counts().misses)
    };
    let (plain, other) = (r#"{"do": "nothing"}"#, r#"{"do": "nothing", "fill": 1}"#);
    let secret = Settings { secret: true, ..settings(r#"{"do": "nothing", "fill": 2}"#) };
    assert_eq!(
        counts(secret.clone(), true).await,
        (0, 1),
        "the file's code is kept, and nothing of the secret"
    );
    assert_eq!(counts(settings(plain), true).await, (1, 1));
    assert_eq!(counts(settings(plain), true).await, (2, 0));
    assert_eq!(counts(settings(other), true).await, (1, 1), "another configuration has another copy");
    assert_eq!(counts(secret, true).await, (1, 0));
    // That there is none is kept too.
    assert_eq!(counts(settings(r#"{"do": "print"}"#), false).await, (1, 1));
    assert_eq!(counts(settings(r#"{"do": "print"}"#), false).await, (2, 0));
    let seen: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert_eq!(seen.len(), 4);
}

/// Lets the task that makes instances ready do what it has to do.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_next_instance_is_made_behind_an_exchange_or_when_fewer_than_half_are_left() {
    let settings = Settings { ready: 4, ..settings(r#"{"do": "nothing"}"#) };
    let each = load(Settings { once: false, ..settings.clone() }, None).await.unwrap();
    let exchange = each.start().await.unwrap();
    settle().await;
    assert_eq!(each.instances().live, 5, "to configure one takes longer, and is done at once");
    drop((exchange, each));
    let component = load(settings, None).await.unwrap();
    settle().await;
    let live = || component.instances().live;
    assert_eq!(live(), 4);
    let first = component.start().await.unwrap();
    settle().await;
    assert_eq!(live(), 4, "none is made while the only exchange goes on");
    drop(first);
    settle().await;
    assert_eq!(live(), 4, "one is made in the place of the one that is gone");
    let mut exchanges = Vec::new();
    for (taken, expected) in [(1, 4), (2, 4), (3, 7)] {
        exchanges.push(component.start().await.unwrap());
        settle().await;
        assert_eq!(live(), expected, "with {taken} at work");
    }
    drop(exchanges);
    settle().await;
    assert_eq!(live(), 4);
}
