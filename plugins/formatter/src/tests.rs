use proptest::prelude::*;
use rust_proxy_sdk::testing::{Host, context, cuts};
use rust_proxy_sdk::types::{ToolArgument, ToolResult};
use rust_proxy_sdk::{Body, Change, Channel, CloseReason, Item, Plugin, Processor, ResponseModifier};

use crate::Formatter;
use crate::normalize::normalize;
use crate::trim::{RUN_MAX, Trim};

fn text(id: u32, role: &str, text: &str) -> Item {
    Item { id, message: id, role: role.to_owned(), body: Body::Text(text.to_owned()) }
}

fn changes(config: &str, items: &[Item]) -> Vec<(u32, String)> {
    let decision = Formatter::configure(config).unwrap().process(&context(), items).unwrap();
    let change = |change| match change {
        Change::SetText(change) => (change.item, change.text),
        other => panic!("{other:?}"),
    };
    decision.changes.into_iter().map(change).collect()
}

#[test]
fn text_is_tidied() {
    for (text, expected) in [
        ("plain", "plain"),
        ("e\u{301}tude \u{1100}\u{1161}", "étude 가"),
        ("a\r\nb\rc\r\n", "a\nb\rc"),
        ("a  \n\tb\t\u{3000}\nc", "a\n\tb\nc"),
        ("a\n\n\nb", "a\n\n\nb"),
        ("a\n\n\n\nb\n \n\t\n\n\n\nc", "a\n\n\nb\n\n\nc"),
        ("\n \n  a\n  b \n\n", "a\n  b"),
        (" \r\n\t", ""),
        ("", ""),
    ] {
        assert_eq!(normalize(text), expected, "{text:?}");
    }
}

#[test]
fn users_texts_are_tidied_and_no_others() {
    let argument = ToolArgument { call: "c".to_owned(), pointer: Some(String::new()), text: "a ".to_owned() };
    let result = ToolResult { call: "c".to_owned(), text: "a ".to_owned() };
    let mut items = vec![
        text(0, "system", "be brief "),
        text(1, "user", "one "),
        text(2, "assistant", "two "),
        text(3, "user", " "),
        text(4, "user", "four"),
    ];
    let bodies =
        [Body::ToolArgument(argument), Body::ToolResult(result), Body::Opaque("image_url ".to_owned())];
    items.extend(bodies.into_iter().map(|body| Item { id: 5, message: 5, role: "user".to_owned(), body }));
    assert_eq!(changes("{}", &items), [(1, "one".to_owned())]);
    assert_eq!(changes(r#"{"normalize": false}"#, &items), []);
}

#[test]
fn the_template_takes_the_latest_text_of_a_user() {
    let config = r#"{
        "template": "[{{ date }}] {{ tone | upper }}{% for n in names %} {{ n }}{% endfor %}: {{ user }}",
        "variables": {"tone": "kind", "names": ["a", 2]}
    }"#;
    let items = [
        text(0, "user", "one"),
        text(1, "assistant", "?"),
        text(2, "user", " {{ date }}<b> "),
        text(3, "tool", "x"),
    ];
    let changes = changes(config, &items);
    let [(2, text)] = changes.as_slice() else { panic!("{changes:?}") };
    let (date, rest) = text.strip_prefix('[').unwrap().split_once(']').unwrap();
    assert_eq!(rest, " KIND a 2: {{ date }}<b>", "what a user writes is no template");
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    assert!(date.len() == 10 && date.split('-').count() == 3 && date.split('-').all(digits), "{date}");
}

#[test]
fn a_request_without_a_users_text_stays_as_it_is() {
    let config = r#"{"template": "{{ user }}!"}"#;
    assert_eq!(changes(config, &[text(0, "tool", "x"), text(1, "user", "\n")]), []);
    assert_eq!(changes(config, &[]), []);
}

#[test]
fn a_template_that_makes_nothing_is_a_failure() {
    let config = r#"{"template": "{% if user == 'text' %}{{ user }}{% endif %}"}"#;
    let mut formatter = Formatter::configure(config).unwrap();
    let error = formatter.process(&context(), &[text(0, "user", "hello")]).unwrap_err();
    assert_eq!(error, "`template` made an empty text");
}

#[test]
fn a_configuration_that_makes_no_sense_names_the_key() {
    for (config, start) in [
        (r#"{"trim": true}"#, "`trim`: unknown field `trim`, expected one of `normalize`, `template`"),
        (r#"{"normalize": "yes"}"#, "`normalize`: invalid type: string \"yes\", expected a boolean"),
        (r#"{"normalize": false, "trim_response": false}"#, "nothing to do: `normalize` and"),
        (r#"{"variables": {"a": 1}}"#, "`variables` are for `template`, which is missing"),
        (r#"{"template": "hello"}"#, "`template` would drop what the user wrote: write `{{ user }}`"),
        (r#"{"template": "a\n  {{ user"}"#, "`template`, line 2, column "),
        (r#"{"template": "{{ user }}\né {% if user %}"}"#, "`template`, line 2, column "),
        (r#"{"template": "{{ user }}\né {{ user | shout }}"}"#, "`template`, line 2, column "),
        (
            r#"{"template": "{{ user }} name\n{# name #}{{ name }}"}"#,
            "`template`, line 2, column 14: `name` has no value; write `variables.name`",
        ),
        (
            r#"{"template": "{{ user }}{% if user == 'x' %}{{ name }}{% endif %}"}"#,
            "`template`, line 1, column 34: `name`",
        ),
        (r#"{"template": "{{ user.name }}"}"#, "`template`, line 1, column 4: undefined value"),
        (
            r#"{"template": "{{ user }}", "variables": {"user": 1}}"#,
            "`variables.user`: `user` has a value of its own",
        ),
        (
            r#"{"template": "{{ user }}", "variables": {"a": 1}}"#,
            "`variables.a` is not in `template`; write `{{ a }}`",
        ),
    ] {
        let error = Formatter::configure(config).unwrap_err();
        assert!(error.starts_with(start), "{config}: {error}");
    }
}

fn host(config: &str) -> Host<Trim> {
    Host::new(Formatter::configure(config).unwrap().open(&context()).unwrap())
}

/// What should leave, by other means than the session's.
fn trimmed(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

#[test]
fn an_answer_is_trimmed_at_every_cut() {
    let text = " a \t\r\n\r\n  b\r c\u{3000}\n \n";
    assert_eq!(trimmed(text), " a\n\n  b\r c");
    for cut in cuts(text) {
        for close_with_last in [false, true] {
            let mut host = host("{}");
            for (index, piece) in cut.iter().enumerate() {
                let last = close_with_last && index + 1 == cut.len();
                host.push(&[(0, piece)], if last { &[0] } else { &[] });
            }
            if !close_with_last {
                host.push(&[], &[0]);
            }
            assert_eq!(host.left(0), trimmed(text), "{cut:?}");
        }
    }
}

#[test]
fn only_white_space_at_the_end_waits() {
    let mut host = host("{}");
    for (piece, left) in [("a ", "a"), ("b", "a b"), ("\r", "a b"), ("\n", "a b"), ("\n  c", "a b\n\n  c")] {
        host.push(&[(0, piece)], &[]);
        assert_eq!(host.left(0), left);
    }
    host.push_closing(&[(0, " \n")], &[(0, CloseReason::Length)]);
    assert_eq!(host.left(0), "a b\n\n  c");
}

#[test]
fn other_channels_and_a_setting_leave_it_as_it_is() {
    use Channel::{Other, Reasoning, Refusal, ToolArgument};
    for channel in [Other, Reasoning, Refusal, ToolArgument] {
        let mut host = host("{}");
        host.open(1, channel).push(&[(1, "a \n")], &[1]);
        assert_eq!(host.left(1), "a \n");
    }
    let mut host = host(r#"{"trim_response": false}"#);
    host.push(&[(0, "a \n")], &[0]);
    assert_eq!(host.left(0), "a \n");
}

#[test]
fn a_run_past_the_bound_stays_as_it_is_at_every_cut() {
    for (length, kept) in [(RUN_MAX, false), (RUN_MAX + 1, true)] {
        let run = format!("{}\n", " ".repeat(length as usize - 1));
        let whole = format!("a{run}b");
        for cut in [1, 2, 100, run.len(), run.len() + 1] {
            let mut host = host("{}");
            let (begin, end) = whole.split_at(cut);
            host.push(&[(0, begin)], &[]);
            host.push(&[(0, end)], &[]);
            host.push(&[(0, &run)], &[0]);
            let tail = if kept { run.as_str() } else { "" };
            assert_eq!(host.left(0), if kept { format!("{whole}{tail}") } else { "a\nb".to_owned() });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_chunking_equals_the_whole(pieces in prop::collection::vec("[ab密 \u{3000}\t\r\n]{0,4}", 0..12)) {
        let mut host = host("{}");
        host.push(&[(0, "")], &[]);
        for piece in &pieces {
            host.push(&[(0, piece)], &[]);
        }
        host.push(&[], &[0]);
        prop_assert_eq!(host.left(0), trimmed(&pieces.concat()));
    }

    #[test]
    fn tidying_twice_is_tidying_once(text in "[ab\u{301} \t\r\n]{0,24}") {
        let once = normalize(&text);
        prop_assert_eq!(&normalize(&once), &once);
    }
}
