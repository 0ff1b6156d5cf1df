//! The one way out: every outbound byte of the host goes through a [`Client`].
//!
//! It follows no redirects, takes no proxy from the environment, and sets every time limit itself, so that an
//! error says which one has passed.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use reqwest::Response;
use reqwest::header::HeaderMap;
use rust_proxy_stream::UpstreamError;
use rust_proxy_stream::upstream::BodyStream;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::time::{Instant, timeout_at};

/// How long an unused connection is kept.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);

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

    /// Posts a body and waits for the head of the answer.
    ///
    /// # Errors
    /// [`UpstreamError::Unreachable`] or [`UpstreamError::Timeout`].
    ///
    /// # Cancellation
    /// Dropping the call closes the connection.
    pub(crate) async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, UpstreamError> {
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
        Ok(Ok(response)) => Ok(Answer { response, idle: timeouts.idle, total }),
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
}

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

    /// The next part of the body; `None` at its end.
    async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let idle = Instant::now() + self.idle;
        let limit = if idle < self.total { "idle" } else { "total" };
        match timeout_at(idle.min(self.total), self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(UpstreamError::Incomplete(causes(&error))),
            Err(_) => Err(UpstreamError::Timeout(limit)),
        }
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
