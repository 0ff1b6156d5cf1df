//! A host for unit tests. Off WebAssembly only.
#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a broken rule fails the test")]

use std::collections::BTreeMap;

pub mod kv;

use crate::{Batch, Channel, CloseReason, Context, Finding, Lane, Outcome, Piece, Session, Stop};

/// A context with made-up values.
///
/// # Examples
///
/// ```
/// assert!(rust_proxy_sdk::testing::context().streaming);
/// ```
pub fn context() -> Context {
    Context {
        request_id: "r".to_owned(),
        model: "m".to_owned(),
        dialect: "openai-chat".to_owned(),
        streaming: true,
        metadata: Vec::new(),
    }
}

/// A text cut at each character, and at each two places: what a session makes of it should be the same each time.
///
/// # Examples
///
/// ```
/// let cuts = rust_proxy_sdk::testing::cuts("aé");
/// assert_eq!(cuts[0], ["a", "é"]);
/// assert!(cuts.contains(&vec!["", "a", "é"]) && cuts.iter().all(|cut| cut.concat() == "aé"));
/// ```
pub fn cuts(text: &str) -> Vec<Vec<&str>> {
    let mut all = vec![text.split_inclusive(|_| true).collect()];
    let places = || text.char_indices().map(|(at, _)| at).chain([text.len()]);
    for first in places() {
        for second in places().filter(|second| *second >= first) {
            let (rest, last) = text.split_at(second);
            let (begin, middle) = rest.split_at(first);
            all.push(vec![begin, middle, last]);
        }
    }
    all
}

/// A host for one response, which does what the session says and panics where it breaks the contract's rules.
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::{Batch, Outcome, Session, testing::Host};
///
/// struct Pass;
///
/// impl Session for Pass {
///     fn push(&mut self, _: &Batch) -> Result<Outcome, String> {
///         Ok(Outcome::release())
///     }
/// }
///
/// let mut host = Host::new(Pass);
/// host.push(&[(0, "hel")], &[]);
/// host.push(&[(0, "lo")], &[0]);
/// assert_eq!(host.left(0), "hello");
/// ```
#[derive(Debug)]
pub struct Host<S> {
    session: S,
    opened: Vec<Lane>,
    lanes: BTreeMap<u32, Passed>,
    /// What was reported.
    pub findings: Vec<Finding>,
    /// How the session ended the exchange, if it did.
    pub stop: Option<Stop>,
}

/// What came of a lane, how far it was released, and what left instead.
#[derive(Debug, Default)]
struct Passed {
    came: String,
    released: usize,
    left: String,
}

impl<S: Session> Host<S> {
    /// A host whose response has not begun.
    pub const fn new(session: S) -> Self {
        Self { session, opened: Vec::new(), lanes: BTreeMap::new(), findings: Vec::new(), stop: None }
    }

    /// Opens a lane with the next batch. Lanes that get text without it are opened as the answer's.
    ///
    /// # Examples
    ///
    /// The type has one of a test; this goes before the first `push` of a lane that is not the answer's.
    pub fn open(&mut self, lane: u32, channel: Channel) -> &mut Self {
        self.opened.push(Lane { id: lane, choice: 0, part: lane, channel, name: None, pointer: None });
        self.lanes.insert(lane, Passed::default());
        self
    }

    /// Pushes one batch; lanes in `closed` end with `stop`.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn push(&mut self, texts: &[(u32, &str)], closed: &[u32]) {
        let closed: Vec<_> = closed.iter().map(|lane| (*lane, CloseReason::Stop)).collect();
        self.push_closing(texts, &closed);
    }

    /// Pushes one batch; lanes end for the reasons given.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn push_closing(&mut self, texts: &[(u32, &str)], closed: &[(u32, CloseReason)]) {
        for (lane, _) in texts {
            if !self.lanes.contains_key(lane) {
                self.open(*lane, Channel::Text);
            }
        }
        let mut batch =
            Batch { opened: std::mem::take(&mut self.opened), pieces: Vec::new(), closed: closed.to_vec() };
        for (lane, text) in texts {
            let passed = self.lanes.entry(*lane).or_default();
            let offset = passed.came.len() as u32;
            batch.pieces.push(Piece { lane: *lane, offset, text: (*text).to_owned() });
            passed.came.push_str(text);
        }
        match self.session.push(&batch) {
            Ok(outcome) => self.apply(&batch, outcome),
            Err(error) => panic!("the session failed: {error}"),
        }
    }

    /// What left of a lane so far.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn left(&self, lane: u32) -> &str {
        self.lanes.get(&lane).map_or("", |passed| &passed.left)
    }

    fn apply(&mut self, batch: &Batch, outcome: Outcome) {
        let closed = |lane| batch.closed.iter().any(|(closed, _)| *closed == lane);
        let has = |lane| batch.pieces.iter().any(|piece| piece.lane == lane) || closed(lane);
        assert!(
            outcome.edits.iter().all(|edit| has(edit.lane)),
            "an edit of a lane that is not in the batch"
        );
        for hold in &outcome.holds {
            assert!(
                has(hold.lane) && !closed(hold.lane),
                "{hold:?} of a lane that ended or is not in the batch"
            );
        }
        for (lane, passed) in self.lanes.iter_mut().filter(|(lane, _)| has(**lane)) {
            let Passed { came, released, left } = passed;
            let mut holds = outcome.holds.iter().filter(|hold| hold.lane == *lane);
            let until = holds.next().map_or(came.len(), |hold| hold.start as usize);
            assert!(holds.next().is_none() && until >= *released, "hold at {until} after {released}");
            let mut release = |until: usize| match came.get(*released..until) {
                Some(text) => {
                    *released = until;
                    text
                }
                None => panic!("{released}..{until} is not a span of {came:?}"),
            };
            for edit in outcome.edits.iter().filter(|edit| edit.lane == *lane) {
                assert!(edit.start <= edit.end && edit.end as usize <= until, "{edit:?} beyond {until}");
                left.push_str(release(edit.start as usize));
                release(edit.end as usize);
                left.push_str(&edit.text);
            }
            left.push_str(release(until));
        }
        self.findings.extend(outcome.findings);
        self.stop = self.stop.take().or(outcome.stop);
    }
}
