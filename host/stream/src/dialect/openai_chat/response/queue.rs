//! The chunks that are not done, in their order.

use std::collections::VecDeque;

use super::frame::{Frame, Part, PartAt, Sent};

/// The most bytes of chunks that may wait for held text. A held byte of text can bring a hundred bytes of
/// chunk with it; above this an upstream sends more than any answer has, and the response fails.
pub(super) const QUEUED_MAX: usize = 64 << 20;

/// The most chunks whose memory is kept for the next ones: what comes in one read.
const SPARE_MAX: usize = 16;
/// The most parts of such a chunk.
const SPARE_PARTS_MAX: usize = 16;

/// Chunks that wait for their text, by their place in the stream.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// With their places, which ascend.
    frames: VecDeque<(usize, Box<Frame>)>,
    /// The memory of some that are done.
    #[expect(clippy::vec_box, reason = "they go back into boxes")]
    spare: Vec<Box<Frame>>,
    /// The place of the next chunk.
    next: usize,
    /// The places of chunks that may have something to send.
    due: Vec<usize>,
    /// Those that were due and have their turn.
    turn: Vec<usize>,
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

    /// An empty frame.
    pub(super) fn frame(&mut self) -> Box<Frame> {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn push(&mut self, frame: Box<Frame>) {
        self.bytes += frame.cost();
        self.due.push(self.next);
        self.frames.push_back((self.next, frame));
        self.next += 1;
    }

    /// Where a chunk is in `frames`.
    fn find(&self, place: usize) -> Option<usize> {
        self.frames.binary_search_by_key(&place, |(place, _)| *place).ok()
    }

    fn get_mut(&mut self, place: usize) -> Option<&mut Frame> {
        let at = self.find(place)?;
        self.frames.get_mut(at).map(|(_, frame)| &mut **frame)
    }

    /// A part of a chunk that is not done, to be changed.
    pub(super) fn part(&mut self, at: PartAt) -> Option<&mut Part> {
        let found = self.find(at.frame)?;
        let part = self.frames.get_mut(found)?.1.parts.get_mut(at.part)?;
        if self.due.last() != Some(&at.frame) {
            self.due.push(at.frame);
        }
        Some(part)
    }

    /// Tells a chunk that one text that it waited for has passed.
    pub(super) fn unwatch(&mut self, place: usize) {
        if let Some(frame) = self.get_mut(place) {
            frame.watching -= 1;
            self.due.push(place);
        }
    }

    /// Calls `send` with each chunk that may have something to send, and lets go of those that are done.
    pub(super) fn send(&mut self, mut send: impl FnMut(&mut Frame) -> Sent) {
        let mut turn = std::mem::take(&mut self.turn);
        // A chunk that left as it came can make another due.
        while !self.due.is_empty() {
            std::mem::swap(&mut self.due, &mut turn);
            turn.sort_unstable();
            turn.dedup();
            for place in turn.drain(..) {
                let Some(at) = self.find(place) else { continue };
                let Some((_, frame)) = self.frames.get_mut(at) else { continue };
                let cost = frame.cost();
                let sent = send(frame);
                let split: Vec<(PartAt, bool)> = match sent {
                    Sent::Nothing => Vec::new(),
                    _ => frame.parts.iter().flat_map(|part| part.neighbours(sent)).collect(),
                };
                if frame.is_done() {
                    self.bytes -= cost;
                    if let Some((_, frame)) = self.frames.remove(at) {
                        self.keep(frame);
                    }
                }
                split.into_iter().for_each(|(at, raw)| self.settle(at, place, raw));
            }
        }
        self.turn = turn;
    }

    /// Keeps the memory of a chunk that is done.
    fn keep(&mut self, mut frame: Box<Frame>) {
        if self.spare.len() < SPARE_MAX && frame.parts.capacity() <= SPARE_PARTS_MAX {
            frame.clear();
            self.spare.push(frame);
        }
    }

    /// A character was split over two parts, and the chunk of the one has been sent, the character as it came or not:
    /// the other must fit.
    fn settle(&mut self, other: PartAt, sent: usize, raw: bool) {
        let Some(frame) = self.get_mut(other.frame) else { return };
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
        std::mem::take(&mut self.frames).into_iter().map(|(_, frame)| *frame)
    }
}
