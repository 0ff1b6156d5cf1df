//! ④⑤ What the exchange needs of the side that talks to models.

use std::fmt;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

use crate::error::UpstreamError;
use crate::stage::StageError;

/// Asks a model: credential, transport, time limits and fallback are its own affair.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug {
    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`UpstreamError`]: no provider gave an answer with a 2xx head.
    ///
    /// # Cancellation
    /// Dropping the call closes the connection.
    async fn forward(&self, request: UpstreamRequest) -> Result<Forwarded, UpstreamError>;
}

/// An answer that has begun.
#[derive(Debug)]
pub struct Forwarded {
    /// The answer.
    pub reply: UpstreamReply,
    /// Who wants to know how it went.
    pub watch: Option<Box<dyn Watch>>,
}

impl From<UpstreamReply> for Forwarded {
    fn from(reply: UpstreamReply) -> Self {
        Self { reply, watch: None }
    }
}

/// Hears how an answer went.
pub trait Watch: Send + fmt::Debug {
    /// Called once, when no more of the answer is read, however that came: `error` is what was wrong with the
    /// answer, and `tokens` what the upstream said that it took.
    fn ended(self: Box<Self>, tokens: Option<Tokens>, error: Option<&UpstreamError>);
}

/// What an answer took, in the upstream's own counting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The request's.
    pub prompt: u64,
    /// The answer's.
    pub completion: u64,
}

/// A request on its way to a model, in the OpenAI chat dialect.
#[derive(Debug, Clone)]
pub struct UpstreamRequest {
    /// The exchange's id.
    pub request_id: String,
    /// The request; the backend puts the provider's name of the model into it.
    pub request: crate::dialect::openai_chat::Request,
    /// The client's headers that the configuration asks for by name, in lower case.
    pub headers: Vec<(String, String)>,
}

/// The answer of an upstream whose head was 2xx.
pub enum UpstreamReply {
    /// The whole body.
    Whole(Bytes),
    /// The body as it comes, at any chunking.
    Stream(BodyStream),
}

/// A response body. Ends after its first error.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, UpstreamError>> + Send>>;

impl fmt::Debug for UpstreamReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(body) => f.debug_tuple("Whole").field(&body.len()).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// ④ Gives the credential for an upstream.
///
/// Called once per attempt. Implementations cache what may be cached.
#[async_trait]
pub trait TokenProvider: Send + Sync + fmt::Debug {
    /// The token, as it goes behind `Bearer `.
    ///
    /// # Errors
    /// The reason in words that hold no secret.
    async fn token(&self) -> Result<String, String>;
}

/// ④ Signs a request for an upstream.
///
/// Called once per attempt, after everything that the signature covers is settled.
#[async_trait]
pub trait Signer: Send + Sync + fmt::Debug {
    /// Names and values, which the caller puts where its configuration lists them. They are untrusted: the
    /// caller checks each before it becomes part of a request.
    ///
    /// # Errors
    /// The signer's own words, or a fault.
    async fn sign(&self, request: &SignRequest) -> Result<Vec<(String, String)>, StageError>;
}

/// What is to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignRequest {
    /// `POST`.
    pub method: String,
    /// The whole URL that will be called.
    pub url: String,
    /// The headers that are set so far, without credentials.
    pub headers: Vec<(String, String)>,
    /// The parameters that the configuration names.
    pub parameters: Vec<(String, String)>,
    /// The text that the signature covers.
    pub content: String,
}
