//! What of the Dev API is a setting, and the defaults: those of the reference server.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use reqwest::header::HeaderName;
use rust_proxy_stream::json::Pointer;
use rust_proxy_stream::upstream::Signer;
use serde_json::Value;

/// One provider of the Dev API.
#[derive(Debug, Clone)]
pub struct DevApiOptions {
    /// Its name in the configuration.
    pub name: String,
    /// An `http` or `https` URL without query; a slash at its end is of no meaning.
    pub endpoint: String,
    /// What the provider calls the model.
    pub model: String,
    /// Who asks; `None` where no place and no signer wants it.
    pub device_id: Option<Source>,
    /// The kind of device.
    pub os_type: Option<Source>,
    /// The session.
    pub sid: Option<Source>,
    /// How requests are signed; `None` sends them unsigned.
    pub signing: Option<Signing>,
    /// The shape of requests.
    pub request: RequestOptions,
    /// The shape of answers.
    pub response: ResponseOptions,
}

/// Text that is sent and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// Takes the text in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether a header can carry it.
    pub fn is_visible(&self) -> bool {
        self.0.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// Where a value comes from: the first of these that is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// Headers of the client's request, in lower case.
    pub headers: Vec<String>,
    /// The same for every request.
    pub otherwise: Option<Hidden>,
}

/// Where a value goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Into a header.
    Header(SettableHeader),
    /// Into the query, percent-encoded.
    Query(String),
    /// Into the body.
    Body(Pointer),
}

impl Place {
    /// Whether a value here would take the place of one there, or of a part of it.
    pub fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header(one), Self::Header(other)) => one == other,
            (Self::Query(one), Self::Query(other)) => one == other,
            (Self::Body(one), Self::Body(other)) => one.overlaps(other),
            _ => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(SettableHeader(name)) => write!(f, "the header `{name}`"),
            Self::Query(name) => write!(f, "the query's `{name}`"),
            Self::Body(pointer) => write!(f, "the body's `{pointer}`"),
        }
    }
}

/// A header that settings may name: none that says where a request goes or where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettableHeader(pub(super) HeaderName);

/// Headers of the transport.
const OURS: [&str; 11] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl FromStr for SettableHeader {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let name: HeaderName = name.parse().map_err(|_| "not the name of a header")?;
        if OURS.contains(&name.as_str()) {
            Err("a header of the transport, which is not for use")
        } else {
            Ok(Self(name))
        }
    }
}

/// How requests are signed.
#[derive(Debug, Clone)]
pub struct Signing {
    /// The signer's name in the configuration.
    pub name: String,
    /// Who signs.
    pub signer: Arc<dyn Signer>,
    /// What it gets, and nothing else: in this order.
    pub arguments: Vec<Argument>,
    /// Where its results go.
    pub results: Results,
}

/// Where a signer's results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Results {
    /// It gives exactly one, whatever its name.
    One(Place),
    /// It gives exactly these.
    Named(BTreeMap<String, Place>),
}

impl Results {
    /// All places.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        match self {
            Self::One(place) => {
                std::slice::from_ref(place).iter().chain(None.into_iter().flat_map(BTreeMap::values))
            }
            Self::Named(places) => [].iter().chain(Some(places).into_iter().flat_map(BTreeMap::values)),
        }
    }
}

/// What a signer can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// The nonce.
    Nonce,
    /// The timestamp as it is sent.
    Timestamp,
    /// The device's id.
    DeviceId,
    /// The kind of device.
    OsType,
    /// The session.
    Sid,
    /// The signed text.
    Content,
    /// `POST`.
    Method,
    /// The URL with its query.
    Url,
    /// What the provider calls the model.
    Model,
}

impl Argument {
    /// Every argument by its name.
    pub const ALL: [(&'static str, Self); 9] = [
        ("nonce", Self::Nonce),
        ("timestamp", Self::Timestamp),
        ("device_id", Self::DeviceId),
        ("os_type", Self::OsType),
        ("sid", Self::Sid),
        ("content", Self::Content),
        ("method", Self::Method),
        ("url", Self::Url),
        ("model", Self::Model),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, argument)| *argument == self).map_or("", |(name, _)| name)
    }
}

/// The shape of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOptions {
    /// What follows the endpoint: begins with `/`.
    pub path: String,
    /// A fresh UUID, version 4.
    pub nonce: Option<Place>,
    /// The time of the attempt.
    pub timestamp: Option<Place>,
    /// Its unit, since 1970.
    pub timestamp_unit: TimeUnit,
    /// Whether a timestamp in the body is a string rather than a number.
    pub timestamp_is_text: bool,
    /// The device's id.
    pub device_id: Option<Place>,
    /// The kind of device.
    pub os_type: Option<Place>,
    /// The session.
    pub sid: Option<Place>,
    /// The model's name in the body.
    pub model: Option<Pointer>,
    /// The conversation in the body, in OpenAI's form.
    pub messages: Option<Pointer>,
    /// In the body: whether a stream is wanted.
    pub stream: Option<Pointer>,
    /// The last user's text in the body.
    pub user_text: Option<Pointer>,
    /// Whether the client's other fields stay in the body.
    pub keep_others: bool,
    /// Values that are the same for every request: text for headers and the query, JSON for the body.
    pub constants: Vec<(Place, Hidden)>,
    /// What is signed.
    pub content: Content,
}

/// The unit of a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// The text that a signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The body's exact bytes, before the signer's results are set in it.
    Body,
    /// The last user's text.
    UserText,
    /// The string at a place of the body.
    At(Pointer),
}

impl Default for RequestOptions {
    fn default() -> Self {
        let header = |name| Some(Place::Header(SettableHeader(HeaderName::from_static(name))));
        Self {
            path: "/chat".to_owned(),
            nonce: header("nonce"),
            timestamp: header("timestamp"),
            timestamp_unit: TimeUnit::Seconds,
            timestamp_is_text: false,
            device_id: header("device-id"),
            os_type: header("os-type"),
            sid: header("sid"),
            model: pointer("/model"),
            messages: pointer("/messages"),
            stream: pointer("/stream"),
            user_text: None,
            keep_others: true,
            constants: Vec::new(),
            content: Content::Body,
        }
    }
}

/// The shape of answers.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseOptions {
    /// The form of answers.
    pub format: Format,
    /// The new text in an event.
    pub text: Pointer,
    /// The text in a whole answer.
    pub whole: Pointer,
    /// Why an answer ended.
    pub finish_reason: Option<Pointer>,
    /// The tokens that it cost, in OpenAI's form.
    pub usage: Option<Pointer>,
    /// The data of the event that ends a stream; `None`: the end of the body does.
    pub end: Option<String>,
    /// What in an event says that it is the last: any value but null and false.
    pub done: Option<Pointer>,
    /// What in an event, or in a whole answer, says that it is an error: any value but null and false, and
    /// those of `error_ok`.
    pub error: Option<Pointer>,
    /// Values of `error` that report success.
    pub error_ok: Vec<Value>,
    /// The error's text; `None` looks for it in the usual places.
    pub error_message: Option<Pointer>,
}

/// The form of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Told by the first event: OpenAI's has `choices`.
    Auto,
    /// OpenAI's.
    OpenAi,
    /// The provider's own, as the other settings describe it.
    Own,
}

impl Default for ResponseOptions {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "literals that are pointers")]
        let at = |text| pointer(text).expect("a pointer");
        Self {
            format: Format::Auto,
            text: at("/delta"),
            whole: at("/text"),
            finish_reason: pointer("/finish_reason"),
            usage: pointer("/usage"),
            end: Some("[DONE]".to_owned()),
            done: pointer("/done"),
            error: pointer("/error"),
            error_ok: Vec::new(),
            error_message: None,
        }
    }
}

fn pointer(text: &str) -> Option<Pointer> {
    text.parse().ok()
}
