//! What a `push` costs: through a link as the gateway uses it, beside the bare wasmtime call into the same
//! guest with the same payload, and for other shapes of the same call.
//!
//! `cargo xtask build-plugins && cargo bench -p rust-proxy-wasm`
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a benchmark")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on has to fail")]
#![expect(clippy::disallowed_methods, reason = "reads the guests that xtask built")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rust_proxy_stream::lane::{Batch, Channel, Lane, Piece};
use rust_proxy_stream::stage::{Context, Link, OnError, Plugin};
use rust_proxy_wasm::{Limits, Runtime, RuntimeOptions, Settings};
use tokio::runtime;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

mod contract {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "filter-plugin",
        ownership: Borrowing { duplicate_if_necessary: true },
        exports: { default: async },
    });
}
mod shapes {
    wasmtime::component::bindgen!({
        path: "../../tests/guests/shapes/wit",
        world: "guest",
        ownership: Borrowing { duplicate_if_necessary: true },
        exports: { default: async },
    });
}

use contract::rust_proxy::plugin::types;

/// A delta of the usual length, without a listed word.
const TEXT: &str = "a piece of text, ";
const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");

fn config_json() -> String {
    let words: Vec<String> = (0..1000).map(|number| format!("\"word{number}x\"")).collect();
    format!("{{\"words\":[{}]}}", words.join(","))
}

fn bytes(path: &str) -> Vec<u8> {
    std::fs::read(format!("{GUESTS}{path}")).expect("run `cargo xtask build-plugins` first")
}

fn lane() -> Lane {
    Lane { id: 0, choice: 0, part: 0, channel: Channel::Text, name: None }
}

/// A guest without any of our host code around it.
struct Bare {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Bare {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

fn bare(path: &str) -> (Store<Bare>, Component, Linker<Bare>) {
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::default()))
        .epoch_interruption(true)
        .concurrency_support(false);
    let engine = Engine::new(&config).unwrap();
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    let component = Component::new(&engine, bytes(path)).unwrap();
    let mut store = Store::new(&engine, Bare { wasi: WasiCtx::builder().build(), table: ResourceTable::new() });
    store.set_epoch_deadline(1_000_000);
    (store, component, linker)
}

fn push(c: &mut Criterion) {
    let rt = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("push of 1,000 words");
    for pieces in [1_usize, 8] {
        let text = TEXT.repeat(pieces);
        let step = u32::try_from(text.len()).unwrap();
        group.throughput(Throughput::Elements(pieces as u64));

        let mut link = rt.block_on(open_link());
        let mut offset = 0;
        group.bench_function(format!("link/{pieces}"), |b| {
            let modifier = link.modifier().unwrap();
            b.iter(|| {
                let batch = Batch { opened: &[], pieces: vec![Piece { lane: 0, offset, text: &text }], closed: &[] };
                offset = offset.wrapping_add(step);
                black_box(rt.block_on(modifier.push(&batch)).unwrap())
            });
        });

        let (mut store, component, linker) = bare("config/plugins/sensitive-word.wasm");
        let plugin = rt
            .block_on(contract::FilterPlugin::instantiate_async(&mut store, &component, &linker))
            .unwrap();
        let modifier = plugin.rust_proxy_plugin_response_modifier();
        rt.block_on(plugin.rust_proxy_plugin_lifecycle().call_configure(&mut store, &config_json())).unwrap().unwrap();
        let context =
            types::Context { request_id: "r", model: "m", dialect: "openai-chat", streaming: true, metadata: &[] };
        let session = rt.block_on(modifier.session().call_open(&mut store, context)).unwrap().unwrap();
        let opened =
            [types::Lane { id: 0, choice: 0, part: 0, channel: types::Channel::Text, name: None }];
        let first = types::Batch { opened: &opened, pieces: &[], closed: &[] };
        rt.block_on(modifier.session().call_push(&mut store, session, first)).unwrap().unwrap();
        let mut offset = 0;
        group.bench_function(format!("bare call/{pieces}"), |b| {
            b.iter(|| {
                let pieces = [types::Piece { lane: 0, offset, text: &text }];
                let batch = types::Batch { opened: &[], pieces: &pieces, closed: &[] };
                offset = offset.wrapping_add(step);
                black_box(rt.block_on(modifier.session().call_push(&mut store, session, batch)).unwrap().unwrap())
            });
        });
    }
    group.finish();
}

async fn open_link() -> Box<dyn Link> {
    let settings = Settings {
        name: "sensitive-word".to_owned(),
        config_json: config_json(),
        limits: Limits {
            memory: 16 << 20,
            cpu: Duration::from_millis(20),
            wall: Duration::from_millis(200),
            output: 1 << 20,
            requests: 0,
            fetch: 0,
        },
        on_error: OnError::FailClosed,
        ready: 1,
        fetch: None,
    };
    let runtime = Runtime::new(RuntimeOptions { slots: 10 }).unwrap();
    let plugin = runtime.load(&bytes("config/plugins/sensitive-word.wasm"), settings).await.unwrap();
    let mut link = plugin.start().await.unwrap();
    let context = Context {
        request_id: "r".to_owned(),
        model: "m".to_owned(),
        dialect: "openai-chat",
        streaming: true,
        metadata: Vec::new(),
    };
    let modifier = link.modifier().unwrap();
    modifier.open(&context).await.unwrap();
    modifier.push(&Batch { opened: &[lane()], pieces: Vec::new(), closed: &[] }).await.unwrap();
    // The engine's clock ends with the engine, which the link keeps.
    link
}

fn shape(c: &mut Criterion) {
    use shapes::exports::rust_proxy::shapes::shapes::{Batch, Piece};

    let rt = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut store, component, linker) = bare("target/guests/shapes.wasm");
    let guest = rt.block_on(shapes::Guest::instantiate_async(&mut store, &component, &linker)).unwrap();
    let guest = guest.rust_proxy_shapes_shapes();
    let mut group = c.benchmark_group("shape of push");
    let pieces = [Piece { lane: 0, offset: 0, text: TEXT }];
    let batch = || Batch { opened: &[], pieces: &pieces, closed: &[] };
    group.bench_function("lists", |b| {
        b.iter(|| black_box(rt.block_on(guest.call_lists(&mut store, batch())).unwrap().unwrap()));
    });
    group.bench_function("maybe", |b| {
        b.iter(|| black_box(rt.block_on(guest.call_maybe(&mut store, batch())).unwrap().unwrap()));
    });
    group.bench_function("one", |b| {
        b.iter(|| black_box(rt.block_on(guest.call_one(&mut store, 0, 0, TEXT)).unwrap().unwrap()));
    });
    group.bench_function("bare", |b| {
        b.iter(|| black_box(rt.block_on(guest.call_bare(&mut store, TEXT)).unwrap()));
    });
    group.finish();
}

criterion_group!(benches, push, shape);
criterion_main!(benches);
