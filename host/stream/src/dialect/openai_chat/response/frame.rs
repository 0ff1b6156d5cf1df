//! A chunk on its way: what came back of its texts, and what it looks like when it leaves.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use super::lanes::{Lanes, Spelling};
use super::tokens::Tokens;
use crate::json::{self, FirstMembers};
use crate::sse;

/// What a chunk takes of memory besides its bytes, about.
const OVERHEAD: usize = 1024;

/// Larger chunks are not looked into for whether they say anything: they do.
const LOOKED_INTO_MAX: usize = 1 << 20;

/// A chunk on its way.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) raw: Bytes,
    name: Option<String>,
    data: Data,
    pub(super) parts: Vec<Part>,
    /// The literals that its parts stand in.
    pub(super) literals: Vec<Literal>,
    /// Its choices, and whether it ends them.
    pub(super) choices: Vec<(u32, bool)>,
    /// The sources of the tool calls that it has a part of.
    pub(super) calls: Vec<usize>,
    /// Whether what it says besides its text does not wait for it.
    pub(super) urgent: bool,
    /// Whether it begins a tool call: what follows of the call must not overtake it.
    pub(super) heads: bool,
    /// What it says of texts.
    pub(super) notes: Vec<Note>,
    pub(super) tokens: Vec<Tokens>,
    /// How many texts it waits for besides its own.
    pub(super) watching: usize,
    /// Whether it is a usage frame, without choices.
    pub(super) usage_only: bool,
    /// The place of its usage.
    pub(super) usage: Option<Range<usize>>,
    /// Whether a part of it was sent.
    sent: bool,
}

/// Where a chunk's data is.
#[derive(Debug)]
pub(super) enum Data {
    /// A part of its bytes: one `data` line.
    Within(Range<usize>),
    /// Put together from several.
    Joined(String),
}

impl Default for Data {
    fn default() -> Self {
        Self::Within(0..0)
    }
}

/// The place of a [`Part`]: its chunk's place in the stream, and its own among the chunk's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartAt {
    pub(super) frame: usize,
    pub(super) part: usize,
}

/// A string literal with text.
#[derive(Debug)]
pub(super) struct Literal {
    pub(super) source: usize,
    /// What stands between its quotes.
    pub(super) content: Range<usize>,
    /// Its parts, by their places among the chunk's.
    pub(super) parts: Range<usize>,
}

/// A stretch of a literal that is text of one lane.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) lane: u32,
    spelling: Spelling,
    /// Its place in the frame's data.
    place: Range<usize>,
    /// The end of what completes a character of the part before.
    lead: usize,
    /// Whether the other part of that character left as it came, and so must this one.
    pub(super) lead_raw: bool,
    /// The parts that it shares a character with.
    pub(super) before: Option<PartAt>,
    pub(super) after: Option<PartAt>,
    /// What it is of the lane's text.
    pub(super) source: Range<u32>,
    /// What came back of it and is not sent yet.
    pub(super) out: String,
    pub(super) changed: bool,
    pub(super) done: bool,
    /// Whether the character at its end is not whole.
    pub(super) waiting: bool,
    /// Where the escape begins that it ends in. One that is never whole is nobody's text, and stays: without it what
    /// stands behind might read as JSON.
    pub(super) escape: Option<usize>,
}

/// A value that is true of a lane's text as it came.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) lane: u32,
    pub(super) place: Range<usize>,
    /// What stands in its place where the text was edited.
    pub(super) instead: &'static str,
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It left as it came.
    Raw,
    /// It left, or more of it, in other words.
    Rendered,
    /// It stays, or had nothing to say.
    Nothing,
}

impl Part {
    pub(super) fn new(
        lane: u32,
        spelling: Spelling,
        place: Range<usize>,
        lead: usize,
        source: Range<u32>,
    ) -> Self {
        Self {
            lane,
            spelling,
            place,
            lead,
            lead_raw: false,
            before: None,
            after: None,
            source,
            out: String::new(),
            changed: false,
            done: false,
            waiting: false,
            escape: None,
        }
    }

    /// Whether all of it belongs to the character of the part before.
    pub(super) fn is_lead(&self) -> bool {
        self.lead == self.place.end
    }

    /// The parts that it shares characters with, and whether its bytes of those have left as they came.
    pub(super) fn neighbours(&self, sent: Sent) -> impl Iterator<Item = (PartAt, bool)> + use<> {
        let raw = sent == Sent::Raw || (self.is_lead() && self.lead_raw);
        self.before.into_iter().chain(self.after).map(move |at| (at, raw))
    }

    /// Whether it can leave as it came.
    pub(super) fn is_as_it_came(&self) -> bool {
        self.done && !self.changed && (self.lead == self.place.start || self.lead_raw)
    }

    /// Whether it has to be written in a chunk that does not leave as it came: then split characters are joined.
    fn is_to_be_written(&self) -> bool {
        !self.is_as_it_came() || self.after.is_some()
    }

    /// What stands in its place.
    fn written(&self, data: &str) -> String {
        let lead = data.get(self.place.start..self.lead).filter(|_| self.lead_raw).unwrap_or_default();
        [lead, &self.spelling.escape(&self.out), self.rest(data)].concat()
    }

    /// The escape at its end that is never whole.
    fn rest<'a>(&self, data: &'a str) -> &'a str {
        let start = self.escape.filter(|_| self.done);
        let start = start.map(|start| if self.lead_raw { start.max(self.lead) } else { start });
        start.and_then(|start| data.get(start..self.place.end)).unwrap_or_default()
    }

    fn has_text(&self) -> bool {
        !self.out.is_empty()
            || (self.done && self.escape.is_some())
            || (self.lead_raw && self.lead > self.place.start)
    }
}

impl Frame {
    /// Gives it what it came as.
    pub(super) fn came_as(&mut self, raw: Bytes, name: Option<String>, data: Data) {
        (self.raw, self.name, self.data) = (raw, name, data);
    }

    /// Makes it an empty one, with room for another of its kind.
    pub(super) fn clear(&mut self) {
        // All fields by name: none is forgotten.
        let Self {
            raw,
            name,
            data,
            parts,
            literals,
            choices,
            calls,
            urgent,
            heads,
            notes,
            tokens,
            watching,
            usage_only,
            usage,
            sent,
        } = self;
        (*raw, *name, *data, *usage, *watching) = (Bytes::new(), None, Data::default(), None, 0);
        (*urgent, *heads, *usage_only, *sent) = (false, false, false, false);
        parts.clear();
        literals.clear();
        choices.clear();
        calls.clear();
        notes.clear();
        tokens.clear();
    }

    /// Its data. It is seldom looked at again, so it is no copy, and was UTF-8 when it came.
    pub(super) fn data(&self) -> &str {
        match &self.data {
            Data::Within(place) => {
                let data = self.raw.get(place.clone()).unwrap_or_default();
                std::str::from_utf8(data).unwrap_or_default()
            }
            Data::Joined(data) => data,
        }
    }

    /// What it takes of memory, in bytes, about.
    pub(super) fn cost(&self) -> usize {
        let data = match &self.data {
            Data::Within(place) => place.len(),
            Data::Joined(data) => data.len(),
        };
        self.raw.len() + data + OVERHEAD
    }

    /// Whether all that it waits for has come.
    pub(super) fn is_done(&self) -> bool {
        self.watching == 0 && self.parts.iter().all(|part| part.done)
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent
    }

    /// Sends what can be sent now.
    pub(super) fn send(&mut self, out: &mut VecDeque<Bytes>, lanes: &Lanes, template: &Template) -> Sent {
        // What stands in a note goes with it, and while that waits it is nothing to be sent.
        let waits = |part: &Part| {
            self.watching > 0 && self.notes.iter().any(|note| note.place.contains(&part.place.start))
        };
        let has_text = self.parts.iter().any(|part| part.has_text() && !waits(part));
        let sent = if self.sent {
            let data = self.data();
            let texts = self.parts.iter().map(|part| (part, part.rest(data)));
            let texts = texts.filter(|(part, rest)| !part.out.is_empty() || !rest.is_empty());
            out.extend(texts.map(|(part, rest)| template.text(lanes, part.lane, &part.out, rest)));
            if has_text { Sent::Rendered } else { Sent::Nothing }
        } else if self.is_unfinished() {
            return Sent::Nothing;
        } else if self.is_done() && self.is_as_it_came(lanes) {
            // It is done: nobody asks for its bytes again.
            out.push_back(std::mem::take(&mut self.raw));
            Sent::Raw
        } else if has_text || ((self.is_done() || self.urgent) && self.carries_more(lanes)) {
            out.push_back(sse::encode(self.name.as_deref(), &self.render(lanes)));
            Sent::Rendered
        } else {
            return Sent::Nothing;
        };
        self.sent = true;
        for part in &mut self.parts {
            part.out.clear();
            part.escape.take_if(|_| part.done);
        }
        sent
    }

    /// Whether it ends within a character, and has nothing else to say: no other text, no head of a tool call, no
    /// other choice's end.
    fn is_unfinished(&self) -> bool {
        let ends = self.choices.len() > 1 && self.choices.iter().any(|(_, ends)| *ends);
        self.literals.len() <= 1 && !self.heads && !ends && self.parts.iter().any(|part| part.waiting)
    }

    fn is_as_it_came(&self, lanes: &Lanes) -> bool {
        self.parts.iter().all(Part::is_as_it_came)
            && !self.notes.iter().any(|note| note.is_wrong(lanes))
            && self.tokens.iter().all(|tokens| tokens.written(self.data(), &self.parts).is_none())
    }

    /// The data with what came back of each text in its place.
    fn render(&self, lanes: &Lanes) -> String {
        let (done, data) = (self.is_done(), self.data());
        let parts = self.parts.iter().filter(|part| part.is_to_be_written());
        let parts = parts.map(|part| (part.place.clone(), Cow::Owned(part.written(data))));
        let notes = self.notes.iter().filter(|note| !done || note.is_wrong(lanes));
        let notes = notes.map(|note| (note.place.clone(), Cow::Borrowed(note.instead)));
        let tokens = self.tokens.iter().filter_map(|tokens| {
            Some((tokens.place.clone(), Cow::Owned(tokens.written(data, &self.parts)?)))
        });
        let mut splices: Vec<_> = parts.chain(notes).chain(tokens).collect();
        splices.sort_by_key(|(place, _)| place.start);
        // What stands in a list that goes, goes with it.
        let mut end = 0;
        splices.retain(|(place, _)| {
            let outside = place.start >= end;
            end = end.max(place.end);
            outside
        });
        json::splice(data, splices)
    }

    /// Whether it says anything besides its text.
    fn carries_more(&self, lanes: &Lanes) -> bool {
        if self.data().len() > LOOKED_INTO_MAX {
            return true;
        }
        // With the text as it came, half a surrogate pair would stand in the way.
        let Ok(data) = serde_json::from_str::<Value>(&self.render(lanes)) else { return true };
        let choices = data.get("choices").and_then(Value::as_array).into_iter().flatten();
        let says_more = |choice: &Value| {
            let told = |name| choice.get(name).is_some_and(|value| says(name, value));
            ["delta", "message", "finish_reason", "logprobs"].into_iter().any(told)
        };
        choices.into_iter().any(says_more) || data.get("usage").is_some_and(|usage| !usage.is_null())
    }

    /// What of a literal the links have released, as it is written in it, and whether that is all.
    pub(super) fn released(&self, literal: &Literal) -> (String, bool) {
        let parts = self.parts.get(literal.parts.clone()).unwrap_or_default();
        if self.sent {
            return (self.texts(literal).collect(), parts.iter().all(|part| part.done));
        }
        let data = self.data();
        let mut at = literal.content.start;
        let mut out = String::new();
        for part in parts {
            out.push_str(data.get(at..part.place.start).unwrap_or_default());
            match data.get(part.place.clone()).filter(|_| !part.is_to_be_written()) {
                Some(text) => out.push_str(text),
                None => out.push_str(&part.written(data)),
            }
            if !part.done {
                return (out, false);
            }
            at = part.place.end;
        }
        out.push_str(data.get(at..literal.content.end).unwrap_or_default());
        (out, true)
    }

    /// The texts of a literal that came back and are not sent, as they are written in it.
    pub(super) fn texts<'a>(&'a self, literal: &Literal) -> impl Iterator<Item = String> + use<'a> {
        let parts = self.parts.get(literal.parts.clone()).unwrap_or_default();
        let data = self.data();
        parts.iter().map(move |part| match self.sent {
            true => part.spelling.escape(&part.out) + part.rest(data),
            false => part.written(data),
        })
    }

    /// A whole answer's body.
    pub(super) fn into_whole(self, lanes: &Lanes) -> Bytes {
        if self.is_as_it_came(lanes) { self.raw } else { Bytes::from(self.render(lanes)) }
    }
}

impl Note {
    fn is_wrong(&self, lanes: &Lanes) -> bool {
        lanes.get(self.lane).is_some_and(|lane| lane.is_edited())
    }
}

/// Whether a value of a chunk says something: not null, not empty, not the number of a part.
fn says(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => values.iter().any(|value| says("", value)),
        Value::Object(members) => members.iter().any(|(name, value)| says(name, value)),
        Value::Number(_) => name != "index",
        Value::Bool(_) => true,
    }
}

/// How much of the first chunk is put into frames of our own: ids, names and times, but nothing that grows with
/// the number of frames.
const KEPT_MAX: usize = 32;
/// How many fields are looked at for them.
const READ_MAX: usize = 64;
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
    /// A small frame with one text of a lane, and an escape behind it that is not whole.
    pub(super) fn text(&self, lanes: &Lanes, lane: u32, text: &str, rest: &str) -> Bytes {
        let (choice, delta) = lanes.delta(lane, text, rest);
        self.frame(choice, &delta, None, None)
    }

    /// A frame with one choice; its delta and the usage are JSON.
    pub(super) fn frame(&self, choice: u32, delta: &str, finish: Option<&str>, usage: Option<&str>) -> Bytes {
        let head = self.head.get_or_init(|| self.head_without(&["choices", "usage", "obfuscation"]));
        let finish = finish.map_or_else(|| "null".to_owned(), json::quote);
        let (name, usage) = usage.map_or(("", ""), |usage| (",\"usage\":", usage));
        let choice = choice.to_string();
        let start = [head, "\"choices\":[{\"index\":", &choice, ",\"delta\":", delta].concat();
        let end = [",\"finish_reason\":", &finish, "}]", name, usage, "}"].concat();
        sse::encode(None, &(start + &end))
    }

    /// The beginning of an object with the fields of the first chunk that are not left out.
    pub(super) fn head_without(&self, left_out: &[&str]) -> String {
        let fields = serde_json::from_str(&self.first);
        let fields = fields.map_or_else(|_| Vec::new(), |FirstMembers::<'_, READ_MAX>(fields)| fields);
        let small =
            |key: &str, value: &RawValue| key.len() <= KEPT_KEY_MAX && value.get().len() <= KEPT_VALUE_MAX;
        let kept =
            fields.iter().filter(|(key, value)| !left_out.contains(&key.as_ref()) && small(key, value));
        let kept = kept.take(KEPT_MAX);
        kept.fold("{".to_owned(), |head, (key, value)| head + &json::quote(key) + ":" + value.get() + ",")
    }
}
