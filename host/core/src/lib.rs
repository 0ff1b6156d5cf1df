//! From a configuration to a running engine: what an embedder takes.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use rust_proxy_core::Engine;
//! use rust_proxy_core::config::{Config, ProcessEnvironment};
//!
//! let config = Config::load("config/demo.toml".as_ref(), &ProcessEnvironment)?;
//! let engine = Engine::start(&config).await?;
//! let body = r#"{"model": "demo", "messages": [{"role": "user", "content": "hello"}]}"#;
//! let reply = engine.chat("request-1".to_owned(), body.into()).await?;
//! # Ok(())
//! # }
//! ```

pub mod config;
mod deadline;
mod engine;
mod kv;
mod slots;
mod trust;

pub use engine::{
    Engine, PluginGeneration, PluginInfo, ProviderCounts, Reload, SignerInfo, StartError, needs_restart,
};
pub use rust_proxy_stream::account::Account;
pub use rust_proxy_upstream::Counts;
pub use rust_proxy_wasm::{CacheCounts, FILES, HTTP, Imports, Instances, KV};
pub use slots::SlotCounts;
pub use trust::Standing;
