//! One exchange with an upstream that answers with a given body.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use rust_proxy_stream::chain::Pipeline;
use rust_proxy_stream::exchange::{Asking, End, Incoming, Reply, Route, Routes, StreamEvent, run};
use rust_proxy_stream::upstream::{Backend, Forwarded, UpstreamReply, UpstreamRequest};
use rust_proxy_stream::{ExchangeError, UpstreamError};

#[derive(Debug, Clone)]
struct Upstream {
    pieces: Vec<Bytes>,
    streaming: bool,
}

#[async_trait]
impl Backend for Upstream {
    async fn forward(&self, _: UpstreamRequest) -> Result<Forwarded, UpstreamError> {
        if !self.streaming {
            return Ok(UpstreamReply::Whole(Bytes::from(self.pieces.concat())).into());
        }
        Ok(UpstreamReply::Stream(Box::pin(stream::iter(self.pieces.clone().into_iter().map(Ok)))).into())
    }
}

struct Scene(Route);

impl Routes for Scene {
    fn route(&self, _: &str, _: Asking<'_>) -> Option<Route> {
        Some(self.0.clone())
    }
}

fn exchange(pipeline: &Arc<Pipeline>, pieces: &[&[u8]], streaming: bool) -> Result<Reply, ExchangeError> {
    const REQUESTS: [&[u8]; 2] = [
        br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#,
        br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#,
    ];
    let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
    let backend = Arc::new(Upstream { pieces, streaming });
    let scene = Scene(Route { pipeline: Arc::clone(pipeline), backend });
    let body = Bytes::from_static(REQUESTS[usize::from(streaming)]);
    run(&scene, Incoming { body, ..Incoming::default() }).now_or_never().expect("nothing waits")
}

/// What the client gets of a stream: its frames, and its one end.
///
/// # Panics
/// If there is not exactly one end, and that the last event.
pub(crate) fn streamed(pipeline: &Arc<Pipeline>, pieces: &[&[u8]]) -> (Vec<Bytes>, End) {
    let Ok(Reply::Stream(mut events)) = exchange(pipeline, pieces, true) else {
        panic!("a stream is answered with a stream");
    };
    let mut frames = Vec::new();
    loop {
        match events.next().now_or_never().expect("nothing waits") {
            Some(StreamEvent::Frame(frame)) => frames.push(frame),
            Some(StreamEvent::End(end)) => {
                assert!(
                    events.next().now_or_never().expect("nothing waits").is_none(),
                    "the end is the last event"
                );
                return (frames, end);
            }
            None => panic!("a stream has an end"),
        }
    }
}

/// What the client gets of a whole answer.
pub(crate) fn whole(pipeline: &Arc<Pipeline>, body: &[u8]) -> Result<Bytes, ExchangeError> {
    match exchange(pipeline, &[body], false)? {
        Reply::Whole(body) => Ok(body),
        Reply::Stream(_) => panic!("a whole answer is answered with one"),
    }
}
