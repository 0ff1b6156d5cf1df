//! A chunk on its way: what came back of its texts, and what it looks like when it leaves.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::lanes::Read;
use crate::dialect::openai_chat::chunk::TEXT_FIELDS;
use crate::json::{self, Object};
use crate::sse;

/// A chunk on its way.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) raw: Bytes,
    name: Option<String>,
    pub(super) data: String,
    pub(super) parts: Vec<Part>,
    /// Its choices, and whether it ends them.
    pub(super) choices: Vec<(u32, bool)>,
    /// Whether what it says besides its text does not wait for it.
    pub(super) urgent: bool,
    /// The places of `logprobs`, which hold the text again.
    pub(super) logprobs: Vec<Range<usize>>,
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

impl Part {
    pub(super) fn new(lane: u32, literal: Range<usize>, read: &Read<'_>) -> Self {
        let (source, changed, done) = (read.source.clone(), read.halved, read.text.is_empty());
        Self { lane, literal, source, out: String::new(), changed, done }
    }
}

impl Frame {
    pub(super) fn new(raw: Bytes, name: Option<String>, data: String) -> Self {
        let (parts, choices, logprobs) = (Vec::new(), Vec::new(), Vec::new());
        Self { raw, name, data, parts, choices, urgent: false, logprobs, usage_only: false, sent: false }
    }

    /// Whether all its text came back.
    pub(super) fn is_done(&self) -> bool {
        self.parts.iter().all(|part| part.done)
    }

    /// Sends what can be sent now. `text_frame` makes a small frame of a lane and a text.
    pub(super) fn send(&mut self, out: &mut VecDeque<Bytes>, text_frame: impl Fn(u32, &str) -> Bytes) {
        let has_text = self.parts.iter().any(|part| !part.out.is_empty());
        if self.sent {
            let texts = self.parts.iter().filter(|part| !part.out.is_empty());
            out.extend(texts.map(|part| text_frame(part.lane, &part.out)));
        } else if self.is_done() && !self.is_changed() {
            out.push_back(self.raw.clone());
        } else if has_text || ((self.is_done() || self.urgent) && self.carries_more()) {
            out.push_back(sse::encode(self.name.as_deref(), &self.render()));
        } else {
            return;
        }
        self.sent = true;
        self.parts.iter_mut().for_each(|part| part.out.clear());
    }

    fn is_changed(&self) -> bool {
        self.parts.iter().any(|part| part.changed)
    }

    /// The data with what came back of each text in its literal's place.
    fn render(&self) -> String {
        let touched = self.parts.iter().filter(|part| part.changed || !part.done);
        let literals = touched.map(|part| (part.literal.clone(), Cow::Owned(json::quote(&part.out))));
        let logprobs = self.logprobs.iter().map(|place| (place.clone(), Cow::Borrowed("null")));
        let mut splices: Vec<_> = literals.chain(logprobs).collect();
        splices.sort_by_key(|(place, _)| place.start);
        json::splice(&self.data, splices)
    }

    /// Whether it says anything besides its text.
    fn carries_more(&self) -> bool {
        // With the text as it came, half a surrogate pair would stand in the way.
        let Ok(data) = serde_json::from_str::<Value>(&self.render()) else { return true };
        let choices = data.get("choices").and_then(Value::as_array).into_iter().flatten();
        let says_more = |choice: &Value| {
            let delta = choice.get("delta").and_then(Value::as_object).into_iter().flatten();
            let mut others = delta.filter(|(key, value)| !value.is_null() && !is_text_field(key));
            others.next().is_some() || choice.get("finish_reason").is_some_and(|reason| !reason.is_null())
        };
        choices.into_iter().any(says_more) || data.get("usage").is_some_and(|usage| !usage.is_null())
    }

    /// A whole answer's body.
    pub(super) fn into_whole(self) -> Bytes {
        if self.is_changed() { Bytes::from(self.render()) } else { self.raw }
    }
}

fn is_text_field(key: &str) -> bool {
    TEXT_FIELDS.iter().any(|(name, _)| *name == key)
}

/// How much of the first chunk is put into frames of our own: ids, names and times, but nothing that grows with
/// the number of frames.
const KEPT_MAX: usize = 32;
const KEPT_KEY_MAX: usize = 64;
const KEPT_VALUE_MAX: usize = 1024;

/// What frames of our own look like: the stream's first chunk.
#[derive(Debug, Default)]
pub(super) struct Template {
    /// The chunk's data; empty as long as there is none.
    pub(super) first: String,
    /// The fields of it that are not of one chunk.
    head: OnceLock<String>,
}

impl Template {
    /// A frame with one choice.
    pub(super) fn frame(&self, choice: u32, delta: &Value, finish: Option<&str>) -> Bytes {
        let choice = json!({ "index": choice, "delta": delta, "finish_reason": finish });
        let head = self.head.get_or_init(|| self.head_without(&["choices", "usage", "obfuscation"]));
        sse::encode(None, &format!("{head}\"choices\":[{choice}]}}"))
    }

    /// The beginning of an object with the fields of the first chunk that are not left out.
    pub(super) fn head_without(&self, left_out: &[&str]) -> String {
        let fields = serde_json::from_str(&self.first).map_or_else(|_| Vec::new(), |Object(fields)| fields);
        let small =
            |key: &str, value: &RawValue| key.len() <= KEPT_KEY_MAX && value.get().len() <= KEPT_VALUE_MAX;
        let kept =
            fields.iter().filter(|(key, value)| !left_out.contains(&key.as_ref()) && small(key, value));
        let kept = kept.take(KEPT_MAX);
        kept.fold("{".to_owned(), |head, (key, value)| head + &json::quote(key) + ":" + value.get() + ",")
    }
}
