//! One answer.

use std::rc::Rc;

use rust_proxy_mask::Scanner;
use rust_proxy_sdk::{Batch, Lanes, Outcome, Session, Update};

use crate::{Action, Rules};

/// The search in each text of an answer.
#[derive(Debug)]
pub struct Scan {
    rules: Rc<Rules>,
    lanes: Lanes<Scanner>,
}

impl Scan {
    pub(crate) fn new(rules: Rc<Rules>) -> Self {
        Self { rules, lanes: Lanes::new() }
    }
}

impl Session for Scan {
    fn push(&mut self, batch: &Batch) -> Result<Outcome, String> {
        let mut outcome = Outcome::release();
        let Self { rules, lanes } = self;
        lanes.update(
            batch,
            |_| Scanner::new(),
            |scanner, update| {
                scan(rules, scanner, &update, &mut outcome);
                Ok(())
            },
        )?;
        Ok(outcome)
    }
}

fn scan(rules: &Rules, scanner: &mut Scanner, update: &Update<'_>, outcome: &mut Outcome) {
    let Rules { matcher, action, rule } = rules;
    let lane = update.lane;
    let last = update.closed.is_some();
    let mut blocked = None;
    let kept = scanner.push(matcher, update.text, last, |found| {
        outcome.report(lane, found.start..found.end, rule);
        match action {
            Action::Mask(mask) => {
                outcome.replace(lane, found.start..found.end, mask.text(&found));
            }
            Action::Block => blocked = blocked.or(Some(found.start)),
            Action::Monitor => {}
        }
    });
    if let Some(start) = blocked {
        // Nothing from the first match on may leave. A hold is dropped by the stop, but a lane that has ended
        // takes no hold.
        if last {
            outcome.replace(lane, start..update.end(), "");
        } else {
            outcome.hold(lane, start);
        }
        outcome.block(format!("{rule}: a listed word in lane {lane}"));
    } else if let Some(start) = kept.filter(|_| *action != Action::Monitor) {
        outcome.hold(lane, start);
    }
}
