//! A scripted upstream, and an exchange with it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::stream;
use serde_json::{Value, json};

use super::client::Client;
use super::links::Fake;
use super::*;
use crate::stage::Plugin;
use crate::upstream::{Tokens, Watch};

/// Nothing in this crate waits: a future is ready at once or waits for a script that goes no further.
pub(super) fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing here waits")
}

/// What the upstream answers.
#[derive(Clone)]
pub(super) enum Script {
    Whole(String),
    /// Parts of a body; an open one never ends.
    Stream {
        parts: Vec<Result<Bytes, UpstreamError>>,
        open: bool,
    },
    Error(UpstreamError),
}

impl Script {
    pub(super) fn parts<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Self {
        let parts = parts.into_iter().map(|part| Ok(Bytes::copy_from_slice(part.as_ref()))).collect();
        Self::Stream { parts, open: false }
    }

    pub(super) fn left_open(self) -> Self {
        let Self::Stream { parts, .. } = self else { return self };
        Self::Stream { parts, open: true }
    }
}

pub(super) struct Upstream {
    script: Script,
    /// Held by the body.
    pub(super) guard: Arc<()>,
    /// How many parts of bodies were read.
    pub(super) read: Arc<AtomicUsize>,
    pub(super) asked: Mutex<Vec<UpstreamRequest>>,
    pub(super) heard: Heard,
}

#[async_trait]
impl Backend for Upstream {
    async fn forward(&self, request: UpstreamRequest) -> Result<Forwarded, UpstreamError> {
        self.asked.lock().unwrap().push(request);
        match self.script.clone() {
            Script::Whole(body) => Ok(self.watched(UpstreamReply::Whole(Bytes::from(body)))),
            Script::Error(error) => Err(error),
            Script::Stream { parts, open } => {
                let (guard, read) = (Arc::clone(&self.guard), Arc::clone(&self.read));
                let rest =
                    if open { stream::pending().left_stream() } else { stream::empty().right_stream() };
                let body = stream::iter(parts).chain(rest).inspect(move |_| {
                    let _alive = &guard;
                    read.fetch_add(1, Ordering::Relaxed);
                });
                Ok(self.watched(UpstreamReply::Stream(Box::pin(body))))
            }
        }
    }
}

/// How an answer went.
type Told = (Option<Tokens>, Option<UpstreamError>);

/// How answers went.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(pub(super) Arc<Mutex<Vec<Told>>>);

impl Watch for Heard {
    fn ended(self: Box<Self>, tokens: Option<Tokens>, error: Option<&UpstreamError>) {
        self.0.lock().unwrap().push((tokens, error.cloned()));
    }
}

impl Upstream {
    fn watched(&self, reply: UpstreamReply) -> Forwarded {
        Forwarded { reply, watch: Some(Box::new(self.heard.clone())) }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upstream")
    }
}

/// An exchange about to begin, and what must be gone after it.
pub(super) struct Scene {
    pipeline: Arc<Pipeline>,
    pub(super) upstream: Arc<Upstream>,
}

impl Routes for Scene {
    fn route(&self, model: &str, _: Asking<'_>) -> Option<Route> {
        let route = || Route {
            pipeline: Arc::clone(&self.pipeline),
            backend: Arc::<Upstream>::clone(&self.upstream),
        };
        matches!(model, "m" | "other").then(route)
    }
}

impl Scene {
    pub(super) fn new(plugins: &[Fake], script: Script) -> Self {
        let places: Vec<usize> = (0..plugins.len()).collect();
        let plugins = plugins.iter().map(|plugin| Arc::new(plugin.clone()) as Arc<dyn Plugin>).collect();
        let pipeline = Arc::new(Pipeline { plugins, process: places.clone(), modify: places });
        Self {
            pipeline,
            upstream: Arc::new(Upstream {
                script,
                guard: Arc::default(),
                read: Arc::default(),
                asked: Mutex::default(),
                heard: Heard::default(),
            }),
        }
    }

    pub(super) fn run(&self, body: &Value) -> Result<Reply, ExchangeError> {
        ready(run(
            self,
            Incoming { request_id: "r".into(), body: Bytes::from(body.to_string()), ..Incoming::default() },
        ))
    }

    pub(super) fn stream(&self) -> Result<ResponseStream, ExchangeError> {
        match self
            .run(&json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}))?
        {
            Reply::Stream(stream) => Ok(stream),
            Reply::Whole(_) => panic!("a stream was asked for"),
        }
    }

    pub(super) fn whole(&self) -> Result<String, ExchangeError> {
        match self.run(&json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}))? {
            Reply::Whole(body) => Ok(String::from_utf8(body.to_vec()).unwrap()),
            Reply::Stream(_) => panic!("a whole answer was asked for"),
        }
    }
}

/// Reads the answer to a script that ends, or as far as it goes.
pub(super) fn read(plugins: &[Fake], script: Script) -> Client {
    Client::of(Scene::new(plugins, script).stream().unwrap())
}

/// The answer to a body that comes in one part.
pub(super) fn read_body(plugins: &[Fake], body: &str) -> Client {
    read(plugins, Script::parts([body]))
}

pub(super) fn whole(plugins: &[Fake], body: &str) -> Result<String, ExchangeError> {
    Scene::new(plugins, Script::Whole(body.to_owned())).whole()
}

pub(super) const DONE: &str = "data: [DONE]\n\n";

/// An event with one choice.
pub(super) fn frame(index: u32, delta: &Value, finish: Option<&str>) -> String {
    frame_of(&json!([{ "index": index, "delta": delta, "finish_reason": finish }]))
}

pub(super) fn frame_of(choices: &Value) -> String {
    let chunk = json!({ "id": "c1", "created": 1, "model": "up", "object": "chat.completion.chunk", "choices": choices });
    format!("data: {chunk}\n\n")
}

pub(super) fn delta(text: &str) -> String {
    frame(0, &json!({ "content": text }), None)
}

pub(super) fn role() -> String {
    frame(0, &json!({ "role": "assistant", "content": "" }), None)
}

pub(super) fn finish() -> String {
    frame(0, &json!({}), Some("stop"))
}

pub(super) fn usage() -> String {
    "data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n"
        .to_owned()
}

/// A stream of these deltas, as parts: role, deltas, finish, usage, end.
pub(super) fn answer(deltas: &[&str]) -> Script {
    let deltas = deltas.iter().map(|text| delta(text));
    Script::parts([role()].into_iter().chain(deltas).chain([finish(), usage(), DONE.to_owned()]))
}
