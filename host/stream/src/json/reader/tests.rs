use proptest::prelude::*;

use super::super::{quote, string_values, text};
use super::*;

/// The string values with their pointers, and the text behind what is JSON.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    values: Vec<(String, String)>,
    not_json: Option<String>,
    complete: bool,
}

fn read(json: &str) -> Seen {
    let (mut reader, mut seen) = (Reader::default(), Seen::default());
    for char in json.chars() {
        let Step { lone, token } = reader.push(char).unwrap();
        if lone {
            seen.values.last_mut().unwrap().1.push('\u{fffd}');
        }
        match token {
            Token::Open => seen.values.push((reader.pointer().to_owned(), String::new())),
            Token::Text(char) => match &mut seen.not_json {
                Some(text) => text.push(char),
                None => seen.values.last_mut().unwrap().1.push(char),
            },
            Token::NotJson => seen.not_json = Some(char.to_string()),
            Token::Structure | Token::Part | Token::Close => {}
        }
    }
    seen.complete = reader.is_complete();
    if reader.end() {
        seen.values.last_mut().unwrap().1.push('\u{fffd}');
    }
    seen
}

fn values(json: &str) -> Vec<(String, String)> {
    read(json).values
}

fn owned(values: &[(&str, &str)]) -> Vec<(String, String)> {
    values.iter().map(|(at, text)| ((*at).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn string_values_are_found_with_their_pointers() {
    let json = r#" {"a":"x","b/~":[1,"y",{"c":"z"},[]],"":{"d":[[true,"w"]]} , "a":"v"} "#;
    let expected = [("/a", "x"), ("/b~1~0/1", "y"), ("/b~1~0/2/c", "z"), ("//d/0/1", "w"), ("/a", "v")];
    assert_eq!(read(json), Seen { values: owned(&expected), not_json: None, complete: true });
    assert_eq!(values(r#""bare""#), owned(&[("", "bare")]));
}

#[test]
fn escapes_and_halves_become_characters() {
    let json =
        r#"["a\n\"\u00e9\ud83d\ude00", "\ud83dx", "\ud83d\n", "\ud83d\ud83d\ude00", "\ude00", "\ud83d"]"#;
    let texts: Vec<String> = values(json).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["a\n\"é😀", "\u{fffd}x", "\u{fffd}\n", "\u{fffd}😀", "\u{fffd}", "\u{fffd}"]);
    assert_eq!(values("[\"a\nb\""), owned(&[("/0", "a\nb")]));
    assert_eq!(values(r#"{"\u0061\n":"#), []);
    assert_eq!(values(r#"{"\u0061~":"x"}"#), owned(&[("/a~0", "x")]));
}

#[test]
fn what_is_not_json_is_text_from_its_first_character_on() {
    for (json, rest) in [
        ("plain", "plain"),
        ("{'a'", "'a'"),
        (r#"{"a":"x"} {"b"#, r#"{"b"#),
        (r#"["x\q""#, r#"q""#),
        ("[1,]", "]"),
        ("{\"a\":1]", "]"),
        ("[01", "1"),
        ("[1.]", "]"),
        ("[1 2", "2"),
        ("[trux", "x"),
        ("]", "]"),
        ("1,", ","),
        (r#"["\u00g"#, "g"),
    ] {
        assert_eq!(read(json).not_json.as_deref(), Some(rest), "{json}");
    }
}

#[test]
fn a_document_is_complete_at_its_end_and_before_whitespace_only() {
    for (json, complete) in
        [("{}", true), ("{} ", true), ("12", true), ("", false), ("[", false), ("-", false), ("{}x", false)]
    {
        assert_eq!(read(json).complete, complete, "{json}");
    }
}

#[test]
fn depth_and_pointers_are_bounded() {
    let push = |json: &str| {
        let mut reader = Reader::default();
        json.chars().try_for_each(|char| reader.push(char).map(drop))
    };
    assert_eq!(push(&"[".repeat(64)), Ok(()));
    assert_eq!(push(&"[".repeat(65)), Err(TooComplex));
    let key = "k".repeat(10_000);
    assert_eq!(push(&format!(r#"{{"{key}":[{}"#, r#""","#.repeat(1000))), Err(TooComplex));
    assert_eq!(push(&format!(r#"{{"{key}":"x"}}"#)), Ok(()));
}

/// A JSON text of any shape.
fn json() -> impl Strategy<Value = String> {
    let word = "[ab/~\\\\\"\n é😀]{0,4}";
    let leaf = prop_oneof![
        word.prop_map(|word| quote(&word)),
        word.prop_map(|word| format!(
            "\"{}\"",
            word.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
        )),
        prop::sample::select(vec!["0", "-1.5e+3", "true", "false", "null", "12", "[]", "{}"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let list =
            prop::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[ {}]", all.join(" ,")));
        let member = (word, inner).prop_map(|(key, value)| format!("{} :{value}", quote(&key)));
        let object = prop::collection::vec(member, 0..4).prop_map(|all| format!("{{{}}}", all.join(", ")));
        prop_oneof![list, object]
    })
}

proptest! {
    #[test]
    fn values_are_those_of_the_whole_text(json in json()) {
        let seen = read(&json);
        prop_assert!(seen.complete && seen.not_json.is_none());
        // It does not take a key that stands twice.
        if let Ok(found) = string_values(&json) {
            let found = found.expect("it is JSON").into_iter();
            let found: Vec<_> = found.map(|(at, place)| (at, text(&json[place]).into_owned())).collect();
            prop_assert_eq!(seen.values, found);
        }
    }

    #[test]
    fn json_is_what_serde_takes_for_it(json in "[\\[\\]{}:,\"a\\\\u0-9tre. -]{0,12}") {
        let seen = read(&json);
        prop_assert_eq!(
            seen.complete && seen.not_json.is_none(),
            serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok(),
        );
    }
}
