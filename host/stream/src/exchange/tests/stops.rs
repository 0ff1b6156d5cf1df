//! `reject`, `respond` and `block`, of processors and of modifiers, at first and later.

use serde_json::{Value, json};

use super::client::Client;
use super::links::{Fake, appending, failure, holding, masking};
use super::support::*;
use super::*;
use crate::item::Decision;
use crate::lane::{Batch, Edit, Hold, Outcome, Piece, Rejection, Stop};
use crate::stage::OnError;

fn respond() -> Stop {
    Stop::Respond("no.".into())
}

fn block() -> Stop {
    Stop::Block("why".into())
}

fn rejection() -> Rejection {
    Rejection { status: 422, message: "not this".into() }
}

fn rejected() -> ExchangeError {
    ExchangeError::Rejected { plugin: "fake".into(), rejection: rejection() }
}

/// Lets `calls` calls pass, then stops behind the text of the next.
fn adding(calls: usize, stop: Stop) -> Fake {
    Fake::answering(Ok(Outcome::default()))
        .after(calls, Ok(Outcome { stop: Some(stop), ..Outcome::default() }))
}

/// Lets `calls` calls pass, then stops in the place of the text of the next.
fn stopping(calls: usize, stop: Stop) -> Fake {
    Fake::new(move || {
        let (mut called, stop) = (0, stop.clone());
        move |batch: &Batch<'_>| {
            called += 1;
            if called <= calls {
                return Ok(Outcome::default());
            }
            let end = |piece: &Piece<'_>| piece.offset + u32::try_from(piece.text.len()).unwrap();
            let gone = |piece: &Piece<'_>| Edit {
                lane: piece.lane,
                start: piece.offset,
                end: end(piece),
                text: String::new(),
            };
            let edits = batch.pieces.iter().map(gone).collect();
            Ok(Outcome { edits, stop: Some(stop.clone()), ..Outcome::default() })
        }
    })
}

fn check(client: &Client, text: &str, reason: &str) {
    assert_eq!((client.text().as_str(), &client.end), (text, &Some(End::Stopped)));
    assert_eq!(client.finishes(), [(0, reason.to_owned())]);
    let chunks = client.chunks();
    let roles: Vec<_> =
        chunks.iter().filter(|chunk| chunk["choices"][0]["delta"]["role"] == "assistant").collect();
    assert_eq!((roles.len(), roles[0]), (1, &chunks[0]), "the first chunk has the role: {chunks:?}");
}

#[test]
fn a_processor_stops_before_the_model_is_asked() {
    let stop = |stop| Fake::deciding(Ok(Decision { stop: Some(stop), ..Decision::default() }));
    for (plugin, text, reason) in [(stop(respond()), "no.", "stop"), (stop(block()), "", "content_filter")] {
        let scene = Scene::new(std::slice::from_ref(&plugin), answer(&["a"]));
        let client = Client::of(scene.stream().unwrap());
        assert_eq!((client.text().as_str(), client.end.clone()), (text, Some(End::Stopped)));
        assert_eq!(client.finishes(), [(0, reason.to_owned())]);
        assert!(scene.upstream.asked.lock().unwrap().is_empty());
        let body: Value = serde_json::from_str(&Scene::new(&[plugin], answer(&[])).whole().unwrap()).unwrap();
        let expected =
            json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason});
        assert_eq!(body["choices"], json!([expected]));
    }
    let rejecting = [stop(Stop::Reject(rejection()))];
    assert_eq!(Scene::new(&rejecting, answer(&["a"])).stream().unwrap_err(), rejected());
    let modified = [stop(respond()), appending("!")];
    assert_eq!(read(&modified, answer(&["a"])).text(), "no.!");
}

#[test]
fn a_stop_answers_every_choice_that_was_asked_for() {
    let ask = |plugin: Fake, script, streaming: bool| {
        let scene = Scene::new(&[plugin], script);
        let message = json!({"role": "user", "content": "hi"});
        scene.run(&json!({"model": "m", "n": 3, "stream": streaming, "messages": [message]})).unwrap()
    };
    let three = |reason: &str| (0..3).map(|index| (index, reason.to_owned())).collect::<Vec<_>>();
    let before = || Fake::deciding(Ok(Decision { stop: Some(respond()), ..Decision::default() }));
    // The upstream has begun one of them.
    let begun = || Script::parts([role(), delta("a"), delta("b")]);
    for (plugin, script, first, end) in [
        (before(), answer(&[]), "no.", End::Stopped),
        (stopping(1, respond()), begun(), "ano.", End::Stopped),
    ] {
        let Reply::Stream(stream) = ask(plugin, script, true) else { panic!("a stream was asked for") };
        let client = Client::of(stream);
        let texts: Vec<String> = client.texts().into_values().collect();
        assert_eq!(texts, [first, "no.", "no."]);
        assert_eq!((client.finishes(), client.end), (three("stop"), Some(end)));
    }
    let Reply::Whole(body) = ask(before(), answer(&[]), false) else { panic!("a body was asked for") };
    let body: Value = serde_json::from_slice(&body).unwrap();
    let texts: Vec<&Value> =
        body["choices"].as_array().unwrap().iter().map(|choice| &choice["message"]["content"]).collect();
    assert_eq!(texts, ["no.", "no.", "no."]);
}

#[test]
fn a_processor_chooses_the_model_or_fails() {
    let route =
        |model: &str| Fake::deciding(Ok(Decision { route: Some(model.into()), ..Decision::default() }));
    assert_eq!(read(&[route("other")], answer(&["a"])).text(), "a");
    let unknown = Scene::new(&[route("none")], answer(&[])).stream().unwrap_err();
    assert_eq!(unknown, ExchangeError::UnknownModel("none".into()));
    assert_eq!(
        read(&[Fake::deciding(Err(failure())).on_error(OnError::FailOpen)], answer(&["a"])).text(),
        "a"
    );
    let failed = Scene::new(&[Fake::deciding(Err(failure()))], answer(&[])).stream().unwrap_err();
    assert_eq!(failed, ExchangeError::Plugin { plugin: "fake".into(), error: failure() });
}

/// Two models, with a pipeline and an upstream each.
struct Two {
    m: Scene,
    other: Scene,
}

impl Routes for Two {
    fn route(&self, model: &str, asking: Asking<'_>) -> Option<Route> {
        if model == "m" { self.m.route("m", asking) } else { self.other.route("m", asking) }
    }
}

#[test]
fn another_model_is_asked_within_the_same_pipeline() {
    let route = Fake::deciding(Ok(Decision { route: Some("other".into()), ..Decision::default() }));
    let m = Scene::new(&[route, masking(&["secret"], "*")], answer(&["m"]));
    let two = Two { m, other: Scene::new(&[appending(" more")], answer(&["a secret"])) };
    let body =
        json!({ "model": "m", "stream": true, "messages": [{ "role": "user", "content": "my secret" }] });
    let incoming = Incoming { body: body.to_string().into(), ..Incoming::default() };
    let Ok(Reply::Stream(stream)) = ready(run(&two, incoming)) else { panic!("a stream was asked for") };
    assert_eq!(Client::of(stream).text(), "a *");
    assert_eq!(two.m.upstream.asked.lock().unwrap().len(), 0);
    assert_eq!(two.other.upstream.asked.lock().unwrap().len(), 1);
}

#[test]
fn a_modifier_stops_at_its_first_call_or_later_at_any_chunking() {
    let body = [role(), delta("a"), delta("b"), finish(), usage(), DONE.to_owned()];
    for (calls, text) in [(0, ""), (1, "a"), (2, "ab")] {
        check(&read(&[stopping(calls, respond())], Script::parts(&body)), &format!("{text}no."), "stop");
        check(&read(&[stopping(calls, block())], Script::parts(&body)), text, "content_filter");
    }
    // One read: all of it is one batch.
    check(&read_body(&[stopping(0, respond())], &body.concat()), "no.", "stop");
    check(&read_body(&[stopping(0, block())], &body.concat()), "", "content_filter");
    let role_and_text = frame(0, &json!({"role": "assistant", "content": "a"}), Some("stop"));
    check(&read_body(&[stopping(0, block())], &role_and_text), "", "content_filter");
    check(&read_body(&[stopping(0, respond())], &role_and_text), "no.", "stop");
}

#[test]
fn a_rejection_after_the_head_ends_the_stream_as_failed() {
    let client = read(&[stopping(1, Stop::Reject(rejection()))], answer(&["a", "b"]));
    assert_eq!((client.text().as_str(), client.end), ("a", Some(End::Failed(rejected()))));
    let client = read(&[stopping(0, Stop::Reject(rejection()))], Script::parts([delta("a")]));
    assert_eq!((client.frames.len(), client.end), (0, Some(End::Failed(rejected()))));
}

#[test]
fn edits_and_holds_count_before_the_stop() {
    let outcome = |stop| Outcome {
        edits: vec![Edit { lane: 0, start: 1, end: 2, text: "*".into() }],
        holds: vec![Hold { lane: 0, start: 3 }],
        stop: Some(stop),
        ..Outcome::default()
    };
    for (stop, text, reason) in [(respond(), "a*cno.", "stop"), (block(), "a*c", "content_filter")] {
        let stopping = Fake::answering(Ok(outcome(stop)));
        check(&read(std::slice::from_ref(&stopping), answer(&["abcde", "f"])), text, reason);
        // So too where the lane ends with the same batch: all of the answer in one read.
        let body = [role(), delta("abcde"), finish(), DONE.to_owned()].concat();
        check(&read_body(std::slice::from_ref(&stopping), &body), text, reason);
        // What links before it hold is dropped, what links behind it hold leaves through them.
        check(&read(&[masking(&["x"], ""), stopping.clone()], answer(&["abcdex", "f"])), text, reason);
        let masked = text.replace("cno", "_");
        let expected = if reason == "stop" { masked.as_str() } else { "a*c" };
        check(&read(&[stopping, masking(&["cno"], "_")], answer(&["abcde", "f"])), expected, reason);
    }
}

#[test]
fn later_links_are_told_why_and_may_add() {
    let plugins = [holding(), stopping(1, block()), appending("!")];
    check(&read(&plugins, answer(&["a", "b"])), "!", "content_filter");
    let plugins = [stopping(1, block()), appending("!")];
    check(&read(&plugins, answer(&["a", "b"])), "a!", "content_filter");
    let all = [adding(1, respond()), adding(1, Stop::Respond("yes.".into())), adding(1, block())];
    check(&read(&all, answer(&["a", "b"])), "abno.yes.", "content_filter");
    let only_reasoning = [role(), frame(0, &json!({"reasoning": "hm"}), None)];
    check(
        &read(&[adding(0, respond()), adding(0, respond())], Script::parts(only_reasoning)),
        "no.no.",
        "stop",
    );
}

#[test]
fn every_unfinished_choice_ends() {
    let of = |index: u32, text: &str| frame(index, &json!({"content": text}), None);
    let begun =
        [frame(0, &json!({"role": "assistant"}), None), frame(1, &json!({"role": "assistant"}), None)];
    let text =
        |client: &Client, choice| client.texts().remove(&(choice, "content".to_owned())).unwrap_or_default();
    // Choice 1 has no text yet.
    let parts = [begun.concat(), of(0, "a"), of(0, "b")];
    let client = read(&[stopping(1, respond())], Script::parts(parts));
    assert_eq!((text(&client, 0).as_str(), text(&client, 1).as_str()), ("ano.", "no."));
    assert_eq!(client.finishes(), [(0, "stop".to_owned()), (1, "stop".to_owned())]);
    // Choice 0 has its finish reason.
    let parts = [begun.concat(), of(0, "a"), frame(0, &json!({}), Some("length")), of(1, "b")];
    for stop in [respond(), block()] {
        let client = read(&[stopping(2, stop)], Script::parts(&parts));
        assert_eq!(text(&client, 0), "a");
        assert_eq!(client.finishes()[0], (0, "length".to_owned()));
        assert_eq!((client.finishes().len(), client.end), (2, Some(End::Stopped)));
    }
    // It has it in a frame of which another part is held.
    let both =
        json!([{"index": 1, "delta": {"content": "xs"}}, {"index": 0, "delta": {}, "finish_reason": "stop"}]);
    let plugins = [masking(&["s!"], "*"), stopping(1, block())];
    let client = read(&plugins, Script::parts([begun.concat(), frame_of(&both), of(1, "y")]));
    assert_eq!(client.finishes(), [(0, "stop".to_owned()), (1, "content_filter".to_owned())]);
}

#[test]
fn a_stop_is_the_end_of_tool_calls_too_and_usage_is_kept() {
    let call = json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]});
    let body = [role(), delta("a"), frame(0, &call, None), frame(0, &json!({}), Some("tool_calls")), usage()]
        .concat();
    let client = read_body(&[stopping(0, block())], &body);
    check(&client, "", "content_filter");
    assert!(!client.body().contains("tool_calls"));
    assert_eq!(client.frames.last(), Some(&usage()));
}

#[test]
fn usage_that_stands_beside_choices_is_kept() {
    let counted = |frame: String, tokens: u32| {
        frame.trim_end().strip_suffix('}').unwrap().to_owned()
            + &format!(",\"usage\":{{\"total_tokens\":{tokens}}}}}\n\n")
    };
    // DeepSeek has it in the last frame, vLLM on demand in each.
    let last = [role(), delta("a"), counted(finish(), 3), DONE.to_owned()].concat();
    let each = [counted(role(), 1), counted(delta("a"), 2), counted(delta("b"), 3)].concat();
    for stop in [respond(), block()] {
        for body in [&last, &each] {
            let client = read_body(&[stopping(0, stop.clone())], body);
            let usages: Vec<Value> = client
                .chunks()
                .iter()
                .map(|chunk| chunk["usage"].clone())
                .filter(|it| !it.is_null())
                .collect();
            assert_eq!(usages, [json!({"total_tokens": 3})]);
            assert_eq!((client.finishes().len(), client.end), (1, Some(End::Stopped)));
        }
        // Of two, the frame of its own counts, and what the client has is not told again.
        let client = read_body(&[stopping(0, stop.clone())], &(each.clone() + &finish() + &usage()));
        assert!(!client.body().contains("total_tokens") && client.frames.last() == Some(&usage()));
        let parts = [counted(role(), 1), counted(delta("a"), 2), delta("b")];
        let client = read(&[stopping(1, stop)], Script::parts(parts));
        assert_eq!(client.body().matches("total_tokens").count(), 2);
    }
}
