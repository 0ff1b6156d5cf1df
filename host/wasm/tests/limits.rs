//! The guest `fault` breaks every limit and rule on order; each break ends as the fault that it is.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; reads the guests that `cargo xtask build-plugins` made"
)]

mod common;

use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use common::context;
use rust_proxy_stream::account::Usage;
use rust_proxy_stream::item::{Body, Item};
use rust_proxy_stream::lane::{Batch, Channel, CloseReason, Lane, Piece};
use rust_proxy_stream::stage::{FaultKind, Link, Plugin, StageError};
use rust_proxy_wasm::{Cache, Component, Limits, LoadError, Runtime, RuntimeOptions, Settings};

const LIMITS: Limits = Limits {
    memory: 16 << 20,
    cpu: Duration::from_millis(50),
    wall: Duration::from_secs(20),
    output: 1 << 20,
    requests: 20,
    fetch: 8 << 20,
    log: 100,
};

fn guest(path: &str) -> Vec<u8> {
    let path = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}; run `cargo xtask build-plugins`"))
}

/// Compiled once for all tests.
fn cache() -> Option<Cache> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-caches/rust-proxy");
    Cache::open(folder.as_ref()).ok()
}

fn settings(config_json: &str, limits: Limits) -> Settings {
    Settings::new("fault", config_json, limits)
}

async fn load(config_json: &str, limits: Limits) -> Result<Component, LoadError> {
    let runtime = Runtime::new(RuntimeOptions { slots: 8, cache: cache() }).unwrap();
    runtime.load(&guest("target/guests/fault.wasm"), settings(config_json, limits)).await
}

async fn process(link: &mut dyn Link) -> Result<(), StageError> {
    let item = Item { id: 0, message: 0, role: "user".to_owned(), body: Body::Text("hello".to_owned()) };
    link.processor().unwrap().process(&context(), &[item]).await.map(drop)
}

async fn answer(link: &mut dyn Link) -> Result<(), StageError> {
    let modifier = link.modifier().unwrap();
    modifier.open(&context()).await?;
    let lane = Lane { id: 0, choice: 0, part: 0, channel: Channel::Text, name: None, pointer: None };
    let piece = Piece { lane: 0, offset: 0, text: "hello" };
    modifier.push(&Batch { opened: &[lane], pieces: vec![piece], closed: &[(0, CloseReason::Stop)] }).await?;
    modifier.finish().await.map(drop)
}

async fn exchange(config_json: &str, limits: Limits) -> Result<(), StageError> {
    let component = load(config_json, limits).await.unwrap();
    let mut link = component.start().await.unwrap();
    process(&mut *link).await?;
    answer(&mut *link).await
}

fn kind(result: Result<(), StageError>) -> Option<FaultKind> {
    match result {
        Err(StageError::Fault(fault)) => Some(fault.kind),
        _ => None,
    }
}

#[tokio::test]
async fn each_break_ends_as_the_fault_that_it_is() {
    for (stage, order, expected) in [
        ("process", "trap", FaultKind::Trap),
        ("open", "trap", FaultKind::Trap),
        ("push", "trap", FaultKind::Trap),
        ("finish", "trap", FaultKind::Trap),
        ("process", "recurse", FaultKind::Trap),
        ("push", "spin", FaultKind::Cpu),
        ("finish", "spin", FaultKind::Cpu),
        ("push", "output", FaultKind::Output),
    ] {
        let config = format!(r#"{{"in": "{stage}", "do": "{order}"}}"#);
        let memory = if order == "output" { 256 << 20 } else { LIMITS.memory };
        let cpu = if order == "output" { Duration::from_secs(10) } else { LIMITS.cpu };
        let result = exchange(&config, Limits { memory, cpu, ..LIMITS }).await;
        assert_eq!(kind(result.clone()), Some(expected), "{config}: {result:?}");
    }
    assert_eq!(exchange(r#"{"in": "push", "do": "none"}"#, LIMITS).await, Ok(()));
}

#[tokio::test]
async fn memory_is_summed_and_bounded() {
    let limits = Limits { cpu: Duration::from_secs(10), ..LIMITS };
    let result = exchange(r#"{"in": "push", "do": "memory"}"#, limits).await;
    assert_eq!(kind(result), Some(FaultKind::Memory));
    let small = Limits { memory: 64 << 10, ..LIMITS };
    let refused = load(r#"{"in": "push", "do": "none"}"#, small).await.unwrap_err();
    assert!(refused.to_string().contains("memory limit"), "{refused}");
}

#[tokio::test]
async fn wall_time_is_bounded_too() {
    let limits = Limits { cpu: Duration::from_secs(60), wall: Duration::from_millis(30), ..LIMITS };
    assert_eq!(kind(exchange(r#"{"in": "push", "do": "spin"}"#, limits).await), Some(FaultKind::Wall));
}

#[tokio::test]
async fn a_guests_own_error_is_not_a_fault() {
    let result = exchange(r#"{"in": "process", "do": "error"}"#, LIMITS).await;
    assert!(matches!(result, Err(StageError::Failed(_))), "{result:?}");
    let refused = load(r#"{"in": "configure", "do": "error"}"#, LIMITS).await.unwrap_err();
    assert!(matches!(refused, LoadError::Configuration(_)), "{refused}");
    let trapped = load(r#"{"in": "configure", "do": "trap"}"#, LIMITS).await.unwrap_err();
    assert!(matches!(trapped, LoadError::Trial(_)), "{trapped}");
}

#[tokio::test]
async fn what_calls_take_is_counted() {
    let component = load(r#"{"in": "push", "do": "none"}"#, LIMITS).await.unwrap();
    let mut link = component.start().await.unwrap();
    // What made it ready was not for this exchange.
    assert_eq!(link.usage(), Some(Usage::default()));
    let mut before = Usage::default();
    for _ in 0..3 {
        process(&mut *link).await.unwrap();
        let now = link.usage().unwrap();
        assert!(now.cpu > before.cpu && now.wall > before.wall, "{before:?} {now:?}");
        before = now;
    }
    let component = load(r#"{"in": "process", "do": "spin"}"#, LIMITS).await.unwrap();
    let mut link = component.start().await.unwrap();
    assert_eq!(kind(process(&mut *link).await), Some(FaultKind::Cpu));
    let spun = link.usage().unwrap();
    assert!(spun.cpu > LIMITS.cpu && spun.wall >= LIMITS.cpu, "{spun:?}");
}

#[tokio::test]
async fn a_call_that_is_dropped_is_counted() {
    let component = load(r#"{"in": "process", "do": "spin"}"#, LIMITS).await.unwrap();
    let mut link = component.start().await.unwrap();
    let mut cx = TaskContext::from_waker(Waker::noop());
    let item = Item { id: 0, message: 0, role: "user".to_owned(), body: Body::Text("hello".to_owned()) };
    let (context, items) = (context(), [item]);
    let mut call = link.processor().unwrap().process(&context, &items);
    assert!(call.as_mut().poll(&mut cx).is_pending());
    drop(call);
    let dropped = link.usage().unwrap();
    assert!(dropped.cpu > Duration::ZERO && dropped.wall > Duration::ZERO, "{dropped:?}");
}

/// On one thread: other tasks go on while a guest spins.
#[tokio::test(flavor = "current_thread")]
async fn a_spinning_guest_yields() {
    let spinning = exchange(r#"{"in": "push", "do": "spin"}"#, LIMITS);
    let mut others = 0;
    let other_task = async {
        loop {
            others += 1;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        result = spinning => assert_eq!(kind(result), Some(FaultKind::Cpu)),
        () = other_task => {}
    }
    assert!(others > 5, "other tasks were polled {others} times only");
}

#[tokio::test]
async fn an_instance_whose_call_did_not_return_is_not_called_again() {
    let limits = Limits { cpu: Duration::from_secs(60), ..LIMITS };
    let component = load(r#"{"in": "process", "do": "spin"}"#, limits).await.unwrap();
    let mut link = component.start().await.unwrap();
    {
        // Dropped at the guest's first tick.
        let mut call = Box::pin(process(&mut *link));
        assert!(call.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(kind(answer(&mut *link).await), Some(FaultKind::Host));
    // Others are not concerned.
    let mut other = component.start().await.unwrap();
    assert_eq!(answer(&mut *other).await, Ok(()));
}

#[tokio::test]
async fn what_is_not_a_plugin_is_refused_with_the_cure() {
    let runtime = Runtime::new(RuntimeOptions { slots: 2, ..RuntimeOptions::default() }).unwrap();
    let imports = r#"(component (import "wasi:http/outgoing-handler@0.2.3" (instance)))"#;
    let truncated = guest("target/guests/fault.wasm")[..1000].to_vec();
    for (bytes, expected) in [
        (b"not wasm".to_vec(), "not a WebAssembly component"),
        (truncated, "not a WebAssembly component"),
        (wat::parse_str("(module)").unwrap(), "--target wasm32-wasip2"),
        (
            wat::parse_str(imports).unwrap(),
            "which is not granted; write [plugins.fault] grant = { http = [\"https://HOST\"] }",
        ),
        (
            wat::parse_str(imports.replace("http", "nn")).unwrap(),
            "imports `wasi:nn/outgoing-handler@0.2.3`, which this",
        ),
        (wat::parse_str("(component)").unwrap(), "not a plugin"),
    ] {
        let refused = runtime.load(&bytes, settings("{}", LIMITS)).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}
