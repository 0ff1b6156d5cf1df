//! Plugins that no toolchain emits: the guest `fault` with another core module in the place of its own.
//!
//! A component is a row of sections, each an id, a length and bytes. What the guest's component imports, exports and
//! converts stays as it is; the new module has the same exports, and of the imports those it wants.
#![expect(clippy::disallowed_methods, reason = "reads a built component")]

/// The section of a core module.
const MODULE: u8 = 1;
/// The section of core instances.
const INSTANCES: u8 = 2;

/// A core module: the bodies of its functions, in WebAssembly's text. All of them do nothing, but as they should.
pub(crate) struct Heart {
    /// Tables, data and functions.
    pub(crate) more: &'static str,
    /// Pages of memory.
    pub(crate) pages: u32,
    /// Gives the host room for a request: of locals 0 to 3 the last is the length.
    pub(crate) realloc: String,
    pub(crate) describe: &'static str,
    pub(crate) configure: &'static str,
    pub(crate) process: String,
    pub(crate) open: &'static str,
    pub(crate) push: &'static str,
    /// Called after each `process`.
    pub(crate) processed: &'static str,
    /// Destroys a session.
    pub(crate) destroy: &'static str,
}

impl Default for Heart {
    fn default() -> Self {
        Self {
            more: "",
            pages: 2,
            realloc: "(global.get $next)
                (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))"
                .to_owned(),
            describe: "(i32.const 0)",
            configure: "(i32.const 0)",
            process: "(i32.const 0)".to_owned(),
            open: "(i32.store (i32.const 260) (call $new (i32.const 7))) (i32.const 256)",
            push: "(i32.const 0)",
            processed: "",
            destroy: "",
        }
    }
}

impl Heart {
    /// The plugin. Its answers are in its first memory page, which is empty: `ok`, and nothing to change.
    pub(crate) fn plugin(&self) -> Vec<u8> {
        let Self { more, pages, realloc, describe, configure, process, open, push, processed, destroy } =
            self;
        let plugin = "rust-proxy:plugin";
        let eleven = "i32 ".repeat(11);
        let text = format!(
            r#"(module
                (import "[export]{plugin}/response-modifier@0.1.0" "[resource-new]session" (func $new (param i32) (result i32)))
                (import "[export]{plugin}/response-modifier@0.1.0" "[resource-drop]session" (func $drop (param i32)))
                (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
                (memory (export "memory") {pages})
                (global $next (mut i32) (i32.const 4096))
                {more}
                (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    ;; `configure` gets `{{}}`, as it should.
                    (if (result i32) (i32.eq (local.get 3) (i32.const 2)) (then (i32.const 2048)) (else {realloc})))
                (func (export "{plugin}/lifecycle@0.1.0#describe") (result i32) {describe})
                (func (export "{plugin}/lifecycle@0.1.0#configure") (param i32 i32) (result i32) {configure})
                (func (export "{plugin}/processor@0.1.0#process") (param {eleven}) (result i32) (local $i i32) {process})
                (func (export "{plugin}/response-modifier@0.1.0#[static]session.open")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {open})
                (func (export "{plugin}/response-modifier@0.1.0#[method]session.push")
                    (param i32 i32 i32 i32 i32 i32 i32) (result i32) {push})
                (func (export "{plugin}/response-modifier@0.1.0#[method]session.finish") (param i32) (result i32) (i32.const 0))
                (func (export "{plugin}/response-modifier@0.1.0#[dtor]session") (param i32) {destroy})
                (func (export "cabi_post_{plugin}/lifecycle@0.1.0#describe") (param i32))
                (func (export "cabi_post_{plugin}/lifecycle@0.1.0#configure") (param i32))
                (func (export "cabi_post_{plugin}/processor@0.1.0#process") (param i32) {processed})
                (func (export "cabi_post_{plugin}/response-modifier@0.1.0#[static]session.open") (param i32))
                (func (export "cabi_post_{plugin}/response-modifier@0.1.0#[method]session.push") (param i32))
                (func (export "cabi_post_{plugin}/response-modifier@0.1.0#[method]session.finish") (param i32)))"#
        );
        with_module(&guest("fault"), &wat(&text))
    }
}

/// A built guest.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let path = format!("{}/../../target/guests/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}; run `cargo xtask build-plugins`"))
}

/// A component or a module of its text.
pub(crate) fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The component with `module` in the place of its first module.
fn with_module(component: &[u8], module: &[u8]) -> Vec<u8> {
    let mut out = component[..8].to_vec();
    let mut done = false;
    for (id, bytes) in sections(component) {
        let own = id == MODULE && !std::mem::replace(&mut done, true);
        section(&mut out, id, if own { module } else { bytes });
    }
    out
}

/// The component with one more module, and an instance of it.
pub(crate) fn with_another(mut component: Vec<u8>, module: &str) -> Vec<u8> {
    let modules = sections(&component).filter(|(id, _)| *id == MODULE).count();
    section(&mut component, MODULE, &wat(module));
    // One instance, of this module, with no arguments.
    section(&mut component, INSTANCES, &[1, 0, u8::try_from(modules).expect("a few modules"), 0]);
    component
}

fn section(out: &mut Vec<u8>, id: u8, bytes: &[u8]) {
    out.push(id);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
}

fn sections(component: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = &component[8..];
    std::iter::from_fn(move || {
        let (&id, mut after) = rest.split_first()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let (&byte, more) = after.split_first()?;
            after = more;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let (bytes, more) = after.split_at(length);
        rest = more;
        Some((id, bytes))
    })
}
