//! Streams in the shapes of the servers that people run: `tests/fixtures/transcripts`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::lanes::lanes;
use super::links::{Fake, masked, masking};
use super::support::*;
use super::*;
use crate::lane::Outcome;

macro_rules! transcripts {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../../../../tests/fixtures/transcripts/", $name, ".sse")))),*]
    };
}

const TRANSCRIPTS: [(&str, &str); 12] = transcripts!(
    "deepseek-plain" "deepseek-reasoning" "llamacpp-plain" "llamacpp-reasoning-tools" "openai-logprobs"
    "openai-plain" "openai-refusal" "openai-tools" "openai-two-choices" "vllm-continuous-usage"
    "vllm-interleaved-tools" "vllm-reasoning-two-choices"
);

const WORDS: [&str; 3] = ["banana", "密码", " Ban"];
const MASK: &str = "***";

/// The texts of a stream; arguments as the JSON that they are, whatever its spelling.
fn texts(stream: &str) -> BTreeMap<(u64, String), Value> {
    let value = |(place, text): ((u64, String), String)| {
        let is_json = place.1.starts_with("arguments/");
        let value = if is_json { serde_json::from_str(&text).unwrap() } else { text.into() };
        (place, value)
    };
    lanes(stream).into_iter().map(value).collect()
}

/// What the client is to see of a transcript.
fn expected(transcript: &str) -> BTreeMap<(u64, String), Value> {
    texts(transcript).into_iter().map(|(place, text)| (place, masked_values(text))).collect()
}

fn masked_values(value: Value) -> Value {
    match value {
        Value::String(text) => masked(&text, &WORDS, MASK, true).into(),
        Value::Array(values) => values.into_iter().map(masked_values).collect(),
        Value::Object(values) => values.into_iter().map(|(key, value)| (key, masked_values(value))).collect(),
        other => other,
    }
}

#[test]
fn transcripts_have_a_word_in_every_text() {
    for (name, transcript) in TRANSCRIPTS {
        for (place, text) in texts(transcript) {
            // Both calls of one are about fruit, and one of those is not listed.
            let is_clean = text.get("fruit").is_some_and(|fruit| fruit == "fig");
            assert!(is_clean || text != masked_values(text.clone()), "{name}: {place:?}: {text}");
        }
    }
}

/// Without the tokens that the model did not take: text that no link sees.
fn without_others(transcript: &str) -> String {
    let mut parts = transcript.split("\"top_logprobs\":[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |body, part| body + "\"top_logprobs\":[]" + part.split_once("}]").unwrap().1)
}

#[test]
fn what_no_link_edits_leaves_byte_for_byte() {
    let looking = || Fake::answering(Ok(Outcome::default()));
    for (name, transcript) in TRANSCRIPTS {
        for plugins in [vec![], vec![looking(), looking()], vec![masking(&["zzz"], MASK)]] {
            for size in [1, 7, 64, transcript.len()] {
                let client = read(&plugins, Script::parts(transcript.as_bytes().chunks(size)));
                assert_eq!(client.end, Some(End::Complete), "{name}, {size}");
                let expected = if plugins.is_empty() { transcript } else { &without_others(transcript) };
                assert_eq!(client.body() + DONE, *expected, "{name}, {size}");
            }
        }
    }
}

#[test]
fn every_text_is_masked_and_the_rest_of_each_frame_is_not_touched() {
    for (name, transcript) in TRANSCRIPTS {
        for size in [1, 50, 1000, transcript.len()] {
            let client = read(&[masking(&WORDS, MASK)], Script::parts(transcript.as_bytes().chunks(size)));
            assert_eq!(client.end, Some(End::Complete), "{name}, {size}");
            assert_eq!(texts(&client.body()), expected(transcript), "{name}, {size}");
            check_rest(name, transcript, &client.body());
        }
    }
}

#[test]
fn every_split_of_the_bytes_is_masked_alike() {
    for (name, transcript) in TRANSCRIPTS {
        let expected = expected(transcript);
        // Every one of the shorter ones.
        let step = if transcript.len() < 2400 { 1 } else { 11 };
        for at in (1..transcript.len()).step_by(step) {
            let parts = [&transcript.as_bytes()[..at], &transcript.as_bytes()[at..]];
            let client = read(&[masking(&WORDS, MASK)], Script::parts(parts));
            assert_eq!(texts(&client.body()), expected, "{name}, split at {at}");
            assert_eq!(client.end, Some(End::Complete), "{name}, split at {at}");
        }
    }
}

/// Checks that of each frame that says more than text, all but the text arrives, and that what else arrives is
/// a frame of the upstream without its text, or a small one of ours.
fn check_rest(name: &str, transcript: &str, body: &str) {
    let (came, left) = (blanks(transcript), blanks(body));
    let head = |chunk: &Value| {
        let mut head = chunk.clone();
        head.as_object_mut().unwrap().retain(|key, _| !["choices", "usage"].contains(&key.as_str()));
        head
    };
    for chunk in &left {
        let is_ours = says_text_only(chunk) && head(chunk) == head(&came[0]);
        assert!(came.contains(chunk) || is_ours, "{name}: {chunk}");
    }
    let count = |chunks: &[Value], chunk: &Value| chunks.iter().filter(|other| *other == chunk).count();
    for chunk in came.iter().filter(|chunk| !says_text_only(chunk)) {
        assert_eq!(count(&left, chunk), count(&came, chunk), "{name}: {chunk}");
    }
}

/// The chunks without their text, what repeats it, and padding.
fn blanks(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| {
        // Halves of a pair cannot be read one by one.
        let data = data.replace("\\ud83d", "").replace("\\ude00", "");
        let mut chunk: Value = serde_json::from_str(&data).unwrap();
        chunk.as_object_mut().unwrap().remove("obfuscation");
        for choice in chunk["choices"].as_array_mut().unwrap() {
            choice.as_object_mut().unwrap().remove("logprobs");
            for (field, value) in choice["delta"].as_object_mut().unwrap() {
                if is_text(field) && value.is_string() {
                    *value = "".into();
                }
                for call in value.as_array_mut().into_iter().flatten() {
                    call["function"]["arguments"] = "".into();
                }
            }
        }
        chunk
    })
    .collect()
}

fn is_text(field: &str) -> bool {
    ["content", "reasoning_content", "reasoning", "refusal"].contains(&field)
}

/// Whether a chunk has neither role nor finish reason, usage or the head of a tool call.
fn says_text_only(chunk: &Value) -> bool {
    let choices = chunk["choices"].as_array().unwrap();
    let text_only = |choice: &Value| {
        let mut fields = choice["delta"].as_object().unwrap().iter();
        choice["finish_reason"].is_null()
            && fields.all(|(field, value)| match value {
                Value::Null => true,
                Value::Array(calls) => calls.iter().all(|call| call.get("id").is_none()),
                _ => is_text(field),
            })
    };
    !choices.is_empty() && choices.iter().all(text_only)
}
