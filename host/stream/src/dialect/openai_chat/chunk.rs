//! ⑥ One chunk of a stream, or a whole answer: the places in its JSON that matter.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::UpstreamError;
use crate::json::{self, Object};
use crate::lane::{Channel, CloseReason};

/// The most choices of an answer: what OpenAI's API takes as `n`.
pub(super) const CHOICES_MAX: usize = 128;

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
        let Choices(choices) = read(choices.get())?;
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

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, UpstreamError> {
    serde_json::from_str(text).map_err(|error| UpstreamError::Protocol(json::unreadable(&error)))
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
    /// Longer objects are not looked into.
    const READ_MAX: usize = 64 << 10;
    const MESSAGE_MAX: usize = 1000;
    fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
        let Object(members) = serde_json::from_str(object).ok()?;
        members.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.get())
    }
    let mut at = error;
    if error.len() <= READ_MAX {
        // `{"error": {"error": …}}` is as deep as servers go.
        for _ in 0..3 {
            at = member(at, "error").unwrap_or(at);
        }
        at = member(at, "message").or_else(|| member(at, "detail")).unwrap_or(at);
    }
    let is_text = at.len() >= 2 && at.starts_with('"') && at.ends_with('"');
    let message = if is_text { json::text(at) } else { Cow::Borrowed(at) };
    message.chars().take(MESSAGE_MAX).collect()
}

/// The choices of a chunk, bounded while they are read: an empty one takes two bytes of JSON and many more here.
struct Choices<'a>(Vec<RawChoice<'a>>);

impl<'de> Deserialize<'de> for Choices<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Choices<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Choices<'de>, A::Error> {
                let mut choices: Vec<RawChoice<'de>> = Vec::new();
                while let Some(choice) = list.next_element::<RawChoice<'de>>()? {
                    if choices.len() == CHOICES_MAX || choices.iter().any(|known| known.index == choice.index)
                    {
                        return Err(serde::de::Error::custom("too many choices, or one twice"));
                    }
                    choices.push(choice);
                }
                Ok(Choices(choices))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errors_message_is_found_in_the_shapes_that_servers_use() {
        for (error, message) in [
            (r#"{"error":{"message":"no \u0062anana","code":7}}"#, "no banana"),
            (r#"{"error":{"error":{"message":"deep"}}}"#, "deep"),
            (r#"{"message":"flat"}"#, "flat"),
            (r#"{"detail":"fast"}"#, "fast"),
            (r#"{"error":"text"}"#, "text"),
            (r#""text""#, "text"),
            ("<html>", "<html>"),
        ] {
            assert_eq!(error_message(error), message);
        }
        let nested = r#"{"error":"#.repeat(100) + "[" + &"0,".repeat(1 << 20) + "0]" + &"}".repeat(100);
        assert_eq!(error_message(&nested).len(), 1000);
    }

    #[test]
    fn choices_are_bounded_while_they_are_read() {
        let many = |choices: &str| Chunk::parse(&format!(r#"{{"choices":[{choices}]}}"#)).map(drop);
        let numbered: Vec<String> = (0..129).map(|index| format!(r#"{{"index":{index}}}"#)).collect();
        assert!(many(&numbered[..128].join(",")).is_ok());
        assert!(many(&numbered.join(",")).is_err());
        assert!(many("{},{}").is_err());
    }

    #[test]
    fn errors_hold_no_text_of_the_answer() {
        let error = Chunk::parse(r#"{"choices":[{"delta":"secret banana"}]}"#).unwrap_err().to_string();
        assert!(error.contains("wrong type") && !error.contains("banana"), "{error}");
    }
}
