//! Exactly one end, the right one; nothing held leaves by a failure; nothing is left behind.

use std::sync::Arc;

use super::client::Client;
use super::links::{Fake, failure, holding, looking, masking};
use super::support::*;
use super::*;
use crate::lane::{Outcome, Stop};
use crate::stage::{OnError, StageError};
use crate::upstream::Tokens;

fn failure_of(client: &Client) -> &UpstreamError {
    match &client.end {
        Some(End::Failed(ExchangeError::Upstream(error))) => error,
        end => panic!("{end:?}"),
    }
}

fn reported(message: &str) -> UpstreamError {
    UpstreamError::Reported(message.into())
}

/// A body that goes wrong behind "ab", of which the mask holds the "b".
fn check(rest: &str, is_expected: impl Fn(&UpstreamError) -> bool) {
    for size in [1, 10_000] {
        let body = role() + &delta("a") + &delta("b") + rest;
        let client = read(&[masking(&["bc"], "*")], Script::parts(body.as_bytes().chunks(size)));
        assert_eq!(client.text(), "a", "what was good is out, what is held is not");
        assert!(is_expected(failure_of(&client)), "{rest:?}: {:?}", client.end);
    }
}

#[test]
fn an_answer_that_breaks_off_never_looks_complete() {
    let incomplete = |error: &UpstreamError| matches!(error, UpstreamError::Incomplete(_));
    check("", incomplete);
    check(DONE, incomplete);
    check("data: [DONE", incomplete);
    check("data: {\"choices\":[{\"ind", incomplete);
    check(delta("x").trim_end(), incomplete);
    let other = frame(1, &serde_json::json!({"content": "x"}), Some("stop"));
    let client = read_body(&[], &(other + &delta("a") + DONE));
    assert!(incomplete(failure_of(&client)), "a choice without a finish reason");
    for nothing in ["", ": hi\n\n", "data: {\"choices\":[]}\n\n", DONE] {
        let client = read_body(&[], nothing);
        assert!(incomplete(failure_of(&client)) && client.frames.is_empty(), "{nothing:?}");
    }
}

#[test]
fn what_cannot_be_read_fails_the_answer() {
    for rest in [
        "data: {\"choices\":\n\n",
        "data: hello\n\n",
        "data: [1,2,3]\n\n",
        "data: {\"choices\":7}\n\n",
        "data: {\"id\":\"x\"}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":7}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"x\",\"content\":\"y\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"message\":{\"content\":\"y\"}}]}\n\n",
        "data: {\"choices\":[],\"choices\":[]}\n\n",
        "data: {\"choices\":[{\"index\":-1}]}\n\n",
        "data: {\"choices\":[{\"index\":99999999999}]}\n\n",
        "data: {\"choices\":[{\"finish_reason\":7}]}\n\n",
        "data: {\"choices\":[{\"delta\":\"x\"}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\ud83\"}}]}\n\n",
    ] {
        check(rest, |error| matches!(error, UpstreamError::Protocol(_)));
    }
    let many: Vec<_> =
        (0..1000).map(|index| serde_json::json!({"index": index, "delta": {"content": "x"}})).collect();
    check(&frame_of(&many.into()), |error| matches!(error, UpstreamError::Protocol(_)));
    let deep = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":{}", "[".repeat(1 << 20));
    check(&(deep + "\n\n"), |error| matches!(error, UpstreamError::Protocol(_)));
}

#[test]
fn text_behind_its_finish_reason_fails_the_answer() {
    let after = delta("a") + &finish() + &delta("") + &finish() + &delta("x");
    let client = read_body(&[looking()], &after);
    assert!(matches!(failure_of(&client), UpstreamError::Protocol(_)));
    assert_eq!(client.frames.len(), 4);
    let one =
        serde_json::json!([{"index": 1, "delta": {"content": "y"}}, {"index": 0, "delta": {"content": "x"}}]);
    let client = read_body(&[looking()], &(delta("a") + &finish() + &frame_of(&one)));
    assert_eq!(client.frames.len(), 2, "nothing leaves of a frame that is wrong");
}

#[test]
fn errors_of_the_upstream_are_told() {
    let error = "data: {\"error\":{\"message\":\"overloaded\",\"code\":1}}\n\n";
    check(error, |error| *error == reported("overloaded"));
    check("data: {\"error\":\"overloaded\",\"choices\":[]}\n\n", |error| *error == reported("overloaded"));
    check("event: error\ndata: {\"message\":\"overloaded\"}\n\n", |error| *error == reported("overloaded"));
    check("event: error\ndata: overloaded\n\n", |error| *error == reported("overloaded"));
    // llama.cpp.
    let field = "error: {\"code\":400,\"message\":\"overloaded\",\"type\":\"x\"}\n\ndata: [DONE]\n\n";
    check(field, |error| *error == reported("overloaded"));
    check(&field.replace('\n', "\r"), |error| *error == reported("overloaded"));
    check(&frame(0, &serde_json::json!({"content": ""}), Some("error")), |error| {
        matches!(error, UpstreamError::Reported(_))
    });
    let client = read_body(&[], error);
    assert_eq!((failure_of(&client), client.frames.len()), (&reported("overloaded"), 0));
    assert_eq!(
        read_body(&[], &(delta("a") + "data: {\"error\":null,\"choices\":[]}\n\n" + &finish())).end,
        Some(End::Complete)
    );
}

#[test]
fn errors_of_the_connection_are_told() {
    let lost = || UpstreamError::Incomplete("connection reset".into());
    let parts = vec![Ok(Bytes::from(delta("a") + &delta("b"))), Err(lost()), Ok(Bytes::from(finish()))];
    let client = read(&[masking(&["bc"], "*")], Script::Stream { parts, open: false });
    assert_eq!((client.text().as_str(), failure_of(&client)), ("a", &lost()));
    let unreachable = UpstreamError::Unreachable("refused".into());
    let error = Scene::new(&[], Script::Error(unreachable.clone())).stream().unwrap_err();
    assert_eq!(error, ExchangeError::Upstream(unreachable));
}

#[test]
fn what_follows_the_marker_is_not_read() {
    for rest in [delta("x"), "data: nonsense\n\n".to_owned(), "data: {\"err".to_owned()] {
        let client = read_body(&[], &(delta("a") + &finish() + DONE + &rest));
        assert_eq!((client.text().as_str(), client.end), ("a", Some(End::Complete)));
    }
}

#[test]
fn a_link_that_fails_closed_lets_nothing_held_leave() {
    let failing = holding().after(2, Err(StageError::Failed("no".into())));
    let client = read(&[failing.clone(), masking(&["x"], "*")], answer(&["a", "b", "c"]));
    assert_eq!(client.text(), "");
    assert!(matches!(client.end, Some(End::Failed(ExchangeError::Plugin { .. }))));
    let client =
        read(&[masking(&["x"], "*"), failing.on_error(OnError::FailOpen)], answer(&["a", "b", "cx"]));
    assert_eq!((client.text().as_str(), client.end), ("abc*", Some(End::Complete)));
}

/// An answer of these parts to a request for so many choices.
fn read_choices(plugin: Fake, choices: u32, parts: &[String]) -> Client {
    let message = serde_json::json!({"role": "user", "content": "hi"});
    let request = serde_json::json!({"model": "m", "n": choices, "stream": true, "messages": [message]});
    match Scene::new(&[plugin], Script::parts(parts)).run(&request) {
        Ok(Reply::Stream(stream)) => Client::of(stream),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_whose_link_fails_at_its_end_does_not_look_whole() {
    let failing = || Fake::failing_at("finish", failure());
    let fails = |client: &Client| matches!(client.end, Some(End::Failed(ExchangeError::Plugin { .. })));
    let of = |index, text, reason| frame(index, &serde_json::json!({ "content": text }), reason);
    let one = [role(), delta("a"), delta("b"), finish(), usage(), DONE.to_owned()];
    let two = [of(0, "a", None), of(1, "x", None), of(0, "b", Some("stop")), of(1, "y", None)];
    let two = [&two[..], &[of(1, "", Some("length")), usage(), DONE.to_owned()]].concat();
    let (text, other) = ((0, "content".to_owned()), (1, "content".to_owned()));
    for at_once in [false, true] {
        let parts = |parts: &[String]| if at_once { vec![parts.concat()] } else { parts.to_vec() };
        let client = read_choices(failing(), 1, &parts(&one));
        assert!(fails(&client));
        assert_eq!((client.text().as_str(), client.finishes(), client.frames.len()), ("ab", vec![], 3));
        let client = read_choices(failing(), 2, &parts(&two));
        assert!(fails(&client));
        assert_eq!((client.texts()[&text].as_str(), client.texts()[&other].as_str()), ("ab", "xy"));
        assert_eq!((client.finishes(), client.frames.len()), (vec![(0, "stop".to_owned())], 4));

        let stop = Stop::Block("why".into());
        let stopping =
            failing().after(usize::from(!at_once), Ok(Outcome { stop: Some(stop), ..Outcome::default() }));
        let client = read_choices(stopping, 1, &parts(&one[..3]));
        assert!(fails(&client));
        assert_eq!((client.text().as_str(), client.finishes()), ("ab", vec![]));

        let client = read_choices(failing().on_error(OnError::FailOpen), 1, &parts(&one));
        assert_eq!((client.body(), client.end), (one[..5].concat(), Some(End::Complete)));
    }
}

#[test]
fn nothing_flows_once_the_links_know_the_end() {
    let late = delta("a") + &finish() + &frame(1, &serde_json::json!({"content": "b"}), Some("stop"));
    for parts in
        [vec![late.clone()], vec![delta("a") + &finish(), late[(delta("a") + &finish()).len()..].into()]]
    {
        let client = read(&[looking()], Script::parts(&parts));
        assert!(matches!(failure_of(&client), UpstreamError::Protocol(_)));
        assert_eq!((client.text().as_str(), client.frames.len()), ("a", 2));
    }
    assert_eq!(read_body(&[], &late).end, Some(End::Complete));
    let client = read_choices(looking(), 2, &[late]);
    assert_eq!((client.finishes().len(), client.end), (2, Some(End::Complete)));
}

#[test]
fn what_waits_for_held_text_is_bounded() {
    let long = format!("data: {{\"x\":\"{}\",{}", "x".repeat(1 << 20), &delta("s")["data: {".len()..]);
    let client = read(&[holding()], Script::parts(std::iter::repeat_n(long, 65)));
    assert!(matches!(failure_of(&client), UpstreamError::Protocol(_)));
    assert_eq!(client.frames.len(), 0);
}

#[test]
fn a_stream_that_is_dropped_or_has_ended_leaves_nothing_behind() {
    let plugin: Fake = holding();
    let scene = Scene::new(std::slice::from_ref(&plugin), answer(&["a", "b"]).left_open());
    let alone = Arc::strong_count(&plugin.guard);
    let mut stream = scene.stream().unwrap();
    assert!(stream.next().now_or_never().is_some());
    assert!(Arc::strong_count(&plugin.guard) > alone && Arc::strong_count(&scene.upstream.guard) > 1);
    drop(stream);
    assert_eq!((Arc::strong_count(&plugin.guard), Arc::strong_count(&scene.upstream.guard)), (alone, 1));
    let mut stream = scene.stream().unwrap();
    while !matches!(stream.next().now_or_never().unwrap(), Some(StreamEvent::End(_))) {}
    assert_eq!(
        (Arc::strong_count(&plugin.guard), Arc::strong_count(&scene.upstream.guard)),
        (alone, 1),
        "at the end"
    );
    let unknown =
        scene.run(&serde_json::json!({"model": "none", "messages": [{"role": "user", "content": ""}]}));
    assert_eq!(unknown.unwrap_err(), ExchangeError::UnknownModel("none".into()));
}

#[test]
fn the_upstream_is_read_as_fast_as_the_client_reads() {
    let scene = Scene::new(&[masking(&["zz"], "*")], answer(&["a", "b", "c", "d", "e"]));
    let mut stream = scene.stream().unwrap();
    for parts in 0..6 {
        assert_eq!(scene.upstream.read.load(std::sync::atomic::Ordering::Relaxed), parts);
        assert!(matches!(ready(stream.next()), Some(StreamEvent::Frame(_))));
    }
}

#[test]
fn who_watches_hears_once_how_an_answer_went() {
    let told = Some(Tokens { prompt: 1, completion: 2 });
    let incomplete = |what: &str| Some(UpstreamError::Incomplete(what.into()));
    let cut = Script::parts([role(), delta("a"), usage()]);
    let lost = UpstreamError::Timeout("idle");
    let parts = vec![Ok(Bytes::from(role())), Err(lost.clone())];
    for (script, tokens, error) in [
        (answer(&["a"]), told, None),
        (cut, told, incomplete("choice 0 has no finish reason")),
        (Script::Stream { parts, open: false }, None, Some(lost)),
        (
            Script::parts([delta("a"), "data: {\"error\":\"no\"}\n\n".into()]),
            None,
            Some(UpstreamError::Reported("no".into())),
        ),
    ] {
        let scene = Scene::new(&[looking()], script);
        Client::of(scene.stream().unwrap());
        assert_eq!(*scene.upstream.heard.0.lock().unwrap(), [(tokens, error)]);
    }
    // The client has gone.
    let scene = Scene::new(&[], answer(&["a"]).left_open());
    let mut stream = scene.stream().unwrap();
    while let Some(Some(StreamEvent::Frame(_))) = stream.next().now_or_never() {}
    drop(stream);
    assert_eq!(*scene.upstream.heard.0.lock().unwrap(), [(told, None)]);
    // A link has failed.
    let scene = Scene::new(&[Fake::failing_at("open", StageError::Failed("no".into()))], answer(&["a"]));
    scene.stream().unwrap_err();
    assert_eq!(*scene.upstream.heard.0.lock().unwrap(), [(None, None)]);
}

#[test]
fn tokens_of_a_whole_answer_are_told() {
    for (usage, tokens) in [
        (
            r#"{"prompt_tokens":7,"completion_tokens":9,"total_tokens":16}"#,
            Some(Tokens { prompt: 7, completion: 9 }),
        ),
        (r#"{"prompt_tokens":7}"#, Some(Tokens { prompt: 7, completion: 0 })),
        ("null", None),
        (r#"{"prompt_tokens":"7"}"#, None),
    ] {
        let body = format!(
            r#"{{"choices":[{{"message":{{"content":"a"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
        );
        let scene = Scene::new(&[], Script::Whole(body));
        scene.whole().unwrap();
        assert_eq!(*scene.upstream.heard.0.lock().unwrap(), [(tokens, None)]);
    }
}
