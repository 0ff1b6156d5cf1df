//! What most tests of components need.

use rust_proxy_stream::stage::Context;

pub(crate) fn context() -> Context {
    Context {
        request_id: "r".to_owned(),
        model: "m".to_owned(),
        dialect: "openai-chat",
        streaming: true,
        metadata: Vec::new(),
    }
}
