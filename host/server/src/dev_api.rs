//! A model for demonstrations: OpenAI's chat API, answering with a quote of what it was sent.
//!
//! So one sees what the processors made of a request, and, as the answer itself says the words that the
//! sample plugins look for, what the modifiers make of an answer. It is no part of a gateway; unlike one, it
//! logs the messages that it gets.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::app::{health, json_response};
use crate::respond::ApiError;
use crate::text::one_line;

/// Characters in a piece: fewer than most words have, so that words arrive in parts.
const PIECE: usize = 4;

/// The routes; `delay` passes before each piece of a streamed answer.
pub(crate) fn router(delay: Duration) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(completions))
        .route("/health", get(health))
        .with_state(delay)
}

async fn completions(State(delay): State<Duration>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return ApiError::invalid(None, "the body is not JSON").into_response();
    };
    let Some(messages) = request.get("messages").and_then(Value::as_array) else {
        return ApiError::invalid(Some("messages".into()), "`messages` is missing").into_response();
    };
    let mut said = String::new();
    for message in messages {
        let role = message.get("role").and_then(Value::as_str).unwrap_or("?");
        let text = text(message);
        tracing::info!(role = one_line(role), text = one_line(&text), "was sent");
        if role == "user" {
            said = text;
        }
    }
    let answer = format!("You said: \"{said}\". Banana bread is classified.");
    let model = request.get("model").cloned().unwrap_or_default();
    let (asked, given) = (body.len(), answer.chars().count());
    let tokens = |characters: usize| characters.div_ceil(PIECE);
    let usage = json!({
        "prompt_tokens": tokens(asked),
        "completion_tokens": tokens(given),
        "total_tokens": tokens(asked) + tokens(given),
    });
    if request.get("stream") == Some(&Value::Bool(true)) {
        let usage =
            (request.pointer("/stream_options/include_usage") == Some(&Value::Bool(true))).then_some(usage);
        return streamed(chunks(&model, &answer, usage), delay);
    }
    let message = json!({ "role": "assistant", "content": answer });
    let choices = json!([{ "index": 0, "message": message, "finish_reason": "stop" }]);
    let whole = envelope("chat.completion", &model, &choices, Some(usage));
    json_response(whole.to_string())
}

/// The text of a message: a string, or the text parts of a list.
fn text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

fn envelope(object: &str, model: &Value, choices: &Value, usage: Option<Value>) -> Value {
    let id = "chatcmpl-demonstration";
    let mut envelope =
        json!({ "id": id, "object": object, "created": 0, "model": model, "choices": choices });
    if let (Some(usage), Some(fields)) = (usage, envelope.as_object_mut()) {
        fields.insert("usage".to_owned(), usage);
    }
    envelope
}

/// The frames of a streamed answer: the role, the text in pieces, the reason, the usage if asked for.
fn chunks(model: &Value, answer: &str, usage: Option<Value>) -> Vec<String> {
    let chunk = |choices: &Value, usage: Option<Value>| {
        format!("data: {}\n\n", envelope("chat.completion.chunk", model, choices, usage))
    };
    let delta = |delta: Value, reason: Option<&str>| {
        chunk(&json!([{ "index": 0, "delta": delta, "finish_reason": reason }]), None)
    };
    let characters: Vec<char> = answer.chars().collect();
    let pieces = characters.chunks(PIECE).map(|piece| piece.iter().collect::<String>());
    let mut frames = vec![delta(json!({ "role": "assistant", "content": "" }), None)];
    frames.extend(pieces.map(|piece| delta(json!({ "content": piece }), None)));
    frames.push(delta(json!({}), Some("stop")));
    frames.extend(usage.map(|usage| chunk(&json!([]), Some(usage))));
    frames.push("data: [DONE]\n\n".to_owned());
    frames
}

fn streamed(frames: Vec<String>, delay: Duration) -> Response {
    let frames = stream::iter(frames).then(move |frame| async move {
        tokio::time::sleep(delay).await;
        Ok::<_, Infallible>(frame)
    });
    let mut response = Response::new(Body::from_stream(frames));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

#[cfg(test)]
mod tests;
