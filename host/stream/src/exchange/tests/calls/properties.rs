//! Documents, cut anywhere: what is masked of a call's arguments, and what stays as it came.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::{arguments, fragment, head};
use crate::exchange::End;
use crate::exchange::tests::client::{join_halves, mark_halves};
use crate::exchange::tests::links::{looking, masked, masking};
use crate::exchange::tests::support::*;
use crate::json::quote;

/// A JSON text: how it is written, and what it says.
#[derive(Debug, Clone)]
enum Json {
    Text { text: String, escaped: bool },
    Scalar(&'static str),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

fn escape(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}

impl Json {
    fn written(&self) -> String {
        match self {
            Self::Text { text, escaped: true } => format!("\"{}\"", escape(text)),
            Self::Text { text, .. } => quote(text),
            Self::Scalar(scalar) => (*scalar).to_owned(),
            Self::List(values) => {
                format!("[{}]", values.iter().map(Self::written).collect::<Vec<_>>().join(" , "))
            }
            Self::Object(members) => {
                let member = |(key, value): (&String, &Self)| format!("{}: {}", quote(key), value.written());
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }
        }
    }

    /// What it says, `change` being done to its texts.
    fn value(&self, change: &impl Fn(&str) -> String) -> Value {
        match self {
            Self::Text { text, .. } => change(text).into(),
            Self::Scalar(scalar) => serde_json::from_str(scalar).unwrap(),
            Self::List(values) => values.iter().map(|value| value.value(change)).collect(),
            Self::Object(members) => {
                members.iter().map(|(key, value)| (key.clone(), value.value(change))).collect()
            }
        }
    }
}

const TEXT: &str = "[abé😀\"\\\\\n/]{0,5}";

fn documents() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        4 => (TEXT, any::<bool>()).prop_map(|(text, escaped)| Json::Text { text, escaped }),
        1 => prop::sample::select(vec!["0", "-1.5e3", "true", "null", "[]", "{}"]).prop_map(Json::Scalar),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::List),
            prop::collection::btree_map("[ab\"]{0,3}", inner, 0..3).prop_map(Json::Object),
        ]
    })
}

/// One call of one choice, and where its arguments are cut, between UTF-16 units.
#[derive(Debug, Clone)]
struct Call {
    document: Json,
    cuts: Vec<Index>,
    /// Whether the fragments are written with escapes only.
    escaped: bool,
}

fn calls() -> impl Strategy<Value = Call> {
    (documents(), prop::collection::vec(any::<Index>(), 0..8), any::<bool>())
        .prop_map(|(document, cuts, escaped)| Call { document, cuts, escaped })
}

/// Cuts a text between UTF-16 units, and writes each piece as what stands between the quotes of a literal.
fn fragments(text: &str, cuts: &[Index], escaped: bool) -> Vec<String> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(units.len() + 1)).collect();
    ends.extend([0, units.len()]);
    ends.sort_unstable();
    let literal = |units: &[u16]| {
        char::decode_utf16(units.iter().copied())
            .map(|char| match char {
                Ok(char) if !escaped => {
                    let quoted = quote(&char.to_string());
                    quoted[1..quoted.len() - 1].to_owned()
                }
                Ok(char) => escape(&char.to_string()),
                Err(half) => format!("\\u{:04x}", half.unpaired_surrogate()),
            })
            .collect()
    };
    ends.windows(2).map(|pair| literal(&units[pair[0]..pair[1]])).collect()
}

/// The frames of calls that take turns.
fn frames(calls: &[Call]) -> Vec<String> {
    let mut queues: Vec<_> = calls
        .iter()
        .enumerate()
        .map(|(at, call)| {
            let fragments = fragments(&call.document.written(), &call.cuts, call.escaped);
            std::iter::once(head(at)).chain(fragments.into_iter().map(move |text| fragment(at, &text)))
        })
        .map(Vec::from_iter)
        .map(Vec::into_iter)
        .collect();
    let mut frames = vec![role()];
    while let before = frames.len()
        && {
            frames.extend(queues.iter_mut().filter_map(Iterator::next));
            frames.len() > before
        }
    {}
    frames.extend([frame(0, &json!({}), Some("tool_calls")), DONE.to_owned()]);
    frames
}

/// What one call says that may stop anywhere: structure, keys and the beginning of an escape as they are written,
/// and string values as text.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Written(String),
    Text(String),
}

fn said(arguments: &str) -> Vec<Said> {
    let (mut said, mut written, mut open, mut is_key) = (Vec::new(), String::new(), Vec::new(), false);
    let mut rest = arguments;
    while let Some(char) = rest.chars().next() {
        written.push(char);
        rest = &rest[char.len_utf8()..];
        match char {
            '{' | '[' => open.push(char),
            '}' | ']' => _ = open.pop(),
            _ => {}
        }
        is_key = match char {
            '{' => true,
            ',' => open.last() == Some(&'{'),
            ':' | '[' => false,
            _ => is_key,
        };
        if char == '"' {
            let escapes = |text: &str| text.chars().rev().take_while(|char| *char == '\\').count();
            let end = rest.match_indices('"').map(|(at, _)| at).find(|at| escapes(&rest[..*at]) % 2 == 0);
            let (inside, behind) = rest.split_at(end.unwrap_or(rest.len()));
            rest = behind.strip_prefix('"').unwrap_or(behind);
            if is_key {
                written.push_str(inside);
            } else {
                // An escape that is not whole is no text.
                let whole =
                    (0..=inside.len()).rev().filter(|at| inside.is_char_boundary(*at)).find_map(|at| {
                        let literal =
                            serde_json::from_str::<String>(&mark_halves(&format!("\"{}\"", &inside[..at])));
                        Some((at, join_halves(&literal.ok()?)))
                    });
                let (at, text) = whole.unwrap();
                said.extend([Said::Written(std::mem::take(&mut written)), Said::Text(text)]);
                written.push_str(&inside[at..]);
            }
            written.extend(end.map(|_| '"'));
        }
    }
    said.push(Said::Written(written));
    said
}

fn cut(body: &str, cuts: &[Index]) -> Vec<Vec<u8>> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
    ends.extend([0, body.len()]);
    ends.sort_unstable();
    ends.windows(2).map(|pair| body.as_bytes()[pair[0]..pair[1]].to_vec()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn each_string_value_is_masked_and_nothing_else(
        calls in prop::collection::vec(calls(), 1..4),
        words in prop::collection::vec("[abé😀\"\n/]{1,4}", 1..4),
        mask in prop::sample::select(vec!["*", "", "\"\\é"]),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let body = frames(&calls).concat();
        let client = read(&[masking(&words, mask)], Script::parts(cut(&body, &cuts)));
        prop_assert_eq!(&client.end, &Some(End::Complete));
        let seen: Vec<Value> = arguments(&client).values().map(|text| serde_json::from_str(text).unwrap()).collect();
        let change = |text: &str| masked(text, &words, mask, true);
        let expected: Vec<Value> = calls.iter().map(|call| call.document.value(&change)).collect();
        prop_assert_eq!(seen, expected, "{:#?}", &client.frames);
    }

    #[test]
    fn arguments_that_stop_anywhere_are_masked_as_far_as_they_go(
        call in calls(),
        stop in any::<Index>(),
        words in prop::collection::vec("[abé😀\"\n/]{1,4}", 1..4),
        mask in prop::sample::select(vec!["*", "", "\"\\é"]),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let document: Vec<char> = call.document.written().chars().collect();
        let written: String = document[..stop.index(document.len() + 1)].iter().collect();
        let pieces = fragments(&written, &call.cuts, call.escaped);
        let pieces = pieces.iter().map(|piece| fragment(0, piece));
        let body: String = [head(0)].into_iter().chain(pieces).chain([frame(0, &json!({}), Some("length"))]).collect();
        let client = read(&[masking(&words, mask)], Script::parts(cut(&body, &cuts)));
        prop_assert_eq!(&client.end, &Some(End::Complete));
        let change = |said| match said {
            Said::Text(text) => Said::Text(masked(&text, &words, mask, true)),
            written => written,
        };
        let expected: Vec<Said> = said(&written).into_iter().map(change).collect();
        prop_assert_eq!(said(&arguments(&client)[&0]), expected, "{} {:#?}", written, &client.frames);
    }

    #[test]
    fn calls_that_no_link_changes_leave_byte_for_byte(
        calls in prop::collection::vec(calls(), 1..4),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let frames = frames(&calls);
        let client = read(&[looking()], Script::parts(cut(&frames.concat(), &cuts)));
        // A frame that ends within an escape waits for the next of its call, but no other call waits for it.
        let of = |frames: &[String], call: usize| -> String {
            let mine = format!("\"index\":{call}}}]}}");
            frames.iter().filter(|frame| frame.contains(&mine) && !frame.contains("\"arguments\":\"\"")).cloned().collect()
        };
        for call in 0..calls.len() {
            prop_assert_eq!(of(&client.frames, call), of(&frames, call));
        }
        let (mut left, mut came) = (client.frames, frames);
        came.pop();
        left.sort();
        came.sort();
        prop_assert_eq!(left, came);
    }

    #[test]
    fn what_is_not_json_is_one_text(
        valid in "|\\[1, |\\{\\}",
        text in "x[abé😀\"\\\\/]{0,8}",
        cuts in prop::collection::vec(any::<Index>(), 0..8),
        words in prop::collection::vec("[abé😀\"/]{1,4}", 1..4),
    ) {
        let pieces = fragments(&(valid.clone() + &text), &cuts, false);
        let body: Vec<String> = std::iter::once(head(0)).chain(pieces.iter().map(|piece| fragment(0, piece))).collect();
        let client = read_body(&[masking(&words, "*")], &(body.concat() + &finish()));
        prop_assert_eq!(&arguments(&client)[&0], &(valid + &masked(&text, &words, "*", true)));
    }
}
