//! A model for demonstrations: it answers with a quote of what it was sent.
//!
//! So one sees what the processors made of a request, and, as the answer itself says the words that the
//! sample plugins look for, what the modifiers make of an answer. It is no part of a gateway; unlike one, it
//! logs the messages that it gets.
//!
//! It speaks OpenAI's chat API, and is the reference of the Dev API: `POST /chat`, whose requests are signed,
//! verified here, and answered in events of its own. Its pages are for plugins that fetch some.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::app::{health, json_response};
use crate::respond::ApiError;
use crate::text::one_line;

mod verify;

pub(crate) use rust_proxy_sign::DEMONSTRATION_KEY;
use verify::Verifier;

/// Characters in a piece: fewer than most words have, so that words arrive in parts.
const PIECE: usize = 4;

/// What plugins that fetch pages find here.
const PAGES: [(&str, &str); 3] = [
    ("bananas.html", include_str!("dev_api/pages/bananas.html")),
    ("berries.html", include_str!("dev_api/pages/berries.html")),
    ("streams.html", include_str!("dev_api/pages/streams.html")),
];

/// The form of the Dev API's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Answers {
    /// `{"delta": …}` events, or `{"text": …}`.
    Own,
    /// OpenAI's chunks, or its whole answers.
    Openai,
}

/// How the model serves.
#[derive(Debug)]
pub(crate) struct Settings {
    /// What passes before each piece of a streamed answer.
    pub(crate) delay: Duration,
    /// What signatures are made with.
    pub(crate) key: String,
    /// The form of the Dev API's answers, where a request's `stream_format` does not say.
    pub(crate) answers: Answers,
}

struct DevApi {
    delay: Duration,
    verifier: Verifier,
    answers: Answers,
}

/// The routes.
pub(crate) fn router(settings: Settings) -> Router {
    let Settings { delay, key, answers } = settings;
    Router::new()
        .route("/v1/chat/completions", post(completions))
        .route("/chat", post(chat))
        .route("/pages/{name}", get(page))
        .route("/health", get(health))
        .with_state(Arc::new(DevApi { delay, verifier: Verifier::new(key), answers }))
}

async fn page(Path(name): Path<String>) -> Response {
    match PAGES.iter().find(|(known, _)| *known == name) {
        Some((_, html)) => Html(*html).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn completions(State(api): State<Arc<DevApi>>, body: Bytes) -> Response {
    match Asked::read(&body) {
        Ok(asked) => asked.answer_like_openai(api.delay),
        Err(error) => (*error).into_response(),
    }
}

async fn chat(State(api): State<Arc<DevApi>>, headers: HeaderMap, body: Bytes) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if let Err(refused) = api.verifier.verify(&headers, &body, now) {
        tracing::info!(reason = %refused, "request refused");
        return refused.into_response();
    }
    let asked = match Asked::read(&body) {
        Ok(asked) => asked,
        Err(error) => return (*error).into_response(),
    };
    let answers = match asked.request.get("stream_format").and_then(Value::as_str) {
        Some("openai") => Answers::Openai,
        Some("own") => Answers::Own,
        _ => api.answers,
    };
    match answers {
        Answers::Openai => asked.answer_like_openai(api.delay),
        Answers::Own => asked.answer(api.delay),
    }
}

/// A request, and what it is answered.
struct Asked {
    request: Value,
    answer: String,
    usage: Value,
}

impl Asked {
    fn read(body: &[u8]) -> Result<Self, Box<ApiError>> {
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return Err(Box::new(ApiError::invalid(None, "the body is not JSON")));
        };
        let Some(messages) = request.get("messages").and_then(Value::as_array) else {
            return Err(Box::new(ApiError::invalid(Some("messages".into()), "`messages` is missing")));
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
        let (asked, given) = (body.len(), answer.chars().count());
        let tokens = |characters: usize| characters.div_ceil(PIECE);
        let usage = json!({
            "prompt_tokens": tokens(asked),
            "completion_tokens": tokens(given),
            "total_tokens": tokens(asked) + tokens(given),
        });
        Ok(Self { request, answer, usage })
    }

    fn wants_a_stream(&self) -> bool {
        self.request.get("stream") == Some(&Value::Bool(true))
    }

    fn answer_like_openai(self, delay: Duration) -> Response {
        let streaming = self.wants_a_stream();
        let Self { request, answer, usage } = self;
        let model = request.get("model").cloned().unwrap_or_default();
        if streaming {
            let wanted = request.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
            return streamed(chunks(&model, &answer, wanted.then_some(usage)), delay);
        }
        let message = json!({ "role": "assistant", "content": answer });
        let choices = json!([{ "index": 0, "message": message, "finish_reason": "stop" }]);
        let whole = envelope("chat.completion", &model, &choices, Some(usage));
        json_response(whole.to_string())
    }

    fn answer(self, delay: Duration) -> Response {
        let Self { answer, usage, .. } = &self;
        if !self.wants_a_stream() {
            return json_response(
                json!({ "text": answer, "finish_reason": "stop", "usage": usage }).to_string(),
            );
        }
        let event = |data: &Value| format!("data: {data}\n\n");
        let mut frames: Vec<String> = pieces(answer).map(|piece| event(&json!({ "delta": piece }))).collect();
        frames.push(event(&json!({ "done": true, "finish_reason": "stop", "usage": usage })));
        frames.push("data: [DONE]\n\n".to_owned());
        streamed(frames, delay)
    }
}

fn pieces(text: &str) -> impl Iterator<Item = String> {
    let characters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = characters.chunks(PIECE).map(|piece| piece.iter().collect()).collect();
    pieces.into_iter()
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
    let mut frames = vec![delta(json!({ "role": "assistant", "content": "" }), None)];
    frames.extend(pieces(answer).map(|piece| delta(json!({ "content": piece }), None)));
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
