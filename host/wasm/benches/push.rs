//! What a `push` costs: through a link as the gateway uses it, beside the bare wasmtime call into the same
//! guest with the same payload, and for other shapes of the same call.
//!
//! `cargo xtask build-plugins && cargo bench -p rust-proxy-wasm`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark"
)]
#![expect(clippy::disallowed_methods, reason = "reads the guests that xtask built")]

use std::hint::black_box;
use std::time::Duration;

use rust_proxy_stream::lane::{Batch, Channel, Lane, Piece};
use rust_proxy_stream::stage::{Context, Link, OnError, Plugin};
use rust_proxy_wasm::{Limits, Runtime as Sandbox, RuntimeOptions, Settings};
use tokio::runtime::{self, Runtime};
use tokio::time::Instant;
use wasmtime::component::{Component, Linker, ResourceAny, ResourceTable};
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
    let mut store =
        Store::new(&engine, Bare { wasi: WasiCtx::builder().build(), table: ResourceTable::new() });
    store.set_epoch_deadline(1_000_000);
    (store, component, linker)
}

/// One thing that is measured: a call to make.
type Case<'a> = (String, Box<dyn FnMut() + 'a>);

const ROUNDS: usize = 300;
const CALLS: u32 = 500;

/// Runs the cases in turn, round by round, so that all meet the same noise; prints the median and the least
/// time of a call.
fn compare(title: &str, mut cases: Vec<Case<'_>>) {
    let mut times: Vec<Vec<f64>> = vec![Vec::with_capacity(ROUNDS); cases.len()];
    for _ in 0..ROUNDS {
        for ((_, call), times) in cases.iter_mut().zip(&mut times) {
            let start = Instant::now();
            for _ in 0..CALLS {
                call();
            }
            times.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
        }
    }
    println!(
        "{title}: nanoseconds a call, {ROUNDS} rounds of {CALLS}\n{:24}{:>8}{:>8}",
        "", "median", "least"
    );
    for ((name, _), mut times) in cases.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        println!("{name:24}{:8.0}{:8.0}", times[ROUNDS / 2], times[0]);
    }
}

fn main() {
    let rt = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    push(&rt);
    shape(&rt);
}

/// A lane's next pieces.
fn offsets(step: usize) -> impl FnMut() -> u32 {
    let mut offset = 0_u32;
    move || {
        let now = offset;
        offset = offset.wrapping_add(u32::try_from(step).unwrap());
        now
    }
}

fn push(rt: &Runtime) {
    let mut cases: Vec<Case<'_>> = Vec::new();
    for pieces in [1_usize, 8] {
        let text = TEXT.repeat(pieces);
        let mut link = rt.block_on(open_link());
        let mut next = offsets(text.len());
        let piece = text.clone();
        cases.push((
            format!("link, {pieces} deltas"),
            Box::new(move || {
                let batch = Batch {
                    opened: &[],
                    pieces: vec![Piece { lane: 0, offset: next(), text: &piece }],
                    closed: &[],
                };
                black_box(rt.block_on(link.modifier().unwrap().push(&batch)).unwrap());
            }),
        ));
        let (mut store, plugin, session) = rt.block_on(open_bare());
        let mut next = offsets(text.len());
        cases.push((
            format!("bare call, {pieces} deltas"),
            Box::new(move || {
                let pieces = [types::Piece { lane: 0, offset: next(), text: &text }];
                let batch = types::Batch { opened: &[], pieces: &pieces, closed: &[] };
                let modifier = plugin.rust_proxy_plugin_response_modifier().session();
                black_box(rt.block_on(modifier.call_push(&mut store, session, batch)).unwrap().unwrap());
            }),
        ));
    }
    compare("push into sensitive-word with 1,000 words", cases);
}

async fn open_bare() -> (Store<Bare>, contract::FilterPlugin, ResourceAny) {
    let (mut store, component, linker) = bare("config/plugins/sensitive-word.wasm");
    let plugin = contract::FilterPlugin::instantiate_async(&mut store, &component, &linker).await.unwrap();
    plugin.rust_proxy_plugin_lifecycle().call_configure(&mut store, &config_json()).await.unwrap().unwrap();
    let modifier = plugin.rust_proxy_plugin_response_modifier().session();
    let context = types::Context {
        request_id: "r",
        model: "m",
        dialect: "openai-chat",
        streaming: true,
        metadata: &[],
    };
    let session = modifier.call_open(&mut store, context).await.unwrap().unwrap();
    let opened =
        [types::Lane { id: 0, choice: 0, part: 0, channel: types::Channel::Text, name: None, pointer: None }];
    let first = types::Batch { opened: &opened, pieces: &[], closed: &[] };
    modifier.call_push(&mut store, session, first).await.unwrap().unwrap();
    (store, plugin, session)
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
            log: 0,
        },
        on_error: OnError::FailClosed,
        ready: 1,
        fetch: None,
        directories: Vec::new(),
        kv: None,
        total: Default::default(),
    };
    let sandbox = Sandbox::new(RuntimeOptions { slots: 10, ..RuntimeOptions::default() }).unwrap();
    let plugin = sandbox.load(&bytes("config/plugins/sensitive-word.wasm"), settings).await.unwrap();
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
    let lane = Lane { id: 0, choice: 0, part: 0, channel: Channel::Text, name: None, pointer: None };
    modifier.push(&Batch { opened: &[lane], pieces: Vec::new(), closed: &[] }).await.unwrap();
    link
}

fn shape(rt: &Runtime) {
    use shapes::exports::rust_proxy::shapes::shapes::{Batch, Guest, Piece};

    let open = || {
        let (mut store, component, linker) = bare("target/guests/shapes.wasm");
        let guest = rt.block_on(shapes::Guest::instantiate_async(&mut store, &component, &linker)).unwrap();
        (store, guest)
    };
    let mut cases: Vec<Case<'_>> = Vec::new();
    let mut case = |name: &str, call: fn(&Runtime, &Guest, &mut Store<Bare>)| {
        let (mut store, guest) = open();
        cases.push((
            name.to_owned(),
            Box::new(move || call(rt, guest.rust_proxy_shapes_shapes(), &mut store)),
        ));
    };
    case("lists in and out", |rt, guest, store| {
        let batch = Batch { opened: &[], pieces: &[Piece { lane: 0, offset: 0, text: TEXT }], closed: &[] };
        black_box(rt.block_on(guest.call_lists(store, batch)).unwrap().unwrap());
    });
    case("lists in, maybe out", |rt, guest, store| {
        let batch = Batch { opened: &[], pieces: &[Piece { lane: 0, offset: 0, text: TEXT }], closed: &[] };
        black_box(rt.block_on(guest.call_maybe(store, batch)).unwrap().unwrap());
    });
    case("one piece in, lists out", |rt, guest, store| {
        black_box(rt.block_on(guest.call_one(store, 0, 0, TEXT)).unwrap().unwrap());
    });
    case("a string each way", |rt, guest, store| {
        black_box(rt.block_on(guest.call_bare(store, TEXT)).unwrap());
    });
    compare("shapes of push", cases);
}
