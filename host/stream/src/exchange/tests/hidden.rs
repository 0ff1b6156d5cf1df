//! Text that stands outside of deltas, or says something of the text.

use serde_json::{Value, json};

use super::client::Client;
use super::links::{looking, masking};
use super::support::*;
use super::*;

/// A frame of one choice with `logprobs` of these tokens.
fn with_tokens(text: &str, tokens: &[&[u8]], others: &[&str]) -> String {
    let others: Vec<Value> = others.iter().map(|other| json!({"token": other})).collect();
    let token = |bytes: &&[u8]| json!({"token": String::from_utf8_lossy(bytes), "logprob": -0.5, "bytes": bytes, "top_logprobs": others});
    let tokens: Vec<Value> = tokens.iter().map(token).collect();
    frame_of(
        &json!([{"index": 0, "delta": {"content": text}, "logprobs": {"content": tokens, "refusal": null}}]),
    )
}

fn tokens(chunk: &Value) -> Vec<&str> {
    let list = chunk["choices"][0]["logprobs"]["content"].as_array().into_iter().flatten();
    list.map(|token| token["token"].as_str().unwrap()).collect()
}

fn client(parts: &[String], words: &[&str]) -> Client {
    let client = read(&[masking(words, "*")], Script::parts(parts.iter().cloned().chain([finish()])));
    assert_eq!(client.end, Some(End::Complete));
    client
}

#[test]
fn tokens_of_an_edited_stretch_are_left_out() {
    let parts = [
        with_tokens("a se", &[b"a ", b"se"], &[]),
        with_tokens("cret b", &[b"cret", b" b"], &[]),
        with_tokens("c", &[b"c"], &[]),
    ];
    let client = client(&parts, &["secret"]);
    assert_eq!(client.text(), "a * bc");
    let chunks = client.chunks();
    let all: Vec<&str> = chunks.iter().flat_map(tokens).collect();
    assert_eq!(all, ["a ", " b", "c"]);
    assert!(!client.body().contains("cret"));
    assert_eq!(client.frames[client.frames.len() - 2], parts[2], "what is not touched leaves as it came");
}

#[test]
fn tokens_within_a_character_wait_for_the_whole_of_it() {
    let bytes = "密码".as_bytes();
    let parts = [
        with_tokens("x", &[b"x"], &[]),
        with_tokens("", &[&bytes[..2]], &[]),
        with_tokens("密", &[&bytes[2..3]], &[]),
        with_tokens("码", &[&bytes[3..]], &[]),
    ];
    let masked = client(&parts, &["密码"]);
    assert_eq!(masked.text(), "x*");
    assert!(masked.chunks().iter().flat_map(tokens).eq(["x"]), "{:#?}", masked.frames);
    let client = read(&[looking()], Script::parts(parts.iter().cloned().chain([finish()])));
    assert_eq!(client.body(), parts.concat() + &finish());
}

#[test]
fn tokens_that_were_not_taken_are_text_that_no_link_sees() {
    let client = client(&[with_tokens("a", &[b"a"], &["secret"])], &["secret"]);
    assert_eq!(client.frames[0], with_tokens("a", &[b"a"], &[]));
    let untouched = with_tokens("a", &[b"a"], &["secret"]) + &finish();
    assert_eq!(read_body(&[], &untouched).body(), untouched, "without links nobody is asked to look");
}

#[test]
fn tokens_that_do_not_fit_the_text_are_left_out_from_there_on() {
    let null = |text: &str| frame_of(&json!([{"index": 0, "delta": {"content": text}, "logprobs": null}]));
    let parts = [
        with_tokens("a", &[b"a"], &[]),
        with_tokens("b", &[b"b", b"secret"], &[]),
        with_tokens("c", &[b"c"], &[]),
        with_tokens("d", &[b"d"], &[]).replace("\"refusal\":null", "\"tokens\":[\"secret\"]"),
    ];
    let expected = [parts[0].clone(), null("b"), null("c"), null("d"), finish()];
    assert_eq!(client(&parts, &["zz"]).frames, expected);
    let odd = frame_of(&json!([{"index": 0, "delta": {}, "logprobs": {"content": ["secret"]}}]));
    assert!(!client(&[odd], &["zz"]).body().contains("secret"));
}

#[test]
fn tokens_ahead_of_their_text_let_no_text_overtake_it() {
    let parts = [
        with_tokens("ab", &[b"ab", b"zz"], &[]),
        frame(0, &json!({"content": "c", "refusal": "d"}), None),
        delta("e"),
    ];
    let client = client(&parts, &["secret"]);
    assert_eq!(client.text(), "abce");
    assert!(client.chunks().iter().flat_map(tokens).eq(["ab"]), "{:#?}", client.frames);
}

#[test]
fn tokens_ahead_of_their_text_do_not_keep_text_of_another_field() {
    let first = with_tokens("", &[b"a"], &[]).replace("\"content\":\"\"", "\"reasoning_content\":\"x\"");
    let parts = [first, frame(0, &json!({"reasoning_content": "y"}), None), delta("a")];
    let client = client(&parts, &["secret"]);
    assert_eq!(client.texts()[&(0, "reasoning_content".to_owned())], "xy");
}

#[test]
fn tokens_leave_in_a_frame_that_has_nothing_else() {
    let bytes = "密".as_bytes();
    let parts =
        [with_tokens("", &[&bytes[..2]], &["secret"]), with_tokens("密", &[&bytes[2..]], &["secret"])];
    let client = client(&parts, &["secret"]);
    assert_eq!(client.chunks().iter().flat_map(tokens).count(), 2, "{:#?}", client.frames);
    assert!(!client.body().contains("secret"));
}

#[test]
fn tokens_behind_the_end_of_the_text_do_not_keep_their_frame() {
    let last = with_tokens("", &["密".as_bytes().get(..2).unwrap()], &[])
        .replace("\"index\":0", "\"index\":0,\"finish_reason\":\"stop\"");
    let client = read(&[looking()], Script::parts([with_tokens("x", &[b"x"], &[]), last]));
    assert_eq!((client.text().as_str(), &client.end), ("x", &Some(End::Complete)));
    assert_eq!(client.finishes(), [(0, "stop".to_owned())]);
    assert!(client.chunks().iter().flat_map(tokens).eq(["x"]), "{:#?}", client.frames);
}

#[test]
fn a_whole_answers_tokens_are_left_out_one_by_one() {
    let token = |text: &str| json!({"token": text, "bytes": null, "top_logprobs": []});
    let logprobs = |texts: &[&str]| json!({ "content": texts.iter().map(|text| token(text)).collect::<Value>(), "refusal": [] });
    let all = logprobs(&["a ", "sec", "ret", " b"]);
    let choice =
        json!({"index": 0, "message": {"content": "a secret b"}, "logprobs": all, "finish_reason": "stop"});
    let body = json!({ "choices": [choice] }).to_string();
    let answer: Value = serde_json::from_str(&whole(&[masking(&["secret"], "*")], &body).unwrap()).unwrap();
    assert_eq!(answer["choices"][0]["logprobs"], logprobs(&["a ", " b"]));
    assert_eq!(whole(&[masking(&["zz"], "*")], &body).unwrap(), body);
}

#[test]
fn reasoning_details_are_lanes_and_a_signature_goes_with_an_edit() {
    let detail = |text: &str| {
        frame(
            0,
            &json!({"reasoning": text, "reasoning_details": [{"type": "reasoning.text", "text": text, "index": 0}]}),
            None,
        )
    };
    let signed = frame(
        0,
        &json!({"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "sig"}]}),
        None,
    );
    let summary = frame(
        0,
        &json!({"reasoning_details": [{"type": "reasoning.summary", "summary": "secret", "index": 1}]}),
        None,
    );
    let parts = [detail("a sec"), detail("ret b"), signed.clone(), summary];
    let masked = client(&parts, &["secret"]);
    assert!(!masked.body().contains("secret") && !masked.body().contains("sig\""), "{}", masked.body());
    let text: String = masked
        .chunks()
        .iter()
        .filter_map(|chunk| {
            chunk["choices"][0]["delta"]["reasoning_details"][0]["text"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(text, "a * b");
    assert_eq!(client(&parts, &["zz"]).body(), parts.concat() + &finish());
}

#[test]
fn a_signature_waits_until_its_text_is_known_to_be_untouched() {
    let text = |text: &str| frame(0, &json!({"reasoning_details": [{"index": 0, "text": text}]}), None);
    let signed = frame(0, &json!({"reasoning_details": [{"index": 0, "signature": "sig"}]}), None);
    for (rest, kept) in [("y", true), ("ret", false)] {
        let parts = [text("sec"), signed.clone(), text(rest)];
        assert_eq!(client(&parts, &["secret"]).body().contains("\"sig\""), kept, "{rest}");
    }
}

#[test]
fn a_signature_beside_text_that_is_held_is_not_sent_before_it() {
    let both =
        frame(0, &json!({"reasoning_details": [{"index": 0, "text": "a sec", "signature": "sig"}]}), None);
    let rest = frame(0, &json!({"reasoning_details": [{"index": 0, "text": "ret"}]}), None);
    assert!(!client(&[both, rest], &["secret"]).body().contains("sig\""));
}

#[test]
fn citations_go_where_the_text_was_edited_and_titles_are_text() {
    let citation = json!({"type": "url_citation", "url_citation": {"start_index": 2, "end_index": 8, "title": "the secret", "url": "u"}});
    let cited = frame(0, &json!({ "annotations": [citation] }), None);
    let seen = client(&[delta("a secret"), cited.clone()], &["secret"]);
    assert!(seen.body().contains("\"annotations\":[]"), "{}", seen.body());
    let seen = client(&[delta("a text"), cited.clone()], &["secret"]);
    assert_eq!(seen.body(), delta("a text") + &cited.replace("secret", "*") + &finish());
    let message = json!({"content": "a secret", "annotations": [citation]});
    let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).to_string();
    let answer: Value = serde_json::from_str(&whole(&[masking(&["secret"], "*")], &body).unwrap()).unwrap();
    assert_eq!(answer["choices"][0]["message"], json!({"content": "a *", "annotations": []}));
}

#[test]
fn what_audio_says_is_text() {
    let said = |text: &str| frame(0, &json!({"audio": {"id": "a", "transcript": text}}), None);
    let seen = client(&[said("a sec"), said("ret")], &["secret"]);
    let text: String = seen
        .chunks()
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["audio"]["transcript"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, "a *");
}

#[test]
fn without_links_nothing_has_to_be_text() {
    let odd = [
        frame(
            0,
            &json!({"content": [{"type": "text", "text": "a"}], "tool_calls": [{"function": {"arguments": {}}}]}),
            None,
        ),
        finish(),
    ];
    assert_eq!(read_body(&[], &odd.concat()).body(), odd.concat());
    assert!(matches!(read_body(&[looking()], &odd.concat()).end, Some(End::Failed(_))));
}
