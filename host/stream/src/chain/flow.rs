//! What flows between links: text with a record of where it came from.

use crate::lane::{CloseReason, Lane};

/// What moves from one link to the next in one step.
///
/// Each list is in the order of the lanes' ids, for a whole answer can have thousands of lanes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Lanes that begin.
    pub(crate) opened: Vec<Lane>,
    /// New text, at most one entry per lane.
    pub(crate) texts: Vec<LaneText>,
    /// Lanes that end.
    pub(crate) closed: Vec<(u32, CloseReason)>,
    /// Memory for a text.
    spare: LaneText,
}

/// The most memory that is kept for the next text: that of a few tokens is asked for again and again.
const SPARE_MAX: usize = 4096;

impl Flow {
    pub(crate) fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.texts.is_empty() && self.closed.is_empty()
    }

    /// The text of a lane, made if there is none yet.
    pub(crate) fn text(&mut self, lane: u32) -> &mut LaneText {
        let found = self.texts.binary_search_by_key(&lane, |text| text.lane);
        let at = found.unwrap_or_else(|at| {
            self.texts.insert(at, LaneText { lane, ..std::mem::take(&mut self.spare) });
            at
        });
        #[expect(clippy::indexing_slicing, reason = "the place of an element, or of the one just inserted")]
        &mut self.texts[at]
    }
}

impl Flow {
    /// Ends a lane.
    pub(crate) fn close(&mut self, lane: u32, reason: CloseReason) {
        let at = self.closed.partition_point(|(closed, _)| *closed < lane);
        self.closed.insert(at, (lane, reason));
    }

    /// Whether a lane begins in this step.
    pub(crate) fn opens(&self, lane: u32) -> bool {
        self.opened.binary_search_by_key(&lane, |opened| opened.id).is_ok()
    }

    /// Whether a lane ends in this step.
    pub(crate) fn closes(&self, lane: u32) -> bool {
        self.closed.binary_search_by_key(&lane, |(closed, _)| *closed).is_ok()
    }

    /// Adds text behind what the flow has of its lane.
    pub(crate) fn append(&mut self, new: LaneText) {
        if new.segments.is_empty() {
            return;
        }
        let found = self.texts.binary_search_by_key(&new.lane, |text| text.lane);
        match found {
            Err(at) => self.texts.insert(at, new),
            Ok(at) => {
                if let Some(text) = self.texts.get_mut(at) {
                    text.append(new);
                }
            }
        }
    }

    /// Empties it, and keeps its memory for the next step: of its texts, that of one.
    pub(crate) fn clear(&mut self) {
        self.opened.clear();
        self.closed.clear();
        if let Some(mut text) = self.texts.pop().filter(|text| text.text.capacity() <= SPARE_MAX) {
            text.text.clear();
            text.segments.clear();
            self.spare = text;
        }
        self.texts.clear();
    }
}

/// Text of one lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LaneText {
    pub(crate) lane: u32,
    pub(crate) text: String,
    /// Cover `text` from its beginning to its end.
    pub(crate) segments: Vec<Segment>,
}

impl LaneText {
    /// Adds text as the upstream sent it, ending at `source_end` of its lane.
    pub(crate) fn push_original(&mut self, text: &str, source_end: u32) {
        self.text.push_str(text);
        extend(&mut self.segments, Segment { length: text.len(), source_end, changed: false });
    }
}

impl LaneText {
    /// Adds text behind it.
    fn append(&mut self, new: Self) {
        if self.segments.is_empty() {
            *self = new;
        } else {
            self.text.push_str(&new.text);
            new.segments.into_iter().for_each(|segment| extend(&mut self.segments, segment));
        }
    }

    /// Adds a plugin's text at the end.
    pub(crate) fn push_inserted(&mut self, text: &str) {
        let source_end = self.segments.last().map_or(0, |last| last.source_end);
        self.text.push_str(text);
        self.segments.push(Segment { length: text.len(), source_end, changed: true });
    }
}

/// A stretch of text and the place in the upstream's text up to which it stands for it. The segments of a
/// lane, in order, cover the upstream's text without gaps: each begins where the one before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Bytes of text.
    pub(crate) length: usize,
    /// The end of what it stands for, as an offset in the upstream's text of the lane.
    pub(crate) source_end: u32,
    /// Whether it is a link's text. If not, it is the upstream's, byte for byte.
    pub(crate) changed: bool,
}

/// Adds a segment behind others, as part of the last one where both are original.
pub(crate) fn extend(segments: &mut Vec<Segment>, segment: Segment) {
    match segments.last_mut() {
        Some(last) if !last.changed && !segment.changed => {
            last.length += segment.length;
            last.source_end = segment.source_end;
        }
        _ => segments.push(segment),
    }
}
