//! What a choice of an answer says, fragment by fragment.

use std::collections::BTreeMap;

use crate::json::{Json, quote};
use crate::source::Source;

/// What texts and words are made of: few characters, so that words occur, and all that is escaped.
const ALPHABET: [char; 10] = ['a', 'b', 'A', 'é', '😀', '"', '\\', '\n', '/', 'c'];
const CALLS_MAX: usize = 3;
/// Brackets of arguments that are nested too deep.
const TOO_DEEP: usize = 65;

pub(crate) fn text(choices: &mut Source<'_>, longest: usize) -> String {
    (0..choices.below(longest + 1)).map(|_| choices.pick(&ALPHABET)).collect()
}

/// A choice that has no finish reason yet.
#[derive(Debug)]
pub(crate) struct Choice {
    index: usize,
    /// Per field, the low half of a surrogate pair whose high half was sent.
    halves: BTreeMap<String, String>,
    /// Its calls, by their numbers.
    calls: Vec<Call>,
    /// Whether its text has log probabilities.
    tokens: bool,
    /// Of a character of `content`, whose first bytes a token told of, the bytes that are missing.
    announced: Option<(char, usize)>,
    /// How many notes and tokens there were, so that each is another.
    count: usize,
    /// Whether a call's arguments are nested too deep by now.
    pub(crate) too_deep: bool,
}

/// A tool call.
#[derive(Debug)]
struct Call {
    id: usize,
    custom: bool,
    begun: bool,
    /// Its arguments, and those that are not sent yet.
    sent: String,
    rest: String,
}

impl Choice {
    pub(crate) fn new(index: usize, choices: &mut Source<'_>) -> Self {
        Self {
            index,
            halves: BTreeMap::new(),
            calls: Vec::new(),
            tokens: choices.one_in(2),
            announced: None,
            count: 0,
            too_deep: false,
        }
    }

    /// A chunk's entry for it.
    pub(crate) fn with(&self, fields: &str, logprobs: &str) -> String {
        let index = self.index;
        format!(r#"{{"index":{index},"delta":{{{fields}}},"logprobs":{logprobs},"finish_reason":null}}"#)
    }

    /// A fragment with one or two fields of text.
    pub(crate) fn texts(&mut self, choices: &mut Source<'_>) -> String {
        let mut fields: BTreeMap<&str, String> = BTreeMap::new();
        let mut logprobs = "null".to_owned();
        for _ in 0..=usize::from(choices.one_in(4)) {
            let name = choices.pick(&[
                "content",
                "content",
                "content",
                "reasoning",
                "reasoning_content",
                "refusal",
                "audio",
                "reasoning_details",
                "annotations",
            ]);
            if fields.contains_key(name) {
                continue;
            }
            let value = match name {
                "content" if self.tokens => {
                    let (value, tokens) = self.with_tokens(choices);
                    logprobs = tokens;
                    value
                }
                "audio" => {
                    let literal = self.fragment(name, &text(choices, 6), choices);
                    format!(r#"{{"id":"a","transcript":{literal}}}"#)
                }
                "reasoning_details" => self.details(choices),
                "annotations" => {
                    let (title, number) = (quote(&text(choices, 5)), self.next());
                    format!(
                        r#"[{{"type":"url_citation","url_citation":{{"title":{title},"url":"u{number}"}}}}]"#
                    )
                }
                _ => self.fragment(name, &text(choices, 6), choices),
            };
            fields.insert(name, value);
        }
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        self.with(&fields.join(","), &logprobs)
    }

    fn next(&mut self) -> usize {
        self.count += 1;
        self.count
    }

    fn details(&mut self, choices: &mut Source<'_>) -> String {
        let entry = choices.below(2);
        let number =
            if entry == 0 && choices.one_in(2) { String::new() } else { format!(r#","index":{entry}"#) };
        let name = choices.pick(&["text", "text", "summary"]);
        let literal = self.fragment(&format!("{name}{entry}"), &text(choices, 6), choices);
        let signature =
            if choices.one_in(3) { format!(r#","signature":"s{}""#, self.next()) } else { String::new() };
        format!(r#"[{{"type":"reasoning.{name}"{number},"{name}":{literal}{signature}}}]"#)
    }

    /// The literal of a field's next fragment.
    fn fragment(&mut self, field: &str, text: &str, choices: &mut Source<'_>) -> String {
        let mut literal = self.halves.remove(field).unwrap_or_default();
        for c in text.chars() {
            if choices.one_in(4) {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| literal += &format!("\\u{unit:04x}"));
            } else {
                let quoted = quote(&c.to_string());
                literal += &quoted[1..quoted.len() - 1];
            }
        }
        if literal.ends_with("\\ud83d\\ude00") && choices.one_in(2) {
            let low = literal.split_off(literal.len() - "\\ude00".len());
            self.halves.insert(field.to_owned(), low);
        }
        format!("\"{literal}\"")
    }

    /// A fragment of `content`, and its log probabilities: tokens that end within characters, and now and then
    /// some that are not of this text.
    fn with_tokens(&mut self, choices: &mut Source<'_>) -> (String, String) {
        let mut said = String::new();
        let mut bytes = Vec::new();
        if let Some((char, missing)) = self.announced.take() {
            said.push(char);
            bytes.extend(&said.as_bytes()[said.len() - missing..]);
        }
        if choices.one_in(2) || said.is_empty() {
            let more = text(choices, 6);
            bytes.extend(more.as_bytes());
            said += &more;
        }
        if choices.one_in(4) {
            let char = choices.pick(&['é', '😀']);
            let told = choices.below(char.len_utf8() - 1) + 1;
            bytes.extend(&char.encode_utf8(&mut [0; 4]).as_bytes()[..told]);
            self.announced = Some((char, char.len_utf8() - told));
        }
        if choices.one_in(16) {
            bytes.extend(b"ab");
        }
        let mut tokens = Vec::new();
        while !bytes.is_empty() {
            let rest = bytes.split_off((choices.below(6) + 1).min(bytes.len()));
            tokens.push(self.token(&bytes, choices));
            bytes = rest;
        }
        let literal = self.fragment("content", &said, choices);
        let refusal = choices.pick(&["", r#","refusal":null"#, r#","refusal":[]"#]);
        (literal, format!(r#"{{"content":[{}]{refusal}}}"#, tokens.join(",")))
    }

    fn token(&mut self, bytes: &[u8], choices: &mut Source<'_>) -> String {
        let text = quote(&String::from_utf8_lossy(bytes));
        let told = match std::str::from_utf8(bytes) {
            Ok(_) if choices.one_in(2) => "null".to_owned(),
            _ => format!("{bytes:?}"),
        };
        let others = choices.pick(&["[]", "[]", r#"[{"token":"ab","bytes":null}]"#]);
        let number = self.next();
        format!(r#"{{"token":{text},"logprob":-{number}.5,"bytes":{told},"top_logprobs":{others}}}"#)
    }

    /// A chunk's entry with parts of tool calls.
    pub(crate) fn calls(&mut self, choices: &mut Source<'_>) -> String {
        if choices.one_in(8) {
            let arguments = self.fragment("function_call", &inner(choices), choices);
            return self.with(&format!(r#""function_call":{{"name":"f","arguments":{arguments}}}"#), "null");
        }
        let mut parts = Vec::new();
        for at in 0..=usize::from(choices.one_in(3)) {
            let known = self.calls.len();
            let number =
                if known < CALLS_MAX && choices.one_in(3) { known } else { choices.below(known.max(1)) };
            let whole =
                |call: &Call| call.rest.is_empty() && !call.custom && Json::parse(&call.sent).is_some();
            let again = self.calls.get(number).is_some_and(whole);
            if number == known {
                let call = self.call(choices);
                self.calls.push(call);
            } else if again && choices.one_in(2) {
                // Some servers number all their calls alike.
                self.calls[number] = self.call(choices);
            }
            parts.push(self.part(number, at, choices));
        }
        self.with(&format!(r#""tool_calls":[{}]"#, parts.join(",")), "null")
    }

    fn call(&mut self, choices: &mut Source<'_>) -> Call {
        let (one, two) = (inner(choices), inner(choices));
        let rest = match choices.below(8) {
            0..=2 => format!(r#"{{"a":{one},"b":[1.50,{two},{{"ab":{one}}}],"c":null}}"#),
            3 => format!(r#" {{ "b/c" : {two} }} "#),
            4 => one,
            5 => format!(r#"{{"a":{one}{two}"#),
            6 if choices.one_in(4) => "[".repeat(TOO_DEEP),
            _ => text(choices, 8),
        };
        Call { id: self.next(), custom: choices.one_in(6), begun: false, sent: String::new(), rest }
    }

    /// More of a call, which is the chunk's `at`th.
    fn part(&mut self, number: usize, at: usize, choices: &mut Source<'_>) -> String {
        let long = choices.pick(&[0, 1, 3, 8, 30, 80]);
        let call = &mut self.calls[number];
        let length = call.rest.chars().take(long).map(char::len_utf8).sum();
        let rest = call.rest.split_off(length);
        let now = std::mem::replace(&mut call.rest, rest);
        call.sent += &now;
        self.too_deep |= call.sent.starts_with(&"[".repeat(TOO_DEEP)) && !call.custom;
        let (id, custom, head) = (call.id, call.custom, !std::mem::replace(&mut call.begun, true));
        let index =
            if number == at && choices.one_in(3) { String::new() } else { format!(r#""index":{number},"#) };
        let field = format!("{}{number}", if custom { "custom" } else { "arguments" });
        let literal = self.fragment(&field, &now, choices);
        let head = if head { format!(r#""id":"call_{id}","type":"function","#) } else { String::new() };
        let (kind, name) = if custom { ("custom", "input") } else { ("function", "arguments") };
        format!(r#"{{{index}{head}"{kind}":{{"name":"f","{name}":{literal}}}}}"#)
    }
}

/// A string of JSON within arguments, in any spelling, not always right.
fn inner(choices: &mut Source<'_>) -> String {
    let mut out = String::from("\"");
    for char in text(choices, 6).chars() {
        match choices.below(8) {
            0..=2 => char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out += &format!("\\u{unit:04x}")),
            3 if char == '/' => out += "\\/",
            4 if char == '\n' => out.push(char),
            5 if char == '😀' => out += "\\ud83d",
            _ => {
                let quoted = quote(&char.to_string());
                out += &quoted[1..quoted.len() - 1];
            }
        }
    }
    if choices.one_in(16) {
        out += choices.pick(&["\\x", "\\u12g", "\\ude00"]);
    }
    out + "\""
}
