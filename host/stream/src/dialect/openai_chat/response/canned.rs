//! An answer of our own, in the place of a model's.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::dialect::openai_chat::TERMINAL;
use crate::sse;
use crate::stage::Context;
use crate::upstream::UpstreamReply;

/// The answer of a processor that stopped a request for `choices` answers: `text`, or nothing and marked as
/// filtered.
pub(crate) fn canned(context: &Context, choices: u32, text: Option<&str>) -> UpstreamReply {
    let finish = if text.is_some() { "stop" } else { "content_filter" };
    let body = |object: &str, choices: Value| {
        json!({
            "id": format!("chatcmpl-{}", context.request_id),
            "object": object,
            "created": 0,
            "model": context.model,
            "choices": choices,
        })
    };
    let message = json!({ "role": "assistant", "content": text.unwrap_or_default() });
    if !context.streaming {
        let choice = |index| json!({ "index": index, "message": message, "finish_reason": finish });
        let choices = (0..choices).map(choice).collect();
        return UpstreamReply::Whole(Bytes::from(body("chat.completion", choices).to_string()));
    }
    let frame = |index: u32, delta: &Value, finish: Option<&str>| {
        let choice = json!({ "index": index, "delta": delta, "finish_reason": finish });
        Ok(sse::encode(None, &body("chat.completion.chunk", json!([choice])).to_string()))
    };
    let choice = |index| [frame(index, &message, None), frame(index, &json!({}), Some(finish))];
    let frames: Vec<_> = (0..choices).flat_map(choice).chain([Ok(Bytes::from_static(TERMINAL))]).collect();
    UpstreamReply::Stream(Box::pin(futures_util::stream::iter(frames)))
}
