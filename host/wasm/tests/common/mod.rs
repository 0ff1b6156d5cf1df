//! What most tests of components need.

use rust_proxy_stream::stage::{Context, OnError};
use rust_proxy_wasm::{Limits, Settings};

/// Without grants; each instance is made and configured by itself.
pub(crate) fn settings(name: &str, config_json: &str, limits: Limits) -> Settings {
    Settings {
        name: name.to_owned(),
        config_json: config_json.to_owned(),
        limits,
        on_error: OnError::FailClosed,
        ready: 0,
        once: false,
        secret: false,
        fetch: None,
        directories: Vec::new(),
        kv: None,
        total: Default::default(),
    }
}

pub(crate) fn context() -> Context {
    Context {
        request_id: "r".to_owned(),
        model: "m".to_owned(),
        dialect: "openai-chat",
        streaming: true,
        metadata: Vec::new(),
    }
}
