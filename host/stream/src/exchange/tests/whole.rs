//! Answers in one piece.

use serde_json::{Value, json};

use super::links::{Fake, appending, holding, looking, masking};
use super::support::*;
use super::*;
use crate::lane::{Outcome, Stop};

fn body(message: &Value) -> String {
    let choices = json!([{"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": ["secret"]}}]);
    json!({"id": "c1", "model": "up", "choices": choices, "usage": {"total_tokens": 3}}).to_string()
}

fn message(plugins: &[Fake], before: &Value) -> Value {
    let answer: Value = serde_json::from_str(&whole(plugins, &body(before)).unwrap()).unwrap();
    answer["choices"][0]["message"].clone()
}

#[test]
fn an_untouched_answer_leaves_byte_for_byte() {
    let odd = "{ \"choices\":[ {\"message\":{\"content\":\"a\\/b\\ud83d\\ude00 \\ud83d\",\"x\":1.50},\"finish_reason\":null}],\n\"y\":1e400 }\n";
    let calls = body(
        &json!({"content": null, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}),
    );
    let calls = calls.replace("[\"secret\"]", "null");
    for body in [odd, &calls] {
        for plugins in [vec![], vec![masking(&["secret"], "*"), appending("")], vec![holding()]] {
            assert_eq!(whole(&plugins, body).unwrap(), body);
        }
    }
    assert_eq!(message(&[appending("!")], &json!({"content": null})), json!({"content": null}));
}

#[test]
fn a_changed_answer_says_nothing_of_what_was_changed() {
    let plugins = [masking(&["secret"], "*"), appending("!")];
    let before = json!({"role": "assistant", "content": "a secret", "reasoning": "secret", "refusal": ""});
    let after = whole(&plugins, &body(&before)).unwrap();
    assert!(!after.contains("secret"), "{after}");
    let after: Value = serde_json::from_str(&after).unwrap();
    let message = json!({"role": "assistant", "content": "a *!", "reasoning": "*", "refusal": ""});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop", "logprobs": null});
    assert_eq!(after["choices"], json!([choice]));
    assert_eq!(after["usage"], json!({"total_tokens": 3}));
}

#[test]
fn a_lone_half_is_shown_as_a_replacement_character() {
    let text = |body: &str| body.replace("HALF", "\\ud83d");
    let answer = whole(&[appending("!")], &text(&body(&json!({"content": "HALF"})))).unwrap();
    assert!(answer.contains("\"content\":\"\u{fffd}!\""), "{answer}");
    let deep = format!(
        "{{\"x\":{}{},\"choices\":[{{\"message\":{{\"content\":\"\\ud83d\"}}}}]}}",
        "[".repeat(200),
        "]".repeat(200)
    );
    let answer = whole(&[], &deep).unwrap();
    assert!(answer.contains("[[[") && answer.contains("choices"), "{answer}");
}

#[test]
fn a_stop_takes_the_place_of_the_whole_message() {
    let before = json!({
        "role": "assistant", "content": "a secret", "tool_calls": [{"id": "c"}], "audio": {"transcript": "secret"},
    });
    let stop = |stop: Stop| Fake::answering(Ok(Outcome { stop: Some(stop), ..Outcome::default() }));
    for (stop, text, reason) in [
        (stop(Stop::Respond("no.".into())), "a *no.", "stop"),
        (stop(Stop::Block(String::new())), "a *", "content_filter"),
    ] {
        let answer: Value =
            serde_json::from_str(&whole(&[masking(&["secret"], "*"), stop], &body(&before)).unwrap())
                .unwrap();
        let message = json!({"role": "assistant", "content": text});
        assert_eq!(answer["choices"], json!([{"index": 0, "message": message, "finish_reason": reason}]));
        assert_eq!((&answer["id"], &answer["usage"]), (&json!("c1"), &json!({"total_tokens": 3})));
    }
}

#[test]
fn what_is_no_answer_is_an_error() {
    let error = |body: &str| match whole(&[looking()], body).unwrap_err() {
        ExchangeError::Upstream(error) => error,
        error => panic!("{error}"),
    };
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "{\"choices\":[{\"message\":{\"content\":[]}}]}",
        "{\"choices\":null}",
        "<html>",
    ] {
        assert!(matches!(error(body), UpstreamError::Protocol(_)), "{body}");
    }
    let reported = error("{\"error\":{\"message\":\"no\"},\"choices\":[]}");
    assert_eq!(reported, UpstreamError::Reported("no".into()));
}

#[test]
fn an_answer_without_choices_is_none() {
    for body in ["{\"choices\":[]}", "{\"choices\":[],\"usage\":{\"total_tokens\":3}}"] {
        for plugins in [vec![], vec![holding()]] {
            let error = whole(&plugins, body).unwrap_err();
            assert!(matches!(error, ExchangeError::Upstream(UpstreamError::Incomplete(_))), "{error}");
        }
    }
}
