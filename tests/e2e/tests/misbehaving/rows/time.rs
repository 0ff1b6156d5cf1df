//! Guests that do not come to an end.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::{TIGHT, early, late};
use crate::bench::{Bench, Plugins, Saw, TEXT, ask};
use crate::heart::Heart;

/// As many as there are workers, twice.
const AT_ONCE: usize = 4;

pub(super) fn plugins(plugins: Plugins) -> Plugins {
    // 13 MiB, filled many times, with neither a loop nor a call.
    let fill = "(memory.fill (i32.const 1024) (i32.const 0) (i32.const 13630000))";
    let fills = Heart { pages: 210, process: fill.repeat(2000) + "(i32.const 0)", ..Heart::default() };
    let processed = Heart { processed: "(loop (br 0))", ..Heart::default() };
    let realloc = Heart { realloc: "(loop (br 0)) (unreachable)".to_owned(), ..Heart::default() };
    let tail = Heart {
        more: "(func $again (result i32) (return_call $again))",
        process: "(call $again)".to_owned(),
        ..Heart::default()
    };
    plugins
        .heart("straight", TIGHT, &fills)
        .heart("tail-calls", TIGHT, &tail)
        .heart("post-return", TIGHT, &processed)
        .heart("realloc-spins", TIGHT, &realloc)
}

pub(crate) async fn run(bench: &mut Bench) {
    let cpu = "cpu limit: more than 20ms";
    for (promise, order, log, client) in [
        ("an endless loop in `process`", r#"{"in": "process", "do": "spin"}"#, "process: ", None),
        ("an endless loop in `open`", r#"{"in": "open", "do": "spin"}"#, "open: ", None),
        ("an endless loop in `push`", r#"{"do": "spin"}"#, "modify: ", None),
        ("an endless loop in `finish`", r#"{"in": "finish", "do": "spin"}"#, "finish: ", Some(TEXT.concat())),
    ] {
        let log = format!("{log}{cpu}").leak();
        let expected = client.map_or(early(log, "cpu limit"), |text| late(&text, log, "cpu limit"));
        bench.fails(promise, "fault-tight", order, expected).await;
    }
    several(bench).await;
    spinning(bench).await;
    bench
        .fails(
            "an endless loop within its CPU time",
            "fault-wall",
            r#"{"do": "spin"}"#,
            early("modify: wall limit: more than 200ms", "wall limit"),
        )
        .await;
    for (promise, plugin) in [
        ("long work without a loop or a call", "straight"),
        ("an endless chain of tail calls", "tail-calls"),
        ("an endless loop after its answer (`post-return`)", "post-return"),
        ("an endless loop where the host asks for room (`realloc`)", "realloc-spins"),
    ] {
        bench.always_fails(promise, plugin, early("process: cpu limit: more than 20ms", "cpu limit")).await;
    }
}

/// More at once than there are workers, each until its CPU time is gone.
async fn several(bench: &mut Bench) {
    let promise = "endless loops, four at once on two workers";
    let expected = early("modify: cpu limit: more than 20ms", "cpu limit");
    bench.fails_times(AT_ONCE, promise, "fault-tight", r#"{"do": "spin"}"#, &expected).await;
    bench.is_harmless("fault-tight").await;
    bench.row(
        promise,
        "500 `plugin_failed` each",
        "`modify: cpu limit: more than 20ms` each",
        "4 × cpu limit",
    );
}

/// More at once than there are workers, for as long as their clients stay.
async fn spinning(bench: &mut Bench) {
    let before = bench.gateway.account("fault-long");
    let spins = |_| {
        let gateway = Arc::clone(&bench.gateway);
        tokio::spawn(async move { ask(&gateway, "fault-long", r#"{"in": "process", "do": "spin"}"#).await })
    };
    let spinning: Vec<JoinHandle<Saw>> = (0..AT_ONCE).map(spins).collect();
    for _ in 0..5 {
        bench.step().await;
    }
    assert!(spinning.iter().all(|spinning| !spinning.is_finished()), "it came after the guests were ended");
    // Their clients leave, and with them the guests.
    spinning.iter().for_each(JoinHandle::abort);
    while bench.gateway.account("fault-long").exchanges < before.exchanges + AT_ONCE as u64 {
        bench.step().await;
    }
    assert_eq!(bench.gateway.account("fault-long").failures, before.failures);
    bench.is_harmless("fault-long").await;
    let promise = "endless loops, four at once on two workers, while their clients stay";
    bench.row(promise, "left", "`link done`", "4 exchanges, none failed");
}
