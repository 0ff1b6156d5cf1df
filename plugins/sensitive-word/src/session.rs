//! One answer.

use rust_proxy_mask::Scanner;
use rust_proxy_sdk::{Batch, Lanes, Outcome, Session, Update};

use crate::{Action, Rule, Rules};

/// The search in each text of an answer.
#[derive(Debug)]
pub struct Scan {
    rules: &'static Rules,
    lanes: Lanes<Scanners>,
}

/// The search in one text: for the lists that act, and for each that only reports.
#[derive(Debug)]
struct Scanners {
    acting: Scanner,
    watching: Vec<Scanner>,
}

impl Scan {
    pub(crate) fn new(rules: &'static Rules) -> Self {
        Self { rules, lanes: Lanes::new() }
    }
}

impl Session for Scan {
    fn push(&mut self, batch: &Batch) -> Result<Outcome, String> {
        let mut outcome = Outcome::release();
        let Self { rules, lanes } = self;
        lanes.update(
            batch,
            |_| Scanners { acting: Scanner::new(), watching: vec![Scanner::new(); rules.watches.len()] },
            |scanners, update| {
                watch(rules, &mut scanners.watching, &update, &mut outcome);
                act(rules, &mut scanners.acting, &update, &mut outcome);
                Ok(())
            },
        )?;
        Ok(outcome)
    }
}

fn watch(rules: &Rules, scanners: &mut [Scanner], update: &Update<'_>, outcome: &mut Outcome) {
    for (watch, scanner) in rules.watches.iter().zip(scanners) {
        scanner.push(&watch.matcher, update.text, update.closed.is_some(), |found| {
            outcome.report(update.lane, found.start..found.end, &*watch.rule);
        });
    }
}

fn act(rules: &Rules, scanner: &mut Scanner, update: &Update<'_>, outcome: &mut Outcome) {
    let Some(matcher) = &rules.matcher else { return };
    let lane = update.lane;
    let last = update.closed.is_some();
    // Where the first word that blocks begins, and what it is called. What follows it does not count.
    let mut blocked = None;
    let kept = scanner.push(matcher, update.text, last, |found| {
        let Some(Rule { action, rule }) = rules.list(&found).filter(|_| blocked.is_none()) else { return };
        outcome.report(lane, found.start..found.end, rule);
        match action {
            Action::Mask(mask) => _ = outcome.replace(lane, found.start..found.end, mask.text(&found)),
            Action::Block => blocked = Some((found.start, rule)),
        }
    });
    if let Some((start, rule)) = blocked {
        // Nothing from the match on may leave. A hold is dropped by the stop, but a lane that has ended takes
        // no hold.
        if last {
            outcome.replace(lane, start..update.end(), "");
        } else {
            outcome.hold(lane, start);
        }
        outcome.block(format!("{rule}: a listed word in lane {lane}"));
    } else if let Some(start) = kept {
        outcome.hold(lane, start);
    }
}
