//! Tool calls: each string value of their arguments is text of its own, whatever the fragments.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::client::{Client, join_halves};
use super::links::{Fake, looking, masking};
use super::support::*;
use super::*;
use crate::json::quote;
use crate::lane::{Channel, Lane, Outcome};

mod properties;
mod stops;

/// A frame whose only text is a fragment of a call's arguments, as it is written.
fn fragment(call: usize, literal: &str) -> String {
    let delta = json!({"tool_calls": [{"index": call, "function": {"arguments": "HERE"}}]});
    frame(0, &delta, None).replace("HERE", literal)
}

fn head(call: usize) -> String {
    let function = json!({"name": format!("f{call}"), "arguments": ""});
    let delta = json!({"tool_calls": [{"index": call, "id": format!("c{call}"), "type": "function", "function": function}]});
    frame(0, &delta, None)
}

/// The arguments that a client puts together, by call.
fn arguments(client: &Client) -> BTreeMap<u64, String> {
    let mut all: BTreeMap<u64, String> = BTreeMap::new();
    for chunk in client.chunks() {
        for call in chunk["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let text = call["function"]["arguments"].as_str().unwrap_or_default();
            *all.entry(call["index"].as_u64().unwrap()).or_default() += text;
        }
    }
    all.into_iter().map(|(call, text)| (call, join_halves(&text))).collect()
}

/// Those of a stream that passes no link.
fn arguments_of(body: &str) -> BTreeMap<u64, String> {
    arguments(&read_body(&[], body))
}

/// The lanes that links are shown, by what they are.
fn lanes(body: &str) -> Vec<(Lane, String)> {
    let seen = Arc::new(std::sync::Mutex::new(Vec::<(Lane, String)>::new()));
    let sink = Arc::clone(&seen);
    let looking = Fake::new(move || {
        let sink = Arc::clone(&sink);
        move |batch| {
            let mut seen = sink.lock().unwrap();
            seen.extend(batch.opened.iter().map(|lane| (lane.clone(), String::new())));
            for piece in &batch.pieces {
                seen.iter_mut().find(|(lane, _)| lane.id == piece.lane).unwrap().1.push_str(piece.text);
            }
            Ok(Outcome::default())
        }
    });
    let client = read_body(&[looking], body);
    assert_eq!((client.body(), client.end), (body.to_owned(), Some(End::Complete)));
    Arc::try_unwrap(seen).map_or_else(|seen| seen.lock().unwrap().clone(), |seen| seen.into_inner().unwrap())
}

fn argument(
    part: u32,
    name: &str,
    pointer: Option<&str>,
    text: &str,
) -> (u32, Option<String>, Option<String>, String) {
    (part, Some(name.to_owned()), pointer.map(str::to_owned), text.to_owned())
}

#[test]
fn links_are_told_the_tool_and_the_place_of_each_value() {
    let body = [
        head(0),
        fragment(0, "{\\\"to\\\": [{\\\"a/b\\\": \\\"x"),
        head(1),
        fragment(1, "\\\"bare\\\""),
        fragment(0, "y\\\"}], \\\"n\\\": 7, \\\"s\\\": \\\"\\\"}"),
        head(2),
        fragment(2, "[\\\"v\\\"] oops"),
        frame(
            0,
            &json!({"tool_calls": [{"index": 3, "id": "d", "type": "custom", "custom": {"name": "sql", "input": "SELECT"}}]}),
            None,
        ),
        frame(0, &json!({"function_call": {"name": "old", "arguments": "{\"q\":\"z\"}"}}), None),
        finish(),
    ];
    let seen = lanes(&body.concat());
    assert!(seen.iter().all(|(lane, _)| lane.channel == Channel::ToolArgument && lane.choice == 0));
    let seen: Vec<_> =
        seen.into_iter().map(|(lane, text)| (lane.part, lane.name, lane.pointer, text)).collect();
    assert_eq!(
        seen,
        [
            argument(1, "f0", Some("/to/0/a~1b"), "xy"),
            argument(2, "f1", Some(""), "bare"),
            argument(1, "f0", Some("/s"), ""),
            argument(3, "f2", Some("/0"), "v"),
            argument(3, "f2", None, "oops"),
            argument(4, "sql", None, "SELECT"),
            argument(1, "old", Some("/q"), "z"),
        ]
    );
}

#[test]
fn calls_of_one_number_are_told_apart_by_their_ids() {
    let call = |id: &str, name: &str, text: &str| json!({"index": 0, "id": id, "function": {"name": name, "arguments": text}});
    let both = json!({"tool_calls": [call("a", "f", "{\"x\":\"1\"}"), call("b", "g", "{\"y\":\"2\"}")]});
    let seen = lanes(&(frame(0, &both, None) + &finish()));
    let seen: Vec<_> =
        seen.into_iter().map(|(lane, text)| (lane.name.unwrap(), lane.pointer.unwrap(), text)).collect();
    assert_eq!(seen, [("f".into(), "/x".into(), "1".into()), ("g".into(), "/y".into(), "2".to_owned())]);
    // An id of its own for each fragment makes no other call; a name within another's arguments does.
    let open = json!({"tool_calls": [call("a", "f", "{\"x\":\"ban")]});
    let rest = |function: Value| {
        frame(0, &json!({"tool_calls": [{"index": 0, "id": "b", "function": function}]}), None)
    };
    let body = frame(0, &open, None) + &rest(json!({"arguments": "ana\"}"})) + &finish();
    let client = read_body(&[masking(&["banana"], "*")], &body);
    assert_eq!((arguments(&client)[&0].as_str(), client.end), ("{\"x\":\"*\"}", Some(End::Complete)));
    let body =
        frame(0, &open, None) + &rest(json!({"name": "g", "arguments": "{\"y\":\"\\u0062\"}"})) + &finish();
    let client = read_body(&[masking(&["b"], "*")], &body);
    assert!(
        matches!(client.end, Some(End::Failed(_))) && !client.body().contains("u0062"),
        "{:?}",
        client.end
    );
}

#[test]
fn an_escape_that_never_ends_leaves_as_it_came() {
    for pieces in [vec!["[\\\"a\\\\u00"], vec!["[\\\"a\\\\", "u0", "0"], vec!["[\\\"a\\\\u", "0", "x", "y"]] {
        let frames: Vec<String> = pieces.iter().map(|piece| fragment(0, piece)).collect();
        for (cut, word) in [(1, "a!"), (10_000, "a!"), (1, "z"), (10_000, "z")] {
            let body = [head(0), frames.concat(), finish()].concat();
            let client = read(&[masking(&[word], "*")], Script::parts(body.as_bytes().chunks(cut)));
            assert_eq!((arguments(&client), client.end), (arguments_of(&body), Some(End::Complete)));
        }
    }
}

#[test]
fn a_character_can_be_cut_between_two_parts_of_one_chunk() {
    let part = |text: &str| json!({"index": 0, "function": {"arguments": text}});
    let both = json!({"tool_calls": [part("\"a\\ud83d"), part("\\ude00b\"")]});
    let body = head(0) + &frame(0, &both, None) + &finish();
    for words in [["zz"], ["a"], ["b"], ["😀"]] {
        let client = read_body(&[masking(&words, "*")], &body);
        let text: String = serde_json::from_str(&arguments(&client)[&0]).unwrap();
        assert_eq!(text, "a😀b".replace(words[0], "*"));
    }
}

#[test]
fn a_character_can_be_cut_between_a_chunk_and_two_parts_of_the_next() {
    let part = |text: &str| json!({"index": 0, "function": {"arguments": text}});
    let both = frame(0, &json!({"tool_calls": [part("u00"), part("0ab\"")]}), None);
    let client = read(&[looking()], Script::parts([fragment(0, "\\\"x\\\\"), both, finish()]));
    assert_eq!(arguments(&client)[&0], "\"x\\u000ab\"");
}

#[test]
fn an_escape_that_is_never_whole_stays_where_it_is() {
    let cut_off = [fragment(0, "\\\"ab\\\\u"), fragment(0, "00"), frame(0, &json!({}), Some("length"))];
    let client = read(&[looking()], Script::parts(&cut_off));
    assert_eq!(client.body(), cut_off.concat());
    let client = read(&[masking(&["ab"], "*")], Script::parts(&cut_off));
    assert_eq!(arguments(&client)[&0], "\"*\\u00");
    // Without the backslash what stands behind it would be JSON, its escapes unread by any link.
    let broken = [
        fragment(0, "[\\\"a ban"),
        fragment(0, "ana\\\\"),
        fragment(0, "x\\\",\\\"\\\\u0062anana\\\"]"),
        finish(),
    ];
    for parts in [broken.to_vec(), vec![broken.concat()]] {
        let client = read(&[masking(&["banana"], "*")], Script::parts(&parts));
        assert_eq!(arguments(&client)[&0], "[\"a *\\x\",\"\\u0062anana\"]");
    }
}

#[test]
fn half_a_character_where_no_json_has_one_begins_the_text_that_is_not_json() {
    let parts = [fragment(0, "{\\ud83d"), fragment(0, "\\ude00b"), finish()];
    let client = read(&[masking(&["😀"], "*")], Script::parts(&parts));
    assert_eq!(arguments(&client)[&0], "{*b");
}

#[test]
fn a_held_value_holds_back_what_stands_behind_it_in_its_own_call_only() {
    let body = [head(0), head(1), fragment(0, "{\\\"a\\\":\\\"x ban"), fragment(1, "{\\\"b\\\":\\\"c")];
    let client = read(&[masking(&["banana"], "*")], Script::parts(&body).left_open());
    let expected = [(0, "{\"a\":\"x ".to_owned()), (1, "{\"b\":\"c".to_owned())];
    assert_eq!(arguments(&client), BTreeMap::from(expected));
    let rest = [fragment(0, "d\\\",\\\"e\\\":1}"), fragment(1, "\\\"}"), finish()];
    let client = read(&[masking(&["banana"], "*")], Script::parts(body.iter().chain(&rest)));
    let expected = [(0, "{\"a\":\"x band\",\"e\":1}".to_owned()), (1, "{\"b\":\"c\"}".to_owned())];
    assert_eq!(arguments(&client), BTreeMap::from(expected));
}

#[test]
fn arguments_of_a_whole_answer_are_masked_where_they_stand() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\" :\"x\\nbanana\",\"banana\":1.50}"}});
    let message = json!({"content": null, "tool_calls": [call]});
    let body =
        json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).to_string();
    let answer = whole(&[masking(&["banana"], "**")], &body).unwrap();
    assert_eq!(answer, body.replacen("banana", "**", 1));
}

#[test]
fn thousands_of_values_are_lanes_of_one_batch() {
    let cells = |word: &str| -> Vec<String> { (0..3_000).map(|cell| format!("{cell} {word}")).collect() };
    let call =
        |word| json!({"id": "c", "function": {"name": "f", "arguments": json!(cells(word)).to_string()}});
    let body = |word| {
        let message = json!({"content": null, "tool_calls": [call(word)]});
        json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).to_string()
    };
    let plugins = [masking(&["banana"], "*"), looking(), masking(&["*"], "x")];
    assert_eq!(whole(&plugins, &body("banana")).unwrap(), body("x"));
}

#[test]
fn numbers_that_only_some_readers_take_hide_nothing() {
    for number in ["NaN", "Infinity", "-Infinity", "-1"] {
        let text = format!("{{\"a\":{number},\"b\":\"\\u0062anana\"}}");
        let body = head(0) + &fragment(0, quote(&text).trim_matches('"')) + &finish();
        let client = read_body(&[masking(&["banana"], "*")], &body);
        assert_eq!(arguments(&client)[&0], format!("{{\"a\":{number},\"b\":\"*\"}}"));
    }
}

#[test]
fn a_head_that_ends_within_a_character_goes_before_what_follows() {
    let content = json!({"content": "HALF", "tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]});
    let first = frame(0, &content, None).replace("HALF", "x\\ud83d");
    let body = first + &fragment(0, "{}") + &frame(0, &json!({}), Some("tool_calls"));
    let client = read_body(&[looking()], &body);
    assert!(client.frames[0].contains("\"id\":\"c\""), "{:#?}", client.frames);
}

#[test]
fn arguments_that_cannot_be_looked_into_fail_the_answer() {
    for (arguments, why) in [
        ("[".repeat(65), "nested deeper than 64"),
        (format!("[\"x\",{}", "\"\",".repeat(1 << 14)), "more than 16384 texts"),
        (format!("{{\"{}\":[{}", "k".repeat(1 << 14), "\"\",".repeat(1 << 10)), "too long keys"),
    ] {
        let client = read_body(&[looking()], &(head(0) + &fragment(0, quote(&arguments).trim_matches('"'))));
        let Some(End::Failed(error)) = client.end else { panic!("{:?}", client.end) };
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(client.frames.len(), 1);
    }
    let calls: Vec<Value> = (0..1025).map(|index| json!({"index": index})).collect();
    let looking = [looking()];
    let client = read_body(&looking, &frame(0, &json!({ "tool_calls": calls }), None));
    assert!(matches!(client.end, Some(End::Failed(_))));
}
