//! What accounts say, to the byte, however an exchange ends.

use std::time::Duration;

use proptest::prelude::*;

use super::client::Client;
use super::links::{Fake, failure, fault, holding, masking};
use super::support::*;
use super::*;
use crate::account::{Account, Traffic};
use crate::item::{Change, Decision};
use crate::lane::{Batch, Edit, Finding, Hold, Outcome, Rejection, Stop};
use crate::stage::{OnError, StageError};

const DELTAS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// The account of a link whose exchange has had [`DELTAS`], and the request "hi".
fn account(plugin: Fake) -> Account {
    let total = Arc::clone(&plugin.total);
    // Without an answer there is an account too.
    let _ = Scene::new(&[plugin], answer(&DELTAS)).stream().map(Client::of);
    total.snapshot()
}

/// Events, bytes in, bytes out, unscanned.
fn flow_of(traffic: Traffic) -> (u64, u64, u64, u64) {
    (traffic.events, traffic.bytes_in, traffic.bytes_out, traffic.unscanned)
}

fn counts(kinds: &[(&'static str, u64)]) -> std::collections::BTreeMap<&'static str, u64> {
    kinds.iter().copied().collect()
}

/// What a link that holds everything says when something happens at the call that brings "c".
fn check(what: Fake, answer: (u64, u64, u64, u64), held: u64, dropped: u64) -> Account {
    let account = account(what);
    assert_eq!(
        (flow_of(account.answer), account.held, account.dropped),
        (answer, held, dropped),
        "{account:?}"
    );
    assert_eq!(flow_of(account.request), (1, 2, 2, 0));
    assert_eq!(account.exchanges, 1);
    account
}

/// [`holding`], but for one call.
fn holding_but_once(error: StageError, on_error: OnError) -> Fake {
    let make = move || {
        let (mut called, error) = (0, error.clone());
        move |batch: &Batch<'_>| {
            called += 1;
            if called == 3 {
                return Err(error.clone());
            }
            let holds = match (&batch.pieces[..], batch.closed) {
                // What passed with the failed call is out of reach.
                ([piece], []) => vec![Hold { lane: piece.lane, start: if called < 3 { 0 } else { 3 } }],
                _ => Vec::new(),
            };
            Ok(Outcome { holds, ..Outcome::default() })
        }
    };
    Fake::new(make).on_error(on_error)
}

#[test]
fn a_failure_leaves_exact_numbers() {
    let at_c = |error, on_error| holding().after(2, Err(error)).on_error(on_error);
    for error in [failure(), fault()] {
        let kind = error.kind();
        let account = check(at_c(error.clone(), OnError::FailOpen), (5, 5, 5, 5), 2, 0);
        assert_eq!((account.failures, account.calls), (counts(&[(kind, 1)]), 5));
        let account = check(at_c(error.clone(), OnError::FailClosed), (3, 3, 0, 0), 2, 3);
        assert_eq!((account.failures, account.calls), (counts(&[(kind, 1)]), 5));
    }
    check(holding_but_once(fault(), OnError::Skip), (5, 5, 5, 5), 2, 0);
    let account = check(holding_but_once(failure(), OnError::Skip), (5, 5, 5, 3), 2, 0);
    assert_eq!((account.failures, account.calls), (counts(&[("failed", 1)]), 9));
}

#[test]
fn a_link_that_never_was_leaves_everything_unscanned() {
    for (stage, request, calls) in [("start", 2, 0), ("open", 0, 2)] {
        for on_error in [OnError::FailOpen, OnError::Skip] {
            let error = if stage == "start" { fault() } else { failure() };
            let account = account(Fake::failing_at(stage, error).on_error(on_error));
            assert_eq!(flow_of(account.request), (1, 2, 2, request), "{stage} {on_error:?}");
            assert_eq!(flow_of(account.answer), (5, 5, 5, 5), "{stage} {on_error:?}");
            assert_eq!(account.calls, calls);
        }
    }
    let account = account(Fake::failing_at("finish", failure()).on_error(OnError::FailOpen));
    assert_eq!((flow_of(account.answer), account.failures), ((5, 5, 5, 0), counts(&[("failed", 1)])));
}

#[test]
fn a_request_that_nobody_looked_at_is_counted() {
    for (error, on_error, answer) in [
        (failure(), OnError::FailOpen, 5),
        (fault(), OnError::FailOpen, 5),
        (failure(), OnError::Skip, 0),
        (fault(), OnError::Skip, 5),
    ] {
        let account = account(Fake::deciding(Err(error)).on_error(on_error));
        assert_eq!(flow_of(account.request), (1, 2, 2, 2), "{on_error:?}");
        assert_eq!(flow_of(account.answer), (5, 5, 5, answer), "{on_error:?}");
    }
    let account = account(Fake::deciding(Err(failure())));
    assert_eq!((flow_of(account.request), flow_of(account.answer)), ((1, 2, 0, 0), (0, 0, 0, 0)));
}

#[test]
fn changes_of_a_request_are_counted_where_they_were_made() {
    let changes = vec![
        Change::SetText { item: 0, text: "hello".into() },
        Change::Insert { before: 0, role: "system".into(), text: "be kind".into() },
    ];
    let found = Finding { lane: 0, start: 0, end: 1, rule: "r".into() };
    let decision = Decision { changes, findings: vec![found], ..Decision::default() };
    let plugins = [Fake::deciding(Ok(decision)), Fake::answering(Ok(Outcome::default()))];
    read(&plugins, answer(&DELTAS));
    let [first, second] = plugins.map(|plugin| plugin.total.snapshot().request);
    assert_eq!(first, Traffic { events: 1, bytes_in: 2, bytes_out: 12, edits: 2, findings: 1, unscanned: 0 });
    assert_eq!(flow_of(second), (2, 12, 12, 0));
}

#[test]
fn a_monitor_reports_and_lets_nothing_pass_unscanned() {
    let monitor = Fake::new(|| {
        |batch: &Batch<'_>| {
            let found = |lane| Finding { lane, start: 0, end: 1, rule: "r".into() };
            let findings = batch.pieces.iter().map(|piece| found(piece.lane)).collect();
            Ok(Outcome { findings, ..Outcome::default() })
        }
    });
    let account = check(monitor, (5, 5, 5, 0), 0, 0);
    assert_eq!((account.answer.findings, account.answer.edits), (5, 0));
    let account = check(masking(&["bc", "e"], "***"), (5, 5, 8, 0), 1, 0);
    assert_eq!((account.answer.findings, account.answer.edits), (0, 2));
}

#[test]
fn a_stop_drops_what_is_held() {
    let stops = [("respond", Stop::Respond("no".into()), 3), ("block", Stop::Block("why".into()), 1)];
    for (kind, stop, last) in stops {
        let holds = vec![Hold { lane: 0, start: 1 }];
        let stopping = holding().after(1, Ok(Outcome { holds, stop: Some(stop), ..Outcome::default() }));
        let plugins = [masking(&["bx", "cx"], "*"), stopping, holding()];
        read(&plugins, answer(&DELTAS));
        let accounts = plugins.map(|plugin| plugin.total.snapshot());
        let flows = accounts.each_ref().map(|it| (it.answer.bytes_in, it.answer.bytes_out, it.dropped));
        assert_eq!(flows, [(3, 2, 1), (2, 1, 1), (last, last, 0)], "{kind}");
        assert_eq!(accounts.map(|it| it.stops), [counts(&[]), counts(&[(kind, 1)]), counts(&[])]);
    }
    let rejection = Rejection { status: 422, message: "no".into() };
    let stop = Some(Stop::Reject(rejection));
    let account = account(Fake::deciding(Ok(Decision { stop, ..Decision::default() })));
    assert_eq!((flow_of(account.request), account.stops), ((1, 2, 0, 0), counts(&[("reject", 1)])));
}

#[test]
fn what_is_held_of_a_lane_that_ends_is_dropped_by_a_stop() {
    let holds = vec![Hold { lane: 0, start: 1 }];
    let stop = Some(Stop::Block("why".into()));
    let plugin = Fake::answering(Ok(Outcome { holds, stop, ..Outcome::default() }));
    let total = Arc::clone(&plugin.total);
    read_body(&[plugin], &(delta("abc") + &finish()));
    assert_eq!((flow_of(total.snapshot().answer), total.snapshot().dropped), ((1, 3, 1, 0), 2));
}

#[test]
fn what_was_answered_with_a_fault_is_scanned() {
    let most = 1 << 20;
    let first = "x".repeat(most as usize);
    for (on_error, answer, dropped) in [
        (OnError::FailOpen, (2, most + 3, most + 2, most + 1), 0),
        (OnError::FailClosed, (2, most + 3, 0, 0), most + 2),
    ] {
        // Takes two bytes away and would keep one more than it may.
        let edit = Edit { lane: 0, start: 0, end: 2, text: "-".into() };
        let holds = vec![Hold { lane: 0, start: 2 }];
        let outcome = Outcome { edits: vec![edit], holds, ..Outcome::default() };
        let plugin = holding().after(1, Ok(outcome)).on_error(on_error);
        let total = Arc::clone(&plugin.total);
        read(&[plugin], support::answer(&[&first, "yyy"]));
        let account = total.snapshot();
        assert_eq!((flow_of(account.answer), account.dropped), (answer, dropped), "{on_error:?}");
    }
}

#[test]
fn a_client_that_goes_leaves_an_account() {
    let plugin = holding();
    let scene = Scene::new(std::slice::from_ref(&plugin), Script::parts([delta("ab")]).left_open());
    let mut stream = scene.stream().unwrap();
    while stream.next().now_or_never().is_some() {}
    assert_eq!(plugin.total.snapshot(), Account::default());
    drop(stream);
    let account = plugin.total.snapshot();
    assert_eq!((account.exchanges, flow_of(account.answer), account.dropped), (1, (1, 2, 0, 0), 2));
}

/// What a link does in one call: fails, or replaces so many characters and keeps so many.
#[derive(Debug, Clone)]
enum Deed {
    Fail,
    Release { mask: usize, keep: usize },
}

/// A link that does these deeds in turn, and what its account must be. Its text is ASCII.
#[derive(Debug, Clone)]
struct Doer {
    deeds: Vec<Deed>,
    on_error: OnError,
    error: StageError,
}

impl Doer {
    fn fake(&self) -> Fake {
        let deeds = self.deeds.clone();
        let make = {
            let error = self.error.clone();
            move || {
                let (mut deeds, error) = (deeds.clone().into_iter(), error.clone());
                let (mut start, mut end) = (0_u32, 0_u32);
                move |batch: &Batch<'_>| {
                    end += batch
                        .pieces
                        .iter()
                        .map(|piece| u32::try_from(piece.text.len()).unwrap())
                        .sum::<u32>();
                    match deeds.next() {
                        _ if !batch.closed.is_empty() => Ok(Outcome::default()),
                        Some(Deed::Fail) => {
                            start = end;
                            Err(error.clone())
                        }
                        Some(Deed::Release { mask, keep }) => {
                            let hold = end - u32::try_from(keep).unwrap().min(end - start);
                            let to = (start + u32::try_from(mask).unwrap()).min(hold);
                            let edit = Edit { lane: 0, start, end: to, text: "#".into() };
                            let edits = (start < to).then_some(edit).into_iter().collect();
                            start = hold;
                            Ok(Outcome {
                                edits,
                                holds: vec![Hold { lane: 0, start: hold }],
                                ..Outcome::default()
                            })
                        }
                        None => {
                            start = end;
                            Ok(Outcome::default())
                        }
                    }
                }
            }
        };
        Fake::new(make).on_error(self.on_error)
    }

    /// What the link makes of these pushes, the first of which opens the lane and the last of which closes it,
    /// if `closed`.
    fn model(&self, pushes: &[String], closed: bool) -> (Vec<String>, Account) {
        let mut account = Account { exchanges: 1, ..Account::default() };
        let (mut held, mut out, mut deeds) = (String::new(), false, self.deeds.iter());
        let mut released = Vec::new();
        for (at, new) in pushes.iter().enumerate() {
            let (first, last) = (at == 0, closed && at + 1 == pushes.len());
            let traffic = &mut account.answer;
            traffic.events += u64::from(!new.is_empty());
            traffic.bytes_in += new.len() as u64;
            held += new;
            // Nobody is asked where there is nothing new.
            let asked = !out && (first || last || !new.is_empty());
            let deed = if asked { deeds.next().cloned() } else { None };
            let mut rest = String::new();
            match deed {
                _ if out => traffic.unscanned += new.len() as u64,
                _ if !asked => rest = std::mem::take(&mut held),
                Some(Deed::Fail) if !last => {
                    traffic.unscanned += held.len() as u64;
                    out = self.on_error == OnError::FailOpen || matches!(self.error, StageError::Fault(_));
                }
                Some(Deed::Release { mask, keep }) if !last => {
                    rest = held.split_off(held.len() - keep.min(held.len()));
                    let mask = mask.min(held.len());
                    if mask > 0 {
                        traffic.edits += 1;
                        held.replace_range(..mask, "#");
                    }
                }
                _ => {}
            }
            traffic.bytes_out += held.len() as u64;
            released.push(std::mem::replace(&mut held, rest));
            account.held = account.held.max(held.len() as u64);
        }
        account.dropped = held.len() as u64;
        (released, account)
    }
}

fn doers() -> impl Strategy<Value = Doer> {
    let release = || (0..3_usize, 0..4_usize).prop_map(|(mask, keep)| Deed::Release { mask, keep });
    let deed = prop_oneof![4 => release(), 1 => Just(Deed::Fail)];
    let policy = prop_oneof![Just(OnError::FailOpen), Just(OnError::Skip)];
    (prop::collection::vec(deed, 0..10), policy, prop_oneof![Just(failure()), Just(fault())])
        .prop_map(|(deeds, on_error, error)| Doer { deeds, on_error, error })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn accounts_are_those_of_the_model(
        doers in prop::array::uniform3(doers()),
        deltas in prop::collection::vec("[a-z]{0,4}", 0..10),
        closed: bool,
    ) {
        let plugins = doers.each_ref().map(Doer::fake);
        let texts = deltas.iter().map(|text| delta(text));
        let script = Script::parts([role()].into_iter().chain(texts).chain(closed.then(finish)));
        let client = Client::of(Scene::new(&plugins, script.left_open()).stream().unwrap());

        // The lane opens with its first text.
        let mut pushes: Vec<String> = deltas.into_iter().skip_while(String::is_empty).collect();
        if closed && !pushes.is_empty() {
            pushes.push(String::new());
        }
        for (doer, plugin) in doers.iter().zip(&plugins) {
            let (released, expected) = doer.model(&pushes, closed);
            let account = plugin.total.snapshot();
            prop_assert_eq!(
                (account.answer, account.held, account.dropped),
                (expected.answer, expected.held, expected.dropped)
            );
            pushes = released;
        }
        prop_assert_eq!(client.text(), pushes.concat());
    }
}

#[test]
fn accounts_add_up() {
    let plugin = masking(&["bc"], "*");
    for _ in 0..2 {
        read(std::slice::from_ref(&plugin), answer(&DELTAS));
    }
    let total = plugin.total.snapshot();
    assert_eq!((total.exchanges, total.calls, total.held), (2, 18, 1));
    assert_eq!(flow_of(total.answer), (10, 10, 8, 0));
    assert!(total.usage.wall > Duration::ZERO, "a native link is timed by the chain");
}
