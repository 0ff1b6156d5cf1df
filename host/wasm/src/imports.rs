//! What a component imports, in three classes: always there, there but inert, and refused.

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::component::{LoadError, Settings};

/// Packages that every component may use.
const ALWAYS: [&str; 4] = ["wasi:cli", "wasi:clocks", "wasi:io", "wasi:random"];
/// Packages that every toolchain's output imports, used or not: here there are no directories and no network.
const INERT: [&str; 2] = ["wasi:filesystem", "wasi:sockets"];

/// What can be granted, by the table of the configuration that grants it.
const HTTP: [&str; 2] = ["wasi:http/outgoing-handler@0.2.", "wasi:http/types@0.2."];

/// The packages that a component imports. What is refused never gets here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imports {
    /// They work.
    pub always: Vec<String>,
    /// They are there and give nothing.
    pub inert: Vec<String>,
    /// They work because they are granted.
    pub granted: Vec<String>,
}

/// Sorts a component's imports into their classes.
///
/// # Errors
/// [`LoadError`] with the names of those that are refused.
pub(crate) fn classify(
    engine: &Engine,
    component: &Component,
    settings: &Settings,
) -> Result<Imports, LoadError> {
    let kind = component.component_type();
    let (mut imports, mut unknown, mut not_granted) = (Imports::default(), Vec::new(), Vec::new());
    for (name, _) in kind.imports(engine) {
        let package = name.split_once('/').map_or(name, |(package, _)| package);
        let class = match package {
            // The contract's own types carry no function.
            _ if name.starts_with("rust-proxy:plugin/types@0.1.") => continue,
            _ if ALWAYS.contains(&package) => &mut imports.always,
            _ if INERT.contains(&package) => &mut imports.inert,
            _ if HTTP.iter().any(|known| name.starts_with(known)) => {
                if settings.fetch.is_none() {
                    not_granted.push(name.to_owned());
                }
                &mut imports.granted
            }
            _ => {
                unknown.push(name.to_owned());
                continue;
            }
        };
        if !class.iter().any(|known| known == package) {
            class.push(package.to_owned());
        }
    }
    if !unknown.is_empty() {
        return Err(LoadError::Imports(unknown));
    }
    if !not_granted.is_empty() {
        let line = format!("[plugins.{}] grant = {{ http = [\"https://HOST\"] }}", settings.name);
        return Err(LoadError::NotGranted { imports: not_granted, line });
    }
    Ok(imports)
}
