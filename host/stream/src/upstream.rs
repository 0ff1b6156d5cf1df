//! ④⑤ What the exchange needs of the side that talks to models.

use std::fmt;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

use crate::error::UpstreamError;

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
    async fn forward(&self, request: UpstreamRequest) -> Result<UpstreamReply, UpstreamError>;
}

/// A request on its way to a model, in the OpenAI chat dialect.
#[derive(Debug, Clone)]
pub struct UpstreamRequest {
    /// The exchange's id.
    pub request_id: String,
    /// The request; the backend puts the provider's name of the model into it.
    pub request: crate::dialect::openai_chat::Request,
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
