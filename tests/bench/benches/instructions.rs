//! Instructions, which do not depend on what else a machine does: `cargo bench --workspace --bench
//! instructions`, with valgrind and `cargo install gungraun-runner` of the same version.
//!
//! Each case runs at 200 and at 1,000 deltas: the difference is 800 deltas without what is around them.
#![expect(missing_docs, reason = "gungraun's macros make public functions")]

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use rust_proxy_bench::bare;
use rust_proxy_bench::exchange::{self, Model};
use rust_proxy_bench::sample::{self, Space};
use rust_proxy_mask::{Matcher, Options, Scanner};
use rust_proxy_stream::sse::Decoder;
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn model(links: usize, deltas: usize, in_each_read: usize, space: Space) -> (Runtime, Model) {
    (runtime(), Model::new(exchange::native_links(links), deltas, in_each_read, space))
}

#[library_benchmark]
#[bench::none_200(model(0, 200, 1, Space::Behind))]
#[bench::none_1000(model(0, 1000, 1, Space::Behind))]
#[bench::none_sixteen_a_read_200(model(0, 200, 16, Space::Behind))]
#[bench::none_sixteen_a_read_1000(model(0, 1000, 16, Space::Behind))]
#[bench::three_200(model(3, 200, 1, Space::Behind))]
#[bench::three_1000(model(3, 1000, 1, Space::Behind))]
#[bench::three_held_200(model(3, 200, 1, Space::Before))]
#[bench::three_held_1000(model(3, 1000, 1, Space::Before))]
fn stream((rt, model): (Runtime, Model)) -> Vec<u8> {
    black_box(rt.block_on(model.run()))
}

#[library_benchmark]
#[bench::events_200(sample::events(200, Space::Behind).concat())]
#[bench::events_1000(sample::events(1000, Space::Behind).concat())]
fn decode(input: String) {
    let mut decoder = Decoder::default();
    decoder.push(black_box(input.as_bytes()));
    while let Some(block) = decoder.next_block().expect("events") {
        black_box(block);
    }
}

fn search(words: usize, deltas: usize) -> (Matcher, Vec<String>) {
    let matcher = Matcher::new(&sample::words(words), Options::default()).expect("words");
    (matcher, (0..deltas).map(|number| sample::delta(number, Space::Behind)).collect())
}

#[library_benchmark]
#[bench::words_1000_deltas_200(search(1000, 200))]
#[bench::words_1000_deltas_1000(search(1000, 1000))]
fn mask((matcher, deltas): (Matcher, Vec<String>)) {
    let mut scanner = Scanner::new();
    for delta in &deltas {
        black_box(scanner.push(&matcher, delta, false, |_| {}));
    }
}

fn session(deltas: usize) -> (Runtime, bare::Session, Vec<String>) {
    let rt = runtime();
    let session = rt.block_on(bare::Session::open_on_demand(1000));
    (rt, session, (0..deltas).map(|number| sample::delta(number, Space::Behind)).collect())
}

#[library_benchmark]
#[bench::deltas_200(session(200))]
#[bench::deltas_1000(session(1000))]
fn bare_call((rt, mut session, deltas): (Runtime, bare::Session, Vec<String>)) {
    for delta in &deltas {
        black_box(rt.block_on(session.push(delta)));
    }
}

library_benchmark_group!(name = all; benchmarks = stream, decode, mask, bare_call);
main!(library_benchmark_groups = all);
