//! What a plugin is granted, and what it may take of the host: the guests `kv`, `files` and `hoard`.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "reads guests, and makes directories for them")]

#[path = "../common/mod.rs"]
mod common;
mod files;
mod hoard;
mod kv;
mod log;

use std::time::Duration;

use common::context;
use rust_proxy_stream::item::{Body, Change, Item};
use rust_proxy_stream::stage::{FaultKind, Link, Plugin, StageError};
use rust_proxy_wasm::{Component, Limits, LoadError, Runtime, RuntimeOptions, Settings};

const LIMITS: Limits = Limits {
    memory: 16 << 20,
    cpu: Duration::from_millis(500),
    wall: Duration::from_secs(20),
    output: 1 << 20,
    requests: 3,
    fetch: 100_000,
    log: 100,
};

/// A plugin that is granted nothing.
fn settings(name: &str) -> Settings {
    Settings::new(name, "{}", LIMITS)
}

fn runtime() -> Runtime {
    Runtime::new(RuntimeOptions { slots: 4, ..RuntimeOptions::default() }).unwrap()
}

/// Loads the test guest that `settings` names.
async fn load(settings: Settings) -> Result<Component, LoadError> {
    let path = format!("{}/../../target/guests/{}.wasm", env!("CARGO_MANIFEST_DIR"), settings.name);
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}; run `cargo xtask build-plugins`"));
    runtime().load(&bytes, settings).await
}

async fn start(settings: Settings) -> Box<dyn Link> {
    load(settings).await.unwrap().start().await.unwrap()
}

/// What the guest makes of a text.
async fn ask(link: &mut dyn Link, text: &str) -> Result<String, StageError> {
    let item = Item { id: 0, message: 0, role: "user".to_owned(), body: Body::Text(text.to_owned()) };
    let decision = link.processor().unwrap().process(&context(), &[item]).await?;
    match decision.changes.as_slice() {
        [Change::SetText { text, .. }] => Ok(text.clone()),
        other => panic!("{other:?}"),
    }
}

/// The fault that a call ended with.
fn fault<T: std::fmt::Debug>(answer: Result<T, StageError>) -> (FaultKind, String) {
    match answer {
        Err(StageError::Fault(fault)) => (fault.kind, fault.detail),
        other => panic!("{other:?}"),
    }
}
