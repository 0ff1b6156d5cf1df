//! Runs WebAssembly components as stages of a stream. The only crate that names wasmtime.
//!
//! A [`Runtime`] is one engine with its pool of slots. [`Runtime::load`] checks a component, compiles it, tries
//! it out, and gives a [`Component`]; that is a [`Plugin`](rust_proxy_stream::stage::Plugin): it keeps
//! configured instances ready and gives one to each exchange. An instance serves one exchange and is dropped:
//! one store per instance, so that nothing of one user's stream can be seen by another's, and a trap ends
//! nobody else's. A file is compiled once: a [`Cache`] keeps its code. Where it can be, a component is configured once
//! too, and instances are copies of what it was then.
//!
//! [`Runtime::load_signer`] gives a [`Signer`], of a component or of a wasm-bindgen module: an instance serves
//! one signature.

mod bindings;
mod cache;
mod compile;
mod component;
mod convert;
mod files;
mod guard;
mod http;
mod imports;
mod instance;
mod kv;
mod limits;
mod log;
mod module;
mod ready;
mod runtime;
mod signer;
mod snapshot;

pub use cache::{Cache, CacheCounts, CacheError};
pub use component::{Component, LoadError, Roles, Settings};
pub use files::Directory;
pub use imports::{FILES, HTTP, Imports, KV};
pub use limits::Limits;
pub use ready::{Instances, Population};
pub use runtime::{Runtime, RuntimeOptions};
pub use signer::{Signer, SignerSettings};
