//! ⑥ An answer without trailing white space.
//!
//! White space is held until it is known what follows: a line end or the end of the lane drops it (line ends at the
//! end of the lane too), anything else releases it. `\r\n` thereby becomes `\n`. In code blocks the same is done.

use rust_proxy_sdk::{Batch, Channel, Lanes, Outcome, Session, Update};

/// Longest run of white space, in bytes, that is held. A longer one is left as it is, wherever it was cut.
pub(crate) const RUN_MAX: u32 = 4096;

/// One answer.
#[derive(Debug)]
pub struct Trim {
    on: bool,
    lanes: Lanes<Option<Run>>,
}

/// The white space that a lane ends with.
#[derive(Debug, Default)]
struct Run {
    /// Where it begins, if there is any.
    start: Option<u32>,
    /// Where its last line begins, or the run itself.
    line: u32,
    /// The spans in front of its line ends.
    trailing: Vec<(u32, u32)>,
}

impl Trim {
    pub(crate) fn new(on: bool) -> Self {
        Self { on, lanes: Lanes::new() }
    }
}

impl Session for Trim {
    fn push(&mut self, batch: &Batch) -> Result<Outcome, String> {
        let mut outcome = Outcome::release();
        let on = self.on;
        self.lanes.update(
            batch,
            |lane| (on && lane.channel == Channel::Text).then(Run::default),
            |run, update| {
                if let Some(run) = run {
                    run.update(&update, &mut outcome);
                }
                Ok(())
            },
        )?;
        Ok(outcome)
    }
}

impl Run {
    fn update(&mut self, update: &Update<'_>, outcome: &mut Outcome) {
        for (at, c) in update.chars() {
            if !c.is_whitespace() {
                if self.start.take().is_some_and(|start| at - start <= RUN_MAX) {
                    for &(start, end) in &self.trailing {
                        outcome.replace(update.lane, start..end, "");
                    }
                }
                self.trailing.clear();
                continue;
            }
            let start = *self.start.get_or_insert_with(|| {
                self.line = at;
                at
            });
            if at - start >= RUN_MAX {
                self.trailing.clear();
            } else if c == '\n' {
                if self.line < at {
                    self.trailing.push((self.line, at));
                }
                self.line = at + 1;
            }
        }
        let end = update.end();
        let Some(start) = self.start.filter(|start| end - start <= RUN_MAX) else { return };
        if update.closed.is_none() {
            outcome.hold(update.lane, start);
        } else {
            outcome.replace(update.lane, start..end, "");
        }
    }
}
