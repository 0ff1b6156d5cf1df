//! What the client sees of edits and holds, by example; `splits` has it for every input.

use serde_json::{Value, json};

use super::client::Client;
use super::links::{Fake, appending, holding, masked, masking};
use super::support::*;
use super::*;

/// The deltas as the client gets them, one read per delta.
fn check(plugins: &[Fake], deltas: &[&str], expected: &[&str]) {
    let client = read(plugins, answer(deltas));
    let content = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    let mut got: Vec<String> = client.chunks().iter().filter_map(content).collect();
    assert_eq!(got.remove(0), "", "the role frame");
    assert_eq!(got, expected);
    assert_eq!((client.finishes(), client.end), (vec![(0, "stop".to_owned())], Some(End::Complete)));
    assert_eq!(client.frames.last(), Some(&usage()));
}

#[test]
fn a_match_is_replaced_and_what_is_around_it_is_not() {
    check(&[masking(&["secret"], "***")], &["my secret", " is safe"], &["my ***", " is safe"]);
    check(&[masking(&["secret"], "***")], &["my se", "cr", "et is safe"], &["my ", "***", " is safe"]);
    check(&[masking(&["secret"], "")], &["secret", "se", "cret", "x"], &["x"]);
    check(&[masking(&["secret"], "***")], &["sec", "ond"], &["sec", "ond"]);
    check(&[masking(&["a"], "b"), masking(&["bc"], "d")], &["a", "c", "c"], &["d", "c"]);
}

#[test]
fn nothing_waits_that_can_no_longer_be_a_match() {
    let plugins = [masking(&["abcab!"], "*")];
    let deltas = ["xab", "cab", "cax", "a"];
    for sent in 0..=deltas.len() {
        let client = read(&plugins, Script::parts(deltas[..sent].iter().map(|text| delta(text))).left_open());
        let so_far = deltas[..sent].concat();
        assert_eq!(client.text(), masked(&so_far, &["abcab!"], "*", false));
        assert_eq!(client.end, None);
    }
}

#[test]
fn an_insertion_at_the_end_comes_before_the_finish() {
    check(&[appending("🙂")], &["a", "b"], &["a", "b", "🙂"]);
    check(&[appending("🙂"), appending("!")], &["a"], &["a", "🙂!"]);
    check(&[holding(), appending("🙂")], &["a", "b"], &["a", "b🙂"]);
    check(&[appending("🙂"), holding()], &["a", "b"], &["a", "b🙂"]);
    check(&[appending("se"), masking(&["sec", "se"], "*")], &["a"], &["a", "*"]);
    let client = read_body(&[appending("🙂")], &(frame(0, &json!({"content": "a"}), Some("stop")) + DONE));
    assert_eq!((client.text().as_str(), client.frames.len()), ("a🙂", 1));
}

#[test]
fn a_frame_with_a_part_held_is_split() {
    let frames =
        |client: &Client| client.chunks().iter().map(|chunk| chunk["choices"].clone()).collect::<Vec<_>>();
    let client = read(&[masking(&["cd"], "*")], Script::parts([delta("abc"), delta("x"), finish()]));
    assert_eq!(
        frames(&client)[..3],
        [
            json!([{"index": 0, "delta": {"content": "ab"}, "finish_reason": null}]),
            json!([{"index": 0, "delta": {"content": "c"}, "finish_reason": null}]),
            json!([{"index": 0, "delta": {"content": "x"}, "finish_reason": null}]),
        ]
    );
    assert_eq!(client.frames[2], delta("x"));
    assert_eq!(client.chunks()[1]["id"], "c1");
}

#[test]
fn a_frame_of_two_choices_is_split_where_one_is_held() {
    let both = |a: Value, b: Value| frame_of(&json!([{"index": 0, "delta": a}, {"index": 1, "delta": b}]));
    let parts = [
        both(json!({"content": "se"}), json!({"content": "x"})),
        both(json!({"content": "c"}), json!({"content": "y"})),
        frame(1, &json!({}), Some("stop")),
        frame(0, &json!({"content": "ret"}), Some("length")),
        usage(),
    ];
    let client = read(&[masking(&["secret"], "*")], Script::parts(parts.clone()));
    let text = |choice| client.texts()[&(choice, "content".to_owned())].clone();
    assert_eq!((text(0).as_str(), text(1).as_str()), ("*", "xy"));
    assert_eq!(client.finishes(), [(1, "stop".to_owned()), (0, "length".to_owned())]);
    assert_eq!(client.end, Some(End::Complete));
    let early = read(&[masking(&["secret"], "*")], Script::parts(&parts[..3]).left_open());
    assert_eq!(early.finishes(), [(1, "stop".to_owned())], "choices do not wait for one another");
}

#[test]
fn a_choice_ends_beside_one_that_is_held_though_nothing_is_left_of_its_text() {
    let held = json!({"index": 0, "delta": {"content": "sec"}});
    let ends = json!({"index": 1, "delta": {"content": "secret"}, "finish_reason": "stop"});
    let parts = [frame_of(&json!([held, ends]))];
    let client = read(&[masking(&["secret"], "")], Script::parts(parts).left_open());
    assert_eq!(client.finishes(), [(1, "stop".to_owned())], "{:#?}", client.frames);
}

#[test]
fn what_does_not_wait_leaves_a_frame_whose_text_is_held() {
    let call =
        |delta: Value| frame(0, &json!({"content": delta["content"], "tool_calls": [delta["call"]]}), None);
    let parts = [
        call(json!({"content": "se", "call": {"index": 0, "id": "c"}})),
        call(json!({"call": {"index": 0, "function": {"arguments": "{}"}}})),
        frame_of(
            &json!([{"index": 0, "delta": {"content": "c"}}, {"index": 1, "delta": {}, "finish_reason": "stop"}]),
        ),
        frame(0, &json!({}), Some("tool_calls")),
    ];
    let client = read(&[masking(&["secret"], "*")], Script::parts(parts));
    let ids: Vec<Value> =
        client.chunks().iter().map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].clone()).collect();
    assert_eq!(
        ids[..2],
        [json!([{"index": 0, "id": "c"}]), json!([{"index": 0, "function": {"arguments": "{}"}}])]
    );
    assert_eq!(client.finishes(), [(1, "stop".to_owned()), (0, "tool_calls".to_owned())]);
    assert_eq!((client.text().as_str(), client.end), ("sec", Some(End::Complete)));
}

#[test]
fn surrogate_halves_are_joined() {
    let half = |escape: &str| delta("HALF").replace("HALF", escape);
    let parts =
        [half("a\\ud83d"), half("\\ude00b"), half("\\ud83d"), half("\\ude00"), half("c\\ud83d"), finish()];
    let client = read(&[], Script::parts(&parts));
    assert_eq!((client.text().as_str(), client.end), ("a😀b😀c\u{fffd}", Some(End::Complete)));
    let client = read(&[masking(&["😀b", "c"], "*")], Script::parts(&parts));
    assert_eq!(client.text(), "a*😀*\u{fffd}");
    let client = read(&[], Script::parts([half("\\ud83d"), finish()]));
    assert_eq!(client.text(), "\u{fffd}");
}

#[test]
fn what_a_frame_says_besides_its_text_stays_when_the_text_goes() {
    let first = frame(0, &json!({"role": "assistant", "content": "secret"}), None);
    let client = read_body(&[masking(&["secret"], "")], &(first + &finish()));
    assert_eq!(client.chunks()[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let odd = "data: {\"x\":1.50,\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"a\\/b\",\"content\":\"secret\"},\"y\":[ ]}]}\n\n";
    let client = read_body(&[masking(&["secret"], "*")], &(odd.to_owned() + &finish()));
    assert_eq!(client.frames[0], odd.replace("secret", "*"));
}
