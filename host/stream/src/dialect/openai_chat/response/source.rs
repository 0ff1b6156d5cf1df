//! A field of the answer as it arrives, literal by literal: which of its characters are text, and of which lane.
//!
//! Most fields are one lane. The arguments of a tool call are a JSON text in pieces, and each of its string values
//! is a lane; the structure between them is nobody's text and stays where it is.
//!
//! A character may be split over literals: half a surrogate pair, an escape of the JSON within. It counts to the
//! part that it begins in, which waits with its chunk until the character is whole; the bytes that complete it
//! are the `lead` of the part in the chunk that brings them.

use std::borrow::Cow;
use std::ops::Range;

use super::frame::{Frame, Literal, Part, PartAt};
use super::lanes::Lanes;
use super::queue::Queue;
use crate::chain::Flow;
use crate::dialect::openai_chat::chunk::{Call, Field};
use crate::error::UpstreamError;
use crate::json::{self, Reader, Step, Token, TooComplex};
use crate::lane::CloseReason;

/// The most fields with text of one answer: enough for all choices, or for many parallel tool calls.
const SOURCES_MAX: usize = 1024;

/// One field of a choice.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) choice: u32,
    pub(super) field: Field,
    /// For JSON.
    reader: Option<Reader>,
    /// The tool's name and the call's id.
    name: Option<String>,
    id: Option<String>,
    /// The first half of a surrogate pair that the last literal ended with.
    half: Option<u16>,
    /// The lane that is open, and the one that was last.
    lane: Option<u32>,
    closed: Option<u32>,
    /// The parts that the unfinished character at the end stands in.
    waiting: Vec<PartAt>,
    /// The last part that ended within a character.
    split: Option<PartAt>,
    /// Whether the client has a frame of it.
    pub(super) begun: bool,
    /// Whether the client gets no more of it.
    pub(super) cut: bool,
}

/// Where what is read goes.
pub(super) struct Reading<'a> {
    pub(super) lanes: &'a mut Lanes,
    pub(super) queue: &'a mut Queue,
    pub(super) flow: &'a mut Flow,
    pub(super) frame: &'a mut Frame,
    /// The frame's data.
    pub(super) data: &'a str,
}

/// A part that is being read.
struct Draft<'a> {
    lane: u32,
    start: usize,
    /// The end of what completes the character before.
    lead: usize,
    text: Cow<'a, str>,
    /// Whether it ends within a character that began in it.
    unfinished: bool,
    /// Where the escape begins that it ends in.
    escape: Option<usize>,
}

impl Source {
    pub(super) fn new(choice: u32, field: Field) -> Self {
        Self {
            choice,
            field,
            reader: field.is_json().then(Reader::default),
            name: None,
            id: None,
            half: None,
            lane: None,
            closed: None,
            waiting: Vec::new(),
            split: None,
            begun: false,
            cut: false,
        }
    }

    /// The lane that is open, opened if there is none.
    ///
    /// # Errors
    /// As [`Lanes::open`].
    pub(super) fn lane(&mut self, lanes: &mut Lanes, flow: &mut Flow) -> Result<u32, UpstreamError> {
        match self.lane {
            Some(lane) => Ok(lane),
            None => self.open(None, lanes, flow),
        }
    }

    /// The lane of a field that is one.
    pub(super) fn last_lane(&self) -> Option<u32> {
        self.lane.or(self.closed)
    }

    /// Whether it is a custom tool call that the client has no frame of.
    pub(super) fn is_headless(&self) -> bool {
        matches!(self.field, Field::Input(_)) && !self.begun
    }

    /// Takes what a chunk says of a tool call. Some servers number all their calls 0: another id behind whole
    /// arguments is another call. (Others give each fragment an id of its own, without a name.)
    ///
    /// # Errors
    /// [`UpstreamError::Protocol`] where another call begins within the arguments of one: clients differ in whose
    /// the rest is.
    pub(super) fn head(&mut self, Call { id, name }: Call) -> Result<(), UpstreamError> {
        if let Some(id) = id {
            let another = self.id.as_ref().is_some_and(|known| *known != id);
            let begun = self.reader.as_ref().is_some_and(Reader::has_begun);
            if another && self.lane.is_none() && self.reader.as_ref().is_some_and(Reader::is_complete) {
                self.reader = Some(Reader::default());
                self.name = None;
            } else if another && begun && name.is_some() {
                return Err(UpstreamError::Protocol(
                    "a tool call begins within another's arguments".to_owned(),
                ));
            }
            self.id = Some(id);
        }
        self.name = name.or(self.name.take());
        Ok(())
    }

    /// Reads the next literal; `source` is our own place among the sources.
    ///
    /// # Errors
    /// [`UpstreamError::Protocol`] for what is too large or too complex.
    pub(super) fn read(
        &mut self,
        source: usize,
        literal: Range<usize>,
        to: &mut Reading<'_>,
    ) -> Result<(), UpstreamError> {
        let first = to.frame.parts.len();
        let content = literal.start + 1..literal.end - 1;
        let read = self.read_content(to.data, content.clone(), to);
        to.frame.literals.push(Literal { source, content, parts: first..to.frame.parts.len() });
        read
    }

    fn read_content(
        &mut self,
        data: &str,
        content: Range<usize>,
        to: &mut Reading<'_>,
    ) -> Result<(), UpstreamError> {
        if self.reader.is_none() {
            self.lane(to.lanes, to.flow)?;
        }
        let mut draft = self.lane.map(|lane| Draft::new(lane, content.start));
        let text = data.get(content.clone()).unwrap_or_default();
        if self.reader.is_none() && self.half.is_none() && memchr::memchr(b'\\', text.as_bytes()).is_none() {
            return match draft {
                Some(draft) => {
                    self.finish_part(&Draft { text: Cow::Borrowed(text), ..draft }, content.end, to)
                }
                None => Ok(()),
            };
        }
        let mut at = content.start;
        while let Some(unit) = json::next_unit(data.get(at..content.end).unwrap_or_default(), &mut self.half)
        {
            let begin = at;
            at += unit.length;
            if unit.lone {
                self.take(char::REPLACEMENT_CHARACTER, begin..begin, &mut draft, to)?;
            }
            match unit.char {
                Some(char) => self.take(char, begin..at, &mut draft, to)?,
                None => {
                    if self.reader.as_ref().is_some_and(|reader| !reader.may_have_half()) {
                        // Whatever its other half is: the text that is not JSON begins here.
                        self.take(char::REPLACEMENT_CHARACTER, begin..at, &mut draft, to)?;
                        draft.iter_mut().for_each(|draft| draft.text = Cow::Borrowed(""));
                    }
                    draft.iter_mut().for_each(|draft| draft.unfinished |= self.waiting.is_empty());
                }
            }
        }
        draft.map_or(Ok(()), |draft| self.finish_part(&draft, content.end, to))
    }

    /// Takes a character that stands at `place`.
    fn take(
        &mut self,
        char: char,
        place: Range<usize>,
        draft: &mut Option<Draft<'_>>,
        to: &mut Reading<'_>,
    ) -> Result<(), UpstreamError> {
        let Step { lone, token } = match &mut self.reader {
            Some(reader) => reader.push(char).map_err(too_complex)?,
            None => Step { lone: false, token: Token::Text(char) },
        };
        let before = if lone { "\u{fffd}" } else { "" };
        match token {
            Token::Part if self.reader.as_ref().is_some_and(Reader::is_in_escape) => {
                draft.iter_mut().for_each(|draft| draft.escape = draft.escape.or(Some(place.start)));
            }
            Token::Part | Token::Text(_) => self.end_escape(draft, to),
            _ => {}
        }
        match token {
            Token::Structure => {}
            Token::Open => {
                let pointer = self.reader.as_ref().map(|reader| reader.pointer().to_owned());
                let lane = self.open(pointer, to.lanes, to.flow)?;
                *draft = Some(Draft::new(lane, place.end));
            }
            Token::Text(char) if lone => self.add(&format!("{before}{char}"), place.end, draft, to)?,
            Token::Text(char) => self.add(char.encode_utf8(&mut [0; 4]), place.end, draft, to)?,
            Token::Part => {
                if lone {
                    self.add(before, place.end, draft, to)?;
                }
                draft.iter_mut().for_each(|draft| draft.unfinished |= self.waiting.is_empty());
            }
            Token::Close => {
                self.add(before, place.start, draft, to)?;
                self.close(place.start, draft, to)?;
            }
            Token::NotJson => {
                self.add(before, place.start, draft, to)?;
                self.close(place.start, draft, to)?;
                let lane = self.open(None, to.lanes, to.flow)?;
                let mut raw = Draft::new(lane, place.start);
                raw.text.to_mut().push(char);
                *draft = Some(raw);
            }
        }
        Ok(())
    }

    /// An escape is whole: what stands for it is text, or half a surrogate pair.
    fn end_escape(&self, draft: &mut Option<Draft<'_>>, to: &mut Reading<'_>) {
        draft.iter_mut().for_each(|draft| draft.escape = None);
        for at in &self.waiting {
            to.part(*at).into_iter().for_each(|part| part.escape = None);
        }
    }

    fn open(
        &mut self,
        pointer: Option<String>,
        lanes: &mut Lanes,
        flow: &mut Flow,
    ) -> Result<u32, UpstreamError> {
        let lane = lanes.open(self.choice, self.field, self.name.clone(), pointer, flow)?;
        self.lane = Some(lane);
        Ok(lane)
    }

    /// Closes the lane that is open, if there is one: its text is complete.
    fn close(
        &mut self,
        end: usize,
        draft: &mut Option<Draft<'_>>,
        to: &mut Reading<'_>,
    ) -> Result<(), UpstreamError> {
        self.settle("", to)?;
        if let Some(mut draft) = draft.take() {
            draft.unfinished = false;
            self.finish_part(&draft, end, to)?;
        }
        if let Some(lane) = self.lane.take() {
            to.flow.close(lane, CloseReason::Next);
        }
        Ok(())
    }

    /// Adds text of which the last byte stands before `end`.
    fn add(
        &mut self,
        text: &str,
        end: usize,
        draft: &mut Option<Draft<'_>>,
        to: &mut Reading<'_>,
    ) -> Result<(), UpstreamError> {
        if text.is_empty() {
            return Ok(());
        }
        if self.waiting.is_empty() {
            if let Some(draft) = draft {
                draft.text.to_mut().push_str(text);
                draft.unfinished = false;
            }
            return Ok(());
        }
        if let Some(draft) = draft {
            draft.lead = end;
        }
        self.settle(text, to)
    }

    /// Completes the character that parts wait for.
    fn settle(&mut self, text: &str, to: &mut Reading<'_>) -> Result<(), UpstreamError> {
        let Some(lane) = self.lane.filter(|_| !self.waiting.is_empty()) else { return Ok(()) };
        let end = to.lanes.grow(lane, text, to.flow)?.end;
        for (place, at) in self.waiting.drain(..).enumerate() {
            if let Some(part) = to.part(at) {
                let start = if place == 0 { part.source.start } else { end };
                part.source = start..end;
                part.waiting = false;
            }
        }
        if let Some(lane) = to.lanes.get_mut(lane) {
            lane.settle(to.queue);
        }
        Ok(())
    }

    /// Ends a part.
    fn finish_part(
        &mut self,
        draft: &Draft<'_>,
        end: usize,
        to: &mut Reading<'_>,
    ) -> Result<(), UpstreamError> {
        let goes_on = !self.waiting.is_empty();
        let lead = if goes_on { end } else { draft.lead };
        let source = to.lanes.grow(draft.lane, &draft.text, to.flow)?;
        let spelling = to.lanes.get(draft.lane).map(|lane| lane.spelling).unwrap_or_default();
        let at = PartAt { frame: to.queue.next_place(), part: to.frame.parts.len() };
        let mut part = Part::new(draft.lane, spelling, draft.start..end, lead, source);
        part.escape = draft.escape;
        part.waiting = goes_on || draft.unfinished;
        part.done = draft.text.is_empty() && !part.waiting && lead == draft.start;
        part.before = self.split.filter(|_| lead > draft.start);
        if let Some(before) = part.before.and_then(|before| to.part(before)) {
            before.after = Some(at);
            let same_frame = part.before.is_some_and(|before| before.frame == at.frame);
            before.changed |= same_frame;
            part.changed = same_frame;
        }
        if part.waiting {
            self.waiting.push(at);
            self.split = Some(at);
        }
        if !part.done
            && let Some(lane) = to.lanes.get_mut(draft.lane)
        {
            lane.await_text(at);
        }
        to.frame.parts.push(part);
        Ok(())
    }

    /// Ends the field: what stands alone is text too, and its lane closes.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn end(&mut self, reason: CloseReason, to: &mut Reading<'_>) -> Result<(), UpstreamError> {
        let mut none = None;
        if self.half.take().is_some() && !self.waiting.is_empty() {
            self.take(char::REPLACEMENT_CHARACTER, 0..0, &mut none, to)?;
        }
        let lone = self.reader.as_mut().is_some_and(Reader::end);
        self.settle(if lone { "\u{fffd}" } else { "" }, to)?;
        if let Some(lane) = self.lane.take() {
            self.closed = Some(lane);
            to.flow.close(lane, reason);
        }
        Ok(())
    }
}

impl Source {
    /// What else the client gets of it, where the answer ends here: the delta of a choice.
    pub(super) fn rest(&mut self, frame: &Frame, literal: &Literal) -> Option<(u32, String)> {
        if !self.begun || self.cut {
            return None;
        }
        let (text, all) = frame.released(literal);
        self.cut = !all;
        (!text.is_empty()).then(|| (self.choice, self.field.delta(&text)))
    }
}

impl Reading<'_> {
    /// A part of this chunk or of one before.
    fn part(&mut self, at: PartAt) -> Option<&mut Part> {
        if at.frame == self.queue.next_place() {
            self.frame.parts.get_mut(at.part)
        } else {
            self.queue.part(at)
        }
    }
}

impl Draft<'_> {
    fn new(lane: u32, start: usize) -> Self {
        Self { lane, start, lead: start, text: Cow::Borrowed(""), unfinished: false, escape: None }
    }
}

fn too_complex(error: TooComplex) -> UpstreamError {
    UpstreamError::Protocol(format!("the arguments of a tool call: {error}"))
}

/// The source of a field and its place, made if it is new.
pub(super) fn source(
    sources: &mut Vec<Source>,
    choice: u32,
    field: Field,
) -> Result<(usize, &mut Source), UpstreamError> {
    let known = sources.iter().position(|source| (source.choice, source.field) == (choice, field));
    if known.is_none() && sources.len() == SOURCES_MAX {
        return Err(UpstreamError::Protocol(format!("it has text in more than {SOURCES_MAX} places")));
    }
    let at = known.unwrap_or_else(|| {
        sources.push(Source::new(choice, field));
        sources.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "the position of an element, or of the one just pushed")]
    Ok((at, &mut sources[at]))
}
