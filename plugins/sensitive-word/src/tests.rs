//! The plugin under a host that checks the contract's rules.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rust_proxy_sdk::testing::{Host, context, cuts};
use rust_proxy_sdk::types::{ToolArgument, ToolCall, ToolResult};
use rust_proxy_sdk::{
    Batch, Body, Change, Channel, Finding, Item, Lane, Piece, Plugin, Processor, ResponseModifier, Session,
    Stop,
};

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

const LISTS: &str = r#"{"lists": [
    {"words": ["secret", "art"], "whole_words": true, "rule": "whole"},
    {"words": ["密码", "secret plan"], "action": "replace", "replacement": "[-]"},
    {"words": ["plan", "planet"], "action": "monitor", "rule": "seen"},
    {"words": ["secret plan b"], "action": "block", "rule": "stop"},
    {"words": ["lane"], "action": "monitor", "rule": "seen too"}
]}"#;

#[test]
fn lists_act_each_in_its_way_and_hide_no_word_of_one_another() {
    let text = "Ａrt, party: se\u{200b}cret plans of 密码 planets in art";
    for cut in cuts(text) {
        let mut host = host(LISTS);
        for piece in &cut {
            host.push(&[(0, piece)], &[]);
        }
        host.push(&[], &[0]);
        assert_eq!(host.left(0), "***, party: [-]s of [-] planets in ***", "{cut:?}");
        let mut found: Vec<_> = host.findings.iter().map(|found| (&*found.rule, found.start)).collect();
        found.sort_unstable();
        let whole = [("whole", 0), ("whole", 51)];
        let seen = [("seen", 24), ("seen", 40), ("seen too", 41)];
        assert_eq!(found, [&seen[..], &[("sensitive-word", 14), ("sensitive-word", 33)], &whole].concat());
    }
}

#[test]
fn a_list_that_blocks_beside_others_stops_at_its_first_word() {
    for cut in cuts("art 密码 secret plan b, 密码") {
        let mut host = host(LISTS);
        for (index, piece) in cut.iter().enumerate() {
            let closed: &[u32] = if index + 1 == cut.len() { &[0] } else { &[] };
            if host.stop.is_none() {
                host.push(&[(0, piece)], closed);
            }
        }
        assert_eq!(host.left(0), "*** [-] ", "{cut:?}");
        assert!(matches!(&host.stop, Some(Stop::Block(reason)) if reason.starts_with("stop: ")));
        let rules = host.findings.iter().map(|found| &*found.rule).filter(|rule| !rule.starts_with("seen"));
        assert_eq!(rules.collect::<Vec<_>>(), ["whole", "sensitive-word", "stop"], "{cut:?}");
    }
    let mut item = items().remove(0);
    item.body = Body::Text("art 密码 secret plan b".to_owned());
    let decision = plugin(LISTS).process(&context(), &[item]).unwrap();
    assert!(matches!(decision.stop, Some(Stop::Reject(_))));
    assert_eq!(decision.findings.len(), 4);
}

#[test]
fn a_list_that_monitors_holds_nothing_beside_one_that_masks() {
    let mut host = host(LISTS);
    for (piece, left) in
        [("a pla", "a pla"), ("n s", "a plan "), ("ecre", "a plan "), ("ts", "a plan secret")]
    {
        host.push(&[(0, piece)], &[]);
        assert_eq!(host.left(0), left);
    }
}

/// An answer of 2,000 characters, one at a time, against 1,000 words: prints what was held, and for how long.
#[test]
#[expect(clippy::print_stdout, reason = "the figures are to be shown: run it with --nocapture")]
fn a_thousand_words_hold_no_character_that_is_safe() {
    // Words of 3 to 8 letters that share their beginnings, and an answer that is full of such beginnings.
    let letter = |n: u32| ['a', 'e', 'n', 'r', 's', 't', '密', '码'][n as usize % 8];
    let mixed = |n: u32| n.wrapping_mul(2_654_435_761).rotate_left(13);
    let word = |n: u32| (0..3 + n % 6).map(|place| letter(mixed(n * 8 + place))).collect::<String>();
    let words: Vec<String> = (0..1_000).map(word).collect();
    let some =
        (0..).map(|n| words[mixed(n) as usize % 1_000].chars().take(2 + n as usize % 5).chain([' ', '.']));
    let text: String = some.flatten().take(2_000).collect();
    let prefixes: std::collections::HashSet<&str> =
        words.iter().flat_map(|word| word.char_indices().map(|(at, _)| &word[..at])).collect();

    let mut session = plugin(&format!(r#"{{"words": {words:?}}}"#)).open(&context()).unwrap();
    let lane = Lane { id: 0, choice: 0, part: 0, channel: Channel::Text, name: None, pointer: None };
    let mut opened = vec![lane];
    let (mut peak, mut late, mut edits, mut released) = (0, 0, 0, 0);
    for (at, c) in text.char_indices() {
        let piece = Piece { lane: 0, offset: at as u32, text: c.to_string() };
        let batch = Batch { opened: std::mem::take(&mut opened), pieces: vec![piece], closed: vec![] };
        let outcome = session.push(&batch).unwrap();
        let end = at + c.len_utf8();
        let kept = outcome.holds.first().map_or(end, |hold| hold.start as usize);
        edits += outcome.edits.len();
        released = outcome.edits.last().map_or(released, |edit| edit.end as usize);
        // What may still become a word: the longest end of the text, behind the last match, that begins one.
        let open =
            (released..=end).find(|from| text.get(*from..end).is_some_and(|end| prefixes.contains(end)));
        late += text[kept..open.unwrap_or(end)].chars().count();
        peak = peak.max(end - kept);
        assert!(kept <= open.unwrap_or(end), "a byte of a word left");
    }
    let longest = words.iter().map(String::len).max().unwrap();
    println!(
        "{} words over {} characters, one at a time: {edits} masked; held at most {peak} bytes, longest word {longest} \
         bytes; safe characters that waited: {late}",
        words.len(),
        text.chars().count(),
    );
    assert!(edits > 50 && peak <= longest);
    assert_eq!(late, 0);
}

#[test]
fn a_configuration_that_makes_no_sense_names_the_key() {
    for (config, start) in [
        (r#"{}"#, "`words` is missing: write a list of words, or several as `lists`"),
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
        (
            r#"{"words": ["a"], "zero_width_max": 256}"#,
            "`zero_width_max` is 256: write a number from 0 to 255",
        ),
        (r#"{"words": ["a", "\u200b"]}"#, "`words[1]` has only zero-width characters: remove it"),
        (r#"{"words": ["a\u00ad\u00adb"], "zero_width_max": 1}"#, "`words[0]` has more than 1 zero-width"),
        (r#"{"lists": []}"#, "`lists` is empty"),
        (r#"{"words": ["a"], "lists": [{"words": "b"}]}"#, "`words` stands beside `lists`: move it"),
        (r#"{"whole_words": true, "lists": [{"words": "b"}]}"#, "`whole_words` stands beside `lists`"),
        (r#"{"lists": [{"words": "b"}, {}]}"#, "`lists[1]`: missing field `words`"),
        (r#"{"lists": [{"words": "b"}, {"words": []}]}"#, "`lists[1].words` has no word"),
        (
            r#"{"lists": [{"words": "b", "case_sensitive": true}]}"#,
            "`lists[0].case_sensitive`: unknown field",
        ),
        (r#"{"lists": [{"words": "b", "action": "block", "mask": "x"}]}"#, "`lists[0].mask` fits"),
        (
            r#"{"lists": [{"words": "a", "action": "block"}, {"words": "\u200b", "action": "monitor"}]}"#,
            "`lists[1].words[0]` has only zero-width characters",
        ),
        (
            r#"{"lists": [{"words": "a", "action": "monitor"}, {"words": ["b", "\u200b"]}]}"#,
            "`lists[1].words[1]` has only zero-width characters",
        ),
    ] {
        let error = SensitiveWord::configure(config).unwrap_err();
        assert!(error.starts_with(start), "{config}: {error}");
    }
}

fn list() -> impl Strategy<Value = String> {
    let words = prop::collection::vec("[abＡ密_]{1,4}", 1..4);
    let action = prop::sample::select(vec![
        r##""mask": "#""##,
        r#""mask": "<>""#,
        r#""action": "replace", "replacement": """#,
        r#""action": "monitor""#,
    ]);
    let list = (words, action, any::<bool>());
    list.prop_map(|(words, action, whole)| {
        format!(r#"{{"words": {words:?}, {action}, "whole_words": {whole}}}"#)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_request_and_every_cut_of_an_answer_are_masked_alike(
        lists in prop::collection::vec(list(), 1..4),
        text in "[abＡ密_ \u{200b}]{0,10}",
    ) {
        let config = format!(r#"{{"lists": [{}]}}"#, lists.join(","));
        let mut item = items().remove(0);
        item.body = Body::Text(text.clone());
        let decision = plugin(&config).process(&context(), &[item]).unwrap();
        let masked = match decision.changes.first() {
            Some(Change::SetText(change)) => &change.text,
            _ => &text,
        };
        let sorted = |findings: &[Finding]| {
            let mut spans: Vec<_> = findings.iter().map(|found| (found.start, found.end)).collect();
            spans.sort_unstable();
            spans
        };
        for cut in cuts(&text) {
            let mut host = host(&config);
            for piece in cut {
                host.push(&[(0, piece)], &[]);
            }
            host.push(&[(0, "")], &[0]);
            prop_assert_eq!(host.left(0), masked);
            prop_assert_eq!(sorted(&host.findings), sorted(&decision.findings));
        }
    }

    #[test]
    fn every_cut_of_an_answer_is_blocked_at_the_same_place(
        lists in prop::collection::vec(list(), 0..3),
        blocking in prop::collection::vec("[abＡ密_]{1,4}", 1..3),
        whole_words in any::<bool>(),
        text in "[abＡ密_ \u{200b}]{0,10}",
    ) {
        let stop = format!(r#"{{"words": {blocking:?}, "action": "block", "whole_words": {whole_words}}}"#);
        let config = format!(r#"{{"lists": [{}]}}"#, [&lists[..], &[stop]].concat().join(","));
        let answer = |cut: &[&str], end_apart: bool| {
            let mut host = host(&config);
            for (place, piece) in cut.iter().enumerate() {
                let closed: &[u32] = if !end_apart && place + 1 == cut.len() { &[0] } else { &[] };
                if host.stop.is_none() {
                    host.push(&[(0, piece)], closed);
                }
            }
            if host.stop.is_none() && end_apart {
                host.push(&[(0, "")], &[0]);
            }
            (host.left(0).to_owned(), host.stop.is_some())
        };
        let whole = answer(&[&text], false);
        for cut in cuts(&text) {
            prop_assert_eq!(&answer(&cut, false), &whole, "{:?}", cut);
            prop_assert_eq!(&answer(&cut, true), &whole, "{:?}", cut);
        }
    }

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
