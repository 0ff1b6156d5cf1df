//! What a plugin's HTTP needs of the side that has sockets: values in, values out.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

/// Sends the HTTP requests of one plugin, within what that plugin was granted.
///
/// Called once per request, also for several at once. Redirects are answers like any other: whoever follows one
/// calls again, and the new target is checked like the first.
#[async_trait]
pub trait Fetch: Send + Sync + fmt::Debug {
    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`FetchError`]; [`FetchError::Denied`] before anything was sent.
    ///
    /// # Cancellation
    /// Dropping the call, or the body of its answer, closes the connection.
    async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, FetchError>;
}

/// A body as it comes. Ends after its first error.
pub type FetchBody = Pin<Box<dyn Stream<Item = Result<Bytes, FetchError>> + Send>>;

/// A request as a plugin made it: nothing of it is trusted.
pub struct FetchRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// The headers, without those that belong to the connection.
    pub headers: Vec<(String, Bytes)>,
    /// The body, if there is one.
    pub body: Option<FetchBody>,
    /// How long to wait for the head of the answer, if that is less than the host would.
    pub first_byte: Option<Duration>,
    /// How long to wait between two reads, if that is less than the host would.
    pub idle: Option<Duration>,
}

/// An answer whose head is there.
pub struct FetchResponse {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, Bytes)>,
    /// The body.
    pub body: FetchBody,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No grant covers it. The operator can add what `grant` says; the plugin is told no more than that it was
    /// denied.
    #[error("{what} is not granted; write {grant}")]
    Denied {
        /// What was asked for.
        what: String,
        /// The setting that would allow it.
        grant: String,
    },
    /// The URL is not one that can be asked. The plugin made it.
    #[error("not a URL that can be fetched")]
    Url,
    /// The method is none that a plugin may use.
    #[error("the method cannot be used")]
    Method,
    /// A header is not valid.
    #[error("a header is not valid")]
    Header,
    /// The name has no address.
    #[error("the name cannot be resolved: {0}")]
    Name(String),
    /// There is no connection, or it broke before the head of the answer.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// A time limit has passed: `connect`, `first_byte`, `idle` or `total`.
    #[error("the time limit `{0}` has passed")]
    Timeout(&'static str),
    /// The answer ended before its end.
    #[error("the answer is incomplete: {0}")]
    Incomplete(String),
    /// The bodies are longer than what an exchange may send and receive.
    #[error("more bytes than the limit")]
    TooLarge,
    /// The plugin gave up its own request.
    #[error("the request was not finished")]
    Unfinished,
}

impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

impl fmt::Debug for FetchResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchResponse").field("status", &self.status).finish_non_exhaustive()
    }
}
