//! A plugin that misbehaves on order of its configuration, and lets everything else pass.
//!
//! `{"in": PLACE, "do": DEED, "at": N}`: `in` is `configure`, `process`, `open`, `push` or `finish`; `at` is the
//! call of that place in this instance (from 0), every call if absent; `{}` does nothing. With `"hold": N` the
//! calls of `push` from the Nth on hold their new text. With `{"from_text": true}` the order is what the user's
//! last text says, if that is one.
//!
//! | deed | in every place | in `push` | in `process` |
//! |---|---|---|---|
//! | `trap`, `spin`, `recurse` | an `unreachable`, an endless loop, an endless recursion | | |
//! | `memory` | allocates and touches until it dies | | |
//! | `error` | an `Err` | | |
//! | `print` | 10,000 lines with control characters to stderr | | |
//! | `output` | | an edit of 64 MiB | an item's text of 64 MiB |
//! | `edit-out-of-range` | | an edit behind the lane's end | drops a message that is not there |
//! | `edit-off-boundary` | | an edit within a character (if a text has one of several bytes) | |
//! | `edit-unsorted` | | two edits in the wrong order | an item set twice |
//! | `hold-closed` | | a hold on each lane that closes | |
//! | `unknown-lane` | | an edit of a lane that is not there | sets an item that is not there |
//! | `block`, `respond`, `reject` | | that stop | that stop |
//! | `hold` | | holds every lane from 0 on until it closes | |
//! | `findings` | | 10,000 findings | 10,000 findings |
//!
//! In `finish`, `output` is a finding with a rule of 64 MiB; in `configure` and `open` it is an error of 64 MiB.

mod deed;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rust_proxy_sdk::{
    Batch, Context, Decision, Description, Finding, Item, Lanes, Outcome, Plugin, Processor,
    ResponseModifier, Session, Update, parse_config,
};

use crate::deed::{Deed, Place, big};

/// The plugin.
#[derive(Debug)]
pub struct Fault {
    orders: Rc<Orders>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(rename = "in", default)]
    place: Place,
    #[serde(rename = "do", default)]
    deed: Deed,
    at: Option<u32>,
    hold: Option<u32>,
    #[serde(default)]
    from_text: bool,
}

#[derive(Debug)]
struct Orders {
    order: RefCell<Order>,
    /// Calls of the place so far.
    calls: Cell<u32>,
    /// Calls of `push` so far.
    pushes: Cell<u32>,
}

impl Orders {
    /// Takes the order of the user's last text, if that counts and is one.
    fn read(&self, items: &[Item]) {
        if self.order.borrow().from_text
            && let Some(text) = items.iter().rev().find_map(Item::text)
            && let Ok(order) = parse_config(text)
        {
            self.order.replace(order);
        }
    }

    /// What this call of `place` is to do. Deeds that any place can do are done here.
    fn carry_out(&self, place: Place) -> Result<Deed, String> {
        let order = self.order.borrow();
        if order.place != place {
            return Ok(Deed::None);
        }
        let call = self.calls.replace(self.calls.get() + 1);
        if order.at.is_some_and(|at| at != call) {
            return Ok(Deed::None);
        }
        order.deed.anywhere()?;
        Ok(order.deed)
    }

    /// Whether this call of `push` is to hold its new text.
    fn holds(&self) -> bool {
        let push = self.pushes.replace(self.pushes.get() + 1);
        self.order.borrow().hold.is_some_and(|from| from <= push)
    }
}

impl Plugin for Fault {
    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "Misbehaves on order.")
    }

    fn configure(config_json: &str) -> Result<Self, String> {
        let order = RefCell::new(parse_config(config_json)?);
        let orders = Orders { order, calls: Cell::new(0), pushes: Cell::new(0) };
        if orders.carry_out(Place::Configure)? == Deed::Output {
            return Err(big());
        }
        Ok(Self { orders: Rc::new(orders) })
    }
}

impl Processor for Fault {
    fn process(&mut self, _: &Context, items: &[Item]) -> Result<Decision, String> {
        self.orders.read(items);
        let mut decision = Decision::unchanged();
        let text = items.iter().find(|item| item.text().is_some()).map_or(0, |item| item.id);
        match self.orders.carry_out(Place::Process)? {
            Deed::Output => decision.set_text(text, big()),
            Deed::EditOutOfRange => decision.drop_message(u32::MAX),
            Deed::EditUnsorted => decision.set_text(text, "once").set_text(text, "twice"),
            Deed::UnknownLane => decision.set_text(u32::MAX, "nowhere"),
            Deed::Findings => {
                decision.findings = findings();
                &mut decision
            }
            Deed::Block => {
                decision.stop = Some(rust_proxy_sdk::Stop::Block("blocked on order".to_owned()));
                &mut decision
            }
            Deed::Respond => decision.respond("answered on order"),
            Deed::Reject => decision.reject(418, "rejected on order"),
            _ => &mut decision,
        };
        Ok(decision)
    }
}

impl ResponseModifier for Fault {
    type Session = Faulty;

    fn open(&mut self, _: &Context) -> Result<Faulty, String> {
        if self.orders.carry_out(Place::Open)? == Deed::Output {
            return Err(big());
        }
        Ok(Faulty { orders: Rc::clone(&self.orders), lanes: Lanes::new() })
    }
}

/// One response.
#[derive(Debug)]
pub struct Faulty {
    orders: Rc<Orders>,
    /// For each lane, from where on it is held.
    lanes: Lanes<Option<u32>>,
}

impl Session for Faulty {
    fn push(&mut self, batch: &Batch) -> Result<Outcome, String> {
        let holds = self.orders.holds();
        let deed = self.orders.carry_out(Place::Push)?;
        let mut outcome = Outcome::release();
        self.lanes.update(
            batch,
            |_| None,
            |held, update| {
                edit(deed, &update, &mut outcome);
                if holds && update.closed.is_none() {
                    outcome.hold(update.lane, *held.get_or_insert(update.offset));
                }
                Ok(())
            },
        )?;
        match deed {
            Deed::UnknownLane => outcome.insert(u32::MAX, 0, "nowhere"),
            Deed::Findings => {
                outcome.findings = findings();
                &mut outcome
            }
            Deed::Block => outcome.block("blocked on order"),
            Deed::Respond => outcome.respond("answered on order"),
            Deed::Reject => outcome.reject(418, "rejected on order"),
            _ => &mut outcome,
        };
        Ok(outcome)
    }

    fn finish(&mut self) -> Result<Vec<Finding>, String> {
        Ok(match self.orders.carry_out(Place::Finish)? {
            Deed::Output => vec![Finding { lane: 0, start: 0, end: 0, rule: big() }],
            _ => Vec::new(),
        })
    }
}

/// More than anybody can want to report, within the default limit of an answer.
fn findings() -> Vec<Finding> {
    let finding = |at| Finding { lane: 0, start: at, end: at, rule: "on order".to_owned() };
    (0..10_000).map(finding).collect()
}

/// The deeds that concern one lane.
fn edit(deed: Deed, update: &Update<'_>, outcome: &mut Outcome) {
    let Update { lane, offset, closed, .. } = *update;
    let end = update.end();
    match deed {
        Deed::Output => {
            outcome.replace(lane, offset..end, big());
        }
        Deed::EditOutOfRange => {
            outcome.replace(lane, end..end + 1, "beyond");
        }
        Deed::EditOffBoundary => {
            if let Some((at, _)) = update.chars().find(|(_, c)| c.len_utf8() > 1) {
                outcome.insert(lane, at + 1, "within");
            }
        }
        Deed::EditUnsorted => {
            outcome.insert(lane, end, "later").insert(lane, offset, "earlier");
        }
        Deed::HoldClosed if closed.is_some() => {
            outcome.hold(lane, offset);
        }
        Deed::Hold if closed.is_none() => {
            outcome.hold(lane, 0);
        }
        _ => {}
    }
}

rust_proxy_sdk::filter_plugin!(Fault);
