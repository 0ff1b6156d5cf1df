//! The lanes of an answer: what has flowed in them, and giving released text back to the chunks it came in.

use std::collections::VecDeque;
use std::ops::Range;

use serde_json::json;

use super::frame::PartAt;
use super::queue::Queue;
use crate::chain::{Flow, LaneText};
use crate::dialect::openai_chat::chunk::{Field, TEXT_FIELDS};
use crate::error::UpstreamError;
use crate::json;
use crate::lane::{Channel, Lane};

/// The most text that one lane may have, in bytes: far above any answer, far below what offsets can count.
const LANE_MAX: usize = 1 << 30;

/// The most lanes of one answer. Each string value of a tool call's arguments is one: enough for a table of
/// thousands of cells, and a bound for an upstream that sends nothing but `""`.
const LANES_MAX: usize = 1 << 14;

/// All lanes, by id.
#[derive(Debug, Default)]
pub(super) struct Lanes(Vec<LaneState>);

/// How a lane's text is written in a chunk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Between the quotes of a JSON string.
    #[default]
    Literal,
    /// Between the quotes of a string of a JSON text that stands in a JSON string.
    Nested,
}

impl Spelling {
    pub(super) fn escape(self, text: &str) -> String {
        if json::is_plain(text) {
            return text.to_owned();
        }
        let literal = json::quote(text);
        match self {
            Self::Literal => json::content(&literal).to_owned(),
            Self::Nested => json::content(&json::quote(json::content(&literal))).to_owned(),
        }
    }
}

#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) choice: u32,
    pub(super) field: Field,
    pub(super) spelling: Spelling,
    /// Bytes of text so far.
    length: u32,
    /// The parts that wait for text, in order.
    parts: VecDeque<PartAt>,
    /// The part that was done last.
    last: Option<PartAt>,
    /// Up to where text has been given back, as an offset in the upstream's text.
    position: u32,
    /// Chunks that wait until text up to an offset has been given back, besides their parts.
    watches: VecDeque<(u32, usize)>,
    /// Whether a link has changed it.
    edited: bool,
}

impl Lanes {
    /// Opens a lane.
    ///
    /// # Errors
    /// [`UpstreamError::Protocol`] for one too many.
    pub(super) fn open(
        &mut self,
        choice: u32,
        field: Field,
        name: Option<String>,
        pointer: Option<String>,
        flow: &mut Flow,
    ) -> Result<u32, UpstreamError> {
        if self.0.len() == LANES_MAX {
            return Err(UpstreamError::Protocol(format!("it has more than {LANES_MAX} texts")));
        }
        let id = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let spelling = if pointer.is_some() { Spelling::Nested } else { Spelling::Literal };
        self.0.push(LaneState::new(choice, field, spelling));
        flow.opened.push(field.lane(id, choice, name, pointer));
        Ok(id)
    }

    /// Takes a lane that the chain opened.
    pub(super) fn adopt(&mut self, lane: &Lane) {
        if self.get(lane.id).is_none() {
            self.0.push(LaneState::new(lane.choice, Field::CONTENT, Spelling::Literal));
        }
    }

    pub(super) fn get(&self, id: u32) -> Option<&LaneState> {
        self.0.get(id as usize)
    }

    /// As [`LaneState::watch`].
    pub(super) fn watch(&mut self, id: u32, end: u32, place: usize) -> bool {
        self.get_mut(id).is_some_and(|lane| lane.watch(end, place))
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut LaneState> {
        self.0.get_mut(id as usize)
    }

    /// Adds text to a lane and to `flow`; answers with its place in the lane.
    ///
    /// # Errors
    /// [`UpstreamError::Protocol`] for too much of it.
    pub(super) fn grow(&mut self, id: u32, text: &str, flow: &mut Flow) -> Result<Range<u32>, UpstreamError> {
        let Some(lane) = self.get_mut(id) else { return Ok(0..0) };
        if lane.length as usize + text.len() > LANE_MAX {
            return Err(UpstreamError::Protocol(format!("a text of more than {LANE_MAX} bytes")));
        }
        let start = lane.length;
        lane.length += u32::try_from(text.len()).unwrap_or(u32::MAX);
        if !text.is_empty() {
            flow.text(id).push_original(text, lane.length);
        }
        Ok(start..lane.length)
    }

    /// All text of a closed lane has come back: its parts are done, also those that end in an escape that never
    /// became a character.
    pub(super) fn complete(&mut self, id: u32, queue: &mut Queue) {
        if let Some(lane) = self.get_mut(id) {
            lane.pass(lane.length, queue);
        }
    }

    /// The delta that adds `text` to a lane, and behind it `rest` as it stands in a literal.
    pub(super) fn delta(&self, id: u32, text: &str, rest: &str) -> (u32, String) {
        let Some(lane) = self.get(id) else { return (0, "{}".to_owned()) };
        (lane.choice, lane.field.delta(&(lane.spelling.escape(text) + rest)))
    }
}

impl LaneState {
    fn new(choice: u32, field: Field, spelling: Spelling) -> Self {
        Self {
            choice,
            field,
            spelling,
            length: 0,
            parts: VecDeque::new(),
            last: None,
            position: 0,
            watches: VecDeque::new(),
            edited: false,
        }
    }

    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// Whether a link has changed it so far.
    pub(super) fn is_edited(&self) -> bool {
        self.edited
    }

    /// Lets a part wait for its text.
    pub(super) fn await_text(&mut self, part: PartAt) {
        self.parts.push_back(part);
    }

    /// Lets the chunk at `place` wait until the text up to `end` has been given back. Answers whether it has
    /// to. The ends of a lane's watches ascend.
    pub(super) fn watch(&mut self, end: u32, place: usize) -> bool {
        let waits = end > self.position;
        if waits {
            self.watches.push_back((end, place));
        }
        waits
    }

    /// Gives text back to the parts that it stands for; answers with what has no part.
    pub(super) fn assign(&mut self, text: &LaneText, queue: &mut Queue) -> String {
        let mut orphan = String::new();
        let mut at = 0;
        for segment in &text.segments {
            let mut rest = text.text.get(at..at + segment.length).unwrap_or_default();
            at += segment.length;
            while !segment.changed && !rest.is_empty() {
                let Some(part) = self.parts.front().and_then(|place| queue.part(*place)) else { break };
                let wanted = part.source.end.saturating_sub(self.position) as usize;
                if wanted == 0 && part.waiting {
                    break;
                }
                let (now, later) = rest.split_at_checked(wanted).unwrap_or((rest, ""));
                part.out.push_str(now);
                rest = later;
                self.pass(self.position + u32::try_from(now.len()).unwrap_or(u32::MAX), queue);
            }
            if !rest.is_empty() {
                // Text of a plugin, or behind the last text: with the part that waits, else the one before.
                let place = self.parts.front().copied().or(self.last);
                match place.and_then(|place| queue.part(place)) {
                    Some(part) => {
                        part.out.push_str(rest);
                        part.changed = true;
                    }
                    None => orphan.push_str(rest),
                }
            }
            if segment.changed {
                self.edited = true;
                for place in &self.parts {
                    match queue.part(*place) {
                        Some(part) if part.source.start < segment.source_end => part.changed = true,
                        _ => break,
                    }
                }
                self.pass(segment.source_end, queue);
            }
        }
        orphan
    }

    /// Lets go of parts that waited for the rest of a character: all their text may have been given back.
    pub(super) fn settle(&mut self, queue: &mut Queue) {
        self.pass(self.position, queue);
    }

    /// Goes on to a place of the upstream's text: parts that end before it are done.
    fn pass(&mut self, position: u32, queue: &mut Queue) {
        self.position = self.position.max(position);
        while let Some(part) = self.parts.front().and_then(|place| queue.part(*place))
            && part.source.end <= self.position
            && !part.waiting
        {
            part.done = true;
            self.last = self.parts.pop_front();
        }
        self.unwatch(queue);
    }

    fn unwatch(&mut self, queue: &mut Queue) {
        while let Some((_, place)) = self.watches.pop_front_if(|(end, _)| *end <= self.position) {
            queue.unwatch(place);
        }
    }
}

impl Field {
    /// Whether its literals are pieces of one JSON text.
    pub(super) fn is_json(self) -> bool {
        matches!(self, Self::Arguments(_) | Self::FunctionCall)
    }

    /// The name of a field that is a lane as it stands.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Text(at) => TEXT_FIELDS.get(at).map(|(name, _)| *name),
            _ => None,
        }
    }

    fn lane(self, id: u32, choice: u32, name: Option<String>, pointer: Option<String>) -> Lane {
        let (part, channel, what) = match self {
            Self::Text(at) => (0, TEXT_FIELDS.get(at).map_or(Channel::Other, |(_, channel)| *channel), None),
            Self::Detail { .. } => (0, Channel::Reasoning, None),
            Self::Transcript => (0, Channel::Other, Some("audio/transcript")),
            Self::Citation { content: false } => (0, Channel::Other, Some("annotation/title")),
            Self::Citation { content: true } => (0, Channel::Other, Some("annotation/content")),
            Self::Arguments(call) | Self::Input(call) => {
                (call.saturating_add(1), Channel::ToolArgument, None)
            }
            Self::FunctionCall => (1, Channel::ToolArgument, None),
        };
        Lane { id, choice, part, channel, name: name.or(what.map(str::to_owned)), pointer }
    }

    /// The delta that adds to the field what is written between the quotes of a literal: JSON, and perhaps half a
    /// surrogate pair, which serde's values cannot have.
    pub(super) fn delta(self, written: &str) -> String {
        let delta = match self {
            // What nearly every delta is, without a value in between.
            Self::Text(_) => {
                return ["{\"", self.name().unwrap_or("content"), "\":\"", written, "\"}"].concat();
            }
            Self::Detail { entry, summary: false } => {
                json!({ "reasoning_details": [{ "type": "reasoning.text", "index": entry, "text": "" }] })
            }
            Self::Detail { entry, summary: true } => {
                json!({ "reasoning_details": [{ "type": "reasoning.summary", "index": entry, "summary": "" }] })
            }
            Self::Transcript => json!({ "audio": { "transcript": "" } }),
            // It is never held, and nothing follows it.
            Self::Citation { .. } => json!({}),
            Self::Arguments(call) => {
                json!({ "tool_calls": [{ "index": call, "function": { "arguments": "" } }] })
            }
            Self::Input(call) => json!({ "tool_calls": [{ "index": call, "custom": { "input": "" } }] }),
            Self::FunctionCall => json!({ "function_call": { "arguments": "" } }),
        };
        delta.to_string().replacen("\"\"", &format!("\"{written}\""), 1)
    }
}
