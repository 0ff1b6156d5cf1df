//! Plugins whose modifiers are closures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::item::{Decision, Item};
use crate::lane::{Batch, Channel, Edit, Finding, Hold, Outcome};
use crate::stage::{
    Context, Fault, FaultKind, Link, OnError, Plugin, Processor, ResponseModifier, StageError,
};

pub(super) type Push = Box<dyn FnMut(&Batch<'_>) -> Result<Outcome, StageError> + Send>;

/// A plugin whose modifier is a closure, made anew for each exchange.
#[derive(Clone)]
pub(super) struct Fake {
    on_error: OnError,
    make: Arc<dyn Fn() -> Push + Send + Sync>,
    decision: Option<Result<Decision, StageError>>,
    /// The stage that fails: `start`, `open` or `finish`.
    fails: Option<(&'static str, StageError)>,
    /// Held by every link of it.
    pub(super) guard: Arc<()>,
}

impl Fake {
    pub(super) fn new<F>(make: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: FnMut(&Batch<'_>) -> Result<Outcome, StageError> + Send + 'static,
    {
        let make = Arc::new(move || Box::new(make()) as Push);
        Self { on_error: OnError::FailClosed, make, decision: None, fails: None, guard: Arc::default() }
    }

    /// Answers the same each time.
    pub(super) fn answering(answer: Result<Outcome, StageError>) -> Self {
        Self::new(move || {
            let answer = answer.clone();
            move |_| answer.clone()
        })
    }

    pub(super) fn deciding(decision: Result<Decision, StageError>) -> Self {
        Self { decision: Some(decision), ..Self::answering(Ok(Outcome::default())) }
    }

    pub(super) fn failing_at(stage: &'static str, error: StageError) -> Self {
        Self { fails: Some((stage, error)), ..Self::answering(Ok(Outcome::default())) }
    }

    /// Lets `calls` calls be, then answers this.
    pub(super) fn after(self, calls: usize, answer: Result<Outcome, StageError>) -> Self {
        let make = Arc::clone(&self.make);
        let make = move || {
            let (mut push, mut called, answer) = (make(), 0, answer.clone());
            Box::new(move |batch: &Batch<'_>| {
                called += 1;
                if called > calls { answer.clone() } else { push(batch) }
            }) as Push
        };
        Self { make: Arc::new(make), ..self }
    }

    pub(super) fn on_error(self, on_error: OnError) -> Self {
        Self { on_error, ..self }
    }

    fn check(&self, stage: &str) -> Result<(), StageError> {
        match &self.fails {
            Some((at, error)) if *at == stage => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

#[async_trait]
impl Plugin for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn on_error(&self) -> OnError {
        self.on_error
    }

    async fn start(&self) -> Result<Box<dyn Link>, StageError> {
        self.check("start")?;
        Ok(Box::new(FakeLink { push: (self.make)(), fake: self.clone() }))
    }
}

struct FakeLink {
    push: Push,
    fake: Fake,
}

impl Link for FakeLink {
    fn processor(&mut self) -> Option<&mut dyn Processor> {
        Some(self)
    }

    fn modifier(&mut self) -> Option<&mut dyn ResponseModifier> {
        Some(self)
    }
}

#[async_trait]
impl Processor for FakeLink {
    async fn process(&mut self, _: &Context, _: &[Item]) -> Result<Decision, StageError> {
        self.fake.decision.clone().unwrap_or_else(|| Ok(Decision::default()))
    }
}

#[async_trait]
impl ResponseModifier for FakeLink {
    async fn open(&mut self, _: &Context) -> Result<(), StageError> {
        self.fake.check("open")
    }

    async fn push(&mut self, batch: &Batch<'_>) -> Result<Outcome, StageError> {
        (self.push)(batch)
    }

    async fn finish(&mut self) -> Result<Vec<Finding>, StageError> {
        self.fake.check("finish").map(|()| Vec::new())
    }
}

pub(super) fn failure() -> StageError {
    StageError::Failed("out of luck".into())
}

pub(super) fn fault() -> StageError {
    Fault::new(FaultKind::Trap, "unreachable").into()
}

/// An exact masking filter, as simple as can be: each listed word, the longest first, becomes `mask`.
pub(super) fn masking(words: &[impl AsRef<str>], mask: &'static str) -> Fake {
    let words: Arc<[String]> = words.iter().map(|word| word.as_ref().to_owned()).collect();
    Fake::new(move || {
        let words = Arc::clone(&words);
        let mut lanes: BTreeMap<u32, (u32, String)> = BTreeMap::new();
        move |batch| {
            let mut outcome = Outcome::default();
            lanes.extend(batch.opened.iter().map(|lane| (lane.id, (0, String::new()))));
            for piece in &batch.pieces {
                lanes.get_mut(&piece.lane).unwrap().1.push_str(piece.text);
            }
            for (&lane, (start, text)) in &mut lanes {
                let closed = batch.closed.iter().any(|(closed, _)| *closed == lane);
                let (matches, hold) = scan(text, &words, closed);
                let offset = |at: usize| *start + u32::try_from(at).unwrap();
                let edits = matches.iter().map(|at| Edit {
                    lane,
                    start: offset(at.start),
                    end: offset(at.end),
                    text: mask.to_owned(),
                });
                outcome.edits.extend(edits.filter(|_| in_batch(batch, lane)));
                if hold < text.len() && in_batch(batch, lane) {
                    outcome.holds.push(Hold { lane, start: offset(hold) });
                }
                *start = offset(hold);
                text.drain(..hold);
            }
            Ok(outcome)
        }
    })
}

fn in_batch(batch: &Batch<'_>, lane: u32) -> bool {
    batch.opened.iter().any(|opened| opened.id == lane)
        || batch.pieces.iter().any(|piece| piece.lane == lane)
        || batch.closed.iter().any(|(closed, _)| *closed == lane)
}

/// The matches in `text`, and from where on it may still become another.
fn scan(text: &str, words: &[String], whole: bool) -> (Vec<std::ops::Range<usize>>, usize) {
    let (mut matches, mut at) = (Vec::new(), 0);
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        if !whole && words.iter().any(|word| word.len() > rest.len() && word.starts_with(rest)) {
            break;
        }
        let found =
            words.iter().map(String::as_str).filter(|word| rest.starts_with(word)).map(str::len).max();
        matches.extend(found.map(|length| at..at + length));
        at += found.unwrap_or(next.len_utf8());
    }
    (matches, at)
}

/// What [`masking`] makes of a text: all of it or, where more may come, what can leave.
pub(super) fn masked(text: &str, words: &[impl AsRef<str>], mask: &str, whole: bool) -> String {
    let words: Vec<String> = words.iter().map(|word| word.as_ref().to_owned()).collect();
    let (matches, end) = scan(text, &words, whole);
    let changes = matches.into_iter().map(|at| (at, mask.into()));
    crate::json::splice(&text[..end], changes)
}

/// Looks, and changes nothing.
pub(super) fn looking() -> Fake {
    Fake::answering(Ok(Outcome::default()))
}

/// Adds a text at the end of each answer.
pub(super) fn appending(text: &'static str) -> Fake {
    Fake::new(move || {
        let mut lanes: BTreeMap<u32, (Channel, u32)> = BTreeMap::new();
        move |batch| {
            lanes.extend(batch.opened.iter().map(|lane| (lane.id, (lane.channel, 0))));
            for piece in &batch.pieces {
                lanes.get_mut(&piece.lane).unwrap().1 += u32::try_from(piece.text.len()).unwrap();
            }
            let answers = batch.closed.iter().filter(|(lane, _)| lanes[lane].0 == Channel::Text);
            let edit = |lane: u32, end: u32| Edit { lane, start: end, end, text: text.to_owned() };
            Ok(Outcome {
                edits: answers.map(|(lane, _)| edit(*lane, lanes[lane].1)).collect(),
                ..Outcome::default()
            })
        }
    })
}

/// Holds everything until its lane closes.
pub(super) fn holding() -> Fake {
    Fake::new(|| {
        |batch| {
            let lanes: BTreeSet<u32> = batch.pieces.iter().map(|piece| piece.lane).collect();
            let open = |lane: &u32| !batch.closed.iter().any(|(closed, _)| closed == lane);
            let holds = lanes.into_iter().filter(open).map(|lane| Hold { lane, start: 0 }).collect();
            Ok(Outcome { holds, ..Outcome::default() })
        }
    })
}
