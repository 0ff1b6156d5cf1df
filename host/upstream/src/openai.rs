//! ⑤ A provider that speaks OpenAI chat completions.

use std::sync::Arc;

use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use rust_proxy_stream::UpstreamError;
use rust_proxy_stream::dialect::openai_chat;
use rust_proxy_stream::upstream::{TokenProvider, UpstreamReply, UpstreamRequest};

use crate::egress::Client;

/// The longest whole answer that is taken, in bytes: well above the longest text with its logprobs.
pub(crate) const BODY_MAX: usize = 64 << 20;

/// One OpenAI-compatible provider.
#[derive(Debug, Clone)]
pub struct OpenAi {
    name: String,
    /// Read once, for it takes as long as the rest of sending; what cannot be one fails with each request.
    url: Result<Url, String>,
    model: String,
    token: Option<Arc<dyn TokenProvider>>,
    client: Client,
}

impl OpenAi {
    /// A provider at `api_base` (with a trailing slash), which is asked for its model `model`.
    pub fn new(
        name: impl Into<String>,
        api_base: &str,
        model: impl Into<String>,
        token: Option<Arc<dyn TokenProvider>>,
        client: Client,
    ) -> Self {
        let url = format!("{api_base}chat/completions");
        let url = Url::parse(&url).map_err(|_| url);
        Self { name: name.into(), url, model: model.into(), token, client }
    }

    /// The provider's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks the provider once.
    ///
    /// # Errors
    /// [`UpstreamError`]: there is no answer with a 2xx head, or it is not in the form that was asked for.
    ///
    /// # Cancellation
    /// Dropping the call closes the connection.
    pub(crate) async fn ask(&self, request: &UpstreamRequest) -> Result<UpstreamReply, UpstreamError> {
        let streaming = request.request.streaming();
        let headers = self.headers(&request.request_id, streaming).await?;
        let body = request.request.to_body(&self.model);
        let answer = match &self.url {
            Ok(url) => self.client.post(url.clone(), headers, body).await?,
            Err(text) => self.client.post(text, headers, body).await?,
        };
        if !answer.is_success() {
            return Err(answer.into_refusal(openai_chat::error_message).await);
        }
        let answer = answer.plain()?;
        if !streaming {
            return Ok(UpstreamReply::Whole(answer.into_body(BODY_MAX).await?));
        }
        if answer.is_event_stream() {
            return Ok(UpstreamReply::Stream(answer.into_stream()));
        }
        // Some servers report an error with status 200.
        let kind = answer.header("content-type").unwrap_or("none").to_owned();
        let body = answer.into_error().await;
        match body.and_then(|body| openai_chat::reported_error(body.as_bytes())) {
            Some(message) => Err(UpstreamError::Reported(message)),
            None => {
                Err(UpstreamError::Protocol(format!("content-type `{kind}` in place of `text/event-stream`")))
            }
        }
    }

    async fn headers(&self, request_id: &str, streaming: bool) -> Result<HeaderMap, UpstreamError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            ACCEPT,
            HeaderValue::from_static(if streaming { "text/event-stream" } else { "application/json" }),
        );
        if let Ok(request_id) = HeaderValue::from_str(request_id) {
            headers.insert("x-request-id", request_id);
        }
        if let Some(provider) = &self.token {
            let token = provider.token().await.map_err(UpstreamError::Credential)?;
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                UpstreamError::Credential("it has characters that a header cannot hold".to_owned())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}
