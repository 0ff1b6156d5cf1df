//! A lane as the dialect sees it: reading literals, and giving released text back to frames.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use super::queue::Queue;
use crate::chain::LaneText;
use crate::dialect::openai_chat::chunk::TEXT_FIELDS;
use crate::error::UpstreamError;
use crate::json;
use crate::lane::{Channel, Lane};

/// The place of `content` in [`TEXT_FIELDS`].
pub(super) const CONTENT: usize = 2;

/// The most text that one lane may have, in bytes: far above any answer, far below what offsets can count.
const LANE_MAX: usize = 1 << 30;

#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) id: u32,
    pub(super) choice: u32,
    /// The place of its field in [`TEXT_FIELDS`].
    pub(super) field: usize,
    /// Bytes of text so far.
    length: u32,
    /// The first half of a surrogate pair that the last literal ended with.
    half: Option<u16>,
    /// The parts (frame, part) that wait for text, in order.
    pub(super) parts: VecDeque<(usize, usize)>,
    /// The part that was done last.
    last: Option<(usize, usize)>,
    /// Up to where text has been given back, as an offset in the upstream's text.
    position: u32,
}

/// The text of one literal.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) text: Cow<'a, str>,
    /// Its place in the lane.
    pub(super) source: Range<u32>,
    /// Whether the literal holds half a surrogate pair, so that it cannot leave as it is.
    pub(super) halved: bool,
}

impl LaneState {
    pub(super) fn new(id: u32, choice: u32, field: usize) -> Self {
        let (parts, last) = (VecDeque::new(), None);
        Self { id, choice, field, length: 0, half: None, parts, last, position: 0 }
    }

    pub(super) fn lane(&self) -> Lane {
        let channel = TEXT_FIELDS.get(self.field).map_or(Channel::Other, |(_, channel)| *channel);
        Lane { id: self.id, choice: self.choice, part: 0, channel, name: None, pointer: None }
    }

    /// The field's name.
    pub(super) fn name(&self) -> &'static str {
        TEXT_FIELDS.get(self.field).map_or("content", |(name, _)| *name)
    }

    /// Takes the next literal of the lane, or the only one.
    pub(super) fn read<'a>(&mut self, literal: &'a str, only: bool) -> Result<Read<'a>, UpstreamError> {
        let joins = self.half.is_some();
        let text = if only { json::text(literal) } else { json::unquote(literal, &mut self.half) };
        let halved = joins || self.half.is_some();
        if self.length as usize + text.len() > LANE_MAX {
            return Err(UpstreamError::Protocol(format!("a text of more than {LANE_MAX} bytes")));
        }
        Ok(self.grow(text, halved))
    }

    /// Ends the lane: a half that waits for its other half is text too.
    pub(super) fn end(&mut self) -> Option<Read<'static>> {
        self.half.take().map(|_| self.grow(Cow::Borrowed("\u{fffd}"), true))
    }

    fn grow<'a>(&mut self, text: Cow<'a, str>, halved: bool) -> Read<'a> {
        let start = self.length;
        self.length += u32::try_from(text.len()).unwrap_or(u32::MAX);
        Read { text, source: start..self.length, halved }
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

    /// Goes on to a place of the upstream's text: parts that end before it are done.
    fn pass(&mut self, position: u32, queue: &mut Queue) {
        self.position = self.position.max(position);
        while let Some(part) = self.parts.front().and_then(|place| queue.part(*place))
            && part.source.end <= self.position
        {
            part.done = true;
            self.last = self.parts.pop_front();
        }
    }
}
