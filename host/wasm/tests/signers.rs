//! Signers: the two that `cargo xtask build-signer` makes, and modules in text form for what those do not do.
#![expect(clippy::disallowed_methods, reason = "reads the signers that `cargo xtask build-signer` made")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use rust_proxy_sign::{Signed, built_in_key, sign};
use rust_proxy_stream::stage::{FaultKind, StageError};
use rust_proxy_stream::upstream::{SignRequest, Signer as _};
use rust_proxy_wasm::{Cache, Limits, LoadError, Runtime, RuntimeOptions, Signer, SignerSettings};

const LIMITS: Limits = Limits {
    memory: 16 << 20,
    cpu: Duration::from_millis(500),
    wall: Duration::from_secs(20),
    output: 64 << 10,
    requests: 0,
    fetch: 0,
    log: 100,
};
const BUILT: [&str; 2] = ["sign_bg.wasm", "sign.wasm"];
const NAMES: [&str; 4] = ["nonce", "timestamp", "device_id", "content"];

fn built(file: &str) -> Vec<u8> {
    let path = format!("{}/../../config/signer/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}; run `cargo xtask build-signer`"))
}

/// Compiled once for all tests.
fn cache() -> Option<Cache> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-caches/rust-proxy");
    Cache::open(folder.as_ref()).ok()
}

fn settings(arguments: &[&str]) -> SignerSettings {
    SignerSettings {
        name: "dev".to_owned(),
        limits: LIMITS,
        config_json: "{}".to_owned(),
        export: None,
        arguments: arguments.iter().map(|name| (*name).to_owned()).collect(),
    }
}

async fn load(bytes: &[u8], settings: SignerSettings) -> Result<Signer, LoadError> {
    Runtime::new(RuntimeOptions { slots: Signer::SLOTS, cache: cache() })
        .unwrap()
        .load_signer(bytes, settings)
        .await
}

fn request(values: [&str; 4]) -> SignRequest {
    let parameters = NAMES.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value.to_owned()));
    SignRequest {
        method: "POST".to_owned(),
        url: "https://example.com/chat".to_owned(),
        headers: Vec::new(),
        parameters: parameters.collect(),
        content: values[3].to_owned(),
    }
}

fn native(values: [&str; 4]) -> String {
    let [nonce, timestamp, device_id, content] = values;
    sign(built_in_key(), &Signed { nonce, timestamp, device_id, content })
}

fn result(value: String) -> Result<Vec<(String, String)>, StageError> {
    Ok(vec![("result".to_owned(), value)])
}

#[tokio::test]
async fn both_signers_sign_as_the_native_function_does() {
    let long = "長い text 🍌 ".repeat((1 << 20) / 17);
    assert!(long.len() > 1_000_000);
    for file in BUILT {
        let signer = load(&built(file), settings(&NAMES)).await.unwrap();
        for values in [
            ["8c8e3f64-5f7c-4c58-9d6e-0d0a2f8f3f10", "1700000000", "device-1", r#"{"model":"m"}"#],
            ["", "", "", ""],
            ["n", "1", "gerät", "你好 🍌\n\0"],
            ["n", "1", "d", &long],
        ] {
            assert_eq!(signer.sign(&request(values)).await, result(native(values)), "{file}");
        }
    }
}

/// What `hmac` of Python says is in the tests of `rust-proxy-sign`; this one needs no crate of ours to be right.
#[tokio::test]
async fn a_signature_is_that_of_another_implementation() {
    // python3, with `sign` of signer/README.md:
    // sign("demonstration-key-not-a-secret", "n", "1", "gerät", "你好 🍌")
    let expected = "b81606712facc4cf3701245bce1895616194e7b7ee7dcb4ca23af6daa3d82bac";
    if built_in_key() != rust_proxy_sign::DEMONSTRATION_KEY {
        return;
    }
    for file in BUILT {
        let signer = load(&built(file), settings(&NAMES)).await.unwrap();
        let signature = signer.sign(&request(["n", "1", "gerät", "你好 🍌"])).await;
        assert_eq!(signature, result(expected.to_owned()), "{file}");
    }
}

#[tokio::test]
async fn signers_say_what_they_are() {
    let module = load(&built("sign_bg.wasm"), settings(&NAMES)).await.unwrap();
    assert_eq!(module.description(), "wasm-bindgen module: `sign` of 4 strings");
    assert_eq!(module.imports().always, [""; 0]);
    let component = load(&built("sign.wasm"), settings(&NAMES)).await.unwrap();
    assert!(component.description().starts_with("sign 0.1.0: "), "{component:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_signatures_at_once() {
    for file in BUILT {
        let signer = load(&built(file), settings(&NAMES)).await.unwrap();
        let tasks: Vec<_> = (0..100)
            .map(|number: u32| {
                let signer = signer.clone();
                tokio::spawn(async move {
                    let nonce = number.to_string();
                    let values = [nonce.as_str(), "1", "d", "c"];
                    assert_eq!(signer.sign(&request(values)).await, result(native(values)));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_component_is_configured_and_answers_in_its_own_words() {
    let config = |json: &str| SignerSettings { config_json: json.to_owned(), ..settings(&NAMES) };
    let component = built("sign.wasm");
    let signer = load(&component, config(r#"{"key": "k"}"#)).await.unwrap();
    let signed = Signed { nonce: "n", timestamp: "1", device_id: "d", content: "c" };
    assert_eq!(signer.sign(&request(["n", "1", "d", "c"])).await, result(sign("k", &signed)));
    let error = signer.sign(&SignRequest { parameters: Vec::new(), ..request([""; 4]) }).await;
    assert_eq!(error, Err(StageError::Failed("there is no parameter `nonce`".to_owned())));
    let refused = load(&component, config(r#"{"keys": "k"}"#)).await.unwrap_err();
    assert!(matches!(refused, LoadError::Configuration(_)), "{refused}");
}

/// A module of one function, `sign`, with an allocator; `TODAY` and `BEFORE` have what else it needs.
fn module(parts: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            {parts}
            (memory (export "memory") 1)
            (data (i32.const 16) "no")
            (data (i32.const 24) "\ff\fe")
            (global $free (mut i32) (i32.const 1024))
            (func $malloc (param $size i32) (result i32)
                (local $pointer i32)
                (local.set $pointer (global.get $free))
                (global.set $free (i32.add (global.get $free) (local.get $size)))
                (if (i32.gt_u (global.get $free) (i32.mul (memory.size) (i32.const 65536)))
                    (then (drop (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1))))))
                (local.get $pointer)))"#
    );
    wat::parse_str(text).unwrap()
}

/// Since 0.2.95: results are values, JavaScript's values are in a table that `__wbindgen_start` fills.
const TODAY: &str = r#"
    (import "./m_bg.js" "__wbindgen_init_externref_table" (func $init))
    (import "./m_bg.js" "__wbindgen_cast_0123456789abcdef" (func $string (param i32 i32) (result externref)))
    (import "./m_bg.js" "__wbg___wbindgen_throw_0123456789abcdef" (func $throw (param i32 i32)))
    (table $values (export "__wbindgen_externrefs") 8 externref)
    (func (export "__wbindgen_malloc") (param i32 i32) (result i32) (call $malloc (local.get 0)))
    (func (export "__wbindgen_free") (param i32 i32 i32))
    (export "__wbindgen_start" (func $init))
"#;

/// 0.2.87 and later for a target without multi-value, names stripped: results go through memory.
const BEFORE: &str = r#"
    (import "wbg" "__wbindgen_string_new" (func $string (param i32 i32) (result i32)))
    (import "wbg" "__wbindgen_object_drop_ref" (func $drop (param i32)))
    (import "wbg" "__wbindgen_throw" (func $throw (param i32 i32)))
    (func (export "__wbindgen_add_to_stack_pointer") (param i32) (result i32) (i32.const 512))
    (func (export "__wbindgen_export_0") (param i32 i32) (result i32) (call $malloc (local.get 0)))
    (func (export "__wbindgen_export_1") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "__wbindgen_export_2") (param i32 i32 i32))
"#;

const ECHO: &str = r#"(func (export "sign") (param i32 i32) (result i32 i32) (local.get 0) (local.get 1))"#;

/// A function of one string that runs this before it gives the string back.
fn today(body: &str) -> Vec<u8> {
    let sign = format!(
        r#"(func $sign (export "sign") (param i32 i32) (result i32 i32) {body} (local.get 0) (local.get 1))"#
    );
    module(&(TODAY.to_owned() + &sign))
}

async fn signed(module: &[u8], content: &str) -> Result<Vec<(String, String)>, StageError> {
    let signer = load(module, settings(&["content"])).await.unwrap();
    signer.sign(&SignRequest { content: content.to_owned(), ..request(["", "", "", content]) }).await
}

#[tokio::test]
async fn every_abi_carries_every_text() {
    let in_memory = r#"(func (export "sign") (param i32 i32 i32)
        (i32.store (local.get 0) (local.get 1)) (i32.store offset=4 (local.get 0) (local.get 2)))"#;
    let before_alignment = BEFORE
        .replace(r#""__wbindgen_export_0") (param i32 i32)"#, r#""__wbindgen_malloc") (param i32)"#)
        .replace("(param i32 i32 i32 i32)", "(param i32 i32 i32)");
    for module in [
        module(&format!("{TODAY}{ECHO}")),
        module(&format!("{BEFORE}{in_memory}")),
        module(&format!("{before_alignment}{in_memory}")),
        // Names stripped.
        module(&format!("{}{ECHO}", TODAY.replace("__wbindgen_malloc", "__wbindgen_export"))),
        // 2024: values as results, JavaScript's values as indices.
        module(&format!("{BEFORE}{ECHO}")),
    ] {
        for text in ["", "a", "你好 🍌\0", &"x".repeat(60_000)] {
            assert_eq!(signed(&module, text).await, result(text.to_owned()));
        }
    }
}

#[tokio::test]
async fn an_error_of_the_module_is_told_in_its_words() {
    let today = format!(
        r#"{TODAY}(func (export "sign") (param i32 i32) (result i32 i32 i32 i32)
            (table.set $values (i32.const 9) (call $string (i32.const 16) (i32.const 2)))
            (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 1))"#
    );
    let before = format!(
        r#"{BEFORE}(func (export "sign") (param i32 i32 i32)
            (call $drop (call $string (i32.const 24) (i32.const 2)))
            (i32.store offset=8 (local.get 0) (call $string (i32.const 16) (i32.const 2)))
            (i32.store offset=12 (local.get 0) (i32.const 1)))"#
    );
    let thrown = format!(
        r#"{TODAY}(func (export "sign") (param i32 i32) (result i32 i32)
            (call $throw (i32.const 16) (i32.const 2)) unreachable)"#
    );
    let no_text = today.replace("(i32.const 9) (i32.const 1))", "(i32.const 0) (i32.const 1))");
    for (parts, expected) in
        [(today, "no"), (before, "no"), (thrown, "no"), (no_text, "an error without a text")]
    {
        assert_eq!(signed(&module(&parts), "c").await, Err(StageError::Failed(expected.to_owned())));
    }
}

#[tokio::test]
async fn random_numbers_the_clock_and_the_console_are_there() {
    let parts = format!(
        r#"(import "wbg" "__wbg_getRandomValues_0123456789abcdef" (func $random (param i32 i32)))
        (import "wbg" "__wbg_getRandomValues_1123456789abcdef" (func $fill (param externref)))
        (import "wbg" "__wbg_now_0123456789abcdef" (func $now (result f64)))
        (import "wbg" "__wbg_new_0_0123456789abcdef" (func $date (result externref)))
        (import "wbg" "__wbg_getTime_0123456789abcdef" (func $time (param externref) (result f64)))
        (import "wbg" "__wbg_random_0123456789abcdef" (func $number (result f64)))
        (import "wbg" "__wbg_new_0123456789abcdef" (func $error (result externref)))
        (import "wbg" "__wbg_stack_0123456789abcdef" (func $stack (param i32 externref)))
        (import "wbg" "__wbg_error_0123456789abcdef" (func $print (param i32 i32)))
        {TODAY}
        (func (export "sign") (param i32 i32) (result i32 i32)
            (call $random (i32.const 100) (i32.const 8))
            (if (i64.eqz (i64.load (i32.const 100))) (then unreachable))
            (call $fill (call $string (i32.const 200) (i32.const 8)))
            (if (i64.eqz (i64.load (i32.const 200))) (then unreachable))
            (if (f64.lt (call $now) (f64.const 1.7e12)) (then unreachable))
            (if (f64.lt (call $time (call $date)) (f64.const 1.7e12)) (then unreachable))
            (if (f64.ge (call $number) (f64.const 1)) (then unreachable))
            (call $stack (i32.const 300) (call $error))
            (if (i64.ne (i64.load (i32.const 300)) (i64.const 1)) (then unreachable))
            (call $print (i32.const 16) (i32.const 2))
            (local.get 0) (local.get 1))"#
    );
    let module = module(&parts);
    assert_eq!(signed(&module, "c").await, result("c".to_owned()));
    let signer = load(&module, settings(&["content"])).await.unwrap();
    let names = ["Date", "Date.now", "Error", "Math.random", "String", "console", "getRandomValues", "throw"];
    assert_eq!(signer.imports().always, names);
}

#[tokio::test]
async fn each_break_ends_as_the_fault_that_it_is() {
    let gives = |pointer: u32, length: u32| format!("(return (i32.const {pointer}) (i32.const {length}))");
    for (body, expected) in [
        ("unreachable".to_owned(), FaultKind::Trap),
        ("(call $sign (local.get 0) (local.get 1)) drop drop".to_owned(), FaultKind::Trap),
        ("(loop (br 0))".to_owned(), FaultKind::Cpu),
        ("(drop (memory.grow (i32.const 1000)))".to_owned(), FaultKind::Memory),
        ("(loop (drop (call $string (i32.const 0) (i32.const 60000))) (br 0))".to_owned(), FaultKind::Memory),
        ("(loop (drop (call $string (i32.const 0) (i32.const 0))) (br 0))".to_owned(), FaultKind::Memory),
        ("(drop (table.grow $values (ref.null extern) (i32.const 1000000)))".to_owned(), FaultKind::Memory),
        // A result as large as the limit is in memory; a larger one is not even looked for.
        (gives(0, 64 << 10), FaultKind::Contract),
        (gives(0, (64 << 10) + 1), FaultKind::Output),
        (gives(u32::MAX, u32::MAX), FaultKind::Output),
        (gives(u32::MAX, 1), FaultKind::Contract),
        (gives(65_535, 2), FaultKind::Contract),
        (gives(24, 2), FaultKind::Contract),
        ("(call $throw (i32.const -1) (i32.const -1))".to_owned(), FaultKind::Contract),
        ("(drop (call $string (i32.const 65535) (i32.const 2)))".to_owned(), FaultKind::Contract),
    ] {
        match signed(&today(&body), "c").await {
            Err(StageError::Fault(fault)) => assert_eq!(fault.kind, expected, "{body}: {fault}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    // An export may be an import: then no guest is below the host's function.
    let new = r#"(import "wbg" "__wbindgen_string_new" (func $new (param i32 i32) (result i32)))
        (export "__wbindgen_malloc" (func $new))"#;
    let without = TODAY.replace("__wbindgen_malloc", "other_malloc");
    let settings_of_export = SignerSettings { export: Some("sign".to_owned()), ..settings(&["content"]) };
    let signer = load(&module(&format!("{new}{without}{ECHO}")), settings_of_export).await.unwrap();
    assert_eq!(signer.sign(&request(["", "", "", "c"])).await, result("c".to_owned()));
    let nowhere = TODAY.replace("(call $malloc (local.get 0))", "(i32.const -1)");
    let refused = load(&module(&format!("{nowhere}{ECHO}")), settings(&["content"])).await.unwrap_err();
    assert!(refused.to_string().contains("allocator gives memory that is not there"), "{refused}");
}

#[tokio::test]
async fn what_is_no_signer_is_refused_with_the_cure() {
    let import = |name: &str, kind: &str| format!(r#"(import "wbg" "{name}" (func {kind})){TODAY}{ECHO}"#);
    let two = ECHO.replace(r#""sign""#, r#""other""#) + &ECHO.replace(r#""sign""#, r#""another""#);
    for (bytes, expected) in [
        (b"text".to_vec(), "it is no WebAssembly"),
        (wat::parse_str("(component)").unwrap(), "not a signer: exports no `signer`"),
        (wat::parse_str("(module)").unwrap(), "exports no function to sign with"),
        (wat::parse_str(format!("(module {ECHO})")).unwrap(), "exports no memory"),
        (module(&format!("{TODAY}{two}")), "exports no `sign`; set `export` to one of `other`, `another`"),
        (
            module(&import("__wbg_document_0123456789abcdef", "(param externref) (result i32)")),
            "imports `document`, which needs a browser page",
        ),
        (module(&import("__wbg_fetch_0123456789abcdef", "")), "imports `fetch`, which needs a browser page"),
        (module(&import("__wbg_mystery_0123456789abcdef", "")), "imports `mystery` of JavaScript"),
        (module(&import("__wbg_now_0123456789abcdef", "(result i64)")), "imports `now` of JavaScript"),
        (module(&import("__wbg_crypto_0123456789abcdef", "(param externref)")), "getrandom 0.3"),
        (module(&import("__wbindgen_describe", "(param i32)")), "run the wasm-bindgen tool on it"),
        (module(&format!(r#"(import "wbg" "memory" (memory 1)){TODAY}{ECHO}"#)), "imports `memory`"),
        (
            module(&format!(
                r#"{TODAY}(func (export "sign") (param i32 i32 i32 i32) (result i32 i32) unreachable)"#
            )),
            "`arguments` names 1, so `sign` must take 1 strings and return one; by its type it takes 2",
        ),
        (
            module(&format!(
                r#"{TODAY}(func (export "sign") (param i32 i32) (result externref) unreachable)"#
            )),
            "its type is `(",
        ),
        (module(&format!(r#"{TODAY}(func (export "sign") (param i32 i32 i32))"#)), "before 0.2.70"),
    ] {
        let refused = load(&bytes, settings(&["content"])).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[tokio::test]
async fn settings_that_do_not_fit_are_refused() {
    let (module, component) = (built("sign_bg.wasm"), built("sign.wasm"));
    let export = |name: &str| SignerSettings { export: Some(name.to_owned()), ..settings(&NAMES) };
    let config = SignerSettings { config_json: r#"{"key": "k"}"#.to_owned(), ..settings(&NAMES) };
    for (bytes, settings, expected) in [
        (&module, export("sing"), "exports no `sing`; set `export` to one of `sign`"),
        (&component, export("sing"), "leave `export` out"),
        (&module, config, "takes no `config`"),
    ] {
        let refused = load(bytes, settings).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    assert!(load(&module, export("sign")).await.is_ok());
    assert!(load(&component, export("sign")).await.is_ok());
    // Each is loaded for what it is.
    let runtime = Runtime::new(RuntimeOptions { slots: 2, ..RuntimeOptions::default() }).unwrap();
    let settings = rust_proxy_wasm::Settings::new("sign", "{}", LIMITS);
    let refused = runtime.load(&component, settings).await.unwrap_err().to_string();
    assert!(refused.contains("`[signers.NAME]`"), "{refused}");
}

#[tokio::test]
async fn an_unknown_argument_is_named() {
    let signer = load(&module(&format!("{TODAY}{ECHO}")), settings(&["device"])).await.unwrap();
    let error = signer.sign(&request(["n", "1", "d", "c"])).await.unwrap_err().to_string();
    assert!(error.contains("`arguments` names `device`"), "{error}");
}
