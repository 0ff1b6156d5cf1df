//! ⑤ Which provider is asked: each in turn, until one begins to answer.

use std::sync::Arc;

use async_trait::async_trait;
use rust_proxy_stream::UpstreamError;
use rust_proxy_stream::chain::printable;
use rust_proxy_stream::upstream::{Backend, Forwarded, UpstreamReply, UpstreamRequest};

use crate::beginning::begun;
use crate::dev_api::DevApi;
use crate::openai::OpenAi;
use crate::tally::{Counting, Tally};

/// One provider of any type.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Provider {
    /// OpenAI's API.
    OpenAi(OpenAi),
    /// The Dev API, or one like it.
    DevApi(DevApi),
}

impl Provider {
    fn name(&self) -> &str {
        match self {
            Self::OpenAi(provider) => provider.name(),
            Self::DevApi(provider) => provider.name(),
        }
    }

    /// Asks once, and waits until an answer has begun.
    async fn ask(&self, request: &UpstreamRequest) -> Result<UpstreamReply, UpstreamError> {
        let reply = match self {
            Self::OpenAi(provider) => provider.ask(request).await,
            Self::DevApi(provider) => provider.ask(request).await,
        };
        begun(reply?).await
    }
}

/// The providers of one model, in the order of its `routing`.
#[derive(Debug, Clone)]
pub struct Router {
    providers: Vec<(Provider, Arc<Tally>)>,
}

impl Router {
    /// A router over providers, of which there must be one at least, each with what it is counted by.
    pub fn new(providers: Vec<(Provider, Arc<Tally>)>) -> Self {
        Self { providers }
    }
}

#[async_trait]
impl Backend for Router {
    async fn forward(&self, request: UpstreamRequest) -> Result<Forwarded, UpstreamError> {
        let mut last = UpstreamError::Unreachable("the model has no provider".to_owned());
        for (provider, tally) in &self.providers {
            tally.asked();
            match provider.ask(&request).await {
                Ok(reply) => {
                    let watch = Counting(Arc::clone(tally));
                    return Ok(Forwarded { reply, watch: Some(Box::new(watch)) });
                }
                Err(error) => {
                    tally.failed(&error);
                    tracing::warn!(provider = provider.name(), error = loggable(&error), "provider failed");
                    if is_the_requests_fault(&error) {
                        return Err(error);
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }
}

/// An error for the log. What an upstream says of a credential may quote it.
fn loggable(error: &UpstreamError) -> String {
    match error {
        UpstreamError::Status { status: status @ (401 | 403), .. } => {
            format!("the upstream refused the credentials with {status}")
        }
        error => printable(&error.to_string()),
    }
}

/// Whether another provider would refuse the request as well.
fn is_the_requests_fault(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::Status { status: 400 | 413 | 422, .. })
}
