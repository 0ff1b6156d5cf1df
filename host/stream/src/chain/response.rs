//! ⑥ The chain of response modifiers.
//!
//! For each step, each link in turn: new text joins what the link holds, the link is asked, its edits are
//! applied, and what it released goes to the next link. The host has the original of everything held, so a
//! link that fails can be taken out without a gap, and a link that asks for nothing costs no copy.

use std::borrow::Cow;

use crate::chain::buffer::{Buffer, HELD_MAX};
use crate::chain::flow::{Flow, LaneText};
use crate::chain::{ActiveLink, Links, Passed};
use crate::error::ExchangeError;
use crate::lane::{Batch, Channel, CloseReason, Edit, Finding, Lane, Outcome, Piece, Stop};
use crate::stage::{Context, Fault, FaultKind, StageError};

/// How a plugin ended a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// `respond`: its text has taken the place of the rest.
    Responded,
    /// `block`: the answer ends here, marked as filtered.
    Blocked,
}

impl Stopped {
    fn close_reason(self) -> CloseReason {
        match self {
            Self::Responded => CloseReason::Stop,
            Self::Blocked => CloseReason::ContentFilter,
        }
    }
}

/// The modifiers of one response.
pub(crate) struct ResponseChain {
    links: Vec<ModifierLink>,
    /// Open lanes as the upstream has them.
    open: Vec<Lane>,
    /// An id that no lane has had.
    unused: u32,
    /// Whether the modifiers were told that it was all.
    finished: bool,
}

struct ModifierLink {
    active: ActiveLink,
    buffers: Vec<Buffer>,
    /// Memory of the step before, empty.
    spare: Spare,
}

/// Lists that each step needs.
#[derive(Default)]
struct Spare {
    step: Vec<(u32, u32)>,
    texts: Vec<LaneText>,
    pieces: Vec<Piece<'static>>,
}

impl ResponseChain {
    /// Opens a session in every modifier.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(crate) async fn open(links: Links, context: &Context) -> Result<Self, ExchangeError> {
        let mut all: Vec<Option<ActiveLink>> = links.links.into_iter().map(Some).collect();
        let mut chain = Self {
            links: Vec::with_capacity(links.modify.len()),
            open: Vec::new(),
            unused: 0,
            finished: false,
        };
        for place in links.modify {
            let Some(mut active) = all.get_mut(place).and_then(Option::take) else { continue };
            let opened = match active.modifier() {
                Some((modifier, _call)) => modifier.open(context).await,
                None => Ok(()),
            };
            if let Err(error) = opened {
                active.fail(error, "open")?;
                // Without a session there is nothing to skip a call of.
                active.take_out();
            }
            chain.links.push(ModifierLink { active, buffers: Vec::new(), spare: Spare::default() });
        }
        Ok(chain)
    }

    /// Whether there is no link.
    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Passes one step through all links. `unfinished` tells the choices that a `respond` has to answer.
    ///
    /// # Errors
    /// [`ExchangeError::Plugin`] where a `fail_closed` link failed, [`ExchangeError::Rejected`] where one
    /// rejects. The chain must not be used afterwards.
    ///
    /// # Invariants
    /// After a stop nothing is pushed any more; what the links hold is dropped with them.
    ///
    /// # Cancellation
    /// After a dropped call the chain must not be used.
    pub(crate) async fn push(
        &mut self,
        flow: &mut Flow,
        unfinished: impl Fn() -> Vec<u32>,
    ) -> Result<Option<Stopped>, ExchangeError> {
        self.unused = flow.opened.iter().map(|lane| lane.id + 1).fold(self.unused, u32::max);
        self.open.extend(flow.opened.iter().cloned());
        let mut stopped = None;
        for link in &mut self.links {
            if flow.is_empty() {
                break;
            }
            if let Some(stop) = link.push(flow).await? {
                let respond = link.active.stopped(stop, "modify")?;
                let kind = if respond.is_some() { Stopped::Responded } else { Stopped::Blocked };
                if let Some(text) = &respond {
                    for choice in unfinished() {
                        if !has_text_lane(&self.open, choice) {
                            let lane = text_lane(self.unused, choice);
                            self.unused += 1;
                            flow.opened.push(lane.clone());
                            self.open.push(lane);
                        }
                    }
                    for lane in self.open.iter().filter(|lane| lane.channel == Channel::Text) {
                        flow.text(lane.id).push_inserted(text);
                    }
                }
                // Lanes that end with this step anyway are still open: they end for another reason now.
                flow.closed = self.open.iter().map(|lane| (lane.id, kind.close_reason())).collect();
                stopped = Some(kind);
            }
        }
        if !flow.closed.is_empty() {
            self.open.retain(|lane| !flow.closes(lane.id));
        }
        Ok(stopped)
    }

    /// Tells the modifiers, once, that all of the response has passed, or that it is stopped.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(crate) async fn finish(&mut self) -> Result<(), ExchangeError> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        for link in &mut self.links {
            let result = match link.active.modifier() {
                Some((modifier, _call)) => modifier.finish().await,
                None => Ok(Vec::new()),
            };
            match result {
                Ok(findings) => link.report("finish", &findings),
                Err(error) => {
                    link.active.fail(error, "finish")?;
                }
            }
        }
        Ok(())
    }
}

impl ModifierLink {
    /// Asks the link about one step and makes `flow` what it released.
    async fn push(&mut self, flow: &mut Flow) -> Result<Option<Stop>, ExchangeError> {
        let account = &mut self.active.account.answer;
        account.events += flow.texts.iter().filter(|text| !text.text.is_empty()).count() as u64;
        account.bytes_in += bytes(&flow.texts);
        let pushed = self.step(flow).await;
        let (released, held) = (bytes(&flow.texts), self.held());
        let account = &mut self.active.account;
        // A rejection is all that follows, as a failure is.
        match &pushed {
            Ok(Some(Stop::Reject(_))) | Err(_) => account.dropped += released,
            Ok(_) => account.answer.bytes_out += released,
        }
        if pushed.is_ok() {
            account.held = account.held.max(held);
        }
        pushed
    }

    async fn step(&mut self, flow: &mut Flow) -> Result<Option<Stop>, ExchangeError> {
        if self.active.is_out() {
            self.active.account.answer.unscanned += bytes(&flow.texts);
            return Ok(None);
        }
        let mut step = self.take_in(flow);
        if step.is_empty() {
            return Ok(None);
        }
        let answer = match self.ask(&step, flow).await {
            Ok(outcome) => {
                self.report("modify", &outcome.findings);
                self.release(&step, &outcome, flow).map(|()| outcome.stop).map_err(StageError::from)
            }
            Err(error) => Err(error),
        };
        let stop = match answer {
            Ok(stop) => stop,
            Err(error) => {
                let passed = self.active.fail(error, "modify")?;
                let scanned = bytes(&flow.texts);
                self.pass(&step, passed, flow);
                self.active.account.answer.unscanned += bytes(&flow.texts) - scanned;
                None
            }
        };
        step.clear();
        self.spare.step = step;
        self.close(flow);
        Ok(stop)
    }

    /// Lets go of the lanes that end.
    fn close(&mut self, flow: &Flow) {
        if flow.closed.is_empty() {
            return;
        }
        let account = &mut self.active.account;
        self.buffers.retain(|buffer| {
            let closed = flow.closes(buffer.lane.id);
            if closed {
                account.dropped += buffer.held() as u64;
            }
            !closed
        });
    }

    /// The bytes that are held, all lanes together.
    fn held(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.held() as u64).sum()
    }

    fn report(&mut self, stage: &'static str, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        self.active.account.answer.findings += findings.len() as u64;
        self.active.report(stage, findings);
    }

    /// Adds a step's text to what is held; answers with the lanes of the step, and where the new text of
    /// each begins.
    fn take_in(&mut self, flow: &mut Flow) -> Vec<(u32, u32)> {
        self.buffers.extend(flow.opened.iter().cloned().map(Buffer::new));
        let mut taken = std::mem::replace(&mut flow.texts, std::mem::take(&mut self.spare.texts));
        let mut step = std::mem::take(&mut self.spare.step);
        let mut texts = taken.iter_mut().peekable();
        for buffer in &mut self.buffers {
            let lane = buffer.lane.id;
            let end = buffer.end();
            while texts.next_if(|text| text.lane < lane).is_some() {}
            let new = texts.next_if(|text| text.lane == lane);
            let has_text = new.as_ref().is_some_and(|new| !new.text.is_empty());
            if let Some(new) = new {
                buffer.push(std::mem::take(new));
            }
            if has_text || flow.closes(lane) || flow.opens(lane) {
                step.push((lane, end));
            } else if buffer.held() == 0 {
                // At most the trace of text that an earlier link deleted.
                flow.append(buffer.release_all());
            }
        }
        taken.clear();
        self.spare.texts = taken;
        step
    }

    async fn ask(&mut self, step: &[(u32, u32)], flow: &Flow) -> Result<Outcome, StageError> {
        let buffers = &self.buffers;
        let piece = |&(lane, offset): &(u32, u32)| {
            let at = buffers.binary_search_by_key(&lane, |buffer| buffer.lane.id).ok()?;
            let buffer = buffers.get(at)?;
            let text = buffer.text_from(offset);
            (!text.is_empty()).then_some(Piece { lane, offset, text })
        };
        let mut pieces = emptied(std::mem::take(&mut self.spare.pieces));
        pieces.extend(step.iter().filter_map(piece));
        let batch = Batch { opened: &flow.opened, pieces, closed: &flow.closed };
        let answer = match self.active.modifier() {
            Some((modifier, _call)) => modifier.push(&batch).await,
            None => Ok(Outcome::default()),
        };
        self.spare.pieces = emptied(batch.pieces);
        answer
    }

    /// Applies an answer to the lanes of the step: all of it or, where it breaks the contract, nothing.
    fn release(&mut self, step: &[(u32, u32)], outcome: &Outcome, flow: &mut Flow) -> Result<(), Fault> {
        if outcome.edits.is_empty() && outcome.holds.is_empty() {
            self.pass(step, Passed::ThisCall, flow);
            return Ok(());
        }
        // Those of a lane are in order, the lanes may come in any.
        let mut edits: Vec<&Edit> = outcome.edits.iter().collect();
        edits.sort_by_key(|edit| edit.lane);
        let mut holds = Cow::Borrowed(&outcome.holds[..]);
        if !holds.is_sorted_by_key(|hold| hold.lane) {
            holds.to_mut().sort_by_key(|hold| hold.lane);
        }
        let (mut edits, mut holds) = (edits.into_iter().peekable(), holds.iter().peekable());
        let mut answers = Vec::with_capacity(step.len());
        for (place, buffer) in self.buffers.iter().enumerate().filter(|(_, buffer)| is_in(step, buffer)) {
            let lane = buffer.lane.id;
            let edits: Vec<&Edit> = std::iter::from_fn(|| edits.next_if(|edit| edit.lane == lane)).collect();
            let hold = holds.next_if(|hold| hold.lane == lane).map(|hold| hold.start);
            // With a stop, what is held is dropped, so a lane that ends may be held too.
            let too_late = hold.is_some() && flow.closes(lane) && outcome.stop.is_none();
            if holds.next_if(|hold| hold.lane == lane).is_some() || too_late {
                return Err(broken(format!("lane {lane}: a second hold, or one on a lane that is closed")));
            }
            buffer.check(&edits, hold)?;
            answers.push((place, edits, hold));
        }
        let edits: usize = answers.iter().map(|(_, edits, _)| edits.len()).sum();
        let holds = answers.iter().filter(|(_, _, hold)| hold.is_some()).count();
        if (edits, holds) != (outcome.edits.len(), outcome.holds.len()) {
            return Err(broken("an edit or a hold of a lane that is not in the batch".to_owned()));
        }
        self.active.account.answer.edits += edits as u64;
        for (place, edits, hold) in answers {
            if let Some(buffer) = self.buffers.get_mut(place) {
                flow.append(buffer.release(&edits, hold));
            }
        }
        match self.buffers.iter().find(|buffer| buffer.held() > HELD_MAX) {
            // With a stop, what is held is dropped.
            Some(buffer) if outcome.stop.is_none() => {
                let detail = format!("lane {}: more than {HELD_MAX} bytes held", buffer.lane.id);
                Err(Fault::new(FaultKind::Held, detail))
            }
            _ => Ok(()),
        }
    }

    /// Lets text pass as it is: what is held of the step's lanes, or of all.
    fn pass(&mut self, step: &[(u32, u32)], passed: Passed, flow: &mut Flow) {
        for buffer in &mut self.buffers {
            if passed == Passed::All || is_in(step, buffer) {
                flow.append(buffer.release_all());
            }
        }
    }
}

impl Drop for ModifierLink {
    fn drop(&mut self) {
        self.active.account.dropped += self.held();
    }
}

/// The memory of a list, for pieces of another step: what is collected from a list stays in its place.
fn emptied<'a>(mut pieces: Vec<Piece<'_>>) -> Vec<Piece<'a>> {
    pieces.clear();
    pieces.into_iter().map(|Piece { lane, offset, .. }| Piece { lane, offset, text: "" }).collect()
}

fn text_lane(id: u32, choice: u32) -> Lane {
    Lane { id, choice, part: 0, channel: Channel::Text, name: None, pointer: None }
}

fn has_text_lane(open: &[Lane], choice: u32) -> bool {
    open.iter().any(|lane| (lane.choice, lane.channel) == (choice, Channel::Text))
}

fn is_in(step: &[(u32, u32)], buffer: &Buffer) -> bool {
    step.binary_search_by_key(&buffer.lane.id, |(lane, _)| *lane).is_ok()
}

fn bytes(texts: &[LaneText]) -> u64 {
    texts.iter().map(|text| text.text.len() as u64).sum()
}

fn broken(what: String) -> Fault {
    Fault::new(FaultKind::Contract, what)
}
