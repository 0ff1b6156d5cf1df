//! Plugins with which a gateway does not start.

use rust_proxy_testkit::Setup;

use super::{TIGHT, processes};
use crate::bench::Bench;
use crate::heart::{Heart, guest, wat, with_another};

pub(crate) async fn run(bench: &mut Bench) {
    for (promise, order, says) in [
        (
            "a trap in `configure`",
            "trap",
            "failed when it was tried out: trap: wasm trap: wasm `unreachable` instruction executed",
        ),
        ("an endless loop in `configure`", "spin", "failed when it was tried out: cpu limit: more than 20ms"),
        (
            "a memory bomb in `configure`",
            "memory",
            "failed when it was tried out: memory limit: more than 2097152 bytes",
        ),
        ("an error of its own in `configure`", "error", "fault.wasm: refuses its `config`: failed on order"),
    ] {
        let limits = if order == "memory" { "memory = '2MiB', cpu = '5s', wall = '20s'" } else { TIGHT };
        let table = format!(
            "[plugins.fault]\nconfig = {{ in = 'configure', do = '{order}' }}\nlimits = {{ {limits} }}"
        );
        bench.refused(promise, says, Setup::new().plugins(&["fault"]).toml(&table)).await;
    }
    for (promise, says, bytes) in files() {
        let limits = format!("[plugins.other]\nlimits = {{ {TIGHT} }}");
        let setup = Setup::new().plugins(&["other"]).file("plugins/other.wasm", bytes).toml(&limits);
        bench.refused(promise, says, setup).await;
    }
}

fn files() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let whole = guest("fault");
    let describe = |describe| Heart { describe, ..Heart::default() }.plugin();
    let plain = processes("(i32.const 0)").plugin();
    let start = "(module (func $f (loop (br 0))) (start $f))";
    let bomb = "(module (memory 1) (func $f (loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))) (start $f))";
    vec![
        (
            "a core module where a component belongs",
            "not a WebAssembly component: it is a core module; build it with `--target wasm32-wasip2`",
            wat("(module)"),
        ),
        (
            "a file that is cut short",
            "not a WebAssembly component: failed to parse WebAssembly module",
            whole[..whole.len() / 2].to_vec(),
        ),
        (
            "a text file",
            "not a WebAssembly component: it does not begin like one; build or copy it again",
            b"(component)\n".to_vec(),
        ),
        (
            "an empty file",
            "not a WebAssembly component: it does not begin like one; build or copy it again",
            Vec::new(),
        ),
        (
            "a component that exports nothing",
            "not a plugin: exports neither `processor` nor `response-modifier`; build it against `wit/`",
            wat("(component)"),
        ),
        (
            "an import that is not granted",
            "imports `wasi:http/outgoing-handler@0.2.3`, which is not granted; write [plugins.other] grant = ",
            wat(r#"(component (import "wasi:http/outgoing-handler@0.2.3" (instance)))"#),
        ),
        (
            "an import that nobody grants",
            "imports `wasi:nn/tensor@0.2.0`, which this version cannot grant",
            wat(r#"(component (import "wasi:nn/tensor@0.2.0" (instance)))"#),
        ),
        (
            "a `describe` of another type",
            "failed when it was tried out: broken contract: failed to convert function to given type: type mismatch with results: expected `record` found `u32`",
            wat(DESCRIBES),
        ),
        (
            "a `describe` that traps",
            "failed when it was tried out: trap: wasm trap: wasm `unreachable` instruction executed",
            describe("(unreachable)"),
        ),
        (
            "a `describe` that points outside of its memory",
            "failed when it was tried out: broken contract: pointer out of bounds of memory",
            describe("(i32.const -4)"),
        ),
        (
            "escape codes in its own words in `configure`",
            "refuses its `config`:  [2J no",
            Heart { more: ESCAPES, configure: "(i32.const 3000)", ..Heart::default() }.plugin(),
        ),
        (
            "an endless loop at its start",
            "failed when it was tried out: cpu limit: more than 20ms",
            with_another(plain.clone(), start),
        ),
        (
            "a memory bomb at its start",
            "failed when it was tried out: memory limit: more than 16777216 bytes",
            with_another(plain.clone(), bomb),
        ),
        (
            "a 64-bit memory bomb at its start",
            "failed when it was tried out: memory limit: more than 16777216 bytes",
            with_another(plain.clone(), &bomb.replace("(memory 1)", "(memory i64 1)").replace("i32", "i64")),
        ),
        (
            "a memory that threads share",
            "not a WebAssembly component: failed to parse WebAssembly module: threads must be enabled for shared memories",
            with_another(plain.clone(), "(module (memory 1 65536 shared))"),
        ),
        (
            "garbage without end at its start",
            "failed when it was tried out: memory limit: more than 16777216 bytes",
            with_another(plain.clone(), GARBAGE),
        ),
        (
            "an exception at its start that nobody catches",
            "failed when it was tried out: trap: thrown Wasm exception",
            with_another(plain.clone(), "(module (tag $t) (func $f (throw $t)) (start $f))"),
        ),
        (
            "three memories",
            "needs more than the sandbox gives a plugin: The component transitively contains 3 Wasm linear memories, which exceeds the configured maximum of 2",
            with_another(with_another(plain.clone(), "(module (memory 1))"), "(module (memory 1))"),
        ),
        (
            "a memory that is larger than its limit at once",
            "failed when it was tried out: memory limit: more than 16777216 bytes",
            Heart { pages: 500, ..Heart::default() }.plugin(),
        ),
        (
            "a huge table",
            "needs more than the sandbox gives a plugin: module table does not fit in pooling allocator requirements: table index 0 has a minimum element size of 1000000 which exceeds the limit of 100000",
            Heart { more: "(table 1000000 funcref)", ..Heart::default() }.plugin(),
        ),
    ]
}

/// A list of arrays of a MiB that grows for ever.
const GARBAGE: &str = "(module
    (type $bytes (array (mut i8)))
    (type $list (struct (field (ref null $list)) (field (ref $bytes))))
    (global $all (mut (ref null $list)) (ref.null $list))
    (func $f (loop
        (global.set $all (struct.new $list (global.get $all) (array.new_default $bytes (i32.const 1048576))))
        (br 0)))
    (start $f))";

/// At 3000 an `err` with a text that clears the screen and begins a line of its own.
const ESCAPES: &str =
    r#"(data (i32.const 3000) "\01\00\00\00\00\0c\00\00\07\00\00\00") (data (i32.const 3072) "\1b[2J\nno")"#;

const DESCRIBES: &str = r#"(component
    (core module $m (func (export "f") (result i32) (i32.const 0)))
    (core instance $i (instantiate $m))
    (func $f (result u32) (canon lift (core func $i "f")))
    (instance $lifecycle (export "describe" (func $f)) (export "configure" (func $f)))
    (instance $processor (export "process" (func $f)))
    (export "rust-proxy:plugin/lifecycle@0.1.0" (instance $lifecycle))
    (export "rust-proxy:plugin/processor@0.1.0" (instance $processor)))"#;
