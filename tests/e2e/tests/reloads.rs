//! A thousand open streams across twenty reloads: none fails, and of the old generations nothing is left.
//!
//! In a process of its own, since it looks at the process's memory. The figures:
//! `cargo test --workspace --test reloads -- --nocapture`.

// Lets lints know that all of it is tests, helpers too.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "looks at the process itself, and shows it"
)]

use std::fs;
use std::time::Duration;

use rust_proxy_core::Reload;
use rust_proxy_testkit::{Gate, Response, Script, ScriptedUpstream, Setup, TestGateway, deltas};

const STREAMS: usize = 1000;
const RELOADS: usize = 20;
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Whole streams of each generation, meanwhile.
const QUICK: usize = 5;

fn words(generation: usize) -> Vec<u8> {
    format!("secret\nword{generation}\n").into_bytes()
}

/// A stream of `m` that has begun: half a word is held.
async fn open(gateway: &TestGateway) -> Response {
    let mut response = gateway.ask("hello").await;
    while !response.event().await.expect("an open stream").contains("One") {}
    response
}

/// Resident memory, in MiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
}

/// Instances of these generations.
fn live(gateway: &TestGateway, of: impl Fn(u64) -> bool) -> u64 {
    let generations = gateway.reloader.engine().plugin_generations();
    generations.iter().filter(|it| of(it.generation)).map(|it| it.instances.live).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_outlive_twenty_reloads() {
    let gate = Gate::new();
    let long =
        Script::stream().delta("One").delta(" sec").wait_for(&gate).delta("ret more").finish("stop").done();
    let long = ScriptedUpstream::start([long]).await;
    let quick = ScriptedUpstream::start([Script::says(["a secret wo", "rd7"])]).await;
    let setup = Setup::new()
        .upstream(&long)
        // The machine may be busy.
        .provider("timeouts = { idle_ms = 600_000 }")
        .variable("QUICK", &quick.url())
        .plugins(&["sensitive-word"])
        .server(&format!("streams_max = {}", STREAMS + 1))
        .toml(
            "[plugins.sensitive-word]\nlimits = { cpu = '5s', wall = '60s' }\n\
             config = { words = { file = 'words.txt' } }\n[models.quick]\npipeline = 'p'\nrouting = ['p']\n\
             [models.quick.providers.p]\ntype = 'openai'\napi_base = 'env::QUICK'\napi_key_location = 'none'",
        )
        .file("words.txt", words(0));
    let gateway = setup.start().await;
    println!("before: {} MiB", memory());
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(open(&gateway).await);
    }
    println!("{STREAMS} streams are open: {} MiB, {} instances", memory(), live(&gateway, |_| true));
    for reload in 1..=RELOADS {
        gateway.put("words.txt", &words(reload));
        let reloaded = gateway.reloader.reload("a test").await.expect("a reload");
        assert!(matches!(reloaded, Reload::Changed { .. }), "{reloaded:?}");
        for _ in 0..QUICK {
            let body = gateway.ask_model("quick", "hello").await.body().await;
            assert_eq!(deltas(&body), if reload == 7 { "a ****** *****" } else { "a ****** word7" });
            assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
        }
    }
    // What is replaced keeps none ready: of the old there are those at work, though their streams go on.
    let present = gateway.reloader.engine().generation();
    let at_work = async {
        while live(&gateway, |generation| generation != present) != STREAMS as u64 {
            tokio::task::yield_now().await;
        }
    };
    let old = || live(&gateway, |generation| generation != present);
    tokio::time::timeout(PATIENCE, at_work)
        .await
        .unwrap_or_else(|_| panic!("{} instances of the old", old()));
    println!("after {RELOADS} reloads: {} MiB, {} instances", memory(), live(&gateway, |_| true));
    streams.iter().for_each(|_| gate.open());
    let mut failed = 0;
    for response in streams {
        let body = response.body().await;
        failed += usize::from(deltas(&body) != " ****** more" || !body.ends_with("data: [DONE]\n\n"));
    }
    let old = old();
    println!("after their end: {failed} failed, {old} instances of old generations, {} MiB", memory());
    assert_eq!((failed, old, present), (0, 0, 1 + RELOADS as u64));
}
