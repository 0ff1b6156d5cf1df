//! ⑥ An answer: from chunks to lanes, and from what links released back to frames.
//!
//! Each chunk is kept as it came until all its text has passed the links. Text that comes back says which
//! stretch of the upstream's text it stands for (`Segment`), so it finds its chunk: a chunk whose text came
//! back as it was leaves byte for byte; of another only the string literals are replaced. A chunk of which a
//! part is held is sent in two: first as it is, without that part, then a small frame with the rest. Text
//! without a chunk of its own (inserted behind the end) gets a small frame too.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::chunk::{CHOICES_MAX, Chunk};
use crate::chain::{Flow, Stopped};
use crate::error::UpstreamError;
use crate::lane::CloseReason;
use crate::sse;

mod canned;
mod frame;
mod lanes;
mod queue;

pub(crate) use canned::canned;
use frame::{Frame, Part, Template};
use lanes::LaneState;
use queue::{QUEUED_MAX, Queue};

/// One answer on its way through.
#[derive(Debug, Default)]
pub(crate) struct Response {
    /// By lane id.
    lanes: Vec<LaneState>,
    choices: Vec<ChoiceState>,
    queue: Queue,
    template: Template,
}

#[derive(Debug)]
struct ChoiceState {
    index: u32,
    finished: bool,
    /// Whether the client has a frame of it.
    begun: bool,
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
            if !self.template.first.is_empty() {
                self.queue.push(Frame::new(block.raw, None, String::new()));
            }
            return Ok(false);
        };
        if data.trim() == "[DONE]" {
            return Ok(true);
        }
        if block.name.as_deref() == Some("ping") || data.trim().is_empty() {
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
        self.read_chunk(Frame::new(block.raw, block.name, data), &chunk, false, flow)?;
        if self.queue.bytes() > QUEUED_MAX {
            return Err(UpstreamError::Protocol(format!(
                "more than {QUEUED_MAX} bytes of it wait for held text"
            )));
        }
        Ok(false)
    }

    /// Reads a whole answer, adding its text to `flow`.
    ///
    /// # Errors
    /// As [`Chunk::parse`].
    pub(crate) fn read_whole(&mut self, body: &Bytes, flow: &mut Flow) -> Result<(), UpstreamError> {
        let data =
            std::str::from_utf8(body).map_err(|_| UpstreamError::Protocol("it is not UTF-8".to_owned()))?;
        let chunk = Chunk::parse(data)?;
        self.read_chunk(Frame::new(body.clone(), None, data.to_owned()), &chunk, true, flow)?;
        for choice in chunk.choices.iter().filter(|choice| choice.finish.is_none()) {
            self.finish(choice.index, CloseReason::Other, flow);
        }
        Ok(())
    }

    fn read_chunk(
        &mut self,
        mut frame: Frame,
        chunk: &Chunk,
        whole: bool,
        flow: &mut Flow,
    ) -> Result<(), UpstreamError> {
        if self.template.first.is_empty() {
            self.template.first.clone_from(&frame.data);
        }
        // First what can be wrong, so that a frame is taken as a whole or not at all.
        for choice in &chunk.choices {
            match self.choices.iter().find(|state| state.index == choice.index) {
                Some(state) if state.finished && !choice.texts.is_empty() => {
                    return Err(UpstreamError::Protocol("text follows the finish reason".to_owned()));
                }
                Some(_) => {}
                None if self.choices.len() == CHOICES_MAX => {
                    return Err(UpstreamError::Protocol(format!("it has more than {CHOICES_MAX} choices")));
                }
                None => self.choices.push(ChoiceState::new(choice.index)),
            }
        }
        let several = chunk.choices.len() > 1;
        for choice in &chunk.choices {
            frame.choices.push((choice.index, choice.finish.is_some()));
            frame.urgent |= choice.calls || (several && choice.texts.is_empty());
            frame.logprobs.extend(choice.logprobs.clone());
            for (field, literal) in &choice.texts {
                let lane = lane(&mut self.lanes, choice.index, *field, flow);
                let text = lane.read(frame.data.get(literal.clone()).unwrap_or_default(), whole)?;
                let part = Part::new(lane.id, literal.clone(), &text);
                if !part.done {
                    lane.parts.push_back((self.queue.next_place(), frame.parts.len()));
                    flow.text(lane.id).push_original(&text.text, text.source.end);
                }
                frame.parts.push(part);
            }
        }
        frame.usage_only = chunk.choices.is_empty();
        self.queue.push(frame);
        for choice in &chunk.choices {
            if let Some(reason) = choice.finish {
                self.finish(choice.index, reason, flow);
            }
        }
        Ok(())
    }

    /// Ends a choice: its lanes are closed.
    fn finish(&mut self, choice: u32, reason: CloseReason, flow: &mut Flow) {
        let Some(state) = self.choices.iter_mut().find(|state| state.index == choice && !state.finished)
        else {
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
            Some(choice) => {
                Err(UpstreamError::Incomplete(format!("choice {} has no finish reason", choice.index)))
            }
            None => Ok(()),
        }
    }

    /// The choices of which the client has no finish reason.
    pub(crate) fn unfinished(&self) -> Vec<u32> {
        self.choices.iter().filter(|choice| !choice.finish_sent).map(|choice| choice.index).collect()
    }

    /// Takes what the links released and gives the frames that can be sent.
    pub(crate) fn write(&mut self, flow: Flow, out: &mut VecDeque<Bytes>) {
        for (lane, text) in self.assign(flow) {
            out.push_back(text_frame(&self.lanes, &self.template, lane, &text));
        }
        self.queue.send(|frame| {
            let before = out.len();
            frame.send(out, |lane, text| text_frame(&self.lanes, &self.template, lane, text));
            if out.len() > before {
                for (index, finishes) in &frame.choices {
                    for choice in self.choices.iter_mut().filter(|choice| choice.index == *index) {
                        choice.begun = true;
                        choice.finish_sent |= finishes;
                    }
                }
            }
        });
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
            let orphan = lane.assign(&text, &mut self.queue);
            if !orphan.is_empty() {
                orphans.push((text.lane, orphan));
            }
        }
        orphans
    }

    /// Takes what the links released with a `stop`, drops all else, and ends every choice. Usage that was
    /// there is kept.
    pub(crate) fn write_stopped(&mut self, flow: Flow, stopped: Stopped, out: &mut VecDeque<Bytes>) {
        let (texts, usage) = self.drain(flow);
        let role = json!({ "role": "assistant", "content": "" });
        for choice in self.choices.iter().filter(|choice| !choice.begun) {
            out.push_back(self.template.frame(choice.index, &role, None));
        }
        out.extend(texts.iter().map(|(lane, text)| text_frame(&self.lanes, &self.template, *lane, text)));
        for choice in self.unfinished() {
            out.push_back(self.template.frame(choice, &json!({}), Some(finish_reason(stopped))));
        }
        out.extend(usage);
    }

    /// The text that was released and not sent, by lane, and the usage frames. Nothing is queued afterwards.
    fn drain(&mut self, flow: Flow) -> (Vec<(u32, String)>, Vec<Bytes>) {
        let orphans = self.assign(flow);
        let (usage, frames): (Vec<Frame>, Vec<Frame>) =
            self.queue.drain().partition(|frame| frame.usage_only);
        let parts = frames.into_iter().flat_map(|frame| frame.parts).map(|part| (part.lane, part.out));
        let texts = parts.chain(orphans).filter(|(_, text)| !text.is_empty()).collect();
        (texts, usage.into_iter().map(|frame| frame.raw).collect())
    }

    /// The whole answer, as the links left it.
    pub(crate) fn write_whole(&mut self, flow: Flow, stopped: Option<Stopped>) -> Bytes {
        let Some(stopped) = stopped else {
            self.assign(flow);
            return self.queue.drain().next().map(Frame::into_whole).unwrap_or_default();
        };
        let (texts, _) = self.drain(flow);
        let choices = self.choices.iter().map(|choice| {
            let mut message =
                Map::from_iter([("role".to_owned(), "assistant".into()), ("content".to_owned(), "".into())]);
            for (lane, text) in &texts {
                if let Some(lane) = self.lanes.get(*lane as usize).filter(|lane| lane.choice == choice.index)
                {
                    let before = message.get(lane.name()).and_then(Value::as_str).unwrap_or_default();
                    message.insert(lane.name().to_owned(), format!("{before}{text}").into());
                }
            }
            json!({ "index": choice.index, "message": message, "finish_reason": finish_reason(stopped) })
        });
        let choices: Value = choices.collect();
        Bytes::from(format!("{}\"choices\":{choices}}}", self.template.head_without(&["choices"])))
    }
}

impl ChoiceState {
    fn new(index: u32) -> Self {
        Self { index, finished: false, begun: false, finish_sent: false }
    }
}

/// The lane of a field, opened if it is new.
fn lane<'a>(lanes: &'a mut Vec<LaneState>, choice: u32, field: usize, flow: &mut Flow) -> &'a mut LaneState {
    let at =
        lanes.iter().position(|lane| (lane.choice, lane.field) == (choice, field)).unwrap_or_else(|| {
            let state = LaneState::new(u32::try_from(lanes.len()).unwrap_or(u32::MAX), choice, field);
            flow.opened.push(state.lane());
            lanes.push(state);
            lanes.len() - 1
        });
    #[expect(clippy::indexing_slicing, reason = "the position of an element, or of the one just pushed")]
    &mut lanes[at]
}

/// A small frame with one text of a lane.
fn text_frame(lanes: &[LaneState], template: &Template, lane: u32, text: &str) -> Bytes {
    let Some(lane) = lanes.get(lane as usize) else { return Bytes::new() };
    template.frame(lane.choice, &json!({ lane.name(): text }), None)
}

fn finish_reason(stopped: Stopped) -> &'static str {
    match stopped {
        Stopped::Responded => "stop",
        Stopped::Blocked => "content_filter",
    }
}
