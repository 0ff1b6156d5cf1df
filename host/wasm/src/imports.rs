//! What a component imports, in three classes: always there, there but inert, and refused.

use wasmtime::Engine;
use wasmtime::component::Component;

/// Packages that every component may use.
const ALWAYS: [&str; 4] = ["wasi:cli", "wasi:clocks", "wasi:io", "wasi:random"];
/// Packages that every toolchain's output imports, used or not: here there are no directories and no network.
const INERT: [&str; 2] = ["wasi:filesystem", "wasi:sockets"];

/// The packages that a component imports. What is refused never gets here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imports {
    /// They work.
    pub always: Vec<String>,
    /// They are there and give nothing.
    pub inert: Vec<String>,
}

/// Sorts a component's imports into their classes.
///
/// # Errors
/// The names of those that are refused.
pub(crate) fn classify(engine: &Engine, component: &Component) -> Result<Imports, Vec<String>> {
    let kind = component.component_type();
    let (mut imports, mut refused) = (Imports::default(), Vec::new());
    for (name, _) in kind.imports(engine) {
        let package = name.split_once('/').map_or(name, |(package, _)| package);
        let class = match package {
            // The contract's own types carry no function.
            _ if name.starts_with("rust-proxy:plugin/types@0.1.") => continue,
            _ if ALWAYS.contains(&package) => &mut imports.always,
            _ if INERT.contains(&package) => &mut imports.inert,
            _ => {
                refused.push(name.to_owned());
                continue;
            }
        };
        if !class.iter().any(|known| known == package) {
            class.push(package.to_owned());
        }
    }
    if refused.is_empty() { Ok(imports) } else { Err(refused) }
}
