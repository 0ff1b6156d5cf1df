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

/// Tells no tokens.
fn without_tokens(text: &str) -> String {
    frame_of(&json!([{"index": 0, "delta": {"content": text}, "logprobs": null}]))
}

#[test]
fn tokens_leave_with_their_text_or_not_at_all() {
    let parts = [
        with_tokens("a se", &[b"a ", b"se"], &[]),
        with_tokens("cret b", &[b"cret", b" b"], &[]),
        with_tokens("c d", &[b"c", b" d"], &[]),
    ];
    let seen = client(&parts, &["secret"]);
    assert_eq!(seen.text(), "a * bc d");
    assert!(seen.chunks().iter().flat_map(tokens).eq(["c", " d"]), "{:#?}", seen.frames);
    assert_eq!(seen.frames[seen.frames.len() - 2], parts[2], "what is not touched leaves as it came");
    assert_eq!(client(&parts, &["zz"]).body(), parts.concat() + &finish());
}

#[test]
fn tokens_that_are_not_the_chunks_own_text_do_not_leave() {
    let half = &"密".as_bytes()[..2];
    let cases: [(&str, &[&[u8]]); 6] = [
        // Of a text before, of another field, or of nobody.
        ("", &[b"secret"]),
        ("x", &[b"x", b"secret"]),
        ("xxxxxx", &[b"secret"]),
        // Too few.
        ("xy", &[b"x"]),
        // Within a character.
        ("", &[half]),
        ("密", &[half, &"密".as_bytes()[2..]]),
    ];
    for (text, told) in cases {
        let parts = [delta("a secret"), with_tokens(text, told, &[]), delta("!")];
        for plugin in [looking(), masking(&["zz"], "*"), masking(&["secret"], "*")] {
            let seen = read(&[plugin], Script::parts(parts.iter().cloned().chain([finish()])));
            assert_eq!(seen.chunks().iter().flat_map(tokens).count(), 0, "{text:?}: {:#?}", seen.frames);
            assert_eq!(seen.text().replace('*', "secret"), format!("a secret{text}!"));
        }
    }
    let two_tellings = with_tokens("x", &[b"x"], &[]).replace("\"token\":\"x\"", "\"token\":\"secret\"");
    assert_eq!(client(&[two_tellings], &["zz"]).frames[0], without_tokens("x"));
    for odd in
        [json!({"content": ["secret"]}), json!({"tokens": ["secret"]}), json!("secret"), json!(["secret"])]
    {
        let frame = frame_of(&json!([{"index": 0, "delta": {"content": "x"}, "logprobs": odd}]));
        assert_eq!(client(&[frame], &["zz"]).frames[0], without_tokens("x"));
    }
}

#[test]
fn tokens_beside_text_that_is_held_do_not_leave_before_it() {
    let parts = [with_tokens("a ban", &[b"a ", b"ban"], &[]), with_tokens("d", &[b"d"], &[])];
    let seen = client(&parts, &["banana"]);
    assert_eq!(seen.text(), "a band");
    assert!(seen.chunks().iter().flat_map(tokens).eq(["d"]), "{:#?}", seen.frames);
}

#[test]
fn a_finish_or_usage_beside_odd_tokens_is_not_lost() {
    let last =
        with_tokens("", &[b"secret"], &[]).replace("\"index\":0", "\"index\":0,\"finish_reason\":\"stop\"");
    let usage = json!({"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [{"token": "ab"}]}}], "usage": {"total_tokens": 1}});
    let parts = [delta("x"), last, format!("data: {usage}\n\n")];
    let seen = read(&[masking(&["secret"], "*")], Script::parts(parts));
    assert_eq!((seen.text().as_str(), &seen.end), ("x", &Some(End::Complete)));
    assert_eq!(seen.finishes(), [(0, "stop".to_owned())]);
    assert!(
        seen.frames[2].contains("total_tokens") && !seen.body().contains("\"token\""),
        "{:#?}",
        seen.frames
    );
}

#[test]
fn tokens_of_a_whole_answer_leave_with_its_text_or_not_at_all() {
    let token = |text: &str| json!({"token": text, "bytes": null, "top_logprobs": []});
    let tokens: Value = ["a ", "sec", "ret", " b"].into_iter().map(token).collect();
    let logprobs = json!({"content": tokens, "refusal": []});
    let choice = json!({"index": 0, "message": {"content": "a secret b"}, "logprobs": logprobs, "finish_reason": "stop"});
    let body = json!({ "choices": [choice] }).to_string();
    let answer: Value = serde_json::from_str(&whole(&[masking(&["secret"], "*")], &body).unwrap()).unwrap();
    assert_eq!(answer["choices"][0]["logprobs"], Value::Null);
    assert_eq!(whole(&[masking(&["zz"], "*")], &body).unwrap(), body);
}

#[test]
fn tokens_that_were_not_taken_are_text_that_no_link_sees() {
    let client = client(&[with_tokens("a", &[b"a"], &["secret"])], &["secret"]);
    assert_eq!(client.frames[0], with_tokens("a", &[b"a"], &[]));
    let untouched = with_tokens("a", &[b"a"], &["secret"]) + &finish();
    assert_eq!(read_body(&[], &untouched).body(), untouched, "without links nobody is asked to look");
}

#[test]
fn tokens_ahead_of_their_text_do_not_keep_text_of_another_field() {
    let first = with_tokens("", &[b"a"], &[]).replace("\"content\":\"\"", "\"reasoning_content\":\"x\"");
    let parts = [first, frame(0, &json!({"reasoning_content": "y"}), None), delta("a")];
    let client = client(&parts, &["secret"]);
    assert_eq!(client.texts()[&(0, "reasoning_content".to_owned())], "xy");
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
fn what_a_citation_quotes_is_text() {
    let cited = |title: &str, content: &str| {
        let citation =
            json!({"type": "url_citation", "url_citation": {"title": title, "content": content, "url": "u"}});
        frame(0, &json!({ "annotations": [citation] }), None)
    };
    let seen = client(&[delta("a"), cited("t", "a secret page"), cited("secret", "")], &["secret"]);
    assert_eq!(seen.body(), [delta("a"), cited("t", "a * page"), cited("*", ""), finish()].concat());
}

#[test]
fn citations_wait_until_the_text_so_far_is_known_to_be_untouched() {
    let citation = json!({"type": "url_citation", "url_citation": {"start_index": 2, "title": "the page"}});
    let cited = frame(0, &json!({ "annotations": [citation] }), None);
    for (rest, kept) in [("ond", true), ("ret", false)] {
        let seen = client(&[delta("a sec"), cited.clone(), delta(rest)], &["secret"]);
        assert_eq!(seen.frames.contains(&cited), kept, "{rest}: {:#?}", seen.frames);
        assert_eq!(seen.body().contains("the page"), kept, "{rest}: {:#?}", seen.frames);
    }
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
fn what_speaks_cannot_be_looked_at() {
    let message = json!({"role": "user", "content": "hi"});
    let ask = json!({"model": "m", "stream": true, "modalities": ["text", "audio"], "messages": [message]});
    let scene = Scene::new(&[looking()], answer(&["a"]));
    let Err(ExchangeError::InvalidRequest { param, .. }) = scene.run(&ask) else { panic!("a sound is text") };
    assert_eq!(param.as_deref(), Some("modalities"));
    assert!(scene.upstream.asked.lock().unwrap().is_empty());
    assert!(Scene::new(&[], answer(&["a"])).run(&ask).is_ok());

    // Whoever asked for it.
    let spoken = [frame(0, &json!({"audio": {"data": "c2VjcmV0"}}), None), finish()];
    assert_eq!(read_body(&[], &spoken.concat()).body(), spoken.concat());
    let client = read_body(&[looking()], &spoken.concat());
    assert!(matches!(client.end, Some(End::Failed(_))) && client.frames.is_empty(), "{client:?}");
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
