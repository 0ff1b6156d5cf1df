//! ④⑤ A provider that wants signed requests: the Dev API, or one like it.
//!
//! Each attempt has a nonce and a timestamp of its own, its parts are put where the settings say, the signer
//! signs what it is then, and its results are set last. The answer is made into OpenAI's chunks before
//! anybody else sees it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use rust_proxy_stream::UpstreamError;
use rust_proxy_stream::stage::StageError;
use rust_proxy_stream::upstream::{UpstreamReply, UpstreamRequest};
use uuid::Uuid;

use crate::egress::Client;
use crate::openai::BODY_MAX;

mod answer;
mod options;
mod request;

use answer::{Target, convert, gather};
pub use options::{
    Argument, Content, DevApiOptions, Format, Hidden, Place, RequestOptions, ResponseOptions, Results,
    SettableHeader, Signing, Source, TimeUnit,
};
use request::{Draft, Values};

/// One provider of the Dev API.
#[derive(Debug, Clone)]
pub struct DevApi {
    options: Arc<DevApiOptions>,
    response: Arc<ResponseOptions>,
    client: Client,
}

impl DevApi {
    /// A provider as its settings describe it.
    pub fn new(options: DevApiOptions, client: Client) -> Self {
        Self { response: Arc::new(options.response.clone()), options: Arc::new(options), client }
    }

    /// The provider's name in the configuration.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Asks the provider once, signed anew.
    ///
    /// # Errors
    /// [`UpstreamError`]: the request could not be made, or there is no answer with a 2xx head, or it is not in
    /// the form that the settings describe.
    ///
    /// # Cancellation
    /// Dropping the call closes the connection.
    pub(crate) async fn ask(&self, request: &UpstreamRequest) -> Result<UpstreamReply, UpstreamError> {
        let streaming = request.request.streaming();
        let draft = self.draft(request).await?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            ACCEPT,
            HeaderValue::from_static(if streaming { "text/event-stream" } else { "application/json" }),
        );
        if let Ok(request_id) = HeaderValue::from_str(&request.request_id) {
            headers.insert("x-request-id", request_id);
        }
        let url = draft.url();
        headers.extend(draft.headers);
        let answer = self
            .client
            .post(&url, headers, Bytes::from(draft.body))
            .await
            .map_err(|error| self.failed(error))?;
        let target = Target::new(Arc::clone(&self.response), request);
        if !answer.is_success() {
            return Err(answer.into_refusal(|body| target.error_message(body)).await);
        }
        let answer = answer.plain()?;
        if answer.is_event_stream() {
            let body = answer.into_stream();
            return Ok(if streaming {
                UpstreamReply::Stream(convert(body, target))
            } else {
                UpstreamReply::Whole(gather(body, target, BODY_MAX).await?)
            });
        }
        let whole = target.read_whole(&answer.into_body(BODY_MAX).await?)?;
        Ok(if streaming {
            UpstreamReply::Stream(whole.into_stream(&target)?)
        } else {
            UpstreamReply::Whole(whole.into_body(&target))
        })
    }

    /// A signed request.
    async fn draft(&self, request: &UpstreamRequest) -> Result<Draft, UpstreamError> {
        let options = &self.options;
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let nonce = Uuid::new_v4().to_string();
        let values = Values::new(options, &request.request, &request.headers, nonce, millis)?;
        let mut draft = Draft::new(options, &values, &request.request)?;
        let Some(signing) = &options.signing else { return Ok(draft) };
        let unsigned = draft.sign_request(options, &values, &signing.arguments)?;
        let name = &signing.name;
        let results = signing.signer.sign(&unsigned).await.map_err(|error| {
            UpstreamError::Credential(match error {
                StageError::Failed(reason) => format!("the signer `{name}` refused: {reason}"),
                broken => format!(
                    "Failed to get WasmSigner instance: signer `{name}`: {broken}; see [signers.{name}]"
                ),
            })
        })?;
        let unusable = |reason| UpstreamError::Credential(format!("the signer `{name}`: {reason}"));
        draft.put_results(&signing.results, results).map_err(unusable)?;
        Ok(draft)
    }

    /// An error of the transport with its cure, for the log.
    fn failed(&self, error: UpstreamError) -> UpstreamError {
        match error {
            UpstreamError::Unreachable(cause) => UpstreamError::Unreachable(format!(
                "Request failed: {cause}; is `endpoint` of the provider `{}` right, and reachable from here?",
                self.name()
            )),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;
