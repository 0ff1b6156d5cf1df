//! The plugin under a host that checks the contract's rules.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rust_proxy_sdk::testing::{Host, context, cuts};
use rust_proxy_sdk::types::{ToolArgument, ToolCall, ToolResult};
use rust_proxy_sdk::{Body, Change, Channel, Finding, Item, Plugin, Processor, ResponseModifier, Stop};

use crate::SensitiveWord;

fn plugin(config: &str) -> SensitiveWord {
    SensitiveWord::configure(config).unwrap()
}

fn host(config: &str) -> Host<crate::session::Scan> {
    Host::new(plugin(config).open(&context()).unwrap())
}

const TEXT: &str = "My SeCret 密码is the secretary's; se密cret 密码密码 secre";

#[test]
fn every_cut_of_an_answer_leaves_as_the_whole_would() {
    let words = r#""words": ["secret", "secretary", "密码"]"#;
    for (config, expected) in [
        ("", "My ****** **is the *********'s; se密cret **** secre"),
        (r#", "mask": "[-]""#, "My [-] [-]is the [-]'s; se密cret [-][-] secre"),
        (r#", "action": "replace", "replacement": """#, "My  is the 's; se密cret  secre"),
        (r#", "case_sensitive": true"#, "My SeCret **is the *********'s; se密cret **** secre"),
        (r#", "action": "monitor""#, TEXT),
    ] {
        let config = format!("{{{words}{config}}}");
        for cut in cuts(TEXT) {
            let mut host = host(&config);
            host.open(1, Channel::ToolArgument);
            for piece in &cut {
                // A second lane, one character behind, must not disturb.
                host.push(&[(0, piece), (1, "sec")], &[]);
            }
            host.push(&[], &[0, 1]);
            assert_eq!(host.left(0), expected, "{cut:?}");
            assert!(host.stop.is_none());
            let spans = host.findings.iter().filter(|finding| finding.lane == 0);
            let found: Vec<_> = spans.map(|span| &TEXT[span.start as usize..span.end as usize]).collect();
            let all = ["SeCret", "密码", "secretary", "密码", "密码"];
            assert_eq!(found, all[usize::from(config.contains("sensitive\""))..], "{cut:?}");
        }
    }
}

#[test]
fn a_word_that_blocks_and_all_after_it_stay() {
    let config = r#"{"words": ["secret"], "action": "block"}"#;
    for cut in cuts("my secret is") {
        for close_with_last in [false, true] {
            let mut host = host(config);
            for (index, piece) in cut.iter().enumerate() {
                let closed: &[u32] = if close_with_last && index + 1 == cut.len() { &[0] } else { &[] };
                if host.stop.is_none() {
                    host.push(&[(0, piece)], closed);
                }
            }
            assert_eq!(host.left(0), "my ", "{cut:?}");
            assert!(matches!(&host.stop, Some(Stop::Block(reason)) if !reason.contains("secret")));
        }
    }
}

#[test]
fn monitor_holds_nothing() {
    let mut host = host(r#"{"words": ["secret"], "action": "monitor"}"#);
    for (piece, left) in [("a sec", "a sec"), ("ret", "a secret")] {
        host.push(&[(0, piece)], &[]);
        assert_eq!(host.left(0), left);
    }
    let finding = Finding { lane: 0, start: 2, end: 8, rule: "sensitive-word".to_owned() };
    assert_eq!(host.findings, [finding]);
}

fn items() -> Vec<Item> {
    let bodies = [
        Body::Text("A SECRET, a secret".to_owned()),
        Body::ToolCall(ToolCall { id: "c".to_owned(), name: "secret".to_owned() }),
        Body::ToolArgument(ToolArgument {
            call: "c".to_owned(),
            pointer: Some("/q".to_owned()),
            text: "secret".to_owned(),
        }),
        Body::ToolResult(ToolResult { call: "c".to_owned(), text: "no secrets".to_owned() }),
        Body::Opaque("secret".to_owned()),
        Body::Text("nothing".to_owned()),
    ];
    let item = |(body, id)| Item { id, message: 0, role: "user".to_owned(), body };
    bodies.into_iter().zip(7..).map(item).collect()
}

#[test]
fn a_request_is_masked_in_every_text_and_nowhere_else() {
    let decision = plugin(r#"{"words": "secret", "rule": "r"}"#).process(&context(), &items()).unwrap();
    let texts: Vec<_> = decision
        .changes
        .iter()
        .map(|change| match change {
            Change::SetText(change) => (change.item, change.text.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(texts, [(7, "A ******, a ******"), (9, "******"), (10, "no ******s")]);
    let spans: Vec<_> = decision.findings.iter().map(|found| (found.lane, found.start, found.end)).collect();
    assert_eq!(spans, [(7, 2, 8), (7, 12, 18), (9, 0, 6), (10, 3, 9)]);
    assert!(decision.stop.is_none() && decision.findings.iter().all(|found| found.rule == "r"));
}

#[test]
fn a_request_is_blocked_or_only_reported() {
    let blocked =
        plugin(r#"{"words": ["secret"], "action": "block"}"#).process(&context(), &items()).unwrap();
    let Some(Stop::Reject(rejection)) = blocked.stop else { panic!("{:?}", blocked.stop) };
    assert_eq!(rejection.status, 400);
    assert!(!rejection.message.contains("secret"));

    let seen = plugin(r#"{"words": ["secret"], "action": "monitor"}"#).process(&context(), &items()).unwrap();
    assert!(seen.changes.is_empty() && seen.stop.is_none());
    assert_eq!(seen.findings.len(), 4);

    let block = r#"{"words": ["absent"], "action": "block"}"#;
    assert!(plugin(block).process(&context(), &items()).unwrap().stop.is_none());
}

#[test]
fn a_text_of_words_is_read_by_line() {
    let lines = r##"{"words": "\ufeffzero\n# list\r\n\r\n  one \r\ntwo words\n#three\n"}"##;
    let mut host = host(lines);
    host.push(&[(0, "zero, one, two words, #three")], &[0]);
    assert_eq!(host.left(0), "****, ***, *********, #three");
}

#[test]
fn a_configuration_that_makes_no_sense_names_the_key() {
    for (config, start) in [
        (r#"{}"#, "missing field `words`"),
        (r#"{"words": 3}"#, "`words`: invalid type: integer `3`, expected an array of words, or a text"),
        (r#"{"words": ["a", 3]}"#, "`words[1]`: invalid type: integer `3`, expected a string"),
        (r#"{"words": []}"#, "`words` has no word"),
        (r##"{"words": "# nothing\n\n"}"##, "`words` has no word"),
        (r#"{"words": ["a", " "]}"#, "`words[1]` is empty"),
        (r#"{"words": ["a"], "word": 1}"#, "`word`: unknown field `word`, expected one of `words`"),
        (r#"{"words": ["a"], "action": "hide"}"#, "`action`: unknown variant `hide`, expected one of `mask`"),
        (r#"{"words": ["a"], "replacement": "b"}"#, "`replacement` fits `action = \"replace\"` only"),
        (r#"{"words": ["a"], "action": "block", "mask": "x"}"#, "`mask` fits `action = \"mask\"` only"),
        (r#"{"words": ["a"], "action": "replace"}"#, "`replacement` is missing"),
        (r#"{"words": ["a"], "mask": ""}"#, "`mask` is empty"),
        (r#"{"words": ["a"], "rule": ""}"#, "`rule` is empty"),
    ] {
        let error = SensitiveWord::configure(config).unwrap_err();
        assert!(error.starts_with(start), "{config}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn interleaved_lanes_leave_as_they_would_alone(
        words in prop::collection::vec("[ab密]{1,4}", 1..5),
        pieces in prop::collection::vec((0..3_u32, "[abAB密]{0,4}"), 0..12),
    ) {
        let config = format!(r#"{{"words": {words:?}, "mask": "**"}}"#);
        let mut together = host(&config);
        let mut whole = BTreeMap::<u32, String>::new();
        for (lane, piece) in &pieces {
            together.push(&[(*lane, piece)], &[]);
            whole.entry(*lane).or_default().push_str(piece);
        }
        let lanes: Vec<u32> = whole.keys().copied().collect();
        together.push(&[], &lanes);
        for (lane, text) in &whole {
            let mut alone = host(&config);
            alone.push(&[(*lane, text)], &[*lane]);
            prop_assert_eq!(together.left(*lane), alone.left(*lane));
        }
    }
}
