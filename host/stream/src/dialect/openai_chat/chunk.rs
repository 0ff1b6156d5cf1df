//! ⑥ One chunk of a stream, or a whole answer: the places in its JSON that matter.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::UpstreamError;
use crate::json::{self, AtMost, Object};
use crate::lane::{Channel, CloseReason};

mod delta;
mod logprobs;
mod shape;

use delta::RawDelta;
pub(super) use logprobs::Logprobs;
pub(super) use shape::Shape;

/// The most choices of an answer: what OpenAI's API takes as `n`.
pub(super) const CHOICES_MAX: usize = 128;

/// The fields of a delta or message that are lanes as they stand.
pub(super) const TEXT_FIELDS: [(&str, Channel); 4] = [
    ("reasoning_content", Channel::Reasoning),
    ("reasoning", Channel::Reasoning),
    ("content", Channel::Text),
    ("refusal", Channel::Refusal),
];

/// A place of a choice that has text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// One of [`TEXT_FIELDS`], by its place there.
    Text(usize),
    /// `reasoning_details[].text` of an entry, or its `summary`.
    Detail {
        /// The entry's number.
        entry: u32,
        /// Whether it is the summary.
        summary: bool,
    },
    /// `audio.transcript`.
    Transcript,
    /// `annotations[].url_citation.title`, or its `content`, a lane for each.
    Citation {
        /// Whether it is the content.
        content: bool,
    },
    /// `tool_calls[].function.arguments` of a call: JSON.
    Arguments(u32),
    /// `tool_calls[].custom.input` of a call.
    Input(u32),
    /// `function_call.arguments`: JSON.
    FunctionCall,
}

impl Field {
    pub(super) const CONTENT: Self = Self::Text(2);
    pub(super) const REFUSAL: Self = Self::Text(3);
}

/// What a chunk or a whole answer holds.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) choices: Vec<Choice>,
    /// The place of its `usage`, if that is not null.
    pub(super) usage: Option<Range<usize>>,
}

/// One choice of a chunk.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) index: u32,
    /// Its texts, and the tool calls that it has a part of.
    pub(super) texts: Vec<Text>,
    pub(super) finish: Option<CloseReason>,
    /// What is known of its text besides the text.
    pub(super) notes: Vec<Note>,
    pub(super) logprobs: Option<Logprobs>,
}

/// A text of a chunk.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) field: Field,
    /// Its literal, if it is not empty.
    pub(super) literal: Option<Range<usize>>,
    /// Of a tool call.
    pub(super) call: Option<Call>,
}

/// What a chunk says of a tool call besides its arguments.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
}

/// A value that is true of a text as the upstream sent it: a signature, offsets of citations.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) field: Field,
    pub(super) place: Range<usize>,
    /// What stands in its place where the text was edited.
    pub(super) instead: &'static str,
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
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
}

impl Chunk {
    /// Reads a chunk's data or a whole answer's body; its texts only where links look at them (`scanned`).
    ///
    /// # Errors
    /// [`UpstreamError::Reported`] for an error object, [`UpstreamError::Protocol`] for anything that is not
    /// in the dialect.
    pub(super) fn parse(data: &str, scanned: bool) -> Result<Self, UpstreamError> {
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
        // An empty choice takes two bytes of JSON and many more here.
        let AtMost::<RawChoice<'_>, CHOICES_MAX>(raw_choices) = read(choices.get())?;
        let mut choices: Vec<Choice> = Vec::with_capacity(raw_choices.len());
        for choice in raw_choices {
            if choices.iter().any(|known| known.index == choice.index) {
                return Err(protocol("a choice stands twice in it"));
            }
            choices.push(choice.places(data, scanned)?);
        }
        Ok(Self { choices, usage: raw.usage.map(|usage| json::place(data, usage.get())) })
    }
}

impl RawChoice<'_> {
    fn places(self, data: &str, scanned: bool) -> Result<Choice, UpstreamError> {
        let (texts, notes) = (Vec::new(), Vec::new());
        let mut choice = Choice { index: self.index, texts, finish: None, notes, logprobs: None };
        if scanned {
            // A reader takes one of the two; the other would pass unseen.
            if self.delta.is_some() && self.message.is_some() {
                return Err(protocol("a choice has both `delta` and `message`"));
            }
            if let Some(delta) = self.delta.or(self.message) {
                read::<RawDelta<'_>>(delta.get())?.places(data, &mut choice)?;
            }
            choice.logprobs = self.logprobs.map(|value| Logprobs::parse(data, value.get()));
        }
        // Some servers send an empty string for null.
        let finish = self.finish_reason.as_deref().filter(|reason| !reason.is_empty());
        if finish == Some("error") {
            return Err(UpstreamError::Reported("the answer ended with an error".to_owned()));
        }
        choice.finish = finish.map(close_reason);
        Ok(choice)
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
    match Chunk::parse(std::str::from_utf8(body).ok()?, false) {
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
        let many = |choices: &str| Chunk::parse(&format!(r#"{{"choices":[{choices}]}}"#), false).map(drop);
        let numbered: Vec<String> = (0..129).map(|index| format!(r#"{{"index":{index}}}"#)).collect();
        assert!(many(&numbered[..128].join(",")).is_ok());
        assert!(many(&numbered.join(",")).is_err());
        assert!(many("{},{}").is_err());
    }

    #[test]
    fn errors_hold_no_text_of_the_answer() {
        let error = Chunk::parse(r#"{"choices":[{"delta":"secret banana"}]}"#, true).unwrap_err().to_string();
        assert!(error.contains("wrong type") && !error.contains("banana"), "{error}");
    }
}
