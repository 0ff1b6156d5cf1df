//! The text of one lane that a link has seen and not yet released, and what its edits make of it.

use crate::chain::flow::{LaneText, Segment, extend};
use crate::lane::{Edit, Lane};
use crate::stage::{Fault, FaultKind};

/// The most text of one lane that a link may hold back, in bytes. Longer than any sensible match; a link
/// that wants a whole long answer before it decides is one that the operator should know of.
pub(crate) const HELD_MAX: usize = 1 << 20;

/// What one link keeps of one lane.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) lane: Lane,
    /// The offset of `text` in the lane as it comes to this link.
    start: u32,
    text: String,
    segments: Vec<Segment>,
    /// Where the upstream's text begins that `text` stands for.
    source: u32,
}

impl Buffer {
    pub(crate) fn new(lane: Lane) -> Self {
        Self { lane, start: 0, text: String::new(), segments: Vec::new(), source: 0 }
    }

    /// Takes new text.
    pub(crate) fn push(&mut self, new: LaneText) {
        if self.text.is_empty() {
            self.text = new.text;
        } else {
            self.text.push_str(&new.text);
        }
        if self.segments.is_empty() {
            self.segments = new.segments;
        } else {
            new.segments.into_iter().for_each(|segment| extend(&mut self.segments, segment));
        }
    }

    /// The bytes of the lane so far.
    pub(crate) fn end(&self) -> u32 {
        // Dialects end a response long before a lane has 4 GiB; past that every answer is a fault.
        self.start.saturating_add(u32::try_from(self.text.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn held(&self) -> usize {
        self.text.len()
    }

    /// The text from an offset of the lane on.
    pub(crate) fn text_from(&self, offset: u32) -> &str {
        self.at(offset).and_then(|at| self.text.get(at..)).unwrap_or_default()
    }

    /// Applies edits that [`check`](Self::check) has passed, releases what is before `hold`, and keeps the
    /// rest as it is.
    pub(crate) fn release(&mut self, edits: &[&Edit], hold: Option<u32>) -> LaneText {
        let end = hold.unwrap_or(self.end());
        if edits.is_empty() && end == self.end() {
            return self.release_all();
        }
        let mut cut = Cut::new(self);
        for edit in edits {
            cut.keep_to(edit.start);
            cut.replace_to(edit.end, &edit.text);
        }
        cut.keep_to(end);
        cut.finish()
    }

    /// Releases everything as it is.
    pub(crate) fn release_all(&mut self) -> LaneText {
        self.start = self.end();
        if let Some(last) = self.segments.last() {
            self.source = last.source_end;
        }
        LaneText {
            lane: self.lane.id,
            text: std::mem::take(&mut self.text),
            segments: std::mem::take(&mut self.segments),
        }
    }

    fn at(&self, offset: u32) -> Option<usize> {
        let at = offset.checked_sub(self.start)? as usize;
        self.text.is_char_boundary(at).then_some(at)
    }

    /// Whether an answer keeps to the contract.
    ///
    /// # Errors
    /// A fault that says what it broke.
    pub(crate) fn check(&self, edits: &[&Edit], hold: Option<u32>) -> Result<(), Fault> {
        let release_end = hold.unwrap_or(self.end());
        let lane = self.lane.id;
        let broken = |what: String| Err(Fault::new(FaultKind::Contract, format!("lane {lane}: {what}")));
        let (start, end) = (self.start, self.end());
        if self.at(release_end).is_none() {
            return broken(format!(
                "hold at {release_end}, which is not a character boundary of {start}..{end}"
            ));
        }
        let mut before = start;
        for edit in edits {
            let (from, to) = (edit.start, edit.end);
            if from > to || from < before || to > release_end {
                return broken(format!(
                    "edit {from}..{to} is not sorted, overlaps, or is not within {before}..{release_end}"
                ));
            }
            if self.at(from).is_none() || self.at(to).is_none() {
                return broken(format!("edit {from}..{to} is not on character boundaries"));
            }
            before = to;
        }
        Ok(())
    }
}

/// One pass over a buffer that cuts off its beginning.
struct Cut<'a> {
    buffer: &'a mut Buffer,
    out: LaneText,
    /// Bytes of `buffer.text` that are done.
    taken: usize,
    /// The segment that `taken` lies in, how much of it is done, and where its source begins.
    segment: usize,
    within: usize,
    source: u32,
}

impl<'a> Cut<'a> {
    fn new(buffer: &'a mut Buffer) -> Self {
        let out = LaneText { lane: buffer.lane.id, ..LaneText::default() };
        let source = buffer.source;
        Self { buffer, out, taken: 0, segment: 0, within: 0, source }
    }

    /// Passes text on as it is, up to an offset of the lane.
    fn keep_to(&mut self, offset: u32) {
        let from = self.taken;
        let to = (offset - self.buffer.start) as usize;
        let mut out = std::mem::take(&mut self.out);
        self.consume(to - from, |part| extend(&mut out.segments, part));
        out.text.push_str(self.buffer.text.get(from..to).unwrap_or_default());
        self.out = out;
    }

    /// Passes `text` on in the place of everything up to an offset of the lane.
    fn replace_to(&mut self, offset: u32, text: &str) {
        let to = (offset - self.buffer.start) as usize;
        self.consume(to - self.taken, |_| {});
        self.out.text.push_str(text);
        extend(
            &mut self.out.segments,
            Segment { length: text.len(), source_end: self.source, changed: true },
        );
    }

    /// Goes on by `length` bytes of text, naming the parts of segments on the way.
    fn consume(&mut self, mut length: usize, mut part: impl FnMut(Segment)) {
        while let Some(segment) = self.buffer.segments.get(self.segment).copied() {
            let rest = segment.length - self.within;
            if length < rest {
                if length > 0 {
                    // The first part of a link's text stands for all that the link replaced.
                    self.source = if segment.changed {
                        segment.source_end
                    } else {
                        self.source + u32::try_from(length).unwrap_or(u32::MAX)
                    };
                    self.within += length;
                    self.taken += length;
                    part(Segment { length, source_end: self.source, changed: segment.changed });
                }
                return;
            }
            // A segment without text (a deletion) goes with the text before it.
            self.source = self.source.max(segment.source_end);
            self.taken += rest;
            length -= rest;
            part(Segment { length: rest, source_end: self.source, changed: segment.changed });
            self.segment += 1;
            self.within = 0;
        }
    }

    fn finish(self) -> LaneText {
        let buffer = self.buffer;
        buffer.segments.drain(..self.segment);
        if let Some(first) = buffer.segments.first_mut() {
            first.length -= self.within;
        }
        buffer.text.drain(..self.taken);
        buffer.start = buffer.start.saturating_add(u32::try_from(self.taken).unwrap_or(u32::MAX));
        buffer.source = self.source;
        self.out
    }
}
