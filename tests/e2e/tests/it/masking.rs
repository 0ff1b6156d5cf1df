//! Words are masked in both directions, however they are cut.

use rust_proxy_testkit::{Gate, Script, ScriptedUpstream, Setup, deltas, frame};
use serde_json::{Value, json};

use crate::masking;

const TEXT: &str = "A secret, 密码 and a Secretary: secre";
const MASKED: &str = "A ******, ** and a ******ary: secre";

#[tokio::test]
async fn a_word_is_masked_on_both_sides() {
    let upstream = ScriptedUpstream::start([Script::says([TEXT]), Script::whole(TEXT)]).await;
    let gateway = masking(&upstream).start().await;
    assert_eq!(deltas(&gateway.ask(TEXT).await.body().await), MASKED);
    let answer = gateway.ask_whole(TEXT).await.json().await;
    assert_eq!(answer["choices"][0]["message"]["content"], MASKED);
    for request in upstream.seen() {
        assert_eq!(request.last_text(), MASKED);
    }
}

#[tokio::test]
async fn every_split_over_deltas_gives_the_same_text() {
    let cuts: Vec<usize> = TEXT.char_indices().map(|(at, _)| at).skip(1).collect();
    let mut splits: Vec<Vec<&str>> = cuts.iter().map(|at| vec![&TEXT[..*at], &TEXT[*at..]]).collect();
    for (place, first) in cuts.iter().enumerate() {
        splits.extend(
            cuts[place + 1..].iter().map(|at| vec![&TEXT[..*first], &TEXT[*first..*at], &TEXT[*at..]]),
        );
    }
    splits.push(TEXT.split_inclusive(|_| true).collect());
    let upstream =
        ScriptedUpstream::start(splits.iter().map(|split| Script::says(split.iter().copied()))).await;
    let gateway = masking(&upstream).start().await;
    for split in splits {
        let body = gateway.ask("hello").await.body().await;
        assert_eq!(deltas(&body), MASKED, "{split:?}: {body}");
        assert!(body.ends_with("data: [DONE]\n\n"), "{split:?}: {body}");
    }
}

#[tokio::test]
async fn every_split_of_the_bytes_gives_the_same_stream() {
    let stream: String = ["my sec", "ret\u{1f600} 密", "码"]
        .map(|text| frame(&json!({ "content": text }), None))
        .into_iter()
        .chain([
            r#"data: {"choices":[{"delta":{"content":"\u5bc6\ud83d\ude00\u7801 s\u0065cret"}}]}"#.to_owned()
        ])
        .chain(["\r\n\r\n".to_owned(), frame(&json!({}), Some("stop")), "data: [DONE]\n\n".to_owned()])
        .collect();
    let bytes = stream.as_bytes();
    let whole = Script::stream().bytes(bytes);
    let halves = (1..bytes.len()).map(|at| Script::stream().bytes(&bytes[..at]).bytes(&bytes[at..]));
    let single = bytes.iter().fold(Script::stream(), |script, byte| script.bytes([*byte]));
    let scripts: Vec<Script> = [whole, single].into_iter().chain(halves).collect();
    let requests = scripts.len();
    let upstream = ScriptedUpstream::start(scripts).await;
    let gateway = masking(&upstream).start().await;
    for request in 0..requests {
        let body = gateway.ask("hello").await.body().await;
        assert_eq!(deltas(&body), "my ******\u{1f600} **密\u{1f600}码 ******", "request {request}: {body}");
        assert!(body.ends_with("data: [DONE]\n\n"), "request {request}: {body}");
    }
}

#[tokio::test]
async fn only_what_may_still_become_a_word_waits() {
    let gate = Gate::new();
    let script = Script::stream().delta("no sec").wait_for(&gate).delta("t").wait_for(&gate).delta(" secre");
    let upstream = ScriptedUpstream::start([script.finish("stop").done()]).await;
    let gateway = masking(&upstream).start().await;
    let mut response = gateway.ask("hello").await;
    assert_eq!(response.delta().await, "no ");
    gate.open();
    assert_eq!(response.delta().await, "sec");
    assert_eq!(response.delta().await, "t");
    gate.open();
    // The end of the answer releases what waits, in front of the finish reason.
    let body = response.body().await;
    assert_eq!(deltas(&body), " secre");
    assert!(body.find("secre") < body.find(r#""finish_reason":"stop""#), "{body}");
}

#[tokio::test]
async fn no_word_leaves_by_another_field() {
    let logprobs =
        json!({ "content": [{ "token": "secret", "logprob": -0.5, "bytes": null, "top_logprobs": [] }] });
    let choice = |field: &str| json!({ "index": 0, "delta": { field: "a secret" }, "logprobs": logprobs });
    let fields = ["content", "reasoning_content", "reasoning", "refusal"];
    let script = fields
        .into_iter()
        .fold(Script::stream(), |script, field| script.event(json!({ "choices": [choice(field)] })));
    let message: Value = fields.into_iter().map(|field| (field, "a secret")).collect();
    let whole = json!({ "choices": [{ "index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop" }] });
    let upstream = ScriptedUpstream::start([script.finish("stop").done(), Script::json(200, &whole)]).await;
    let gateway = masking(&upstream).start().await;
    for response in [gateway.ask("hello").await, gateway.ask_whole("hello").await] {
        let body = response.body().await;
        assert!(!body.contains("secret"), "{body}");
        assert_eq!(body.matches("a ******").count(), fields.len(), "{body}");
    }
}

#[tokio::test]
async fn a_request_is_masked_in_each_of_its_texts() {
    let upstream = ScriptedUpstream::start([Script::says(["ok"])]).await;
    let gateway = masking(&upstream).start().await;
    let conversation = |word: &str| {
        let url = json!({ "type": "image_url", "image_url": { "url": "https://example.com/secret.png" } });
        let call = json!({ "name": "search", "arguments": format!(r#"{{"secret":1,"q":"{word}"}}"#) });
        json!([
            { "role": "system", "content": format!("the {word} rules"), "name": "x" },
            { "role": "user", "content": [{ "type": "text", "text": word }, url] },
            { "role": "assistant", "content": null, "tool_calls": [{ "id": "t", "type": "function", "function": call }] },
            { "role": "tool", "tool_call_id": "t", "content": word },
        ])
    };
    let request = json!({ "model": "m", "stream": true, "messages": conversation("secret") });
    assert_eq!(gateway.chat(&request).await.status(), 200);
    assert_eq!(upstream.only_request().json()["messages"], conversation("******"));
}

#[tokio::test]
async fn a_list_of_a_hundred_thousand_words_fits_limits_that_allow_it() {
    let letter = |n: u32| char::from_u32(0x4e00 + n % 5_000).unwrap_or('一');
    let words: Vec<String> = (0..100_000u32)
        .map(|n| n.wrapping_mul(2_654_435_761))
        .map(|n| [n, n / 5_000, n / 7, n / 31].map(letter)[..2 + n as usize % 3].iter().collect())
        .collect();
    let some: Vec<&str> = words.iter().step_by(997).map(String::as_str).collect();
    let text = some.join(", not ");
    let stars: Vec<String> = some.iter().map(|word| "*".repeat(word.chars().count())).collect();
    let pieces: Vec<String> = text.split_inclusive(|_| true).map(str::to_owned).collect();

    let upstream = ScriptedUpstream::start([Script::says(pieces.iter().map(String::as_str))]).await;
    let plugin = "[plugins.sensitive-word]\nlimits = { memory = '48MiB', cpu = '5s', wall = '20s' }\n\
                  ready = 1\nconfig = { words = { file = 'words.txt' } }";
    let setup = Setup::new().upstream(&upstream).plugins(&["sensitive-word"]).toml(plugin);
    let gateway = setup.file("words.txt", words.join("\n")).start().await;
    assert_eq!(deltas(&gateway.ask("hello").await.body().await), stars.join(", not "));
}
