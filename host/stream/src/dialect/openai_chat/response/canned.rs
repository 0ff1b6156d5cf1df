//! An answer of our own, in the place of a model's.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::dialect::openai_chat::TERMINAL;
use crate::sse;
use crate::stage::Context;
use crate::upstream::UpstreamReply;

/// The answer of a processor that stopped a request: `text`, or nothing and marked as filtered.
pub(crate) fn canned(context: &Context, text: Option<&str>) -> UpstreamReply {
    let finish = if text.is_some() { "stop" } else { "content_filter" };
    let body = |object: &str, choice: Value| {
        json!({
            "id": format!("chatcmpl-{}", context.request_id),
            "object": object,
            "created": 0,
            "model": context.model,
            "choices": [choice],
        })
    };
    let message = json!({ "role": "assistant", "content": text.unwrap_or_default() });
    if !context.streaming {
        let choice = json!({ "index": 0, "message": message, "finish_reason": finish });
        return UpstreamReply::Whole(Bytes::from(body("chat.completion", choice).to_string()));
    }
    let deltas = [(message, None), (json!({}), Some(finish))];
    let frames = deltas.map(|(delta, finish)| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        Ok(sse::encode(None, &body("chat.completion.chunk", choice).to_string()))
    });
    let end = Ok(Bytes::from_static(TERMINAL));
    UpstreamReply::Stream(Box::pin(futures_util::stream::iter(frames.into_iter().chain([end]))))
}
