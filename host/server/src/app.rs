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
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use rust_proxy_core::Engine;
use rust_proxy_core::config::Server;
use rust_proxy_stream::ExchangeError;
use rust_proxy_stream::dialect::Dialect;
use rust_proxy_stream::exchange::{Incoming, Reply, ResponseStream, StreamEvent};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::egress;
use crate::ingress::{self, Bodies, Guard, HEALTH, KeyName, Refusal};
use crate::metrics::Counters;
use crate::observe::{RequestId, observe};

/// What the routes need of an engine; the tests have a scripted one.
pub(crate) trait Chat: Clone + Send + Sync + 'static {
    /// The events of a streamed answer.
    type Events: Stream<Item = StreamEvent> + Send + Unpin + 'static;

    /// The names of the models.
    fn models(&self) -> Vec<String>;

    /// The headers that an exchange may have, in lower case.
    fn headers(&self) -> Arc<[String]> {
        Arc::default()
    }

    /// Runs one exchange; dropping it, or the events, cancels it.
    fn chat(
        &self,
        incoming: Incoming,
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

    fn headers(&self) -> Arc<[String]> {
        Self::headers(self)
    }

    async fn chat(&self, incoming: Incoming) -> Result<Answer<ResponseStream>, ExchangeError> {
        Ok(match self.exchange(incoming).await? {
            Reply::Whole(body) => Answer::Whole(body),
            Reply::Stream(events) => Answer::Events(events),
        })
    }
}

#[derive(Clone)]
struct App<C> {
    chat: C,
    heartbeat: Duration,
    bodies: Bodies,
}

/// Everything that is served on the address of the clients.
pub(crate) fn router<C: Chat>(server: &Server, chat: C) -> Router {
    router_with(server, chat, Bodies::new(server), Counters::default())
}

/// As [`router`], with a budget for bodies, and with counters, that other routers have too.
pub(crate) fn router_with<C: Chat>(server: &Server, chat: C, bodies: Bodies, counters: Counters) -> Router {
    Router::new()
        .route(Dialect::OpenAiChat.route(), post(completions::<C>))
        .route(Dialect::Chat.route(), post(message::<C>))
        .route("/v1/models", get(models::<C>))
        .route(HEALTH, get(health))
        .method_not_allowed_fallback(async || ingress::refuse(Refusal::Method))
        .fallback(async || ingress::refuse(Refusal::Route))
        .layer(middleware::from_fn_with_state(Arc::new(Guard::new(server)), ingress::guard))
        .layer(middleware::from_fn_with_state(counters, observe))
        .with_state(App { chat, heartbeat: server.heartbeat, bodies })
}

async fn completions<C: Chat>(
    State(app): State<App<C>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Response {
    exchange(app, id, Dialect::OpenAiChat, request).await
}

async fn message<C: Chat>(
    State(app): State<App<C>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Response {
    exchange(app, id, Dialect::Chat, request).await
}

async fn exchange<C: Chat>(app: App<C>, request_id: String, dialect: Dialect, request: Request) -> Response {
    let headers = listed(&app.chat.headers(), request.headers());
    let key = request.extensions().get().map(|KeyName(name)| name.clone());
    let body = match app.bodies.read(request).await {
        Ok(body) => body,
        Err(refusal) => return ingress::refuse(refusal),
    };
    let streaming = {
        let body = body.clone();
        move || asks_for_a_stream(&body).unwrap_or(dialect == Dialect::Chat)
    };
    let heartbeat = app.heartbeat;
    let incoming = Incoming { request_id, dialect, body, key, headers };
    let exchange = async move { app.chat.chat(incoming).await };
    egress::answer(exchange, streaming, heartbeat).await
}

/// The headers that the configuration asks for by name; the first of each that is text.
fn listed(names: &[String], headers: &HeaderMap) -> Vec<(String, String)> {
    let value = |name: &String| Some((name.clone(), headers.get(name)?.to_str().ok()?.to_owned()));
    names.iter().filter_map(value).collect()
}

/// `None` where a request does not say. What else is in it is the engine's to read.
fn asks_for_a_stream(body: &[u8]) -> Option<bool> {
    #[derive(Deserialize)]
    struct Request {
        stream: Option<bool>,
    }
    serde_json::from_slice(body).map_or(Some(false), |Request { stream }| stream)
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
