//! The chunks that are not done, in their order.

use std::collections::BTreeMap;

use super::frame::{Frame, Part, PartAt, Sent};

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
        self.bytes += frame.cost();
        self.due.push(self.next);
        self.frames.insert(self.next, frame);
        self.next += 1;
    }

    /// A part of a chunk that is not done, to be changed.
    pub(super) fn part(&mut self, at: PartAt) -> Option<&mut Part> {
        let part = self.frames.get_mut(&at.frame)?.parts.get_mut(at.part)?;
        if self.due.last() != Some(&at.frame) {
            self.due.push(at.frame);
        }
        Some(part)
    }

    /// Tells a chunk that one text that it waited for has passed.
    pub(super) fn unwatch(&mut self, place: usize) {
        if let Some(frame) = self.frames.get_mut(&place) {
            frame.watching -= 1;
            self.due.push(place);
        }
    }

    /// Calls `send` with each chunk that may have something to send, and lets go of those that are done.
    pub(super) fn send(&mut self, mut send: impl FnMut(&mut Frame) -> Sent) {
        // A chunk that left as it came can make another due.
        while !self.due.is_empty() {
            let mut due = std::mem::take(&mut self.due);
            due.sort_unstable();
            due.dedup();
            for place in due {
                let Some(frame) = self.frames.get_mut(&place) else { continue };
                let sent = send(frame);
                let split: Vec<(PartAt, bool)> = match sent {
                    Sent::Nothing => Vec::new(),
                    _ => frame.parts.iter().flat_map(|part| part.neighbours(sent)).collect(),
                };
                if frame.is_done() {
                    self.bytes -= frame.cost();
                    self.frames.remove(&place);
                }
                split.into_iter().for_each(|(at, raw)| self.settle(at, place, raw));
            }
        }
    }

    /// A character was split over two parts, and the chunk of the one has been sent, the character as it came or not:
    /// the other must fit.
    fn settle(&mut self, other: PartAt, sent: usize, raw: bool) {
        let Some(frame) = self.frames.get_mut(&other.frame) else { return };
        let other_sent = frame.is_sent();
        if other.frame > sent {
            let mut next = Some(other);
            while let Some(at) = next.filter(|at| at.frame == other.frame)
                && let Some(part) = frame.parts.get_mut(at.part)
            {
                part.lead_raw = raw;
                next = part.after.filter(|_| part.is_lead());
            }
            self.due.push(other.frame);
        } else if !other_sent && let Some(part) = frame.parts.get_mut(other.part) {
            part.changed = true;
        }
    }

    /// Takes all chunks.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Frame> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.frames).into_values()
    }
}
