//! Calls into links, each timed by itself: percentiles, not means.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use rust_proxy_bench::bare;
use rust_proxy_bench::exchange::{self, Model};
use rust_proxy_bench::native::NativeMask;
use rust_proxy_bench::sample::{self, Space};
use rust_proxy_stream::lane::{Batch, Piece};
use rust_proxy_stream::stage::{Link, Plugin};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::load::Spread;

/// Nanoseconds of one call, by what was called.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Calls(pub(crate) Vec<(String, Spread)>);

const ROUNDS: usize = 40;
const CALLS: usize = 500;

pub(crate) const LINK: [&str; 2] = ["link, 1 delta", "link, 8 deltas in one push"];
pub(crate) const BARE: [&str; 2] = ["bare call, 1 delta", "bare call, 8 deltas in one push"];
pub(crate) const NATIVE: [&str; 2] = ["native link, 1 delta", "native link, 8 deltas in one push"];
pub(crate) const CHAIN: &str = "three links, 1 delta";
pub(crate) const CHAIN_NATIVE: &str = "three native links, 1 delta";
pub(crate) const OPEN_WITHOUT: &str = "a stream without links, opened";
pub(crate) const OPEN: &str = "a stream with three links, opened";
pub(crate) const REFILL: &str = "an instance dropped, and the next one made ready";
pub(crate) const REFILL_BARE: &str = "a bare instance made, called once and dropped";

type Case<'a> = (&'static str, usize, Box<dyn FnMut() + 'a>);

pub(crate) fn measure(quick: bool) -> Result<Calls> {
    let rt = &tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sandbox = exchange::sandbox();
    let component = rt.block_on(exchange::component(&sandbox, 1000, 1));
    let ready = rt.block_on(exchange::component(&sandbox, 1000, 1));
    let bare = bare::Instances::pooled();
    let native = NativeMask::new("sensitive-word", &sample::words(1000));
    let sandboxed =
        || rt.block_on(async { exchange::opened(component.start().await.expect("a link")).await });
    let twin = || rt.block_on(exchange::opened(native.link()));
    let mut cases: Vec<Case<'_>> = Vec::new();
    for (place, joined) in [1, 8].into_iter().enumerate() {
        cases.push((LINK[place], CALLS, push(rt, vec![sandboxed()], joined)));
        cases.push((NATIVE[place], CALLS, push(rt, vec![twin()], joined)));
        let (mut session, texts) = (rt.block_on(bare::Session::open(1000)), texts(joined));
        let mut at = 0;
        let call = move || {
            at = (at + 1) % texts.len();
            rt.block_on(session.push(&texts[at]));
        };
        cases.push((BARE[place], CALLS, Box::new(call)));
    }
    cases.push((CHAIN, CALLS, push(rt, (0..3).map(|_| sandboxed()).collect(), 1)));
    cases.push((CHAIN_NATIVE, CALLS, push(rt, (0..3).map(|_| twin()).collect(), 1)));
    let refill = || {
        drop(rt.block_on(ready.start()).expect("a link"));
        // A task makes the next one.
        while ready.instances().live == 0 {
            rt.block_on(tokio::task::yield_now());
        }
    };
    cases.push((REFILL, CALLS / 10, Box::new(refill)));
    cases.push((REFILL_BARE, CALLS / 10, Box::new(|| _ = rt.block_on(bare.once()))));
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    for _ in 0..if quick { 2 } else { ROUNDS } {
        for ((_, calls, call), times) in cases.iter_mut().zip(&mut times) {
            for _ in 0..*calls {
                let began = Instant::now();
                call();
                times.push(began.elapsed().as_secs_f64() * 1e9);
            }
        }
    }
    let names = cases.into_iter().map(|(name, ..)| name.to_owned());
    let mut calls: Vec<_> = names.zip(times.into_iter().map(Spread::of)).collect();
    calls.extend(open(rt, &sandbox, quick));
    Ok(Calls(calls))
}

/// Texts of so many deltas each.
fn texts(joined: usize) -> Vec<String> {
    let text = |group: usize| {
        // The first deltas of an answer, none of which is a listed word.
        let deltas = (0..joined).map(|at| sample::delta((group * joined + at) % 24, Space::Behind));
        deltas.collect()
    };
    (0..24).map(text).collect()
}

/// A push of new text through links, one behind the other.
fn push<'a>(rt: &'a Runtime, mut links: Vec<Box<dyn Link>>, joined: usize) -> Box<dyn FnMut() + 'a> {
    let texts = texts(joined);
    let (mut at, mut offset) = (0, 0_u32);
    Box::new(move || {
        at = (at + 1) % texts.len();
        let text = texts[at].as_str();
        for link in &mut links {
            let modifier = link.modifier().expect("a modifier");
            let batch = Batch { opened: &[], pieces: vec![Piece { lane: 0, offset, text }], closed: &[] };
            black_box(rt.block_on(modifier.push(&batch)).expect("an outcome"));
        }
        offset = offset.wrapping_add(u32::try_from(text.len()).unwrap_or_default());
    })
}

/// Exchanges from their request until the sessions of their links are open, without links and with three that are
/// ready.
fn open(rt: &Runtime, sandbox: &rust_proxy_wasm::Runtime, quick: bool) -> [(String, Spread); 2] {
    const AT_ONCE: usize = 10;
    let components: Vec<_> =
        (0..3).map(|_| rt.block_on(exchange::component(sandbox, 1000, AT_ONCE))).collect();
    let links = components.iter().map(|component| Arc::new(component.clone()) as Arc<dyn Plugin>).collect();
    let models = [Vec::new(), links].map(|links| Model::new(links, 1, 1, Space::Behind));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..if quick { 2 } else { 100 } {
        for (model, times) in models.iter().zip(&mut times) {
            // Instances are made ready by tasks, which run while this waits, and not while the time is taken.
            while components.iter().any(|component| component.instances().live < AT_ONCE as u64) {
                rt.block_on(tokio::task::yield_now());
            }
            let mut begun = Vec::new();
            for _ in 0..AT_ONCE {
                let began = Instant::now();
                begun.push(rt.block_on(model.begin()));
                times.push(began.elapsed().as_secs_f64() * 1e9);
            }
        }
    }
    let [without, with] = times.map(Spread::of);
    [(OPEN_WITHOUT.to_owned(), without), (OPEN.to_owned(), with)]
}
