//! What a component imports, in three classes: always there, there but inert, and refused.

use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use crate::bindings;
use crate::component::{LoadError, Settings, Usage};
use crate::instance::Host;
use crate::kv::Store;

/// Packages that every component may use.
const ALWAYS: [&str; 4] = ["wasi:cli", "wasi:clocks", "wasi:io", "wasi:random"];
/// What every toolchain's output imports, used or not, of which nothing can be granted: there is no network.
const INERT: &str = "wasi:sockets";

/// Outgoing HTTP, as [`Imports`] names it.
pub const HTTP: &str = "wasi:http";
/// Directories, as [`Imports`] names them. Inert where none is granted, because every toolchain's output imports
/// them.
pub const FILES: &str = "wasi:filesystem";
/// Keys and values, as [`Imports`] names them.
pub const KV: &str = "rust-proxy:plugin/kv";

/// Of [`HTTP`], what can be granted.
const OUTGOING: [&str; 2] = ["wasi:http/outgoing-handler@0.2.", "wasi:http/types@0.2."];

/// The packages that a component imports. What is refused never gets here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imports {
    /// They work.
    pub always: Vec<String>,
    /// They are there and give nothing.
    pub inert: Vec<String>,
    /// They work because they are granted: [`HTTP`], [`FILES`], [`KV`].
    pub granted: Vec<String>,
}

impl Imports {
    /// Whether a grant is used.
    pub fn uses(&self, grant: &str) -> bool {
        self.granted.iter().any(|name| name == grant)
    }
}

/// What an import is, by its name.
enum Import {
    /// The contract's own types, which carry no function.
    Types,
    Always,
    Inert,
    Files,
    /// What is refused unless it is granted, and the setting that grants it.
    Grantable(&'static str, &'static str),
    Unknown,
}

impl Import {
    fn of(name: &str) -> Self {
        match package(name) {
            "rust-proxy:plugin" if name.starts_with("rust-proxy:plugin/types@0.1.") => Self::Types,
            "rust-proxy:plugin" if name.starts_with("rust-proxy:plugin/kv@0.1.") => {
                Self::Grantable(KV, "kv = true")
            }
            known if ALWAYS.contains(&known) => Self::Always,
            INERT => Self::Inert,
            FILES => Self::Files,
            HTTP if OUTGOING.iter().any(|known| name.starts_with(known)) => {
                Self::Grantable(HTTP, "http = [\"https://HOST\"]")
            }
            _ => Self::Unknown,
        }
    }
}

/// Sorts a component's imports into their classes.
///
/// # Errors
/// [`LoadError`] with the names of those that are refused.
pub(crate) fn classify(
    engine: &Engine,
    component: &Component,
    settings: &Settings,
    usage: Usage,
) -> Result<Imports, LoadError> {
    let kind = component.component_type();
    let (mut imports, mut unknown, mut refused, mut settings_missing) =
        (Imports::default(), Vec::new(), Vec::new(), Vec::new());
    for (name, _) in kind.imports(engine) {
        let (class, shown) = match Import::of(name) {
            Import::Types => continue,
            Import::Always => (&mut imports.always, package(name)),
            Import::Files if !settings.directories.is_empty() => (&mut imports.granted, FILES),
            Import::Files | Import::Inert => (&mut imports.inert, package(name)),
            Import::Grantable(grant, _) if settings.grants(grant) => (&mut imports.granted, grant),
            // Signers have no grants.
            Import::Grantable(_, setting) if usage == Usage::Plugin => {
                refused.push(name.to_owned());
                if !settings_missing.contains(&setting) {
                    settings_missing.push(setting);
                }
                continue;
            }
            Import::Grantable(..) | Import::Unknown => {
                unknown.push(name.to_owned());
                continue;
            }
        };
        if !class.iter().any(|known| known == shown) {
            class.push(shown.to_owned());
        }
    }
    if !unknown.is_empty() {
        return Err(LoadError::Imports(unknown));
    }
    if !refused.is_empty() {
        let line = format!("[plugins.{}] grant = {{ {} }}", settings.name, settings_missing.join(", "));
        return Err(LoadError::NotGranted { imports: refused, line });
    }
    Ok(imports)
}

/// A linker with what everybody has, and what is granted.
pub(crate) fn linker(base: &Linker<Host>, settings: &Settings) -> wasmtime::Result<Linker<Host>> {
    let mut linker = base.clone();
    if settings.grants(HTTP) {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    }
    if settings.grants(KV) {
        bindings::kv::add_to_linker::<_, HasSelf<Store>>(&mut linker, Host::kv)?;
    }
    Ok(linker)
}

fn package(name: &str) -> &str {
    name.split_once('/').map_or(name, |(package, _)| package)
}
