//! What the tests of this crate share: a scripted engine, a configuration, an answer in pieces.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use rust_proxy_core::config::{Config, Folder, Server};
use rust_proxy_stream::ExchangeError;
use rust_proxy_stream::exchange::{End, Incoming, StreamEvent};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::app::{Answer, Chat};

pub(crate) type Events = Pin<Box<dyn Stream<Item = StreamEvent> + Send>>;
type Script = dyn Fn(Incoming) -> Result<Answer<Events>, ExchangeError> + Send + Sync;

/// An engine that answers every request as its script says.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Script>);

impl Fake {
    pub(crate) fn new(
        script: impl Fn(Bytes) -> Result<Answer<Events>, ExchangeError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |incoming: Incoming| script(incoming.body)))
    }

    /// Gives what is known of each request as its answer.
    pub(crate) fn tells() -> Self {
        Self(Arc::new(|Incoming { dialect, body, key, headers, .. }| {
            let body = String::from_utf8_lossy(&body);
            Ok(Answer::Whole(
                json!({ "dialect": dialect.name(), "key": key, "headers": headers, "body": body })
                    .to_string()
                    .into(),
            ))
        }))
    }

    /// Gives each request back as its answer.
    pub(crate) fn echo() -> Self {
        Self::new(|body| Ok(Answer::Whole(body)))
    }
}

impl Chat for Fake {
    type Events = Events;

    fn models(&self) -> Vec<String> {
        vec!["m1".to_owned(), "m2".to_owned()]
    }

    fn headers(&self) -> Arc<[String]> {
        ["x-device-id".to_owned()].into()
    }

    async fn chat(&self, incoming: Incoming) -> Result<Answer<Events>, ExchangeError> {
        (self.0)(incoming)
    }
}

/// The `[server]` table with these lines; `KEY` and `OTHER_KEY` are set.
pub(crate) fn server(lines: &str) -> Server {
    let text = format!(
        "[server]\n{lines}\n[models.m]\nrouting = ['p']\n[models.m.providers.p]\ntype = 'openai'\n\
         api_base = 'http://127.0.0.1/v1/'\napi_key_location = 'none'\n"
    );
    let variables = [("KEY", KEY), ("OTHER_KEY", "another-key-0123456789")];
    let variables: BTreeMap<String, String> =
        variables.map(|(name, value)| (name.into(), value.into())).into();
    let config = Config::parse(&text, "test.toml", &Folder::new(""), &variables);
    config.unwrap_or_else(|problems| panic!("{problems}")).server
}

pub(crate) const KEY: &str = "a-client-key-0123456789";

pub(crate) fn frame(text: &str) -> StreamEvent {
    StreamEvent::Frame(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn end(end: End) -> StreamEvent {
    StreamEvent::End(end)
}

/// Each event after its pause in milliseconds.
pub(crate) fn script<const N: usize>(events: [(u64, StreamEvent); N]) -> Events {
    Box::pin(stream::iter(events).then(async |(pause, event)| {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        event
    }))
}

/// These events, then nothing, for ever; the receiver fails once the stream is dropped.
pub(crate) fn endless(events: Vec<StreamEvent>) -> (Events, oneshot::Receiver<()>) {
    let (alive, dropped) = oneshot::channel();
    let events = stream::iter(events).chain(stream::pending()).map(move |event| {
        let _ = &alive;
        event
    });
    (Box::pin(events), dropped)
}

/// What a body sends, each piece with the milliseconds since `start`.
pub(crate) async fn pieces(start: Instant, mut body: Body) -> Vec<(u128, String)> {
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.expect("a whole body").into_data().expect("data");
        pieces.push((start.elapsed().as_millis(), String::from_utf8(data.to_vec()).expect("text")));
    }
    pieces
}

pub(crate) async fn text(response: Response) -> String {
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

pub(crate) async fn json(response: Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_str(&text(response).await).expect("JSON")
}
