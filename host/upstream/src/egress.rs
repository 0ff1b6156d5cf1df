//! The one way out: every outbound byte of the host goes through a [`Client`].
//!
//! It follows no redirects, takes no proxy from the environment, and sets every time limit itself, so that an
//! error says which one has passed.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, stream};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{IntoUrl, Response};
use rust_proxy_stream::UpstreamError;
use rust_proxy_stream::upstream::BodyStream;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::turn::Turn;

/// How long an unused connection is kept.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);

/// How much of an error's body is read, in bytes: enough for any message.
const ERROR_MAX: usize = 64 << 10;

/// How long an error's body is waited for. Its status says the most of it, and is told as long as no heartbeat
/// has opened the answer.
const ERROR_WITHIN: Duration = Duration::from_secs(2);

/// How much of an answer that is there already is passed on as one part, in bytes: some fifty events.
const JOINED_MAX: usize = 16 << 10;

/// How long a part may wait for those behind it: where all cores are busy, a turn of the others takes its time.
const JOINED_WITHIN: Duration = Duration::from_millis(10);

/// The time limits of one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection is made.
    pub connect: Duration,
    /// Until the head of the answer is there.
    pub first_byte: Duration,
    /// Between two reads of the answer.
    pub idle: Duration,
    /// For all of it.
    pub total: Duration,
}

/// An HTTP client with its pool of connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    timeouts: Timeouts,
}

/// Why there can be no [`Client`].
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client: {0}; is the system's certificate store (ca-certificates) installed?")]
pub struct EgressError(String);

impl Client {
    /// Makes a client.
    ///
    /// # Errors
    /// The reason, where TLS cannot be set up.
    pub fn new(timeouts: Timeouts) -> Result<Self, EgressError> {
        let http = build(builder(timeouts.connect)?)?;
        Ok(Self { http, timeouts })
    }

    /// Posts a body and waits for the head of the answer, whose body should not be compressed.
    ///
    /// # Errors
    /// [`UpstreamError::Unreachable`] or [`UpstreamError::Timeout`].
    ///
    /// # Cancellation
    /// Dropping the call closes the connection.
    pub(crate) async fn post(
        &self,
        url: impl IntoUrl,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, UpstreamError> {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let call = self.http.post(url).headers(headers).body(body);
        send(call, self.timeouts).await.map_err(|error| match error {
            SendError::Failed(error) => UpstreamError::Unreachable(causes(&error)),
            SendError::Timeout(limit) => UpstreamError::Timeout(limit),
        })
    }
}

/// What every client of this host has in common.
pub(crate) fn builder(connect: Duration) -> Result<reqwest::ClientBuilder, EgressError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|error| EgressError(error.to_string()))?
        .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect)
        .pool_idle_timeout(IDLE_CONNECTION)
        .tcp_nodelay(true)
        .user_agent(concat!("rust-proxy/", env!("CARGO_PKG_VERSION"))))
}

pub(crate) fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, EgressError> {
    builder.build().map_err(|error| EgressError(error.to_string()))
}

/// Why there is no head of an answer.
pub(crate) enum SendError {
    Failed(reqwest::Error),
    /// A time limit, by name.
    Timeout(&'static str),
}

/// Sends a request and waits for the head of the answer.
///
/// # Cancellation
/// Dropping the call closes the connection.
pub(crate) async fn send(call: reqwest::RequestBuilder, timeouts: Timeouts) -> Result<Answer, SendError> {
    let started = Instant::now();
    let total = started + timeouts.total;
    let head = timeout_at(total.min(started + timeouts.first_byte), call.send()).await;
    match head {
        Ok(Ok(response)) => {
            Ok(Answer { response, idle: timeouts.idle, total, next: None, turn: Turn::default() })
        }
        Ok(Err(error)) if error.is_timeout() => Err(SendError::Timeout("connect")),
        Ok(Err(error)) => Err(SendError::Failed(error)),
        Err(_) => Err(SendError::Timeout("first_byte")),
    }
}

/// An answer whose head is there.
pub(crate) struct Answer {
    response: Response,
    idle: Duration,
    total: Instant,
    /// What came behind the part that was given out last, where that was no part.
    next: Option<Read>,
    turn: Turn,
}

/// What a read gives: a part, or the end, or what went wrong.
type Read = Result<Option<Bytes>, UpstreamError>;

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub(crate) fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    pub(crate) fn is_event_stream(&self) -> bool {
        let kind = self.header(CONTENT_TYPE.as_str()).and_then(|kind| kind.split(';').next());
        kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
    }

    /// The answer, if its body can be read as it is. It is not unpacked: whoever compresses what was asked for
    /// plain holds events back to do so, and a few bytes of it can be gigabytes.
    ///
    /// # Errors
    /// [`UpstreamError::Protocol`] where it is compressed.
    pub(crate) fn plain(self) -> Result<Self, UpstreamError> {
        // Others are no compressions: `identity`, and what some servers write there by mistake.
        const COMPRESSIONS: [&str; 6] = ["gzip", "x-gzip", "deflate", "br", "zstd", "compress"];
        let codings = self.headers().get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut codings = codings.flat_map(|value| value.split(',')).map(str::trim);
        match codings.find(|coding| COMPRESSIONS.iter().any(|known| known.eq_ignore_ascii_case(coding))) {
            None => Ok(self),
            Some(coding) => Err(UpstreamError::Protocol(format!(
                "its body is compressed (`content-encoding: {coding}`), though asked for with `accept-encoding: \
                 identity`; turn that off at the upstream"
            ))),
        }
    }

    /// What is told of an answer with a status other than 2xx; `message` finds the message in its body.
    pub(crate) async fn into_refusal(self, message: impl FnOnce(&str) -> String) -> UpstreamError {
        let status = self.status();
        let retry_after = self.header("retry-after").map(str::to_owned);
        let message = match self.header(LOCATION.as_str()) {
            Some(place) if (300..400).contains(&status) => format!("it leads to {place}"),
            _ => self.into_error().await.map_or_else(String::new, |body| message(&body)),
        };
        UpstreamError::Status { status, message, retry_after }
    }

    /// The body of an error, if it has words for a reader: web pages do not.
    pub(crate) async fn into_error(self) -> Option<String> {
        let body = timeout(ERROR_WITHIN, self.plain().ok()?.into_body(ERROR_MAX)).await.ok()?.ok()?;
        let body = String::from_utf8_lossy(&body).into_owned();
        (!body.trim_start().starts_with('<')).then_some(body)
    }

    /// The next part of the body, with all that is there already; `None` at its end.
    async fn chunk(&mut self) -> Read {
        if let Some(next) = self.next.take() {
            return next;
        }
        let idle = Instant::now() + self.idle;
        let limit = if idle < self.total { "idle" } else { "total" };
        let first = match timeout_at(idle.min(self.total), self.response.chunk()).await {
            Ok(read) => part(read)?,
            Err(_) => return Err(UpstreamError::Timeout(limit)),
        };
        match first {
            Some(first) => Ok(Some(self.joined(first).await)),
            None => Ok(None),
        }
    }

    /// A part with what is there behind it. The connection's task hands over one HTTP chunk at a time, mostly one
    /// event; passed on one by one, each would be a write to the client, which costs more than all the rest.
    async fn joined(&mut self, first: Bytes) -> Bytes {
        let mut all = BytesMut::new();
        let mut waited = false;
        let until = Instant::now() + JOINED_WITHIN;
        while self.next.is_none() && all.len().max(first.len()) < JOINED_MAX {
            match self.response.chunk().now_or_never().map(part) {
                Some(Ok(Some(more))) => {
                    if all.is_empty() {
                        all.extend_from_slice(&first);
                    }
                    all.extend_from_slice(&more);
                    waited = false;
                }
                Some(end) => self.next = Some(end),
                None if waited || Instant::now() >= until => break,
                None => {
                    // It has been asked for the next part, and hands it over in its turn, if that is there.
                    self.turn.give().await;
                    waited = true;
                }
            }
        }
        if all.is_empty() { first } else { all.freeze() }
    }

    /// The body as it comes.
    pub(crate) fn into_stream(self) -> BodyStream {
        Box::pin(stream::unfold(Some(self), |answer| async {
            let mut answer = answer?;
            match answer.chunk().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(answer))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// The whole body, up to `max` bytes.
    ///
    /// # Errors
    /// [`UpstreamError::Protocol`] where it is longer, and all of [`chunk`](Self::chunk).
    pub(crate) async fn into_body(self, max: usize) -> Result<Bytes, UpstreamError> {
        let mut body = BytesMut::new();
        let mut stream = self.into_stream();
        while let Some(chunk) = stream.next().await {
            body.extend_from_slice(&chunk?);
            if body.len() > max {
                return Err(UpstreamError::Protocol(format!("a body of more than {max} bytes")));
            }
        }
        Ok(body.freeze())
    }
}

fn part(read: reqwest::Result<Option<Bytes>>) -> Read {
    read.map_err(|error| UpstreamError::Incomplete(causes(&error)))
}

/// An error with its causes, without the URL: a setting may have put a key into it.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { "the connection failed".to_owned() } else { text }
}

#[cfg(test)]
mod tests;
