//! Errors as bytes: one mapping for every way in which a request can fail.
//!
//! A client reads OpenAI's shape, `{"error": {"message", "type", "param", "code"}}`, as the body of a status
//! before the head is out, as one event after it. What it reads is short and safe: addresses, credentials and
//! the inner life of plugins stay in the log, under the request's id.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use rust_proxy_stream::{ExchangeError, UpstreamError};
use serde::Serialize;

use crate::ingress::Refusal;
use crate::text::{cut, one_line};

/// The longest message that a client gets: much more than a reader wants, and nothing that a client or an
/// upstream sent is echoed without bound.
const MESSAGE_MAX: usize = 4096;

/// The statuses that TensorZero hands on as they are; any other it turns into one of its own, so that only
/// the message can still tell.
const KEPT_STATUSES: [u16; 4] = [400, 401, 403, 429];

const INVALID_REQUEST: &str = "invalid_request_error";
const UPSTREAM: &str = "upstream_error";
const SERVER: &str = "server_error";

/// An error as a client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
}

/// OpenAI's body, in OpenAI's order. `choices` only in a stream: a string, so that no client takes the event
/// for a piece of an answer, and TensorZero, which cannot read it, shows its text.
#[derive(Serialize)]
struct Wire<'a> {
    error: WireError<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<&'a str>,
}

#[derive(Serialize)]
struct WireError<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: impl AsRef<str>) -> Self {
        let message = cut(message.as_ref(), MESSAGE_MAX);
        Self { status, kind, code: Some(code), param: None, message, header: None }
    }

    /// A request that the client can mend.
    pub(crate) fn invalid(param: Option<String>, message: impl AsRef<str>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, "", message);
        Self { code: None, param: param.map(|param| cut(&param, MESSAGE_MAX)), ..error }
    }

    /// A reload that was refused: what serves goes on to serve.
    pub(crate) fn reload_refused(message: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, INVALID_REQUEST, "reload_refused", message)
    }

    fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.header = HeaderValue::from_str(value).ok().map(|value| (name, value));
        self
    }

    /// The error as the one event that ends a stream that has begun.
    pub(crate) fn event(&self) -> Bytes {
        let message = self.message_with_status();
        let mut event = b"data: ".to_vec();
        event.extend_from_slice(&self.json(&message, Some(&message)));
        event.extend_from_slice(b"\n\n");
        event.into()
    }

    fn json(&self, message: &str, choices: Option<&str>) -> Vec<u8> {
        let Self { kind, code, param, .. } = self;
        let error = WireError { message, r#type: kind, param: param.as_deref(), code: *code };
        // Strings and nothing else: there is nothing in it that could fail.
        serde_json::to_vec(&Wire { error, choices }).unwrap_or_default()
    }

    fn message_with_status(&self) -> String {
        let status = self.status.as_u16();
        if self.message.contains(&status.to_string()) {
            return self.message.clone();
        }
        format!("{} (HTTP {status})", self.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = if KEPT_STATUSES.contains(&self.status.as_u16()) {
            self.json(&self.message, None)
        } else {
            self.json(&self.message_with_status(), None)
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().extend(self.header);
        response
    }
}

impl From<&ExchangeError> for ApiError {
    fn from(error: &ExchangeError) -> Self {
        match error {
            ExchangeError::InvalidRequest { message, param } => Self::invalid(param.clone(), message),
            ExchangeError::UnknownModel(_) => {
                let error =
                    Self::new(StatusCode::NOT_FOUND, INVALID_REQUEST, "model_not_found", error.to_string());
                Self { param: Some("model".into()), ..error }
            }
            ExchangeError::Rejected { rejection, .. } => {
                let status = StatusCode::from_u16(rejection.status).ok().filter(StatusCode::is_client_error);
                let status = status.unwrap_or(StatusCode::BAD_REQUEST);
                Self::new(status, INVALID_REQUEST, "rejected_by_plugin", &rejection.message)
            }
            ExchangeError::Plugin { plugin, .. } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "plugin_error",
                "plugin_failed",
                format!(
                    "plugin `{plugin}` failed, and its step is fail_closed; the gateway's log has the details"
                ),
            ),
            ExchangeError::Upstream(error) => error.into(),
            ExchangeError::Overloaded => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                SERVER,
                "overloaded",
                "the gateway has too many exchanges at once; try again in a second",
            )
            .header(RETRY_AFTER, "1"),
            ExchangeError::Deadline => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, SERVER, "deadline_exceeded", error.to_string())
            }
            _ => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                SERVER,
                "internal_error",
                "the gateway failed; its log has the details",
            ),
        }
    }
}

impl From<&UpstreamError> for ApiError {
    fn from(error: &UpstreamError) -> Self {
        let bad_gateway = |code, message: &dyn ToString| {
            Self::new(StatusCode::BAD_GATEWAY, UPSTREAM, code, message.to_string())
        };
        match error {
            UpstreamError::Status { status, message, retry_after } => {
                let error = upstream_status(*status, message);
                match retry_after {
                    Some(value) => error.header(RETRY_AFTER, value),
                    None => error,
                }
            }
            UpstreamError::Timeout(_) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, UPSTREAM, "upstream_timeout", error.to_string())
            }
            // The detail names addresses inside the operator's network.
            UpstreamError::Unreachable(_) => bad_gateway(
                "upstream_unreachable",
                &"the upstream cannot be reached; the gateway's log says why",
            ),
            UpstreamError::Request(message) => Self::invalid(None, message),
            UpstreamError::Incomplete(_) => bad_gateway("upstream_incomplete", error),
            UpstreamError::Protocol(_) => bad_gateway("upstream_protocol", error),
            UpstreamError::Reported(_) => bad_gateway("upstream_failed", error),
            UpstreamError::Credential(_) => bad_gateway(
                "upstream_credential",
                &"the gateway has no credential for the upstream; its log says why",
            ),
            _ => bad_gateway("upstream_failed", &"the upstream failed; the gateway's log has the details"),
        }
    }
}

/// An upstream's own status: what the client can act on keeps its number, a failure of the upstream is a 502
/// or 503 of ours.
fn upstream_status(status: u16, message: &str) -> ApiError {
    let ours = match status {
        400..=499 => StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
        503 | 529 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    };
    let (code, message) = match status {
        // Never the upstream's text: it may quote the key.
        401 | 403 => (
            "upstream_credential",
            format!("the upstream refused the gateway's own credentials with {status}"),
        ),
        400..=499 if !message.is_empty() => ("upstream_refused", message.to_owned()),
        400..=499 => ("upstream_refused", format!("the upstream answered {status}")),
        // Where to is an address inside the operator's network.
        300..=399 => {
            ("upstream_failed", format!("the upstream answered {status}, and redirects are not followed"))
        }
        _ if message.is_empty() => ("upstream_failed", format!("the upstream answered {status}")),
        _ => ("upstream_failed", format!("the upstream answered {status}: {message}")),
    };
    ApiError::new(ours, UPSTREAM, code, message)
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match &refusal {
            Refusal::Host => (StatusCode::FORBIDDEN, "host_not_allowed"),
            Refusal::Origin => (StatusCode::FORBIDDEN, "origin_not_allowed"),
            Refusal::AdminOrigin => (StatusCode::FORBIDDEN, "origin_not_allowed"),
            Refusal::Key | Refusal::AdminToken => (StatusCode::UNAUTHORIZED, "invalid_api_key"),
            Refusal::ContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Refusal::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Refusal::Full => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Refusal::Slow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            Refusal::Broken => (StatusCode::BAD_REQUEST, "body_broken"),
            Refusal::Route | Refusal::AdminRoute => (StatusCode::NOT_FOUND, "unknown_route"),
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        };
        let kind = if status.is_server_error() { SERVER } else { INVALID_REQUEST };
        let error = Self::new(status, kind, code, refusal.to_string());
        match refusal {
            Refusal::Key | Refusal::AdminToken => error.header(WWW_AUTHENTICATE, "Bearer"),
            Refusal::Full => error.header(RETRY_AFTER, "1"),
            _ => error,
        }
    }
}

/// An error for the log: everything, on one line, but for a text that may quote a credential.
fn log_line(error: &ExchangeError) -> String {
    match error {
        ExchangeError::Upstream(UpstreamError::Status { status: status @ (401 | 403), .. }) => {
            format!("the upstream refused the gateway's credentials with {status}")
        }
        _ => one_line(&cut(&error.to_string(), MESSAGE_MAX)),
    }
}

/// Logs why an exchange failed, at `warn` what the operator can mend, at `info` what the client can, and
/// gives the failure the form in which the client reads it.
pub(crate) fn refuse(error: &ExchangeError) -> ApiError {
    let line = log_line(error);
    match error {
        ExchangeError::InvalidRequest { .. }
        | ExchangeError::UnknownModel(_)
        | ExchangeError::Rejected { .. } => tracing::info!(error = %line, "request refused"),
        _ => tracing::warn!(error = %line, "exchange failed"),
    }
    error.into()
}

#[cfg(test)]
mod tests;
