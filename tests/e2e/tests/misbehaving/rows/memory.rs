//! Guests that want more room than they have.

use super::{ROOMY, TIGHT, early, late, processes, trap};
use crate::bench::{Bench, Plugins, TEXT};
use crate::heart::{Heart, with_another};

const SMALL: &str = "memory = '2MiB', cpu = '5s', wall = '20s', output = '64KiB'";

pub(super) fn plugins(plugins: Plugins) -> Plugins {
    let grow = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)";
    // 1.1 MiB in the one, 1.5 MiB in the other.
    let both = processes("(drop (memory.grow (i32.const 16))) (i32.const 0)");
    let one = both.plugin();
    let both = with_another(one.clone(), "(module (memory 24))");
    let table = Heart {
        more: "(table $t 0 funcref)",
        process: "(loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) (unreachable)"
            .to_owned(),
        ..Heart::default()
    };
    let deep = Heart {
        realloc: "(call $realloc (local.get 0) (local.get 1) (local.get 2) (local.get 3))".to_owned(),
        ..Heart::default()
    };
    let drops = Heart {
        process: "(call $drop (call $new (i32.const 7))) (i32.const 0)".to_owned(),
        destroy: "(call $drop (call $new (i32.const 7)))",
        ..Heart::default()
    };
    plugins
        .heart("destructor", ROOMY, &drops)
        .heart("grows", SMALL, &processes(grow))
        .component("one-memory", SMALL, one)
        .component("two-memories", SMALL, both)
        .heart("table", TIGHT, &table)
        .heart("realloc-recurses", ROOMY, &deep)
}

pub(crate) async fn run(bench: &mut Bench) {
    let memory = "memory limit: more than 4194304 bytes";
    for (promise, order, log, client) in [
        ("a memory bomb in `process`", r#"{"in": "process", "do": "memory"}"#, "process: ", None),
        ("a memory bomb in `push`", r#"{"do": "memory"}"#, "modify: ", None),
        ("a memory bomb in `finish`", r#"{"in": "finish", "do": "memory"}"#, "finish: ", Some(TEXT.concat())),
    ] {
        let log = format!("{log}{memory}").leak();
        let expected = client.map_or(early(log, "memory limit"), |text| late(&text, log, "memory limit"));
        bench.fails(promise, "fault-small", order, expected).await;
    }
    let memory = "process: memory limit: more than 2097152 bytes";
    bench
        .always_fails("a memory that grows without being touched", "grows", early(memory, "memory limit"))
        .await;
    let promise = "two memories, each within the limit";
    bench.always_fails(promise, "two-memories", early(memory, "memory limit")).await;
    bench.is_harmless("one-memory").await;
    let promise = "a table that grows, and is refused room behind 100,000 elements";
    bench
        .always_fails(promise, "table", trap("process", "wasm `unreachable` instruction executed", None))
        .await;
    let recursion = trap("modify", "call stack exhausted", None);
    bench.fails("an endless recursion", "fault", r#"{"do": "recurse"}"#, recursion).await;
    let promise = "an endless recursion through a destructor";
    bench.always_fails(promise, "destructor", trap("process", "call stack exhausted", None)).await;
    let promise = "an endless recursion where the host asks for room (`realloc`)";
    bench.always_fails(promise, "realloc-recurses", trap("process", "call stack exhausted", None)).await;
}
