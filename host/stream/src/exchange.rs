//! The life of a request, ② to ⑥, as one function: [`run`].

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};

use crate::chain::{self, Flow, Pipeline, Processed, ResponseChain};
use crate::dialect::openai_chat::{Request, Response, canned};
use crate::dialect::{self, Dialect};
use crate::error::{ExchangeError, UpstreamError};
use crate::sse::{Decoder, SseError};
use crate::stage::Context;
use crate::upstream::{Backend, BodyStream, Forwarded, UpstreamReply, UpstreamRequest, Watch};

/// A chat request as it came in.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    /// The id that the client sees as `x-request-id`.
    pub request_id: String,
    /// What the body is written in.
    pub dialect: Dialect,
    /// The body.
    pub body: Bytes,
    /// The name of the client's key, where one was needed. Plugins do not see it.
    pub key: Option<String>,
    /// The headers that the configuration asks for by name (`dynamic::NAME`, and the conditions of rules), and no
    /// others: names in lower case, each once. Plugins do not see them.
    pub headers: Vec<(String, String)>,
}

/// What a request says besides its model and its body: a pipeline may be chosen by it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asking<'a> {
    /// What it is written in, and so where it came in.
    pub dialect: Dialect,
    /// As [`Incoming::key`].
    pub key: Option<&'a str>,
    /// As [`Incoming::headers`].
    pub headers: &'a [(String, String)],
}

/// What a model's name stands for, to one who asks.
#[derive(Debug, Clone)]
pub struct Route {
    /// The plugins of its exchanges.
    pub pipeline: Arc<Pipeline>,
    /// Who is asked.
    pub backend: Arc<dyn Backend>,
}

/// Finds the [`Route`] of a model.
pub trait Routes: Send + Sync {
    /// `None` where the configuration does not have the model.
    ///
    /// Called once before ③: its pipeline is that of the exchange, in both directions. Called again where a
    /// processor chose another model; then only its backend counts.
    fn route(&self, model: &str, asking: Asking<'_>) -> Option<Route>;

    /// The model of a request to `POST /chat` that names none.
    fn chat_model(&self) -> Option<&str> {
        None
    }
}

/// What the client gets.
#[derive(Debug)]
pub enum Reply {
    /// A whole JSON body.
    Whole(Bytes),
    /// A stream of SSE frames.
    Stream(ResponseStream),
}

/// One thing that a [`ResponseStream`] yields.
#[derive(Debug)]
pub enum StreamEvent {
    /// One SSE frame, ready to be sent.
    Frame(Bytes),
    /// The end: the terminal marker is written on complete and stopped only.
    End(End),
}

/// How a response ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A finish reason for every choice and a clean end of the body.
    Complete,
    /// A plugin's `respond` or `block`.
    Stopped,
    /// Anything else.
    Failed(ExchangeError),
}

/// Runs one exchange: parse, process, forward, modify.
///
/// # Errors
/// [`ExchangeError`] where the answer has not begun; afterwards its [`End`] says what went wrong.
///
/// # Cancellation
/// Dropping the call, or the stream that it returned, ends the exchange: links are dropped, the upstream
/// connection is closed.
pub async fn run(routes: &dyn Routes, incoming: Incoming) -> Result<Reply, ExchangeError> {
    // ② parse
    let Incoming { request_id, dialect, body, key, headers } = incoming;
    let body = match dialect {
        Dialect::OpenAiChat => body,
        Dialect::Chat => dialect::to_openai_chat(&body, routes.chat_model())?,
    };
    let mut request = Request::parse(&body)?;
    let context = Context {
        request_id,
        model: request.model().to_owned(),
        dialect: dialect.name(),
        streaming: request.streaming(),
        metadata: Vec::new(),
    };
    let choices = request.choices();
    let asking = Asking { dialect, key: key.as_deref(), headers: &headers };
    let route = routes
        .route(&context.model, asking)
        .ok_or_else(|| ExchangeError::UnknownModel(context.model.clone()))?;
    if request.spoken() && !route.pipeline.modify.is_empty() {
        let fix =
            "no plugin can look at sound: ask for text only, or for a model whose pipeline has no `modify`";
        return Err(ExchangeError::invalid("modalities", format!("`modalities`: {fix}")));
    }
    let mut links = route.pipeline.start().await?;
    // ③ process
    let mut end = End::Stopped;
    let Forwarded { reply, watch } = match chain::process(&mut links, &context, &mut request).await? {
        Processed::Respond(text) => canned(&context, choices, Some(&text)).into(),
        Processed::Block => canned(&context, choices, None).into(),
        Processed::Forward { route: other } => {
            let backend = match other {
                Some(model) => {
                    routes.route(&model, asking).ok_or(ExchangeError::UnknownModel(model))?.backend
                }
                None => route.backend,
            };
            end = End::Complete;
            // ④ credential ⑤ forward
            let request_id = context.request_id.clone();
            backend.forward(UpstreamRequest { request_id, request, headers }).await?
        }
    };
    // ⑥ modify
    let mut answer = Answer { response: Response::default(), watch, error: None };
    let chain = ResponseChain::open(links, &context).await?;
    answer.response = Response::new(choices, !chain.is_empty());
    match reply {
        UpstreamReply::Whole(body) => modify_whole(&body, answer, chain).await.map(Reply::Whole),
        UpstreamReply::Stream(body) => Ok(Reply::Stream(ResponseStream::new(body, answer, chain, end))),
    }
}

async fn modify_whole(
    body: &Bytes,
    mut answer: Answer,
    mut chain: ResponseChain,
) -> Result<Bytes, ExchangeError> {
    let mut flow = Flow::default();
    let read = answer.response.read_whole(body, &mut flow);
    answer.note(read)?;
    let stopped = chain.push(&mut flow, || answer.response.unfinished()).await?;
    let body = answer.response.write_whole(&flow, stopped);
    chain.finish().await?;
    Ok(body)
}

/// An upstream's answer. Dropping it tells its watch how it went.
struct Answer {
    response: Response,
    watch: Option<Box<dyn Watch>>,
    /// What was wrong with it.
    error: Option<UpstreamError>,
}

impl Answer {
    /// Takes note of what is wrong with it.
    fn note<T>(&mut self, read: Result<T, UpstreamError>) -> Result<T, UpstreamError> {
        if let Err(error) = &read {
            self.error = Some(error.clone());
        }
        read
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.ended(self.response.tokens(), self.error.as_ref());
        }
    }
}

/// A response on its way to the client: frames, and then exactly one [`StreamEvent::End`].
///
/// # Cancellation
/// Dropping it ends the exchange.
pub struct ResponseStream {
    inner: Pin<Box<dyn Stream<Item = StreamEvent> + Send>>,
}

impl ResponseStream {
    /// A response of any events, which must keep to the rule above: for layers around one, and for tests.
    pub fn from_events(events: impl Stream<Item = StreamEvent> + Send + 'static) -> Self {
        Self { inner: Box::pin(events) }
    }

    /// `end` is how it ends if nothing comes in between.
    fn new(body: BodyStream, answer: Answer, chain: ResponseChain, end: End) -> Self {
        let modifying = Modifying {
            body: body.fuse(),
            decoder: Decoder::default(),
            answer,
            chain,
            flow: Flow::default(),
            out: VecDeque::new(),
            end,
        };
        let inner = stream::unfold(State::Open(Box::new(modifying)), |state| async {
            match state {
                State::Open(modifying) => Some(modifying.next().await),
                State::Ending(mut out, end) => match out.pop_front() {
                    Some(frame) => Some((StreamEvent::Frame(frame), State::Ending(out, end))),
                    None => Some((StreamEvent::End(end), State::Ended)),
                },
                State::Ended => None,
            }
        });
        Self { inner: Box::pin(inner) }
    }
}

/// Where a response is.
enum State {
    /// The upstream is being read.
    Open(Box<Modifying>),
    /// It has ended, and its links are gone; these frames are left.
    Ending(VecDeque<Bytes>, End),
    /// The end was told.
    Ended,
}

/// A response that is being read.
struct Modifying {
    body: stream::Fuse<BodyStream>,
    chain: ResponseChain,
    decoder: Decoder,
    answer: Answer,
    /// What flows in this step.
    flow: Flow,
    out: VecDeque<Bytes>,
    /// How it ends if nothing comes in between.
    end: End,
}

impl Modifying {
    /// The next event and the state after it.
    async fn next(mut self: Box<Self>) -> (StreamEvent, State) {
        let end = loop {
            if let Some(frame) = self.out.pop_front() {
                return (StreamEvent::Frame(frame), State::Open(self));
            }
            match self.step().await {
                Ok(None) => {}
                Ok(Some(end)) => break end,
                Err(error) => break End::Failed(error),
            }
        };
        let mut out = self.out;
        match out.pop_front() {
            Some(frame) => (StreamEvent::Frame(frame), State::Ending(out, end)),
            None => (StreamEvent::End(end), State::Ended),
        }
    }

    /// Reads what the upstream has, passes it through the links, and queues what can be sent.
    async fn step(&mut self) -> Result<Option<End>, ExchangeError> {
        let read = match self.body.next().await {
            Some(Ok(bytes)) => {
                self.decoder.push(&bytes);
                self.read()
            }
            Some(Err(error)) => return Ok(self.answer.note(Err(error))?),
            None => self.read_end().map(|()| true),
        };
        // What came before an error is still good.
        let stopped = self.chain.push(&mut self.flow, || self.answer.response.unfinished()).await?;
        let last = stopped.is_some() || self.answer.response.has_ended();
        let finished = if last { self.chain.finish().await } else { Ok(()) };
        if finished.is_err() {
            self.answer.response.withhold_end();
        }
        if let Some(stopped) = stopped {
            self.answer.response.write_stopped(&self.flow, stopped, &mut self.out);
            finished?;
            return Ok(Some(End::Stopped));
        }
        self.answer.response.write(&self.flow, &mut self.out);
        self.flow.clear();
        finished?;
        if !self.answer.note(read)? {
            return Ok(None);
        }
        let complete = self.answer.response.check_complete();
        self.answer.note(complete)?;
        // Of an answer with fewer choices than were asked for, only the end tells that it has ended.
        self.chain.finish().await?;
        // The end of the body is mostly there already; taking it lets the connection be used again.
        self.body.next().now_or_never();
        Ok(Some(self.end.clone()))
    }

    /// Reads the blocks that are there; answers whether the terminal marker was among them.
    fn read(&mut self) -> Result<bool, UpstreamError> {
        while let Some(block) = self.decoder.next_raw().map_err(unreadable)? {
            if self.answer.response.read(block, &mut self.flow)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read_end(&mut self) -> Result<(), UpstreamError> {
        match std::mem::take(&mut self.decoder).finish().map_err(unreadable)? {
            Some(block) => self.answer.response.read(block.raw, &mut self.flow).map(drop),
            None => Ok(()),
        }
    }
}

fn unreadable(error: SseError) -> UpstreamError {
    match error {
        SseError::Cut => UpstreamError::Incomplete(error.to_string()),
        _ => UpstreamError::Protocol(error.to_string()),
    }
}

impl Stream for ResponseStream {
    type Item = StreamEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<StreamEvent>> {
        self.inner.as_mut().poll_next(cx)
    }
}

impl std::fmt::Debug for ResponseStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResponseStream")
    }
}

#[cfg(test)]
mod tests;
