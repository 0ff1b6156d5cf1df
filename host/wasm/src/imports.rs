//! What a component imports, in three classes: always there, there but inert, and refused.

use wasmtime::Engine;
use wasmtime::component::Component;

/// Packages that every component may import. `wasi:filesystem` has no directories and `wasi:sockets` no
/// network: every toolchain's output imports them, used or not.
const ALLOWED: [&str; 6] = ["wasi:io", "wasi:clocks", "wasi:random", "wasi:cli", "wasi:filesystem", "wasi:sockets"];

/// The imports of a component that this host refuses.
pub(crate) fn refused(engine: &Engine, component: &Component) -> Vec<String> {
    let kind = component.component_type();
    let names = kind.imports(engine).map(|(name, _)| name.to_owned());
    names.filter(|name| !is_allowed(name)).collect()
}

fn is_allowed(name: &str) -> bool {
    // The contract's own types carry no function.
    let Some((package, _)) = name.split_once('/') else { return false };
    ALLOWED.contains(&package) || name.starts_with("rust-proxy:plugin/types@0.1.")
}
