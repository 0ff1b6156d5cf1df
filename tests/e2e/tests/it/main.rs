//! End-to-end tests, by behaviour. One binary, because linking takes longer than most of them.

// Lets lints know that all of it is tests, helpers too.
#![cfg(test)]

mod capabilities;
mod faults;
mod lifecycle;
mod masking;
mod metrics;
mod plugins;
mod policy;
mod program;
mod reload;
mod requests;
mod splits;
mod stops;
mod streams;
mod transcripts;
mod trust;
mod upstream_failures;
mod wire_faults;

use rust_proxy_testkit::{ScriptedUpstream, Setup};

/// The limits are wide: these tests are not about them, and the machine may be busy.
const WORDS: &str = "[plugins.sensitive-word]\nlimits = { cpu = '5s', wall = '20s' }\n\
                     config = { words = ['secret', '密码'] }";

/// A gateway that masks `secret` and `密码` in both directions.
fn masking(upstream: &ScriptedUpstream) -> Setup {
    Setup::new().upstream(upstream).plugins(&["sensitive-word"]).toml(WORDS)
}

/// What `sensitive-word` makes of a whole text, as simple as can be: at each place the longest word, a star for each
/// of its characters.
fn masked(text: &str, words: &[&str]) -> String {
    let (mut masked, mut rest) = (String::new(), text);
    while let Some(next) = rest.chars().next() {
        let found = words.iter().filter(|word| rest.starts_with(**word)).max_by_key(|word| word.len());
        match found {
            Some(word) => masked.extend(word.chars().map(|_| '*')),
            None => masked.push(next),
        }
        rest = &rest[found.map_or(next.len_utf8(), |word| word.len())..];
    }
    masked
}

/// The message of an error, as a status or as an event.
fn message(body: &serde_json::Value) -> &str {
    body.pointer("/error/message")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_else(|| panic!("no error: {body}"))
}

/// The one error of a stream's last event; asserts that nothing makes the stream look complete.
fn last_error(events: &str) -> serde_json::Value {
    assert!(!events.contains("[DONE]"), "looks complete: {events}");
    let last = events.trim_end().rsplit("\n\n").next().and_then(|event| event.strip_prefix("data: "));
    let error: serde_json::Value = serde_json::from_str(last.unwrap_or_default()).unwrap_or_default();
    assert!(error.pointer("/error/message").is_some(), "no error at the end: {events}");
    assert!(error.get("choices").is_some_and(serde_json::Value::is_string), "looks like a chunk: {error}");
    assert_eq!(events.matches(r#""error""#).count(), 1, "{events}");
    error
}
