//! `type = "dev-api"`: a provider that wants signed requests, every name and place of which is a setting.

use std::fmt::Display;

use rust_proxy_stream::json::Pointer;
use rust_proxy_upstream::dev_api::{
    Argument, Content, Format, Hidden, Place, RequestOptions, ResponseOptions, SettableHeader, Source,
    TimeUnit,
};
use toml::de::DeValue;

use super::json;
use super::models::{Timeouts, base, timeouts};
use super::problems::suggest;
use super::reader::{Node, Table};
use super::signers::{Signers, place};

/// The words that a problem of this provider begins with.
pub(super) const PREFIX: &str = "Failed to create DevApiClient: ";

/// An endpoint of the Dev API, or one like it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DevApi {
    /// An `http` or `https` URL that ends with a slash; no user, query or fragment.
    pub endpoint: String,
    /// What the endpoint calls the model.
    pub model_name: String,
    /// Who asks; `None` where nothing wants it.
    pub device_id: Option<Source>,
    /// The kind of device; `None` where nothing wants it.
    pub os_type: Option<Source>,
    /// The session; `None` where nothing wants it.
    pub sid: Option<Source>,
    /// Who signs, one of `[signers]`; `None` sends requests unsigned.
    pub signer: Option<String>,
    /// The shape of requests.
    pub request: RequestOptions,
    /// The shape of answers.
    pub response: ResponseOptions,
    /// How long each step may take.
    pub timeouts: Timeouts,
}

impl DevApi {
    /// The client's headers that it needs, in lower case.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &str> {
        let sources = [&self.device_id, &self.os_type, &self.sid];
        sources.into_iter().flatten().flat_map(|source| &source.headers).map(String::as_str)
    }
}

pub(super) fn read(model: &str, t: &mut Table<'_>, signers: &Signers) -> DevApi {
    let endpoint = t.require("endpoint", "write endpoint = \"env::API_ENDPOINT\"");
    let endpoint = endpoint.and_then(|node| {
        base(&node, "write it like \"https://api.example.com\"", "use request.headers for a key")
    });
    let model_name = t.get("model_name").and_then(|node| node.text());
    let request = t.section("request", self::request);
    let response = t.section("response", self::response);
    let signer_node = t.require("signer", "write signer = \"NAME\" for [signers.NAME], or \"none\"");
    let signer_name = signer_node.as_ref().and_then(Node::name).filter(|name| name != "none");
    let known = signer_name.as_ref().and_then(|name| signers.get(name));
    let signer = known.and_then(Option::as_ref);
    if let (Some(node), Some(name), None) = (&signer_node, &signer_name, known) {
        let message = format!("Failed to get WasmSigner instance: there is no signer {name:?}");
        node.conflict::<()>(message, suggest(name, signers.keys().map(String::as_str)));
    }
    if let (Some(node), Some(signer)) = (&signer_node, signer) {
        for place in signer.results.places() {
            if let Some(taken) = places(&request).find(|taken| taken.collides(place)) {
                node.conflict::<()>(
                    format!("its result would take the place of {taken}"),
                    "give it another place",
                );
            }
        }
    }
    let mut value = |key, place: &Option<Place>, argument, fix| {
        let wanted = match (signer, &signer_name) {
            (Some(signer), _) => Wanted::from(place.is_some() || signer.arguments.contains(&argument)),
            (None, Some(_)) if place.is_none() => Wanted::Unknown,
            (None, _) => Wanted::from(place.is_some()),
        };
        let in_header = matches!(place, Some(Place::Header(_)));
        source(t, key, wanted, in_header, fix)
    };
    let device_id =
        value("device_id", &request.device_id, Argument::DeviceId, "write device_id = \"env::DEVICE_ID\"");
    let os_type =
        value("os_type", &request.os_type, Argument::OsType, "write os_type = [\"env::OS_TYPE\", \"3\"]");
    let sid = value("sid", &request.sid, Argument::Sid, "write sid = \"env::SID\"");
    DevApi {
        endpoint: endpoint.unwrap_or_default(),
        model_name: model_name.map_or(model.to_owned(), |text| text.value),
        device_id,
        os_type,
        sid,
        signer: signer_name,
        request,
        response,
        timeouts: t.section("timeouts", timeouts),
    }
}

/// Whether something takes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Yes,
    No,
    /// The signer, which has problems of its own, would tell.
    Unknown,
}

impl From<bool> for Wanted {
    fn from(wanted: bool) -> Self {
        if wanted { Self::Yes } else { Self::No }
    }
}

/// A value that a request carries, or that its signer gets.
fn source(
    t: &mut Table<'_>,
    key: &'static str,
    wanted: Wanted,
    in_header: bool,
    fix: &str,
) -> Option<Source> {
    let node = match wanted {
        Wanted::Yes => t.require(key, fix)?,
        Wanted::No | Wanted::Unknown => t.get(key)?,
    };
    if wanted == Wanted::No {
        let fix = format!("remove it, or give it a place: request = {{ {key} = {{ header = \"…\" }} }}");
        return node.conflict("no place in a request and no signer wants it", fix);
    }
    let source = node.source()?;
    if in_header && source.otherwise.as_ref().is_some_and(|value| !value.is_visible()) {
        return node.problem("the value holds a character that a header cannot carry", "use visible ASCII");
    }
    Some(source)
}

/// Every place of a request that is taken.
fn places(request: &RequestOptions) -> impl Iterator<Item = Place> {
    let RequestOptions {
        nonce, timestamp, device_id, os_type, sid, model, messages, stream, user_text, ..
    } = request;
    let values = [nonce, timestamp, device_id, os_type, sid].into_iter().flatten().cloned();
    let fields = [model, messages, stream, user_text].into_iter().flatten().cloned().map(Place::Body);
    let constants = request.constants.iter().map(|(place, _)| place.clone());
    values.chain(fields).chain(constants).collect::<Vec<_>>().into_iter()
}

fn request(t: &mut Table<'_>) -> RequestOptions {
    let defaults = RequestOptions::default();
    let path = t.get("path").and_then(|node| {
        let path = node.text()?.value;
        let plain = path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
        if plain { Some(path) } else { node.problem("not the path of a URL", "write it like \"/chat\"") }
    });
    let timestamp = optional(t, "timestamp", place, defaults.timestamp);
    let unit = [("s", TimeUnit::Seconds), ("ms", TimeUnit::Milliseconds)];
    let timestamp_unit = t.get("timestamp_unit").and_then(|node| node.choice("a unit", &unit));
    let timestamp_type = t.get("timestamp_type").and_then(|node| {
        let is_text = node.choice("a type", &[("number", false), ("string", true)])?;
        match timestamp {
            Some(Place::Body(_)) => Some(is_text),
            _ => node.conflict(
                "headers and the query have text only",
                "remove it, or put `timestamp` into the body",
            ),
        }
    });
    let content = t.get("content").and_then(|node| match node.value() {
        Some(DeValue::Table(_)) => node.table(|t| {
            let pointer = t.require("body", "write { body = \"/POINTER\" }")?;
            body_pointer(&pointer, &pointer.name()?).map(Content::At)
        }),
        _ => node
            .choice("a text to sign", &[("body", false), ("user_text", true)])
            .map(|user_text| if user_text { Content::UserText } else { Content::Body }),
    });
    let others = t.get("others").and_then(|node| node.choice("a rule", &[("keep", true), ("drop", false)]));
    let request = RequestOptions {
        path: path.unwrap_or(defaults.path),
        nonce: optional(t, "nonce", place, defaults.nonce),
        timestamp,
        timestamp_unit: timestamp_unit.unwrap_or(defaults.timestamp_unit),
        timestamp_is_text: timestamp_type.unwrap_or(defaults.timestamp_is_text),
        device_id: optional(t, "device_id", place, defaults.device_id),
        os_type: optional(t, "os_type", place, defaults.os_type),
        sid: optional(t, "sid", place, defaults.sid),
        model: optional(t, "model", pointer, defaults.model),
        messages: optional(t, "messages", pointer, defaults.messages),
        stream: optional(t, "stream", pointer, defaults.stream),
        user_text: optional(t, "user_text", pointer, defaults.user_text),
        keep_others: others.unwrap_or(defaults.keep_others),
        constants: constants(t),
        content: content.unwrap_or(defaults.content),
    };
    check_places(&t.node, &request);
    request
}

/// Two values never have one place.
fn check_places(node: &Node<'_>, request: &RequestOptions) {
    let places: Vec<Place> = places(request).collect();
    for (index, place) in places.iter().enumerate() {
        if let Some(other) = places.iter().take(index).find(|other| other.collides(place)) {
            let places = if place == other { place.to_string() } else { format!("{other} and {place}") };
            node.conflict::<()>(format!("{places}: two values would have one place"), "give each its own");
        }
    }
    if request.messages.is_none() && request.user_text.is_none() {
        let fix = "write messages = \"/POINTER\" or user_text = \"/POINTER\"";
        node.conflict::<()>("what the user says would not be sent", fix);
    }
}

fn constants(t: &mut Table<'_>) -> Vec<(Place, Hidden)> {
    let mut constants = Vec::new();
    for (name, node) in t.section("headers", Table::rest) {
        let (header, value) = (settable_header(&node, &name), node.text());
        let (Some(header), Some(value)) = (header, value) else { continue };
        let value = Hidden::new(value.value);
        if !value.is_visible() {
            node.problem::<()>("the value holds a character that a header cannot carry", "use visible ASCII");
        }
        constants.push((Place::Header(header), value));
    }
    for (name, node) in t.section("query", Table::rest) {
        if let Some(value) = node.text() {
            constants.push((Place::Query(name), Hidden::new(value.value)));
        }
    }
    if let Some(body) = t.get("body") {
        let values = json::read(&body).real;
        for (name, node) in body.table(Table::rest) {
            if let (Some(pointer), Some(value)) = (body_pointer(&node, &name), values.get(&name)) {
                constants.push((Place::Body(pointer), Hidden::new(value.to_string())));
            }
        }
    }
    constants
}

fn response(t: &mut Table<'_>) -> ResponseOptions {
    let defaults = ResponseOptions::default();
    let formats = [("auto", Format::Auto), ("openai", Format::OpenAi), ("own", Format::Own)];
    let error_ok = t.get("error_ok").map(|node| json::list(&node));
    let end = |node: &Node<'_>| node.name();
    ResponseOptions {
        format: t.get("format").and_then(|node| node.choice("a format", &formats)).unwrap_or(defaults.format),
        text: t.get("text").and_then(|node| pointer(&node)).unwrap_or(defaults.text),
        whole: t.get("whole").and_then(|node| pointer(&node)).unwrap_or(defaults.whole),
        finish_reason: optional(t, "finish_reason", pointer, defaults.finish_reason),
        usage: optional(t, "usage", pointer, defaults.usage),
        end: optional(t, "end", end, defaults.end),
        done: optional(t, "done", pointer, defaults.done),
        error: optional(t, "error", pointer, defaults.error),
        error_ok: error_ok.unwrap_or(defaults.error_ok),
        error_message: optional(t, "error_message", pointer, defaults.error_message),
    }
}

/// A key that may be `"none"`.
fn optional<T>(
    t: &mut Table<'_>,
    key: &'static str,
    read: impl FnOnce(&Node<'_>) -> Option<T>,
    default: Option<T>,
) -> Option<T> {
    match t.get(key) {
        None => default,
        Some(node) if matches!(node.value(), Some(DeValue::String(none)) if none == "none") => None,
        Some(node) => read(&node).or(default),
    }
}

fn pointer(node: &Node<'_>) -> Option<Pointer> {
    body_pointer(node, &node.name()?)
}

pub(super) fn body_pointer(node: &Node<'_>, text: &str) -> Option<Pointer> {
    parsed(node, text, "write it like \"/data/text\"")
}

pub(super) fn settable_header(node: &Node<'_>, name: &str) -> Option<SettableHeader> {
    parsed(node, name, "name another header")
}

fn parsed<T: std::str::FromStr<Err: Display>>(node: &Node<'_>, text: &str, fix: &str) -> Option<T> {
    text.parse().map_or_else(|why| node.problem(format!("{text:?}: {why}"), fix), Some)
}
