//! What a `push` of the contract's shape costs, beside other shapes of the same call: `docs/design/001-push.md`.
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

use tokio::runtime::{self, Runtime};
use tokio::time::Instant;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

mod shapes {
    wasmtime::component::bindgen!({
        path: "../../tests/guests/shapes/wit",
        world: "guest",
        ownership: Borrowing { duplicate_if_necessary: true },
        exports: { default: async },
    });
}

/// A delta of the usual length, without a listed word.
const TEXT: &str = "a piece of text, ";
const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");

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
    shape(&rt);
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
