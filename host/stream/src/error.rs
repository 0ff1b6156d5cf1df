//! How an exchange fails. The server turns these into bytes; nothing else does.

use crate::lane::Rejection;
use crate::stage::StageError;

/// Why an exchange gave no (whole) answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The client's request cannot be read; the client can mend it.
    #[error("{message}")]
    InvalidRequest {
        /// What is wrong and what to send instead.
        message: String,
        /// The JSON path of the culprit.
        param: Option<String>,
    },
    /// The client asked for a model that the configuration does not have.
    #[error("the model `{0}` does not exist here")]
    UnknownModel(String),
    /// A plugin refused the request.
    #[error("rejected by plugin `{plugin}`: {}", rejection.message)]
    Rejected {
        /// The plugin.
        plugin: String,
        /// What it has for the client.
        rejection: Rejection,
    },
    /// A plugin failed and its step says `fail_closed`; the operator can mend it.
    #[error("plugin `{plugin}`: {error}")]
    Plugin {
        /// The plugin.
        plugin: String,
        /// What happened.
        error: StageError,
    },
    /// The upstream gave no usable answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// All slots are taken and the queue is full; the client can try again.
    #[error("too many exchanges at once")]
    Overloaded,
    /// The exchange's total deadline has passed.
    #[error("the exchange took longer than its deadline")]
    Deadline,
}

impl ExchangeError {
    /// An [`Self::InvalidRequest`] with the culprit's JSON path.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidRequest { message: message.into(), param: Some(param.into()) }
    }
}

impl UpstreamError {
    /// Its kind, for counters: one of few words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Timeout("connect") => "timeout_connect",
            Self::Timeout("first_byte") => "timeout_first_byte",
            Self::Timeout("idle") => "timeout_idle",
            Self::Timeout(_) => "timeout_total",
            Self::Status { status: 401 | 403, .. } => "credential_refused",
            Self::Status { status: 429, .. } => "rate_limited",
            Self::Status { status: 300..=399, .. } => "status_3xx",
            Self::Status { status: 400..=499, .. } => "status_4xx",
            Self::Status { .. } => "status_5xx",
            Self::Incomplete(_) => "incomplete",
            Self::Protocol(_) => "protocol",
            Self::Reported(_) => "reported",
            Self::Request(_) => "request",
            Self::Credential(_) => "credential",
        }
    }
}

/// Why an upstream gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// No connection could be made, or it was lost before the answer began.
    #[error("the upstream cannot be reached: {0}")]
    Unreachable(String),
    /// A time limit has passed.
    #[error("the upstream took longer than `{0}`")]
    Timeout(&'static str),
    /// The upstream answered with a status other than 2xx.
    #[error("the upstream answered {status}: {message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// Its error's message, cut to a bounded length.
        message: String,
        /// Its `Retry-After`, as it came.
        retry_after: Option<String>,
    },
    /// The answer broke off: the connection was lost, or the body ended without a finish reason or in the
    /// middle of a frame.
    #[error("the upstream's answer broke off: {0}")]
    Incomplete(String),
    /// The answer cannot be read.
    #[error("the upstream's answer cannot be read: {0}")]
    Protocol(String),
    /// An error event in the stream, or an error object in place of an answer.
    #[error("the upstream failed: {0}")]
    Reported(String),
    /// The client's request lacks something that the provider needs; the client can mend it.
    #[error("the provider needs more of the request: {0}")]
    Request(String),
    /// The credential for the upstream is not to be had.
    #[error("no credential for the upstream: {0}")]
    Credential(String),
}
