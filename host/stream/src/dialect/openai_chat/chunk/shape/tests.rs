use proptest::prelude::*;

use super::*;

/// A chunk with these values, written as servers do.
fn chunk(delta: &str, rest: &str) -> String {
    format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{delta}{rest}}}"#)
}

const DELTAS: [&str; 16] = [
    r#"{"content":"TEXT"}"#,
    r#"{"content": "TEXT"}"#,
    r#"{"role":"assistant","content":"TEXT"}"#,
    r#"{"content":null,"reasoning_content":"TEXT"}"#,
    r#"{"content":"TEXT","refusal":"b"}"#,
    r#"{"content":"TEXT","content":"b"}"#,
    r#"{"x\"content":"TEXT"}"#,
    r#"{"reasoning_details":[{"index":1,"text":"TEXT"}]}"#,
    r#"{"reasoning_details":[{"index":1,"text":"TEXT","signature":"s"}]}"#,
    r#"{"tool_calls":[{"index":0,"function":{"arguments":"TEXT"}}]}"#,
    r#"{"tool_calls":[{"index":1,"id":"c","function":{"name":"f","arguments":"TEXT"}}]}"#,
    r#"{"tool_calls":[{"index":0,"id":"TEXT","function":{"arguments":"a"}}]}"#,
    r#"{"tool_calls":[{"index":0,"custom":{"input":"TEXT"}}]}"#,
    r#"{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"TEXT"}}]}"#,
    r#"{"content":7,"x":"TEXT"}"#,
    "\"TEXT\"",
];

const RESTS: [&str; 9] = [
    r#","logprobs":null}]"#,
    r#"}],"obfuscation":"PAD""#,
    r#"}],"obfuscation": "PAD","usage":null"#,
    r#","finish_reason":"PAD"}]"#,
    r#","logprobs":{"content":[{"token":"PAD"}],"obfuscation":"PAD"}}]"#,
    r#"}],"usage":{"obfuscation":"PAD"}"#,
    r#"}],"error":{"obfuscation":"PAD"}"#,
    r#"},{"index":1}]"#,
    "}]}",
];

/// What a string may have, and what ends it or breaks it.
fn text() -> impl Strategy<Value = String> {
    const ODD: [&str; 14] = [
        r"\n",
        r#"\""#,
        r"\\",
        r"\ud83d",
        r"\u00E9",
        "\u{1}",
        "\n",
        r#"","x":""#,
        "\\",
        "\"",
        r"\q",
        r"\u123",
        r"\u000g",
        r"\u",
    ];
    prop_oneof![2 => "[a-zé ]{0,3}", 1 => prop::sample::select(&ODD[..]).prop_map(str::to_owned)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_chunk_is_what_it_is_without_the_one_before(
        forms in prop::collection::vec((prop::sample::select(&DELTAS[..]), prop::sample::select(&RESTS[..])), 1..3),
        chunks in prop::collection::vec((any::<prop::sample::Index>(), text(), text(), 0..9), 1..12),
        scanned: bool,
    ) {
        let mut shape = Shape::default();
        for (form, text, padding, end) in chunks {
            let (delta, rest) = form.get(&forms);
            let mut data = chunk(&delta.replace("TEXT", &text), &rest.replace("PAD", &padding));
            match end {
                0 => data.push('x'),
                1 => drop(data.pop()),
                _ => {}
            }
            let (read, expect) = (shape.parse(&data, scanned), Chunk::parse(&data, scanned));
            prop_assert_eq!(format!("{read:?}"), format!("{expect:?}"), "{}", data);
        }
    }
}

#[test]
fn another_text_is_read_from_the_shape() {
    for rest in ["}]", r#"}],"obfuscation":"ab""#] {
        for scanned in [true, false] {
            let mut shape = Shape::default();
            shape.parse(&chunk(r#"{"content":"a\nb"}"#, rest), scanned).unwrap();
            let next = chunk(r#"{"content":"déjà\u00e0\n"}"#, &rest.replace("ab", "xyz"));
            assert_eq!(&next[shape.text(&next).unwrap()], r"déjà\u00e0\n");
            assert_eq!(shape.text(&chunk(r#"{"content":""}"#, rest)), None);
        }
    }
}

#[test]
fn no_more_shapes_are_taken_where_none_is_used() {
    let mut shape = Shape::default();
    let numbered = |number| format!(r#"{{"id":"{number}","choices":[{{"delta":{{"content":"a"}}}}]}}"#);
    for number in 0..100 {
        assert_eq!(shape.text(&numbered(number)), None);
        shape.parse(&numbered(number), true).unwrap();
        assert_eq!(shape.text(&numbered(number)).is_some(), number < UNUSED_MAX);
    }
}
