//! The parts of the gateway, each beside what it is measured by: `cargo bench --workspace --bench micro`,
//! behind `cargo xtask build-plugins`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rust_proxy_bench::bare;
use rust_proxy_bench::exchange::{self, Model};
use rust_proxy_bench::native::NativeMask;
use rust_proxy_bench::sample::{self, Space};
use rust_proxy_mask::{Matcher, Options, Scanner};
use rust_proxy_stream::lane::{Batch, Piece};
use rust_proxy_stream::sse::{Decoder, encode};
use rust_proxy_stream::stage::{Link, Plugin};
use rust_proxy_stream::upstream::{SignRequest, Signer as _};
use rust_proxy_wasm::{Limits, Runtime as Sandbox, SignerSettings};
use tokio::runtime::Runtime;

const DELTAS: usize = 500;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Server-sent events, and as the floor the copy of their bytes.
fn sse(c: &mut Criterion) {
    let input = sample::events(DELTAS, Space::Behind).concat();
    let mut group = c.benchmark_group("sse");
    group.throughput(Throughput::Elements(DELTAS as u64));
    group.bench_function("copy", |b| b.iter(|| black_box(black_box(input.as_bytes()).to_vec())));
    group.bench_function("decode", |b| {
        b.iter(|| {
            let mut decoder = Decoder::default();
            decoder.push(black_box(input.as_bytes()));
            while let Some(block) = decoder.next_block().expect("events") {
                black_box(block);
            }
        });
    });
    let data: Vec<_> = input.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    group.bench_function("encode", |b| {
        b.iter(|| data.iter().for_each(|data| _ = black_box(encode(None, black_box(data)))));
    });
    group.finish();
}

/// Whole streams in process: none, one, three and five links, native and in the sandbox; one event in each read of the
/// connection and sixteen; deltas that pass and deltas of which each holds something.
fn chains(c: &mut Criterion) {
    let (rt, sandbox) = (runtime(), exchange::sandbox());
    let mut group = c.benchmark_group("stream");
    group.throughput(Throughput::Elements(DELTAS as u64));
    for (name, in_each_read, space) in [
        ("1 a read", 1, Space::Behind),
        ("16 a read", 16, Space::Behind),
        ("1 a read, held", 1, Space::Before),
    ] {
        let mut run = |name: String, links: Vec<Arc<dyn Plugin>>| {
            let model = Model::new(links, DELTAS, in_each_read, space);
            group.bench_function(name, |b| b.iter(|| black_box(rt.block_on(model.run()))));
        };
        run(format!("{name}/no links"), Vec::new());
        for count in [1, 3, 5] {
            run(format!("{name}/{count} native"), exchange::native_links(count));
            run(format!("{name}/{count} sandboxed"), rt.block_on(exchange::wasm_links(&sandbox, count, 8)));
        }
    }
    group.finish();
}

/// A call with one delta: the search alone, a native link, a link in the sandbox, and wasmtime's own call.
fn masks(c: &mut Criterion) {
    let (rt, sandbox) = (runtime(), exchange::sandbox());
    let texts: Vec<String> = (0..24).map(|number| sample::delta(number, Space::Behind)).collect();
    let mut group = c.benchmark_group("mask");
    for count in [1, 1000, 100_000] {
        let words = sample::words(count);
        let matcher = Matcher::new(&words, Options::default()).expect("words");
        let (mut scanner, mut at) = (Scanner::new(), 0);
        group.bench_function(BenchmarkId::new("search alone", count), |b| {
            b.iter(|| {
                at = (at + 1) % texts.len();
                black_box(scanner.push(&matcher, &texts[at], false, |_| {}))
            });
        });
        let native = rt.block_on(exchange::opened(NativeMask::new("mask", &words).link()));
        link(&mut group, &rt, BenchmarkId::new("native link", count), native, &texts);
        let component = rt.block_on(exchange::component(&sandbox, count, 1));
        let sandboxed =
            rt.block_on(async { exchange::opened(component.start().await.expect("a link")).await });
        link(&mut group, &rt, BenchmarkId::new("sandboxed link", count), sandboxed, &texts);
        let mut session = rt.block_on(bare::Session::open(count));
        let mut at = 0;
        group.bench_function(BenchmarkId::new("bare call", count), |b| {
            b.iter(|| {
                at = (at + 1) % texts.len();
                black_box(rt.block_on(session.push(&texts[at])))
            });
        });
    }
    group.finish();
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn link(group: &mut Group<'_>, rt: &Runtime, id: BenchmarkId, mut link: Box<dyn Link>, texts: &[String]) {
    let (mut at, mut offset) = (0, 0_u32);
    group.bench_function(id, |b| {
        b.iter(|| {
            at = (at + 1) % texts.len();
            let text = texts[at].as_str();
            let batch = Batch { opened: &[], pieces: vec![Piece { lane: 0, offset, text }], closed: &[] };
            offset = offset.wrapping_add(u32::try_from(text.len()).expect("a short text"));
            black_box(rt.block_on(link.modifier().expect("a modifier").push(&batch)).expect("an outcome"))
        });
    });
}

/// What a stream costs before its first and behind its last event, and what it costs to make an instance ready.
fn beginnings(c: &mut Criterion) {
    let (rt, sandbox) = (runtime(), exchange::sandbox());
    let mut group = c.benchmark_group("beginning");
    for (name, links) in [
        ("no links", Vec::new()),
        ("3 native", exchange::native_links(3)),
        ("3 sandboxed, made for it", rt.block_on(exchange::wasm_links(&sandbox, 3, 0))),
    ] {
        let model = Model::new(links, 1, 1, Space::Behind);
        group
            .bench_function(format!("open and drop/{name}"), |b| b.iter(|| drop(rt.block_on(model.begin()))));
        group.bench_function(format!("open and close/{name}"), |b| {
            b.iter(|| black_box(rt.block_on(model.run())))
        });
    }
    let component = rt.block_on(exchange::component(&sandbox, 1000, 0));
    group.bench_function("an instance/configured once", |b| {
        b.iter(|| drop(rt.block_on(component.start()).expect("a link")));
    });
    group.finish();
}

/// A signature: natively, by a module of wasm-bindgen, and by a component.
fn signing(c: &mut Criterion) {
    const SIGNERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/signer/");
    let (rt, sandbox): (_, Sandbox) = (runtime(), exchange::sandbox());
    let mut group = c.benchmark_group("sign");
    let content = exchange::REQUEST;
    group.bench_function("native", |b| {
        let signed =
            rust_proxy_sign::Signed { nonce: "nonce", timestamp: "1764201600", device_id: "device", content };
        b.iter(|| black_box(rust_proxy_sign::sign(rust_proxy_sign::built_in_key(), black_box(&signed))));
    });
    let names = ["nonce", "timestamp", "device_id"];
    let request = SignRequest {
        method: "POST".to_owned(),
        url: "https://example.com/chat".to_owned(),
        headers: Vec::new(),
        parameters: names.map(|name| (name.to_owned(), "1764201600".to_owned())).into(),
        content: content.to_owned(),
    };
    for file in ["sign_bg.wasm", "sign.wasm"] {
        let settings = SignerSettings {
            name: "dev".to_owned(),
            limits: Limits {
                memory: 16 << 20,
                cpu: Duration::from_secs(1),
                wall: Duration::from_secs(20),
                output: 64 << 10,
                requests: 0,
                fetch: 0,
                log: 0,
            },
            config_json: "{}".to_owned(),
            export: None,
            arguments: names.into_iter().chain(["content"]).map(str::to_owned).collect(),
        };
        let bytes = std::fs::read(format!("{SIGNERS}{file}")).expect("run `cargo xtask build-plugins` first");
        let signer = rt.block_on(sandbox.load_signer(&bytes, settings)).expect("a signer");
        group.bench_function(file, |b| {
            b.iter(|| black_box(rt.block_on(signer.sign(&request)).expect("a signature")))
        });
    }
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(50).warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500));
    targets = sse, chains, masks, beginnings, signing
}
criterion_main!(all);
