//! Native links that only look, hold, mask or block.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use rust_proxy_mask::{Mask, Scanner};
use rust_proxy_stream::chain::Pipeline;
use rust_proxy_stream::lane::{Batch, Edit, Finding, Hold, Outcome, Stop};
use rust_proxy_stream::stage::{Context, Link, OnError, Plugin, ResponseModifier, StageError};

use crate::mask::List;

/// What a link does with an answer.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// Nothing.
    Look,
    /// Keeps each text until it is whole.
    Hold,
    /// Puts something in the place of listed words.
    Mask(Arc<List>, Mask),
    /// Ends the answer before the first listed word.
    Block(Arc<List>),
}

/// A pipeline of these links, for answers.
pub(crate) fn pipeline(deeds: &[Deed]) -> Arc<Pipeline> {
    let plugins = deeds.iter().map(|deed| Arc::new(Native(deed.clone())) as Arc<dyn Plugin>).collect();
    Arc::new(Pipeline { plugins, process: Vec::new(), modify: (0..deeds.len()).collect() })
}

#[derive(Debug)]
struct Native(Deed);

#[async_trait]
impl Plugin for Native {
    fn name(&self) -> &str {
        "native"
    }

    fn on_error(&self) -> OnError {
        OnError::FailClosed
    }

    async fn start(&self) -> Result<Box<dyn Link>, StageError> {
        Ok(Box::new(Session { deed: self.0.clone(), lanes: BTreeMap::new() }))
    }
}

struct Session {
    deed: Deed,
    /// The open lanes: the search in each, and its length.
    lanes: BTreeMap<u32, (Scanner, u32)>,
}

impl Link for Session {
    fn modifier(&mut self) -> Option<&mut dyn ResponseModifier> {
        Some(self)
    }
}

#[async_trait]
impl ResponseModifier for Session {
    async fn open(&mut self, _: &Context) -> Result<(), StageError> {
        Ok(())
    }

    async fn push(&mut self, batch: &Batch<'_>) -> Result<Outcome, StageError> {
        let mut outcome = Outcome::default();
        for lane in batch.opened {
            let known = self.lanes.insert(lane.id, (Scanner::new(), 0));
            assert!(known.is_none(), "a lane is opened once");
        }
        for piece in &batch.pieces {
            let (scanner, end) =
                self.lanes.get_mut(&piece.lane).expect("a lane is opened before it has text");
            assert!(!piece.text.is_empty() && piece.offset == *end, "a lane grows at its end");
            *end += piece.text.len() as u32;
            let last = batch.closed.iter().any(|(closed, _)| *closed == piece.lane);
            self.deed.push(scanner, (piece.lane, *end), piece.text, last, &mut outcome);
        }
        for (lane, _) in batch.closed {
            let (mut scanner, end) = self.lanes.remove(lane).expect("a lane is closed once");
            if batch.pieces.iter().all(|piece| piece.lane != *lane) {
                self.deed.push(&mut scanner, (*lane, end), "", true, &mut outcome);
            }
        }
        Ok(outcome)
    }

    async fn finish(&mut self) -> Result<Vec<Finding>, StageError> {
        Ok(Vec::new())
    }
}

impl Deed {
    /// Answers to new text at the end of a lane, which is `end` bytes long with it.
    fn push(
        &self,
        scanner: &mut Scanner,
        (lane, end): (u32, u32),
        text: &str,
        last: bool,
        outcome: &mut Outcome,
    ) {
        match self {
            Self::Look => {}
            Self::Hold if last => {}
            Self::Hold => outcome.holds.push(Hold { lane, start: 0 }),
            Self::Mask(list, mask) => {
                let kept = scanner.push(&list.matcher, text, last, |found| {
                    outcome.edits.push(Edit {
                        lane,
                        start: found.start,
                        end: found.end,
                        text: mask.text(&found),
                    });
                });
                outcome.holds.extend(kept.map(|start| Hold { lane, start }));
            }
            Self::Block(list) => {
                let mut first = None;
                let kept =
                    scanner.push(&list.matcher, text, last, |found| first = first.or(Some(found.start)));
                match first {
                    Some(start) if last => outcome.edits.push(Edit { lane, start, end, text: String::new() }),
                    _ => outcome.holds.extend(first.or(kept).map(|start| Hold { lane, start })),
                }
                if first.is_some() {
                    outcome.stop = Some(Stop::Block("a listed word".to_owned()));
                }
            }
        }
    }
}
