//! What links are shown, and what becomes of answers that break the contract and of links that fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::links::{Fake, failure, fault, holding, masking};
use super::support::*;
use super::*;
use crate::lane::{Batch, CloseReason, Edit, Hold, Outcome};
use crate::stage::{FaultKind, OnError, StageError};

/// Lets everything pass and asserts what every link may rely on.
fn recording(log: Arc<Mutex<Vec<String>>>) -> Fake {
    Fake::new(move || {
        let log = Arc::clone(&log);
        let mut lanes: BTreeMap<u32, Option<usize>> = BTreeMap::new();
        move |batch: &Batch<'_>| {
            for lane in batch.opened {
                assert_eq!(lanes.insert(lane.id, Some(0)), None, "opened once");
                log.lock().unwrap().push(format!("open {}:{:?}", lane.choice, lane.channel));
            }
            let mut seen = Vec::new();
            for piece in &batch.pieces {
                assert!(
                    !seen.contains(&piece.lane) && !piece.text.is_empty(),
                    "one piece per lane, with text"
                );
                seen.push(piece.lane);
                let length = lanes.get_mut(&piece.lane).unwrap().as_mut().expect("nothing after the close");
                assert_eq!(piece.offset as usize, *length, "no gaps");
                *length += piece.text.len();
                log.lock().unwrap().push(piece.text.to_owned());
            }
            for (lane, reason) in batch.closed {
                assert!(lanes.insert(*lane, None).unwrap().is_some(), "closed once");
                log.lock().unwrap().push(format!("{reason:?}"));
            }
            assert!(!batch.opened.is_empty() || !seen.is_empty() || !batch.closed.is_empty(), "never empty");
            Ok(Outcome::default())
        }
    })
}

#[test]
fn links_are_shown_contiguous_lanes() {
    let seen = |before: &[Fake], script: Script| {
        let log = Arc::default();
        let plugins = [before, &[recording(Arc::clone(&log))]].concat();
        let client = read(&plugins, script);
        assert_eq!(client.end, Some(End::Complete));
        log.lock().unwrap().clone()
    };
    assert_eq!(seen(&[], answer(&["a", "", "é"])), ["open 0:Text", "a", "é", "Stop"]);
    assert_eq!(seen(&[masking(&["bc"], "")], answer(&["ab", "c", "d"])), ["open 0:Text", "a", "d", "Stop"]);
    assert_eq!(seen(&[holding()], answer(&["a", "b"])), ["open 0:Text", "ab", "Stop"]);
    let halves =
        [delta("HALF").replace("HALF", "\\ud83d"), delta("HALF").replace("HALF", "\\ude00x"), finish()];
    assert_eq!(seen(&[], Script::parts(halves)), ["open 0:Text", "😀x", "Stop"]);
    let together =
        [delta("a"), delta("b"), frame(1, &serde_json::json!({"refusal": "c"}), Some("length")), finish()];
    assert_eq!(
        seen(&[], Script::parts([together.concat()])),
        ["open 0:Text", "open 1:Refusal", "ab", "c", "Stop", "Length"]
    );
}

#[test]
fn reasons_are_told() {
    for (reason, expected) in [
        ("stop", CloseReason::Stop),
        ("length", CloseReason::Length),
        ("tool_calls", CloseReason::ToolCalls),
        ("content_filter", CloseReason::ContentFilter),
        ("odd", CloseReason::Other),
    ] {
        let log = Arc::default();
        let body = delta("a") + &frame(0, &serde_json::json!({}), Some(reason));
        read_body(&[recording(Arc::clone(&log))], &body);
        assert_eq!(log.lock().unwrap().last(), Some(&format!("{expected:?}")));
    }
}

fn edit(lane: u32, start: u32, end: u32) -> Edit {
    Edit { lane, start, end, text: "*".into() }
}

fn answer_of(edits: Vec<Edit>, holds: &[(u32, u32)]) -> Outcome {
    let holds = holds.iter().map(|(lane, start)| Hold { lane: *lane, start: *start }).collect();
    Outcome { edits, holds, ..Outcome::default() }
}

#[test]
fn answers_that_break_the_contract_are_faults() {
    for (outcome, closes) in [
        (answer_of(vec![edit(0, 0, 9)], &[]), false),
        (answer_of(vec![edit(0, 3, 1)], &[]), false),
        (answer_of(vec![edit(0, 2, 3)], &[]), false),
        (answer_of(vec![edit(0, 1, 2)], &[]), false),
        (answer_of(vec![edit(0, 3, 4), edit(0, 0, 1)], &[]), false),
        (answer_of(vec![edit(0, 0, 3), edit(0, 1, 4)], &[]), false),
        (answer_of(vec![edit(1, 0, 0)], &[]), false),
        (answer_of(vec![], &[(1, 0)]), false),
        (answer_of(vec![], &[(0, 2)]), false),
        (answer_of(vec![], &[(0, 5)]), false),
        (answer_of(vec![], &[(0, u32::MAX)]), false),
        (answer_of(vec![], &[(0, 0), (0, 0)]), false),
        (answer_of(vec![edit(0, 0, 3)], &[(0, 1)]), false),
        (answer_of(vec![], &[(0, 4)]), true),
    ] {
        let body = delta("aéb") + if closes { finish() } else { String::new() }.as_str();
        let client = read_body(&[Fake::answering(Ok(outcome.clone()))], &body);
        let Some(End::Failed(ExchangeError::Plugin { error: StageError::Fault(fault), .. })) = client.end
        else {
            panic!("{outcome:?}: {:?}", client.end)
        };
        assert_eq!((fault.kind, client.frames.len()), (FaultKind::Contract, 0), "{outcome:?}");
    }
    // What was released is out of reach.
    let late = Fake::answering(Ok(Outcome::default())).after(1, Ok(answer_of(vec![edit(0, 0, 1)], &[])));
    assert!(matches!(
        read(&[late], answer(&["a", "b"])).end,
        Some(End::Failed(ExchangeError::Plugin { .. }))
    ));
}

#[test]
fn what_is_right_at_the_edge_is_no_fault() {
    for (outcome, expected) in [
        (answer_of(vec![edit(0, 0, 0), edit(0, 4, 4)], &[]), "*aéb*"),
        (answer_of(vec![edit(0, 0, 1), edit(0, 1, 3), edit(0, 3, 3), edit(0, 3, 4)], &[]), "****"),
        (answer_of(vec![edit(0, 1, 1)], &[(0, 1)]), "a*éb"),
        (answer_of(vec![], &[(0, 4)]), "aéb"),
    ] {
        let plugin = Fake::answering(Ok(outcome)).after(1, Ok(Outcome::default()));
        let client = read(&[plugin], Script::parts([delta("aéb"), finish()]));
        assert_eq!((client.text().as_str(), client.end), (expected, Some(End::Complete)));
    }
}

/// What the client has when a link that holds everything fails at its third call, with a mask behind it.
fn check_failure(on_error: OnError, error: StageError, expected: Result<&str, ()>) {
    let plugins = [holding().after(2, Err(error.clone())).on_error(on_error), masking(&["bc", "e"], "*")];
    let client = read(&plugins, answer(&["a", "b", "c", "d", "e"]));
    match expected {
        Ok(text) => assert_eq!((client.text().as_str(), client.end), (text, Some(End::Complete))),
        Err(()) => {
            let failed = End::Failed(ExchangeError::Plugin { plugin: "fake".into(), error });
            assert_eq!((client.text().as_str(), client.end), ("", Some(failed)));
        }
    }
}

#[test]
fn a_failure_goes_by_on_error() {
    for error in [failure(), fault()] {
        check_failure(OnError::FailClosed, error.clone(), Err(()));
        check_failure(OnError::FailOpen, error.clone(), Ok("a*d*"));
        check_failure(OnError::Skip, error, Ok("a*d*"));
    }
}

#[test]
fn a_link_that_failed_open_is_out_and_one_that_is_skipped_is_not() {
    let failing = |error: StageError| {
        Fake::new(move || {
            let (mut calls, error): (u32, _) = (0, error.clone());
            move |batch: &Batch<'_>| {
                calls += 1;
                if calls == 2 {
                    return Err(error.clone());
                }
                let edit = |piece: &crate::lane::Piece<'_>| edit(piece.lane, piece.offset, piece.offset);
                Ok(Outcome { edits: batch.pieces.iter().map(edit).collect(), ..Outcome::default() })
            }
        })
    };
    for (error, on_error, expected) in [
        (failure(), OnError::FailOpen, "*abc"),
        (fault(), OnError::FailOpen, "*abc"),
        (failure(), OnError::Skip, "*ab*c"),
        (fault(), OnError::Skip, "*abc"),
    ] {
        let client = read(&[failing(error).on_error(on_error)], answer(&["a", "b", "c"]));
        assert_eq!((client.text().as_str(), client.end), (expected, Some(End::Complete)));
    }
}

#[test]
fn a_link_that_failed_open_leaves_no_lane_held() {
    let of = |index: u32, text: &str| frame(index, &serde_json::json!({"content": text}), None);
    let parts = [of(0, "a"), of(1, "b"), of(1, "c")];
    let failing = holding().after(2, Err(failure())).on_error(OnError::FailOpen);
    let client = read(&[failing], Script::parts(&parts).left_open());
    assert_eq!((client.frames, client.end), (parts.to_vec(), None));
}

#[test]
fn a_broken_answer_has_no_effect_before_it_fails_open() {
    let outcome = answer_of(vec![edit(0, 0, 1), edit(0, 9, 9)], &[]);
    let client = read(&[Fake::answering(Ok(outcome)).on_error(OnError::FailOpen)], answer(&["ab", "c"]));
    assert_eq!((client.text().as_str(), client.end), ("abc", Some(End::Complete)));
}

#[test]
fn a_link_cannot_hold_more_than_its_limit() {
    let deltas = ["x".repeat(1 << 19), "y".repeat(1 << 19), "z".to_owned()];
    let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
    let client = read(&[holding()], answer(&deltas));
    let Some(End::Failed(ExchangeError::Plugin { error: StageError::Fault(fault), .. })) = client.end else {
        panic!("{:?}", client.end)
    };
    assert_eq!(fault.kind, FaultKind::Held);
    let client = read(&[holding().on_error(OnError::FailOpen)], answer(&deltas));
    assert_eq!((client.text(), client.end), (deltas.concat(), Some(End::Complete)));
}

#[test]
fn every_stage_can_fail() {
    for stage in ["start", "open", "finish"] {
        let failing = |on_error| Fake::failing_at(stage, failure()).on_error(on_error);
        for on_error in [OnError::FailOpen, OnError::Skip] {
            let client = read(&[failing(on_error)], answer(&["a"]));
            assert_eq!((client.text().as_str(), client.end), ("a", Some(End::Complete)), "{stage}");
        }
        let expected = ExchangeError::Plugin { plugin: "fake".into(), error: failure() };
        let stream = Scene::new(&[failing(OnError::FailClosed)], answer(&["a"])).stream();
        match stream.map(client::Client::of) {
            Ok(client) => assert_eq!((stage, client.end), ("finish", Some(End::Failed(expected)))),
            Err(error) => assert_eq!(error, expected, "{stage}"),
        }
    }
}
