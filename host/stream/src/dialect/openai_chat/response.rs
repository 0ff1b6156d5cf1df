//! ⑥ An answer: from chunks to lanes, and from what links released back to frames.
//!
//! Each chunk is kept as it came until all its text has passed the links. Text that comes back says which
//! stretch of the upstream's text it stands for (`Segment`), so it finds its chunk: a chunk whose text came
//! back as it was leaves byte for byte; of another only the changed stretches of its string literals are
//! replaced. A chunk of which a part is held is sent in two: first as it is, without that part, then a small
//! frame with the rest. Text without a chunk of its own (inserted behind the end) gets a small frame too.
//!
//! `source.rs` finds the lanes in the literals of a field, `lanes.rs` gives released text back to the parts of
//! chunks, `frame.rs` writes a chunk from its parts, `queue.rs` keeps chunks in their order.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::chunk::{CHOICES_MAX, Call, Choice, Chunk, Field, Shape};
use crate::chain::{Flow, Stopped};
use crate::error::UpstreamError;
use crate::json::{place, text as json_text};
use crate::lane::CloseReason;
use crate::sse::{self, Fields};
use crate::upstream;

mod canned;
mod frame;
mod lanes;
mod queue;
mod source;
mod tokens;

pub(crate) use canned::canned;
use frame::{Data, Frame, Note, Sent, Template};
use lanes::{LaneState, Lanes};
use queue::{QUEUED_MAX, Queue};
use source::{Reading, Source, source};
use tokens::Tokens;

/// One answer on its way through.
#[derive(Debug, Default)]
pub(crate) struct Response {
    /// Whether links look at it.
    scanned: bool,
    /// The choices that were asked for.
    expected: u32,
    shape: Shape,
    lanes: Lanes,
    sources: Vec<Source>,
    choices: Vec<ChoiceState>,
    queue: Queue,
    template: Template,
    /// The last `usage`, as it came.
    usage: String,
    /// Whether the last chunk could not be read; what was read of it has no place.
    broken: bool,
    /// The choice that was finished last.
    last: Option<u32>,
    /// Whether the end is withheld.
    withheld: bool,
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

/// What is left of an answer that is stopped.
struct Drained {
    /// Text that was released and not sent, as deltas of choices.
    deltas: Vec<(u32, String)>,
    /// The last `usage` that stands beside choices.
    usage: Option<String>,
    /// The frames that have nothing else.
    usage_frames: Vec<Bytes>,
}

impl Response {
    /// An answer to a request for `choices` of them, which links look at if it is `scanned`.
    pub(crate) fn new(choices: u32, scanned: bool) -> Self {
        Self { scanned, expected: choices, ..Self::default() }
    }

    /// Reads a block of the upstream's stream, adding its text to `flow`. Answers whether it is the terminal
    /// marker.
    ///
    /// # Errors
    /// As [`Chunk::parse`]; what was added to `flow` before is still good.
    pub(crate) fn read(&mut self, raw: Bytes, flow: &mut Flow) -> Result<bool, UpstreamError> {
        let block = sse::utf8(&raw).map_err(|error| UpstreamError::Protocol(error.to_string()))?;
        let Fields { name, data } = Fields::read(block);
        let Some(data) = data else {
            if let Some(error) = sse::error(block) {
                return Err(UpstreamError::Reported(super::error_message(error)));
            }
            // Comments are kept, but none is a reason to begin an answer.
            if !self.template.first.is_empty() {
                let mut frame = self.queue.frame();
                frame.came_as(raw, None, Data::default());
                self.queue.push(frame);
            }
            return Ok(false);
        };
        if data.trim() == "[DONE]" {
            return Ok(true);
        }
        if name == Some("ping") || data.trim().is_empty() {
            return Ok(false);
        }
        let chunk = match (self.shape.parse(&data, self.scanned), name) {
            (Err(UpstreamError::Protocol(_)), Some("error")) => {
                return Err(UpstreamError::Reported(super::error_message(&data)));
            }
            (chunk, _) => chunk?,
        };
        if chunk.choices.is_empty() && chunk.usage.is_none() {
            return Ok(false);
        }
        let mut frame = self.queue.frame();
        let ends = self.read_chunk(&mut frame, &data, chunk, flow)?;
        let data = match data {
            Cow::Borrowed(data) => Data::Within(place(block, data)),
            Cow::Owned(data) => Data::Joined(data),
        };
        let name = name.map(str::to_owned);
        frame.came_as(raw, name, data);
        self.queue.push(frame);
        self.finish_all(ends, flow)?;
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
    /// As [`Chunk::parse`], and [`UpstreamError::Incomplete`] where it has no choice.
    pub(crate) fn read_whole(&mut self, body: &Bytes, flow: &mut Flow) -> Result<(), UpstreamError> {
        let data =
            std::str::from_utf8(body).map_err(|_| UpstreamError::Protocol("it is not UTF-8".to_owned()))?;
        let chunk = Chunk::parse(data, self.scanned)?;
        if chunk.choices.is_empty() {
            return Err(UpstreamError::Incomplete("it has no choices".to_owned()));
        }
        let choices: Vec<u32> = chunk.choices.iter().map(|choice| choice.index).collect();
        let mut frame = self.queue.frame();
        let ends = self.read_chunk(&mut frame, data, chunk, flow)?;
        frame.came_as(body.clone(), None, Data::Within(0..data.len()));
        self.queue.push(frame);
        self.finish_all(ends, flow)?;
        choices.into_iter().try_for_each(|choice| self.finish(choice, CloseReason::Other, flow))
    }

    /// What the upstream said last that the answer took.
    pub(crate) fn tokens(&self) -> Option<upstream::Tokens> {
        #[derive(Deserialize)]
        struct Usage {
            #[serde(default)]
            prompt_tokens: u64,
            #[serde(default)]
            completion_tokens: u64,
        }
        let Usage { prompt_tokens, completion_tokens } = serde_json::from_str(&self.usage).ok()?;
        Some(upstream::Tokens { prompt: prompt_tokens, completion: completion_tokens })
    }

    /// Reads what a chunk says into its frame, which has yet to be queued; answers with the choices that it ends.
    fn read_chunk(
        &mut self,
        frame: &mut Frame,
        data: &str,
        chunk: Chunk,
        flow: &mut Flow,
    ) -> Result<Vec<(u32, CloseReason)>, UpstreamError> {
        if let Some(usage) = chunk.usage.clone().and_then(|usage| data.get(usage)) {
            // Some servers say it in each chunk; it is read once, at the end.
            self.usage.clear();
            self.usage.push_str(usage);
        }
        if self.template.first.is_empty() {
            self.template.first.push_str(data);
        }
        // First what can be wrong, so that a frame is taken as a whole or not at all.
        for choice in &chunk.choices {
            match self.choices.iter().find(|state| state.index == choice.index) {
                Some(state) if state.finished && choice.texts.iter().any(|text| text.literal.is_some()) => {
                    return Err(UpstreamError::Protocol("text follows the finish reason".to_owned()));
                }
                Some(_) => {}
                None if self.scanned && self.has_ended() => {
                    return Err(UpstreamError::Protocol(
                        "a choice begins behind the end of all that were asked for".to_owned(),
                    ));
                }
                None if self.choices.len() == CHOICES_MAX => {
                    return Err(UpstreamError::Protocol(format!("it has more than {CHOICES_MAX} choices")));
                }
                None => self.choices.push(ChoiceState::new(choice.index)),
            }
        }
        frame.usage_only = chunk.choices.is_empty();
        frame.usage = chunk.usage;
        frame.choices.extend(chunk.choices.iter().map(|choice| (choice.index, choice.finish.is_some())));
        let several = chunk.choices.len() > 1;
        let ends = chunk.choices.iter().filter_map(|choice| Some((choice.index, choice.finish?))).collect();
        for choice in chunk.choices {
            let calls = choice.texts.iter().any(|text| text.call.is_some());
            frame.urgent |= calls || (several && (choice.texts.is_empty() || choice.finish.is_some()));
            let head = |call: &Call| call.id.is_some() || call.name.is_some();
            frame.heads |= choice.texts.iter().filter_map(|text| text.call.as_ref()).any(head);
            if let Err(error) = self.read_choice(choice, frame, data, flow) {
                self.broken = true;
                return Err(error);
            }
        }
        Ok(ends)
    }

    /// Reads what a chunk has of one choice.
    fn read_choice(
        &mut self,
        choice: Choice,
        frame: &mut Frame,
        data: &str,
        flow: &mut Flow,
    ) -> Result<(), UpstreamError> {
        let index = choice.index;
        // The texts that log probabilities may tell of, and their parts.
        let mut own: Vec<(Field, String, Range<usize>)> = Vec::new();
        for text in choice.texts {
            let mut to = Reading { lanes: &mut self.lanes, queue: &mut self.queue, flow, frame, data };
            if let (Field::Citation { .. }, Some(literal)) = (text.field, text.literal.clone()) {
                let mut cited = Source::new(index, text.field);
                cited.read(usize::MAX, literal, &mut to)?;
                cited.end(CloseReason::Next, &mut to)?;
                continue;
            }
            let field = text.field;
            let (at, source) = source(&mut self.sources, index, field)?;
            if let Some(call) = text.call {
                source.head(call)?;
                to.frame.calls.push(at);
            }
            if let Some(literal) = text.literal {
                let first = to.frame.parts.len();
                source.read(at, literal.clone(), &mut to)?;
                if choice.logprobs.is_some() {
                    let text = json_text(data.get(literal).unwrap_or_default()).into_owned();
                    own.push((field, text, first..frame.parts.len()));
                }
            }
        }
        if let Some(logprobs) = choice.logprobs {
            let own = |field| own.iter().find(|(known, ..)| *known == field);
            let text = |field| own(field).map_or(&[][..], |(_, text, _)| text.as_bytes());
            let fields = [Field::CONTENT, Field::REFUSAL];
            let parts = fields.into_iter().filter_map(own).flat_map(|(.., parts)| parts.clone()).collect();
            frame.tokens.push(Tokens::new(logprobs, fields.map(text), parts));
        }
        let place = self.queue.next_place();
        for note in choice.notes {
            let known =
                self.sources.iter().find(|source| (source.choice, source.field) == (index, note.field));
            if let Some(lane) = known.and_then(Source::last_lane) {
                let end = self.lanes.get(lane).map_or(0, LaneState::length);
                frame.watching += usize::from(self.lanes.watch(lane, end, place));
                frame.notes.push(Note { lane, place: note.place, instead: note.instead });
            }
        }
        Ok(())
    }

    fn finish_all(&mut self, ends: Vec<(u32, CloseReason)>, flow: &mut Flow) -> Result<(), UpstreamError> {
        ends.into_iter().try_for_each(|(choice, reason)| self.finish(choice, reason, flow))
    }

    /// Ends a choice: its lanes are closed.
    fn finish(&mut self, choice: u32, reason: CloseReason, flow: &mut Flow) -> Result<(), UpstreamError> {
        let Some(state) = self.choices.iter_mut().find(|state| state.index == choice && !state.finished)
        else {
            return Ok(());
        };
        state.finished = true;
        self.last = Some(choice);
        let (lanes, queue, mut none) = (&mut self.lanes, &mut self.queue, Frame::default());
        let mut to = Reading { lanes, queue, flow, frame: &mut none, data: "" };
        self.sources
            .iter_mut()
            .filter(|source| source.choice == choice)
            .try_for_each(|source| source.end(reason, &mut to))
    }

    /// Whether every choice that was asked for has its finish reason, and every other that there is: nothing of the
    /// links' concern follows.
    pub(crate) fn has_ended(&self) -> bool {
        self.choices.len() >= self.expected as usize && self.choices.iter().all(|choice| choice.finished)
    }

    /// Keeps back what makes the answer look whole, for a failure is all that follows: the frame that ends its last
    /// choice, and usage.
    pub(crate) fn withhold_end(&mut self) {
        self.withheld = true;
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

    /// The choices of which the client has no finish reason: the known ones and those that were asked for.
    pub(crate) fn unfinished(&self) -> Vec<u32> {
        let known = self.choices.iter().filter(|choice| !choice.finish_sent).map(|choice| choice.index);
        let unknown = |index: &u32| self.choices.iter().all(|choice| choice.index != *index);
        known.chain((0..self.expected).filter(unknown)).collect()
    }

    /// Takes what the links released and gives the frames that can be sent.
    pub(crate) fn write(&mut self, flow: &Flow, out: &mut VecDeque<Bytes>) {
        let orphans = self.assign(flow);
        flow.closed.iter().for_each(|(lane, _)| self.lanes.complete(*lane, &mut self.queue));
        if !self.broken {
            out.extend(orphans.iter().map(|(lane, text)| self.template.text(&self.lanes, *lane, text, "")));
        }
        let withheld = self.last.filter(|_| self.withheld);
        self.queue.send(|frame| {
            if withheld.is_some_and(|last| frame.usage_only || frame.choices.contains(&(last, true))) {
                return Sent::Nothing;
            }
            let sent = frame.send(out, &self.lanes, &self.template);
            if sent != Sent::Nothing {
                for (index, finishes) in &frame.choices {
                    for choice in self.choices.iter_mut().filter(|choice| choice.index == *index) {
                        choice.begun = true;
                        choice.finish_sent |= finishes;
                    }
                }
                for source in &frame.calls {
                    self.sources.get_mut(*source).into_iter().for_each(|source| source.begun = true);
                }
            }
            sent
        });
    }

    /// Gives each text to the frames it stands for; answers with what has none, by lane.
    fn assign(&mut self, flow: &Flow) -> Vec<(u32, String)> {
        flow.opened.iter().for_each(|lane| self.lanes.adopt(lane));
        let mut orphans = Vec::new();
        for text in &flow.texts {
            let Some(lane) = self.lanes.get_mut(text.lane) else { continue };
            let orphan = lane.assign(text, &mut self.queue);
            if !orphan.is_empty() {
                orphans.push((text.lane, orphan));
            }
        }
        orphans
    }

    /// Takes what the links released with a `stop`, drops all else, and ends every choice. Usage that was
    /// there is kept.
    pub(crate) fn write_stopped(&mut self, flow: &Flow, stopped: Stopped, out: &mut VecDeque<Bytes>) {
        let unfinished = self.unfinished();
        let Drained { deltas, usage, usage_frames } = self.drain(flow);
        let role = json!({ "role": "assistant", "content": "" }).to_string();
        for choice in &unfinished {
            if !self.choices.iter().any(|known| known.index == *choice && known.begun) {
                out.push_back(self.template.frame(*choice, &role, None, None));
            }
        }
        out.extend(deltas.into_iter().map(|(choice, delta)| self.template.frame(choice, &delta, None, None)));
        if self.withheld {
            return;
        }
        let last = unfinished.last().copied();
        for choice in unfinished {
            let usage = usage.as_deref().filter(|_| usage_frames.is_empty() && Some(choice) == last);
            out.push_back(self.template.frame(choice, "{}", Some(finish_reason(stopped)), usage));
        }
        out.extend(usage_frames);
    }

    /// What was released and not sent, and the usage. Nothing is queued afterwards.
    ///
    /// A tool call that the client has no part of is left out, and one that it has ends with the first text that
    /// was not released: nothing of the answer's JSON behind it leaves.
    fn drain(&mut self, flow: &Flow) -> Drained {
        let orphans = self.assign(flow);
        let mut deltas = Vec::new();
        let (mut usage, mut usage_frames) = (None, Vec::new());
        for mut frame in self.queue.drain() {
            if frame.usage_only {
                usage_frames.push(frame.raw);
                continue;
            }
            if let Some(place) = frame.usage.take().filter(|_| !frame.is_sent()) {
                usage = frame.data().get(place).map(str::to_owned);
            }
            for literal in std::mem::take(&mut frame.literals) {
                match self.sources.get_mut(literal.source) {
                    Some(source) if source.field.is_json() => deltas.extend(source.rest(&frame, &literal)),
                    Some(source) if source.is_headless() => {}
                    Some(source) => {
                        let texts = frame.texts(&literal).filter(|text| !text.is_empty());
                        deltas.extend(texts.map(|text| (source.choice, source.field.delta(&text))));
                    }
                    // A citation goes with its frame.
                    None => {}
                }
            }
        }
        deltas.extend(orphans.iter().map(|(lane, text)| self.lanes.delta(*lane, text, "")));
        Drained { deltas, usage, usage_frames }
    }

    /// The whole answer, as the links left it.
    pub(crate) fn write_whole(&mut self, flow: &Flow, stopped: Option<Stopped>) -> Bytes {
        let Some(stopped) = stopped else {
            self.assign(flow);
            return self.queue.drain().next().map(|frame| frame.into_whole(&self.lanes)).unwrap_or_default();
        };
        let unfinished = self.unfinished();
        let Drained { deltas, .. } = self.drain(flow);
        let choices = unfinished.into_iter().map(|index| {
            let mut message =
                Map::from_iter([("role".to_owned(), "assistant".into()), ("content".to_owned(), "".into())]);
            for (name, text) in
                deltas.iter().filter(|(choice, _)| *choice == index).flat_map(|(_, delta)| fields(delta))
            {
                let before = message.get(&name).and_then(Value::as_str).unwrap_or_default();
                let text = format!("{before}{text}");
                message.insert(name, text.into());
            }
            json!({ "index": index, "message": message, "finish_reason": finish_reason(stopped) })
        });
        let choices: Value = choices.collect();
        Bytes::from(format!("{}\"choices\":{choices}}}", self.template.head_without(&["choices"])))
    }
}

/// The texts of a delta that are fields of a message as they stand.
fn fields(delta: &str) -> impl Iterator<Item = (String, String)> + use<> {
    let members: Map<String, Value> = serde_json::from_str(delta).unwrap_or_default();
    members.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
}

impl ChoiceState {
    fn new(index: u32) -> Self {
        Self { index, finished: false, begun: false, finish_sent: false }
    }
}

fn finish_reason(stopped: Stopped) -> &'static str {
    match stopped {
        Stopped::Responded => "stop",
        Stopped::Blocked => "content_filter",
    }
}
