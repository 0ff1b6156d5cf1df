//! The native twin of `sensitive-word`: the same search without a sandbox.

use std::sync::Arc;

use async_trait::async_trait;
use rust_proxy_mask::{Mask, Matcher, Options, Scanner};
use rust_proxy_stream::item::{Change, Decision, Item};
use rust_proxy_stream::lane::{Batch, Edit, Finding, Hold, Outcome};
use rust_proxy_stream::stage::{Context, Link, OnError, Plugin, Processor, ResponseModifier, StageError};

const MASK: Mask = Mask::PerCharacter('*');

/// Masks words, natively.
#[derive(Debug, Clone)]
pub struct NativeMask {
    name: String,
    matcher: Arc<Matcher>,
}

/// One exchange's.
struct Session {
    matcher: Arc<Matcher>,
    lanes: Vec<Lane>,
}

struct Lane {
    id: u32,
    scanner: Scanner,
}

impl NativeMask {
    /// A mask of these words. Clones and links share them.
    ///
    /// # Panics
    /// Where a word is empty.
    pub fn new(name: &str, words: &[String]) -> Self {
        let matcher = Matcher::new(words, Options::default()).expect("words that can be searched");
        Self { name: name.to_owned(), matcher: Arc::new(matcher) }
    }

    /// A link for one exchange.
    pub fn link(&self) -> Box<dyn Link> {
        Box::new(Session { matcher: Arc::clone(&self.matcher), lanes: Vec::new() })
    }
}

#[async_trait]
impl Plugin for NativeMask {
    fn name(&self) -> &str {
        &self.name
    }

    fn on_error(&self) -> OnError {
        OnError::FailClosed
    }

    async fn start(&self) -> Result<Box<dyn Link>, StageError> {
        Ok(self.link())
    }
}

impl Link for Session {
    fn processor(&mut self) -> Option<&mut dyn Processor> {
        Some(self)
    }

    fn modifier(&mut self) -> Option<&mut dyn ResponseModifier> {
        Some(self)
    }
}

#[async_trait]
impl Processor for Session {
    async fn process(&mut self, _: &Context, items: &[Item]) -> Result<Decision, StageError> {
        let mut decision = Decision::default();
        for (id, text) in items.iter().filter_map(|item| Some((item.id, item.body.text()?))) {
            let mut masked = String::new();
            let mut from = 0;
            self.matcher.find(text, |found| {
                masked.push_str(&text[from..found.start as usize]);
                masked.push_str(&MASK.text(&found));
                from = found.end as usize;
            });
            if from > 0 {
                masked.push_str(&text[from..]);
                decision.changes.push(Change::SetText { item: id, text: masked });
            }
        }
        Ok(decision)
    }
}

#[async_trait]
impl ResponseModifier for Session {
    async fn open(&mut self, _: &Context) -> Result<(), StageError> {
        Ok(())
    }

    async fn push(&mut self, batch: &Batch<'_>) -> Result<Outcome, StageError> {
        let mut outcome = Outcome::default();
        let Self { matcher, lanes } = self;
        lanes.extend(batch.opened.iter().map(|lane| Lane { id: lane.id, scanner: Scanner::new() }));
        for lane in &mut *lanes {
            let piece = batch.pieces.iter().find(|piece| piece.lane == lane.id);
            let closes = batch.closed.iter().any(|(closed, _)| *closed == lane.id);
            if piece.is_none() && !closes {
                continue;
            }
            let text = piece.map_or("", |piece| piece.text);
            let held = lane.scanner.push(matcher, text, closes, |found| {
                let (lane, start, end) = (lane.id, found.start, found.end);
                outcome.findings.push(Finding { lane, start, end, rule: "sensitive-word".to_owned() });
                outcome.edits.push(Edit { lane, start, end, text: MASK.text(&found) });
            });
            outcome.holds.extend(held.map(|start| Hold { lane: lane.id, start }));
        }
        lanes.retain(|lane| !batch.closed.iter().any(|(closed, _)| *closed == lane.id));
        Ok(outcome)
    }

    async fn finish(&mut self) -> Result<Vec<Finding>, StageError> {
        Ok(Vec::new())
    }
}
