//! A chunk on its way: what came back of its texts, and what it looks like when it leaves.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::lanes::{LaneState, Read};
use crate::dialect::openai_chat::chunk::TEXT_FIELDS;
use crate::json;
use crate::sse;

/// A chunk on its way.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) raw: Bytes,
    name: Option<String>,
    pub(super) data: String,
    pub(super) parts: Vec<Part>,
    /// The places of `logprobs`, which hold the text again.
    pub(super) logprobs: Vec<Range<usize>>,
    /// The choices that it ends.
    pub(super) finishes: Vec<u32>,
    /// Whether it is a usage frame, without choices.
    pub(super) usage_only: bool,
    /// Whether a part of it was sent.
    sent: bool,
}

/// One text of a chunk.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) lane: u32,
    /// The place of its literal in the frame's data.
    literal: Range<usize>,
    /// What it is of the lane's text.
    pub(super) source: Range<u32>,
    /// What came back of it and is not sent yet.
    pub(super) out: String,
    pub(super) changed: bool,
    pub(super) done: bool,
}

/// What a frame has to send.
pub(super) enum Next {
    /// Nothing yet.
    Wait,
    /// A part of it.
    Send(Vec<Bytes>),
    /// All that is left of it.
    Done(Vec<Bytes>),
}

impl Part {
    pub(super) fn new(lane: u32, literal: Range<usize>, read: &Read<'_>) -> Self {
        let (source, changed, done) = (read.source.clone(), read.halved, read.text.is_empty());
        Self { lane, literal, source, out: String::new(), changed, done }
    }
}

impl Frame {
    pub(super) fn new(raw: Bytes, name: Option<String>, data: String) -> Self {
        let (parts, logprobs, finishes) = (Vec::new(), Vec::new(), Vec::new());
        Self { raw, name, data, parts, logprobs, finishes, usage_only: false, sent: false }
    }

    /// What can be sent now. `text_frame` makes a small frame of a lane and a text.
    pub(super) fn next(&mut self, text_frame: impl Fn(u32, &str) -> Bytes) -> Next {
        let done = self.parts.iter().all(|part| part.done);
        let has_text = self.parts.iter().any(|part| !part.out.is_empty());
        if !done && !has_text {
            return Next::Wait;
        }
        if done && !self.sent && !self.is_changed() {
            return Next::Done(vec![self.raw.clone()]);
        }
        let bytes = if self.sent {
            let texts = self.parts.iter().filter(|part| !part.out.is_empty());
            texts.map(|part| text_frame(part.lane, &part.out)).collect()
        } else if has_text || self.carries_more() {
            vec![sse::encode(self.name.as_deref(), &self.render())]
        } else {
            Vec::new()
        };
        self.parts.iter_mut().for_each(|part| part.out.clear());
        self.sent = true;
        if done { Next::Done(bytes) } else { Next::Send(bytes) }
    }

    fn is_changed(&self) -> bool {
        self.parts.iter().any(|part| part.changed)
    }

    /// The data with what came back of each text in its literal's place.
    fn render(&self) -> String {
        let literals = self.parts.iter().map(|part| (part.literal.clone(), Cow::Owned(json::quote(&part.out))));
        let logprobs = self.logprobs.iter().map(|place| (place.clone(), Cow::Borrowed("null")));
        let mut splices: Vec<_> = literals.chain(logprobs).collect();
        splices.sort_by_key(|(place, _)| place.start);
        json::splice(&self.data, splices)
    }

    /// Whether a frame without text says anything else.
    fn carries_more(&self) -> bool {
        let data: Value = serde_json::from_str(&self.data).unwrap_or_default();
        let choices = data.get("choices").and_then(Value::as_array).into_iter().flatten();
        let says_more = |choice: &Value| {
            let delta = choice.get("delta").and_then(Value::as_object).into_iter().flatten();
            let mut others = delta.filter(|(key, value)| !value.is_null() && !is_text_field(key));
            others.next().is_some() || choice.get("finish_reason").is_some_and(|reason| !reason.is_null())
        };
        choices.into_iter().any(says_more) || data.get("usage").is_some_and(|usage| !usage.is_null())
    }

    /// A whole answer's body, with the texts that have no literal in it.
    pub(super) fn into_whole(self, lanes: &[LaneState], orphans: &[(u32, String)]) -> Bytes {
        if !self.is_changed() && orphans.is_empty() {
            return self.raw;
        }
        let body = self.render();
        if orphans.is_empty() {
            return Bytes::from(body);
        }
        let mut body: Value = serde_json::from_str(&body).unwrap_or_default();
        for (lane, text) in orphans {
            let Some(lane) = lanes.get(*lane as usize) else { continue };
            let choices = body.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten();
            for choice in choices.filter(|choice| choice.get("index").unwrap_or(&json!(0)) == lane.choice) {
                if let Some(message) = choice.get_mut("message").and_then(Value::as_object_mut) {
                    message.insert(lane.name().to_owned(), text.clone().into());
                }
            }
        }
        Bytes::from(body.to_string())
    }
}

fn is_text_field(key: &str) -> bool {
    TEXT_FIELDS.iter().any(|(name, _)| *name == key)
}

/// A frame of our own that looks like the stream's first chunk.
pub(super) fn small_frame(first: Option<&str>, choice: u32, delta: Value, finish: Option<&str>) -> Bytes {
    let mut data: Map<String, Value> = first.and_then(|first| serde_json::from_str(first).ok()).unwrap_or_default();
    data.remove("usage");
    let choice = json!({ "index": choice, "delta": delta, "finish_reason": finish });
    data.insert("choices".to_owned(), Value::Array(vec![choice]));
    sse::encode(None, &Value::Object(data).to_string())
}
