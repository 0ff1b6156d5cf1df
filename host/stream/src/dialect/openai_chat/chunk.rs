//! ⑥ One chunk of a stream, or a whole answer: the places in its JSON that matter.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::error::UpstreamError;
use crate::json;
use crate::lane::{Channel, CloseReason};

/// The fields of a delta or message that are lanes.
pub(super) const TEXT_FIELDS: [(&str, Channel); 4] = [
    ("reasoning_content", Channel::Reasoning),
    ("reasoning", Channel::Reasoning),
    ("content", Channel::Text),
    ("refusal", Channel::Refusal),
];

/// What a chunk or a whole answer holds.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) choices: Vec<Choice>,
    /// Whether it has a `usage` that is not null.
    pub(super) usage: bool,
}

/// One choice of a chunk.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) index: u32,
    /// Field (its place in [`TEXT_FIELDS`]) and place of each string literal that is a lane's and not empty.
    pub(super) texts: Vec<(usize, Range<usize>)>,
    /// Whether it has a part of a tool call.
    pub(super) calls: bool,
    pub(super) finish: Option<CloseReason>,
    /// The place of `logprobs` that are not null.
    pub(super) logprobs: Option<Range<usize>>,
}

#[derive(Deserialize)]
struct RawChunk<'a> {
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawChoice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow)]
    delta: Option<RawDelta<'a>>,
    #[serde(borrow)]
    message: Option<RawDelta<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawDelta<'a> {
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    tool_calls: Option<IgnoredAny>,
    function_call: Option<IgnoredAny>,
}

impl Chunk {
    /// Reads a chunk's data or a whole answer's body.
    ///
    /// # Errors
    /// [`UpstreamError::Reported`] for an error object, [`UpstreamError::Protocol`] for anything that is not
    /// in the dialect.
    pub(super) fn parse(data: &str) -> Result<Self, UpstreamError> {
        if !data.trim_start().starts_with('{') {
            return Err(protocol("it is not a JSON object"));
        }
        let raw: RawChunk<'_> = read(data)?;
        if let Some(error) = raw.error {
            return Err(UpstreamError::Reported(error_message(error.get())));
        }
        let Some(choices) = raw.choices else {
            return Err(protocol("there are no `choices` in it"));
        };
        let choices: Vec<RawChoice<'_>> = read(choices.get())?;
        let choices = choices.into_iter().map(|choice| choice.places(data)).collect::<Result<_, _>>()?;
        Ok(Self { choices, usage: raw.usage.is_some() })
    }
}

impl RawChoice<'_> {
    fn places(self, data: &str) -> Result<Choice, UpstreamError> {
        let (mut texts, mut calls) = (Vec::new(), false);
        // A reader takes one of the two; the other would pass unseen.
        if self.delta.is_some() && self.message.is_some() {
            return Err(protocol("a choice has both `delta` and `message`"));
        }
        if let Some(delta) = self.delta.or(self.message) {
            calls = delta.tool_calls.is_some() || delta.function_call.is_some();
            let fields = [delta.reasoning_content, delta.reasoning, delta.content, delta.refusal];
            for (field, value) in fields.into_iter().enumerate() {
                let Some(value) = value.filter(|value| value.get() != "\"\"") else { continue };
                if !json::is_string(value) {
                    let name = TEXT_FIELDS.get(field).map_or("", |(name, _)| *name);
                    return Err(protocol(&format!("`{name}` is not a string")));
                }
                texts.push((field, json::place(data, value.get())));
            }
        }
        // Some servers send an empty string for null.
        let finish = self.finish_reason.as_deref().filter(|reason| !reason.is_empty());
        if finish == Some("error") {
            return Err(UpstreamError::Reported("the answer ended with an error".to_owned()));
        }
        let logprobs = self.logprobs.map(|value| json::place(data, value.get()));
        Ok(Choice { index: self.index, texts, calls, finish: finish.map(close_reason), logprobs })
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, UpstreamError> {
    serde_json::from_str(json).map_err(|error| UpstreamError::Protocol(error.to_string()))
}

fn protocol(what: &str) -> UpstreamError {
    UpstreamError::Protocol(what.to_owned())
}

fn close_reason(finish_reason: &str) -> CloseReason {
    match finish_reason {
        "stop" => CloseReason::Stop,
        "length" => CloseReason::Length,
        "tool_calls" | "function_call" => CloseReason::ToolCalls,
        "content_filter" => CloseReason::ContentFilter,
        _ => CloseReason::Other,
    }
}

/// The message of a body that is an error object, `{"error": …}`.
pub fn reported_error(body: &[u8]) -> Option<String> {
    match Chunk::parse(std::str::from_utf8(body).ok()?) {
        Err(UpstreamError::Reported(message)) => Some(message),
        _ => None,
    }
}

/// The message of an error object in any of the shapes that servers use, bounded.
pub fn error_message(error: &str) -> String {
    const MESSAGE_MAX: usize = 1000;
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Shape {
        Text(String),
        Nested { error: Box<Self> },
        Object { message: String },
        Detail { detail: String },
    }
    fn text(shape: Shape) -> String {
        match shape {
            Shape::Nested { error } => text(*error),
            Shape::Text(text) | Shape::Object { message: text } | Shape::Detail { detail: text } => text,
        }
    }
    let message = serde_json::from_str(error).map_or_else(|_| error.to_owned(), text);
    message.chars().take(MESSAGE_MAX).collect()
}
