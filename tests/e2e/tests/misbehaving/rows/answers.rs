//! Guests that fail, or give answers that are none.

use std::sync::Arc;

use super::{ROOMY, TIGHT, broken, early, processes, trap};
use crate::bench::{Bench, Expected, Plugins, Saw, TEXT, ask, printed};
use crate::heart::Heart;

pub(super) fn plugins(plugins: Plugins) -> Plugins {
    let answer = |stores: &str| processes(&format!("{stores} (i32.const 512)"));
    let store = |at: u32, value: i64| format!("(i32.store (i32.const {at}) (i32.const {value}))");
    let realloc = |at: &str| Heart { realloc: at.to_owned(), ..Heart::default() };
    // The findings of a decision: 20,000 of one text of 64 KiB.
    let amplified = Heart {
        pages: 20,
        process: "(local.set $i (i32.const 131072))
            (loop
                (i32.store offset=12 (local.get $i) (i32.const 589824))
                (i32.store offset=16 (local.get $i) (i32.const 65536))
                (local.set $i (i32.add (local.get $i) (i32.const 20)))
                (br_if 0 (i32.lt_u (local.get $i) (i32.const 531072))))
            (i32.store (i32.const 536) (i32.const 131072)) (i32.store (i32.const 540) (i32.const 20000))
            (i32.const 512)"
            .to_owned(),
        ..Heart::default()
    };
    plugins
        .heart("not-utf8", TIGHT, &answer(&[store(512, 1), store(516, 600), store(520, 1), store(600, 255)].concat()))
        .heart("no-such-case", TIGHT, &answer(&store(512, 9)))
        .heart("far-away", TIGHT, &processes("(i32.const -16)"))
        .heart("long-list", TIGHT, &answer(&[store(516, 1024), store(520, 0x7fff_ffff)].concat()))
        .heart("amplified", ROOMY, &amplified)
        .heart("sessions", ROOMY, &processes("(loop (drop (call $new (i32.const 7))) (br 0)) (unreachable)"))
        .heart("realloc-beyond", TIGHT, &realloc("(i32.const -16)"))
        .heart("realloc-odd", TIGHT, &realloc("(i32.const 4097)"))
        .heart("realloc-calls", TIGHT, &realloc("(call $environment (i32.const 512)) (i32.const 4096)"))
        .heart("no-session", TIGHT, &Heart { open: "(i32.store (i32.const 260) (i32.const 77)) (i32.const 256)", ..Heart::default() })
        .heart(
            "dropped-session",
            TIGHT,
            &Heart {
                open: "(i32.store (i32.const 260) (call $new (i32.const 7))) (call $drop (i32.load (i32.const 260))) (i32.const 256)",
                ..Heart::default()
            },
        )
        .heart("drops-session", TIGHT, &Heart { push: "(call $drop (i32.const 1)) (i32.const 0)", ..Heart::default() })
}

pub(crate) async fn run(bench: &mut Bench) {
    for (promise, order, expected) in failures() {
        bench.fails(promise, "fault", order, expected).await;
    }
    held(bench).await;
    for (promise, plugin, expected) in malformed() {
        bench.always_fails(promise, plugin, expected).await;
    }
    flood(bench, "a flood of lines", r#"{"in": "process", "do": "print"}"#).await;
    findings(bench).await;
}

fn failures() -> Vec<(&'static str, &'static str, Expected)> {
    let unreachable = |stage, left| trap(stage, "wasm `unreachable` instruction executed", left);
    let all = TEXT.concat();
    vec![
        ("a trap in `process`", r#"{"in": "process", "do": "trap"}"#, unreachable("process", None)),
        ("a trap in `open`", r#"{"in": "open", "do": "trap"}"#, unreachable("open", None)),
        ("a trap in `push`", r#"{"do": "trap"}"#, unreachable("modify", None)),
        ("a trap in `finish`", r#"{"in": "finish", "do": "trap"}"#, unreachable("finish", Some(&all))),
        ("an error of its own", r#"{"do": "error"}"#, early("modify: failed: failed on order", "failed")),
        (
            "an edit out of range",
            r#"{"do": "edit-out-of-range"}"#,
            broken("modify", "lane 0: edit 3..4 is not sorted, overlaps, or is not within 0..3"),
        ),
        (
            "an edit within a character",
            r#"{"do": "edit-off-boundary"}"#,
            broken("modify", "lane 0: edit 2..2 is not on character boundaries"),
        ),
        (
            "edits in the wrong order",
            r#"{"do": "edit-unsorted"}"#,
            broken("modify", "lane 0: edit 0..0 is not sorted, overlaps, or is not within 3..3"),
        ),
        (
            "an edit of a lane that is not there",
            r#"{"do": "unknown-lane"}"#,
            broken("modify", "an edit or a hold of a lane that is not in the batch"),
        ),
        (
            "an answer that is too large",
            r#"{"do": "output"}"#,
            early("modify: output limit: more than 1048576 bytes", "output limit"),
        ),
    ]
}

/// What it held when it failed never leaves.
async fn held(bench: &mut Bench) {
    let promise = "a trap while it holds text";
    let before = bench.gateway.account("fault").dropped;
    let expected = trap("modify", "wasm `unreachable` instruction executed", Some(TEXT[0]));
    bench.fails(promise, "fault", r#"{"do": "trap", "at": 2, "hold": 1}"#, expected).await;
    let held = TEXT[1..].concat().len() as u64;
    assert_eq!(bench.gateway.account("fault").dropped - before, held, "{promise}");
}

/// Answers that are none, and abuse of the ways in which host and guest pass values.
fn malformed() -> Vec<(&'static str, &'static str, Expected)> {
    vec![
        (
            "a text that is not UTF-8",
            "not-utf8",
            broken("process", "invalid utf-8 sequence of 1 bytes from index 0"),
        ),
        ("an answer of no known case", "no-such-case", broken("process", "invalid expected discriminant")),
        ("an answer outside of its memory", "far-away", broken("process", "pointer out of bounds of memory")),
        (
            "a list that is longer than its memory",
            "long-list",
            broken("process", "list pointer/length out of bounds of memory"),
        ),
        (
            "a list that repeats one long text",
            "amplified",
            early("process: output limit: more than 1048576 bytes", "output limit"),
        ),
        (
            "room outside of its memory (`realloc`)",
            "realloc-beyond",
            broken("process", "realloc return: beyond end of memory"),
        ),
        (
            "room that is not aligned (`realloc`)",
            "realloc-odd",
            broken("process", "realloc return: result not aligned"),
        ),
        (
            "a host call where the host asks for room (`realloc`)",
            "realloc-calls",
            trap("process", "cannot leave component instance", None),
        ),
        (
            "sessions without end",
            "sessions",
            broken("process", "cannot allocate another handle: store handle limit exceeded"),
        ),
        ("a session that it never made", "no-session", broken("open", "unknown handle index 77")),
        ("a session that it dropped", "dropped-session", broken("open", "unknown handle index 1")),
        ("dropping the host's session", "drops-session", broken("modify", "unknown handle index 1")),
    ]
}

/// Lines are cut off, the exchange is not.
async fn flood(bench: &mut Bench, promise: &'static str, order: &str) {
    let behind = bench.log.length();
    let gateway = Arc::clone(&bench.gateway);
    let saw = bench.beside(ask(&gateway, "fault", order)).await;
    assert_eq!(saw, Saw::Whole, "{promise}");
    let lines = bench.log.of("fault", behind);
    let printed = printed(&lines);
    assert_eq!(printed.len(), 100, "{promise}");
    assert!(printed.iter().all(|line| !line.contains(char::is_control)), "{promise}: {printed:?}");
    let rest = lines.iter().filter(|line| line.message.contains("the rest is dropped")).count();
    assert_eq!(rest, 1, "{promise}");
    bench.row(
        promise,
        "all of the answer",
        "100 lines, `more than 100 lines printed, the rest is dropped`",
        "none failed",
    );
}

/// Findings are counted, and not all of them logged.
async fn findings(bench: &mut Bench) {
    let promise = "a flood of findings";
    let (before, behind) = (bench.gateway.account("fault"), bench.log.length());
    let gateway = Arc::clone(&bench.gateway);
    let saw = bench.beside(ask(&gateway, "fault", r#"{"do": "findings"}"#)).await;
    assert_eq!(saw, Saw::Whole, "{promise}");
    let lines = bench.log.of("fault", behind);
    let logged = lines.iter().filter(|line| line.message == "finding").count();
    let rest = lines.iter().filter(|line| line.message.contains("the rest is counted, not logged")).count();
    let counted = bench.gateway.account("fault").answer.findings - before.answer.findings;
    assert!(counted >= 10_000 && logged == 100 && rest == 1, "{promise}: {logged} of {counted} logged");
    let log = "100 lines, `more than 100 findings; the rest is counted, not logged`";
    bench.row(promise, "all of the answer", log, "none failed");
}
