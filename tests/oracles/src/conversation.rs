//! A conversation in the shapes of real clients, built from choices.

use bytes::Bytes;
use rust_proxy_stream::dialect::openai_chat::Request;

use crate::json::quote;
use crate::request::check_request;
use crate::source::Source;

const ALPHABET: [&str; 10] = ["a", "b", "\"", "\\", "\n", "é", "😀", "{\"k\":", "}", "/"];
const MESSAGES_MAX: usize = 6;
/// How many of the choices are for the changes.
const CHANGES: usize = 8;

/// Choices only: a request that can be read, and changes to it.
///
/// # Panics
/// If the request, changed or not, says anything else than it should, or is refused.
pub fn check(input: &[u8]) {
    let (changes, rest) = input.split_at(input.len().min(CHANGES));
    let body = body(&mut Source::new(rest));
    let request =
        Request::parse(&Bytes::from(body.clone())).unwrap_or_else(|error| panic!("{error}: {body}"));
    check_request(body.as_bytes(), &request, Source::new(changes));
}

fn body(choices: &mut Source<'_>) -> String {
    let mut messages = vec![format!(r#"{{"role":"user","content":{}}}"#, literal(choices))];
    while !choices.is_empty() && messages.len() < MESSAGES_MAX {
        message(choices, &mut messages);
    }
    let space = choices.pick(&["", " ", "\n\t"]);
    let stream = choices.pick(&[
        "",
        r#","stream":true"#,
        r#","stream":false,"stream_options":{"include_usage":true}"#,
    ]);
    format!(
        r#"{space}{{"x":1.50,"model":"m"{stream},"messages":[{}],"tools":[{{"type":"function"}}]{space}}}{space}"#,
        messages.join(",")
    )
}

fn message(choices: &mut Source<'_>, messages: &mut Vec<String>) {
    match choices.below(6) {
        0 => messages.push(format!(r#"{{"content":{},"role":"system","name":"n"}}"#, literal(choices))),
        1 => messages.push(r#"{"role":"assistant","content":null,"refusal":"no"}"#.to_owned()),
        2 | 3 => {
            let parts: Vec<String> = (0..=choices.below(4)).map(|_| part(choices)).collect();
            messages.push(format!(r#"{{"role":"user","content":[{}]}}"#, parts.join(", ")));
        }
        _ => {
            let calls = choices.below(3) + 1;
            let numbers = messages.len() * 8..messages.len() * 8 + calls;
            let all: Vec<String> = numbers.clone().map(|number| call(choices, number)).collect();
            let content = choices.pick(&["", r#","content":null"#, r#","content":"a""#]);
            messages.push(format!(r#"{{"role":"assistant"{content},"tool_calls":[{}]}}"#, all.join(",")));
            for number in numbers.skip(usize::from(choices.one_in(8))) {
                messages.push(format!(
                    r#"{{"role":"tool","tool_call_id":"c{number}","content":{}}}"#,
                    literal(choices)
                ));
            }
        }
    }
}

fn part(choices: &mut Source<'_>) -> String {
    match choices.below(4) {
        0 => r#"{"type":"image_url","image_url":{"url":"data:x"}}"#.to_owned(),
        1 => format!(r#"{{"type":"refusal","refusal":{}}}"#, literal(choices)),
        _ => format!(r#"{{"cache":{{ }} , "text":{},"type":"text"}}"#, literal(choices)),
    }
}

fn call(choices: &mut Source<'_>, number: usize) -> String {
    let arguments = match choices.below(4) {
        0 => format!(r#"{{"a":{},"b/~":[1.50,{},{{}}],"c":null}}"#, literal(choices), literal(choices)),
        1 => literal(choices),
        2 => "{}".to_owned(),
        _ => text(choices),
    };
    if choices.one_in(4) {
        return format!(
            r#"{{"id":"c{number}","type":"custom","custom":{{"name":"f","input":{}}}}}"#,
            quote(&arguments)
        );
    }
    format!(
        r#"{{"id":"c{number}","type":"function","function":{{"name":"f","arguments":{}}}}}"#,
        quote(&arguments)
    )
}

fn text(choices: &mut Source<'_>) -> String {
    (0..choices.below(6)).map(|_| choices.pick(&ALPHABET)).collect()
}

/// A string literal, in one of its spellings.
fn literal(choices: &mut Source<'_>) -> String {
    let text = text(choices);
    match choices.below(4) {
        0 => format!("\"{}\"", text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>()),
        1 => quote(&text).replace('/', "\\/"),
        2 if text.is_empty() => r#""\ud83d""#.to_owned(),
        _ => quote(&text),
    }
}
