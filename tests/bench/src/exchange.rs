//! Whole exchanges in this process, without a socket: a request, the links, and an upstream that has its answer ready.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rust_proxy_stream::chain::Pipeline;
use rust_proxy_stream::dialect::Dialect;
use rust_proxy_stream::exchange::{
    self, Asking, End, Incoming, Reply, ResponseStream, Route, Routes, StreamEvent,
};
use rust_proxy_stream::stage::{Context, Link, Plugin};
use rust_proxy_stream::upstream::{Backend, Forwarded, UpstreamReply, UpstreamRequest};
use rust_proxy_stream::{UpstreamError, lane};
use rust_proxy_wasm::{Component, Limits, Runtime, RuntimeOptions, Settings};

use crate::native::NativeMask;
use crate::sample::{self, Space};

/// Where `cargo xtask build-plugins` puts what is measured.
const PLUGINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/plugins/");

/// The request of every exchange.
pub const REQUEST: &str = r#"{"model":"m","stream":true,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Say in a few words what a gateway does with a stream."}]}"#;

/// One model, whose upstream has its answer ready.
#[derive(Debug, Clone)]
pub struct Model {
    pipeline: Arc<Pipeline>,
    backend: Arc<Ready>,
}

#[derive(Debug)]
struct Ready {
    /// What each read of the connection gives.
    reads: Vec<Bytes>,
}

#[async_trait]
impl Backend for Ready {
    async fn forward(&self, _: UpstreamRequest) -> Result<Forwarded, UpstreamError> {
        let reads = self.reads.clone();
        Ok(UpstreamReply::Stream(Box::pin(stream::iter(reads.into_iter().map(Ok)))).into())
    }
}

impl Routes for Model {
    fn route(&self, _: &str, _: Asking<'_>) -> Option<Route> {
        Some(Route { pipeline: Arc::clone(&self.pipeline), backend: Arc::clone(&self.backend) as _ })
    }
}

impl Model {
    /// A model whose answer passes these links: `deltas` of them, so many in each read of the connection.
    pub fn new(links: Vec<Arc<dyn Plugin>>, deltas: usize, in_each_read: usize, space: Space) -> Self {
        let modify = (0..links.len()).collect();
        let events = sample::events(deltas, space);
        let reads = events.chunks(in_each_read).map(|events| Bytes::from(events.concat())).collect();
        let pipeline = Pipeline { plugins: links, process: Vec::new(), modify };
        Self { pipeline: Arc::new(pipeline), backend: Arc::new(Ready { reads }) }
    }

    /// Begins an exchange: its links are taken and their sessions open.
    ///
    /// # Panics
    /// Where the exchange fails.
    pub async fn begin(&self) -> ResponseStream {
        let incoming = Incoming {
            request_id: "r".to_owned(),
            dialect: Dialect::OpenAiChat,
            body: Bytes::from_static(REQUEST.as_bytes()),
            ..Incoming::default()
        };
        let reply = exchange::run(self, incoming).await.expect("an answer");
        let Reply::Stream(events) = reply else { panic!("it is a stream") };
        events
    }

    /// Runs an exchange to its end; answers with the bytes that a client gets.
    ///
    /// # Panics
    /// Where the exchange fails.
    pub async fn run(&self) -> Vec<u8> {
        let mut events = self.begin().await;
        let mut sent = Vec::new();
        loop {
            match events.next().await.expect("an end") {
                StreamEvent::Frame(frame) => sent.extend_from_slice(&frame),
                StreamEvent::End(End::Complete) => return sent,
                StreamEvent::End(end) => panic!("it ended with {end:?}"),
            }
        }
    }
}

/// The sandbox of a benchmark.
///
/// # Panics
/// Where the machine has no room for it.
pub fn sandbox() -> Runtime {
    Runtime::new(RuntimeOptions { slots: 200, ..RuntimeOptions::default() }).expect("room for an engine")
}

/// The component of `sensitive-word`.
///
/// # Panics
/// Where it was not built.
pub fn sensitive_word() -> Vec<u8> {
    std::fs::read(format!("{PLUGINS}sensitive-word.wasm")).expect("run `cargo xtask build-plugins` first")
}

/// `sensitive-word` in the sandbox, with the words of [`sample::words`].
///
/// # Panics
/// Where it cannot be loaded.
pub async fn component(sandbox: &Runtime, words: usize, ready: usize) -> Component {
    let limits = Limits {
        memory: 64 << 20,
        cpu: Duration::from_secs(2),
        wall: Duration::from_secs(20),
        output: 1 << 20,
        requests: 0,
        fetch: 0,
        log: 0,
    };
    let config_json = sample::settings(words);
    let settings = Settings { ready, once: true, ..Settings::new("sensitive-word", &config_json, limits) };
    sandbox.load(&sensitive_word(), settings).await.expect("a component that loads")
}

/// `count` links in the sandbox with 1,000 words each.
pub async fn wasm_links(sandbox: &Runtime, count: usize, ready: usize) -> Vec<Arc<dyn Plugin>> {
    let mut links: Vec<Arc<dyn Plugin>> = Vec::new();
    for _ in 0..count {
        links.push(Arc::new(component(sandbox, 1000, ready).await));
    }
    links
}

/// As many native twins.
pub fn native_links(count: usize) -> Vec<Arc<dyn Plugin>> {
    let mask = NativeMask::new("sensitive-word", &sample::words(1000));
    (0..count).map(|_| Arc::new(mask.clone()) as Arc<dyn Plugin>).collect()
}

/// A link whose only lane is open.
///
/// # Panics
/// Where it fails.
pub async fn opened(mut link: Box<dyn Link>) -> Box<dyn Link> {
    let modifier = link.modifier().expect("a response modifier");
    modifier.open(&context()).await.expect("a session");
    let lane =
        lane::Lane { id: 0, choice: 0, part: 0, channel: lane::Channel::Text, name: None, pointer: None };
    let first = lane::Batch { opened: &[lane], pieces: Vec::new(), closed: &[] };
    modifier.push(&first).await.expect("an answer");
    link
}

/// The exchange that calls belong to.
pub fn context() -> Context {
    Context {
        request_id: "r".to_owned(),
        model: "m".to_owned(),
        dialect: "openai-chat",
        streaming: true,
        metadata: Vec::new(),
    }
}
