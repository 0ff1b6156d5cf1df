//! ⑥ An answer: from chunks to lanes, and from what links released back to frames.
//!
//! Each chunk is kept as it came until all its text has passed the links. Text that comes back says which
//! stretch of the upstream's text it stands for ([`Segment`]), so it finds its chunk: a chunk whose text came
//! back as it was leaves byte for byte; of another only the string literals are replaced. A chunk of which a
//! part is held is sent in two: first as it is, without that part, then a small frame with the rest. Text
//! without a chunk of its own (inserted behind the end) gets a small frame too.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::chunk::Chunk;
use crate::chain::{Flow, Stopped};
use crate::error::UpstreamError;
use crate::lane::CloseReason;
use crate::sse;

mod canned;
mod frame;
mod lanes;

pub(crate) use canned::canned;
use frame::{Frame, Part, small_frame};
use lanes::LaneState;

/// One answer on its way through.
#[derive(Debug, Default)]
pub(crate) struct Response {
    /// By lane id.
    lanes: Vec<LaneState>,
    choices: Vec<ChoiceState>,
    /// Chunks that are not done; `None` for one that is, behind one that is not.
    frames: VecDeque<Option<Frame>>,
    /// How many frames were before the first of `frames`.
    gone: usize,
    /// The data of the first chunk: what frames of our own look like.
    first: Option<String>,
}

#[derive(Debug)]
struct ChoiceState {
    index: u32,
    finished: bool,
    /// Whether the client has its finish reason.
    finish_sent: bool,
}

impl Response {
    /// Reads a block of the upstream's stream, adding its text to `flow`. Answers whether it is the terminal
    /// marker.
    ///
    /// # Errors
    /// As [`Chunk::parse`]; what was added to `flow` before is still good.
    pub(crate) fn read(&mut self, block: sse::Block, flow: &mut Flow) -> Result<bool, UpstreamError> {
        let Some(data) = block.data else {
            // Comments are kept, but none is a reason to begin an answer.
            if self.first.is_some() {
                self.frames.push_back(Some(Frame::new(block.raw, None, String::new())));
            }
            return Ok(false);
        };
        if data.trim() == "[DONE]" {
            return Ok(true);
        }
        if block.name.as_deref() == Some("ping") {
            return Ok(false);
        }
        let chunk = match (Chunk::parse(&data), block.name.as_deref()) {
            (Err(UpstreamError::Protocol(_)), Some("error")) => {
                return Err(UpstreamError::Reported(super::error_message(&data)));
            }
            (chunk, _) => chunk?,
        };
        if chunk.choices.is_empty() && !chunk.usage {
            return Ok(false);
        }
        self.read_chunk(Frame::new(block.raw, block.name, data), &chunk, flow)?;
        Ok(false)
    }

    /// Reads a whole answer, adding its text to `flow`.
    ///
    /// # Errors
    /// As [`Chunk::parse`].
    pub(crate) fn read_whole(&mut self, body: &Bytes, flow: &mut Flow) -> Result<(), UpstreamError> {
        let data = std::str::from_utf8(body).map_err(|_| UpstreamError::Protocol("it is not UTF-8".to_owned()))?;
        let chunk = Chunk::parse(data)?;
        self.read_chunk(Frame::new(body.clone(), None, data.to_owned()), &chunk, flow)?;
        for choice in chunk.choices.iter().filter(|choice| choice.finish.is_none()) {
            self.finish(choice.index, CloseReason::Other, flow);
        }
        Ok(())
    }

    fn read_chunk(&mut self, mut frame: Frame, chunk: &Chunk, flow: &mut Flow) -> Result<(), UpstreamError> {
        if self.first.is_none() {
            self.first = Some(frame.data.clone());
        }
        let place = self.gone + self.frames.len();
        for choice in &chunk.choices {
            if !self.choices.iter().any(|seen| seen.index == choice.index) {
                self.choices.push(ChoiceState { index: choice.index, finished: false, finish_sent: false });
            }
            frame.logprobs.extend(choice.logprobs.clone());
            frame.finishes.extend(choice.finish.map(|_| choice.index));
            for (field, literal) in &choice.texts {
                let raw = frame.data.get(literal.clone()).unwrap_or_default();
                if raw == "\"\"" {
                    continue;
                }
                let lane = self.lane(choice.index, *field, flow)?;
                let text = lane.read(raw)?;
                let part = Part::new(lane.id, literal.clone(), &text);
                if !part.done {
                    lane.parts.push_back((place, frame.parts.len()));
                    flow.text(lane.id).push_original(&text.text, text.source.end);
                }
                frame.parts.push(part);
            }
        }
        frame.usage_only = chunk.choices.is_empty();
        self.frames.push_back(Some(frame));
        for choice in &chunk.choices {
            if let Some(reason) = choice.finish {
                self.finish(choice.index, reason, flow);
            }
        }
        Ok(())
    }

    /// The lane of a field, opened if it is new.
    fn lane(&mut self, choice: u32, field: usize, flow: &mut Flow) -> Result<&mut LaneState, UpstreamError> {
        let after_end = || UpstreamError::Protocol("text follows the finish reason".to_owned());
        if self.choices.iter().any(|state| state.index == choice && state.finished) {
            return Err(after_end());
        }
        let at = self.lanes.iter().position(|lane| (lane.choice, lane.field) == (choice, field));
        let at = at.unwrap_or_else(|| {
            let at = self.lanes.len();
            let state = LaneState::new(u32::try_from(at).unwrap_or(u32::MAX), choice, field);
            flow.opened.push(state.lane());
            self.lanes.push(state);
            at
        });
        self.lanes.get_mut(at).ok_or_else(after_end)
    }

    /// Ends a choice: its lanes are closed.
    fn finish(&mut self, choice: u32, reason: CloseReason, flow: &mut Flow) {
        let Some(state) = self.choices.iter_mut().find(|state| state.index == choice && !state.finished) else {
            return;
        };
        state.finished = true;
        for lane in self.lanes.iter_mut().filter(|lane| lane.choice == choice) {
            if let Some(text) = lane.end() {
                flow.text(lane.id).push_original(&text.text, text.source.end);
            }
            flow.closed.push((lane.id, reason));
        }
    }

    /// Whether every choice has its finish reason.
    ///
    /// # Errors
    /// [`UpstreamError::Incomplete`] if not.
    pub(crate) fn check_complete(&self) -> Result<(), UpstreamError> {
        if self.choices.is_empty() {
            return Err(UpstreamError::Incomplete("it ended before its first chunk".to_owned()));
        }
        match self.choices.iter().find(|choice| !choice.finished) {
            Some(choice) => Err(UpstreamError::Incomplete(format!("choice {} has no finish reason", choice.index))),
            None => Ok(()),
        }
    }

    /// Takes what the links released and gives the frames that can be sent.
    pub(crate) fn write(&mut self, flow: Flow, out: &mut VecDeque<Bytes>) {
        for (lane, text) in self.assign(flow) {
            out.push_back(self.text_frame(lane, &text));
        }
        let mut frames = std::mem::take(&mut self.frames);
        for slot in &mut frames {
            let Some(frame) = slot else { continue };
            match frame.next(|lane, text| self.text_frame(lane, text)) {
                frame::Next::Wait => {}
                frame::Next::Send(bytes) => out.extend(bytes),
                frame::Next::Done(bytes) => {
                    out.extend(bytes);
                    for choice in &mut self.choices {
                        choice.finish_sent |= frame.finishes.contains(&choice.index);
                    }
                    *slot = None;
                }
            }
        }
        while let Some(None) = frames.front() {
            frames.pop_front();
            self.gone += 1;
        }
        self.frames = frames;
    }

    /// Gives each text to the frames it stands for; answers with what has none, by lane.
    fn assign(&mut self, flow: Flow) -> Vec<(u32, String)> {
        for lane in &flow.opened {
            if self.lanes.get(lane.id as usize).is_none() {
                // The chain opened it for a `respond`.
                self.lanes.push(LaneState::new(lane.id, lane.choice, lanes::CONTENT));
            }
        }
        let mut orphans = Vec::new();
        for text in flow.texts {
            let Some(lane) = self.lanes.get_mut(text.lane as usize) else { continue };
            let orphan = lane.assign(&text, &mut self.frames, self.gone);
            if !orphan.is_empty() {
                orphans.push((text.lane, orphan));
            }
        }
        orphans
    }

    fn text_frame(&self, lane: u32, text: &str) -> Bytes {
        let Some(lane) = self.lanes.get(lane as usize) else { return Bytes::new() };
        small_frame(self.first.as_deref(), lane.choice, json!({ lane.name(): text }), None)
    }

    /// Takes what the links released with a `stop`, drops all else, and ends every choice. Usage that was
    /// there is kept.
    pub(crate) fn write_stopped(&mut self, flow: Flow, stopped: Stopped, out: &mut VecDeque<Bytes>) {
        let (texts, usage) = self.drain(flow);
        out.extend(texts.iter().map(|(lane, text)| self.text_frame(*lane, text)));
        for choice in self.choices.iter_mut().filter(|choice| !choice.finish_sent) {
            choice.finish_sent = true;
            out.push_back(small_frame(self.first.as_deref(), choice.index, json!({}), Some(finish_reason(stopped))));
        }
        out.extend(usage);
    }

    /// The text that was released and not sent, by lane, and the usage frames. Nothing is queued afterwards.
    fn drain(&mut self, flow: Flow) -> (Vec<(u32, String)>, Vec<Bytes>) {
        let orphans = self.assign(flow);
        let (usage, frames): (Vec<Frame>, Vec<Frame>) =
            std::mem::take(&mut self.frames).into_iter().flatten().partition(|frame| frame.usage_only);
        let parts = frames.into_iter().flat_map(|frame| frame.parts).map(|part| (part.lane, part.out));
        let texts = parts.chain(orphans).filter(|(_, text)| !text.is_empty()).collect();
        (texts, usage.into_iter().map(|frame| frame.raw).collect())
    }

    /// The whole answer, as the links left it.
    pub(crate) fn write_whole(&mut self, flow: Flow, stopped: Option<Stopped>) -> Bytes {
        let Some(stopped) = stopped else {
            let orphans = self.assign(flow);
            let frame = self.frames.pop_front().flatten();
            return frame.map(|frame| frame.into_whole(&self.lanes, &orphans)).unwrap_or_default();
        };
        let (texts, _) = self.drain(flow);
        let choices = self.choices.iter().map(|choice| {
            let mut message = Map::from_iter([("role".to_owned(), "assistant".into()), ("content".to_owned(), "".into())]);
            for (lane, text) in &texts {
                if let Some(lane) = self.lanes.get(*lane as usize).filter(|lane| lane.choice == choice.index) {
                    let before = message.get(lane.name()).and_then(Value::as_str).unwrap_or_default();
                    message.insert(lane.name().to_owned(), format!("{before}{text}").into());
                }
            }
            json!({ "index": choice.index, "message": message, "finish_reason": finish_reason(stopped) })
        });
        let mut body: Map<String, Value> =
            self.first.as_deref().and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
        body.insert("choices".to_owned(), choices.collect::<Vec<_>>().into());
        Bytes::from(Value::Object(body).to_string())
    }
}

fn finish_reason(stopped: Stopped) -> &'static str {
    match stopped {
        Stopped::Responded => "stop",
        Stopped::Blocked => "content_filter",
    }
}

#[cfg(test)]
mod tests;
