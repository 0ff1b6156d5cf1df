//! The chunks that are not done, in their order.

use std::collections::BTreeMap;

use super::frame::{Frame, Part};

/// The most bytes of chunks that may wait for held text. A held byte of text can bring a hundred bytes of
/// chunk with it; above this an upstream sends more than any answer has, and the response fails.
pub(super) const QUEUED_MAX: usize = 64 << 20;

/// Chunks that wait for their text, by their place in the stream.
#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: BTreeMap<usize, Frame>,
    /// The place of the next chunk.
    next: usize,
    /// The places of chunks that may have something to send.
    due: Vec<usize>,
    bytes: usize,
}

impl Queue {
    /// The place that the next chunk will have.
    pub(super) fn next_place(&self) -> usize {
        self.next
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += frame.raw.len();
        self.due.push(self.next);
        self.frames.insert(self.next, frame);
        self.next += 1;
    }

    /// A part of a chunk that is not done, to be changed.
    pub(super) fn part(&mut self, (place, part): (usize, usize)) -> Option<&mut Part> {
        let part = self.frames.get_mut(&place)?.parts.get_mut(part)?;
        if self.due.last() != Some(&place) {
            self.due.push(place);
        }
        Some(part)
    }

    /// Calls `send` with each chunk that may have something to send, and lets go of those that are done.
    pub(super) fn send(&mut self, mut send: impl FnMut(&mut Frame)) {
        let mut due = std::mem::take(&mut self.due);
        due.sort_unstable();
        due.dedup();
        for place in due.drain(..) {
            let Some(frame) = self.frames.get_mut(&place) else { continue };
            send(frame);
            if frame.is_done() {
                self.bytes -= frame.raw.len();
                self.frames.remove(&place);
            }
        }
        self.due = due;
    }

    /// Takes all chunks.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Frame> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.frames).into_values()
    }
}
