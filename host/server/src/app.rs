//! The routes, and what they do with an engine.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use bytes::Bytes;
use futures_util::Stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use rust_proxy_core::Engine;
use rust_proxy_core::config::Server;
use rust_proxy_stream::ExchangeError;
use rust_proxy_stream::exchange::{Reply, ResponseStream, StreamEvent};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::egress;
use crate::ingress::{self, Guard, HEALTH, Refusal};
use crate::observe::{RequestId, observe};

/// What the routes need of an engine; the tests have a scripted one.
pub(crate) trait Chat: Clone + Send + Sync + 'static {
    /// The events of a streamed answer.
    type Events: Stream<Item = StreamEvent> + Send + Unpin + 'static;

    /// The names of the models.
    fn models(&self) -> Vec<String>;

    /// Runs one exchange; dropping it, or the events, cancels it.
    fn chat(
        &self,
        request_id: String,
        body: Bytes,
    ) -> impl Future<Output = Result<Answer<Self::Events>, ExchangeError>> + Send;
}

/// What an exchange gives.
pub(crate) enum Answer<S> {
    /// A whole JSON body.
    Whole(Bytes),
    /// Frames and then exactly one end.
    Events(S),
}

impl Chat for Engine {
    type Events = ResponseStream;

    fn models(&self) -> Vec<String> {
        Self::models(self)
    }

    async fn chat(&self, request_id: String, body: Bytes) -> Result<Answer<ResponseStream>, ExchangeError> {
        Ok(match Self::chat(self, request_id, body).await? {
            Reply::Whole(body) => Answer::Whole(body),
            Reply::Stream(events) => Answer::Events(events),
        })
    }
}

#[derive(Clone)]
struct App<C> {
    chat: C,
    heartbeat: Duration,
    body_max: usize,
    exchange_max: Duration,
}

/// Everything that is served on the address of the clients.
pub(crate) fn router<C: Chat>(server: &Server, chat: C) -> Router {
    let &Server { heartbeat, body_max, exchange_max, .. } = server;
    Router::new()
        .route("/v1/chat/completions", post(completions::<C>))
        .route("/v1/models", get(models::<C>))
        .route(HEALTH, get(health))
        .method_not_allowed_fallback(async || ingress::refuse(Refusal::Method))
        .fallback(async || ingress::refuse(Refusal::Route))
        .layer(middleware::from_fn_with_state(Arc::new(Guard::new(server)), ingress::guard))
        .layer(middleware::from_fn(observe))
        .with_state(App { chat, heartbeat, body_max, exchange_max })
}

async fn completions<C: Chat>(
    State(app): State<App<C>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Response {
    let body = match ingress::json_body(request, app.body_max, app.exchange_max).await {
        Ok(body) => body,
        Err(refusal) => return ingress::refuse(refusal),
    };
    let streaming = {
        let body = body.clone();
        move || asks_for_a_stream(&body)
    };
    let heartbeat = app.heartbeat;
    let exchange = async move { app.chat.chat(id, body).await };
    egress::answer(exchange, streaming, heartbeat).await
}

/// What else is in a request is the engine's to read.
fn asks_for_a_stream(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Request {
        stream: Option<bool>,
    }
    serde_json::from_slice(body).is_ok_and(|Request { stream }| stream == Some(true))
}

async fn models<C: Chat>(State(app): State<App<C>>) -> Response {
    // `created` is part of the shape and unknown here.
    let model = |id: String| json!({ "id": id, "object": "model", "created": 0, "owned_by": "rust-proxy" });
    let models: Vec<Value> = app.chat.models().into_iter().map(model).collect();
    json_response(json!({ "object": "list", "data": models }).to_string())
}

/// Whether the gateway is up; no more than that is told without a key.
pub(crate) async fn health() -> Response {
    json_response(r#"{"status":"ok"}"#)
}

/// A 200 with a JSON body.
pub(crate) fn json_response(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
