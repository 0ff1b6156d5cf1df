use proptest::prelude::*;
use rust_proxy_sdk::testing::{Host, context, cuts};
use rust_proxy_sdk::{Channel, CloseReason, Plugin, ResponseModifier};

use crate::{Appending, Emoji};

fn host(config: &str) -> Host<Appending> {
    Host::new(Emoji::configure(config).unwrap().open(&context()).unwrap())
}

#[test]
fn an_answer_ends_with_the_text_at_every_cut() {
    for (config, expected) in [("{}", "你好, done. 😊"), (r#"{"text": "\n-- us"}"#, "你好, done.\n-- us")]
    {
        for cut in cuts("你好, done.") {
            for close_with_last in [false, true] {
                let mut host = host(config);
                for (index, piece) in cut.iter().enumerate() {
                    let last = close_with_last && index + 1 == cut.len();
                    host.push(&[(0, piece)], if last { &[0] } else { &[] });
                }
                if !close_with_last {
                    assert_eq!(host.left(0), "你好, done.", "nothing is held");
                    host.push(&[], &[0]);
                }
                assert_eq!(host.left(0), expected, "{cut:?}");
            }
        }
    }
}

#[test]
fn only_a_complete_answer_is_appended_to() {
    use Channel::{Other, Reasoning, Refusal, Text, ToolArgument};
    use CloseReason::{ContentFilter, Length, Next, Stop, ToolCalls};
    let mut appended = Vec::new();
    for channel in [Text, Reasoning, Refusal, ToolArgument, Other] {
        for reason in [Next, Stop, Length, ToolCalls, ContentFilter, CloseReason::Other] {
            let mut host = host("{}");
            host.open(3, channel).push_closing(&[(3, "text")], &[(3, reason)]);
            if host.left(3) != "text" {
                appended.push((channel, reason, host.left(3).to_owned()));
            }
        }
    }
    assert_eq!(appended, [(Text, Stop, "text 😊".to_owned())]);
}

#[test]
fn an_answer_without_text_stays_so() {
    for text in ["", " \n\t"] {
        let mut host = host("{}");
        host.push(&[(0, text)], &[]);
        host.push(&[], &[0]);
        assert_eq!(host.left(0), text);
    }
}

#[test]
fn each_choice_gets_its_own() {
    let mut host = host("{}");
    host.push(&[(0, "one"), (1, "two")], &[]);
    host.push_closing(&[(1, "!")], &[(1, CloseReason::Stop), (0, CloseReason::Length)]);
    assert_eq!((host.left(0), host.left(1)), ("one", "two! 😊"));
}

#[test]
fn a_configuration_that_makes_no_sense_names_the_key() {
    for (config, start) in [
        (r#"{"text": ""}"#, "`text` is empty: write what to append"),
        (r#"{"text": 3}"#, "`text`: invalid type: integer `3`, expected a string"),
        (r#"{"emoji": "x"}"#, "`emoji`: unknown field `emoji`, expected `text`"),
    ] {
        let error = Emoji::configure(config).unwrap_err();
        assert!(error.starts_with(start), "{config}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_chunking_equals_the_whole(pieces in prop::collection::vec("[a 密\n]{0,3}", 0..8)) {
        let mut cut = host("{}");
        cut.push(&[(0, "")], &[]);
        for piece in &pieces {
            cut.push(&[(0, piece)], &[]);
        }
        cut.push(&[], &[0]);
        let mut whole = host("{}");
        whole.push(&[(0, &pieces.concat())], &[0]);
        prop_assert_eq!(cut.left(0), whole.left(0));
    }
}
