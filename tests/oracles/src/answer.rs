//! An answer in the shapes of real upstreams, built from choices: texts of several choices and fields in
//! fragments, escapes and surrogate pairs cut in two, tool calls, log probabilities, usage, comments, pings.

use std::fmt::Write as _;
use std::sync::Arc;

use rust_proxy_stream::exchange::End;

use crate::json::quote;
use crate::mask::{List, Rules};
use crate::response::Scene;
use crate::source::Source;

/// What texts and words are made of: few characters, so that words occur, and all that is escaped.
const ALPHABET: [char; 10] = ['a', 'b', 'A', 'é', '😀', '"', '\\', '\n', '/', 'c'];
const FIELDS: [&str; 4] = ["content", "reasoning_content", "reasoning", "refusal"];
const FRAMES_MAX: usize = 16;
const CHOICES_MAX: usize = 3;
/// How many of the choices say where the stream is cut.
const CUTS: usize = 8;

/// Choices only: links, words, and a stream that keeps to the dialect.
///
/// # Panics
/// If the client gets anything else than it should, or a whole answer does not end as one.
pub fn check(input: &[u8]) {
    let (cuts, rest) = input.split_at(input.len().min(CUTS));
    let mut choices = Source::new(rest);
    let words: Vec<String> = (0..=choices.below(4)).map(|_| text(&mut choices, 4)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    let words = if words.is_empty() { vec!["ab"] } else { words };
    let list = Arc::new(List::new(&words, Rules::default()).expect("a word list"));
    let scene = Scene::of(&mut choices, list, true);
    let stream = Stream::build(&mut choices);
    let body = stream.body.as_bytes();
    let (end, tokens) = scene.check(body, &Source::new(cuts).cut(body));
    // A stop comes before what follows it.
    assert!(end == End::Stopped || matches!(end, End::Failed(_)) == stream.fails, "{end:?}");
    let shown = tokens.iter().find(|token| scene.hides() && !scene.list.find(token).is_empty());
    assert_eq!(shown, None, "a token shows a word");
}

fn text(choices: &mut Source<'_>, longest: usize) -> String {
    (0..choices.below(longest + 1)).map(|_| choices.pick(&ALPHABET)).collect()
}

/// A stream as it grows.
#[derive(Debug, Default)]
struct Stream {
    body: String,
    /// Whether it is cut off.
    fails: bool,
    open: Vec<Choice>,
    newline: &'static str,
    /// Whether all text of `content` comes with its log probabilities.
    logprobs: bool,
}

/// A choice that has no finish reason yet.
#[derive(Debug, Default)]
struct Choice {
    index: usize,
    /// Per field, the low half of a surrogate pair whose high half was sent.
    half: [Option<String>; FIELDS.len()],
    /// The arguments of its tool calls that are not sent yet.
    calls: Vec<String>,
    /// The text of `content` in the chunk that is being made.
    token: Option<String>,
}

impl Stream {
    fn build(choices: &mut Source<'_>) -> Self {
        let newline = choices.pick(&["\n", "\n", "\r\n", "\r"]);
        let open =
            (0..=choices.below(CHOICES_MAX)).map(|index| Choice { index, ..Choice::default() }).collect();
        let mut stream = Self { open, newline, logprobs: choices.one_in(4), ..Self::default() };
        let all: Vec<usize> = (0..stream.open.len()).collect();
        stream.chunk(
            &all.iter()
                .map(|index| delta(*index, r#""role":"assistant","content":"""#, "null"))
                .collect::<Vec<_>>(),
        );
        for _ in 0..FRAMES_MAX {
            if choices.is_empty() || stream.open.is_empty() {
                break;
            }
            stream.frame(choices);
        }
        for choice in std::mem::take(&mut stream.open) {
            stream.finish(choice, choices);
        }
        if choices.one_in(3) {
            stream.event(r#"{"id":"c","choices":[],"usage":{"total_tokens":3}}"#);
        }
        if choices.one_in(16) {
            stream.fails = true;
            stream.body += "data: {\"choices\":[";
        } else if !choices.one_in(4) {
            stream.event("[DONE]");
        }
        stream
    }

    /// One more frame of any kind.
    fn frame(&mut self, choices: &mut Source<'_>) {
        let at = choices.below(self.open.len());
        match choices.below(16) {
            0 => {
                let choice = self.open.remove(at);
                self.finish(choice, choices);
            }
            1 => self.body += &format!(": ping{0}{0}", self.newline),
            2 => self.body += &format!("event: ping{0}data: {{}}{0}{0}", self.newline),
            3 => self.event(r#"{"choices":[]}"#),
            4 => self.call(at, choices),
            5..=7 => self.arguments(at, choices),
            8 => {
                let all: Vec<String> = (0..self.open.len()).map(|at| self.texts(at, choices)).collect();
                self.chunk(&all);
            }
            _ => {
                let texts = self.texts(at, choices);
                self.chunk(&[texts]);
            }
        }
    }

    /// A choice with one or two fields of text.
    fn texts(&mut self, at: usize, choices: &mut Source<'_>) -> String {
        let choice = &mut self.open[at];
        let field = choices.below(FIELDS.len());
        let mut fields = choice.fragment(field, choices);
        if choices.one_in(4) {
            let other = (field + 1) % FIELDS.len();
            fields = format!("{fields},{}", choice.fragment(other, choices));
        }
        choice.delta(&fields, self.logprobs, "null")
    }

    /// The head of a tool call.
    fn call(&mut self, at: usize, choices: &mut Source<'_>) {
        let choice = &mut self.open[at];
        let (one, two) = (quote(&text(choices, 5)), quote(&text(choices, 5)));
        let arguments = match choices.below(4) {
            0 => format!(r#"{{"a":{one},"b":[1.50,{two},{{"ab":{one}}}],"c":null}}"#),
            1 => format!(r#" {{ "b/c" : {two} }} "#),
            2 => one,
            _ => text(choices, 8),
        };
        let index = choice.calls.len();
        choice.calls.push(arguments);
        let call = format!(
            r#"{{"index":{index},"id":"call_{index}","type":"function","function":{{"name":"f","arguments":""}}}}"#
        );
        let chunk = delta(choice.index, &format!(r#""tool_calls":[{call}]"#), "null");
        self.chunk(&[chunk]);
    }

    /// More of a tool call's arguments.
    fn arguments(&mut self, at: usize, choices: &mut Source<'_>) {
        let choice = &mut self.open[at];
        if choice.calls.is_empty() {
            return;
        }
        let index = choices.below(choice.calls.len());
        let arguments = &mut choice.calls[index];
        let length = arguments.chars().take(choices.below(8) + 1).map(char::len_utf8).sum();
        let rest = arguments.split_off(length);
        let fragment = quote(&std::mem::replace(arguments, rest));
        let chunk = delta(
            choice.index,
            &format!(r#""tool_calls":[{{"index":{index},"function":{{"arguments":{fragment}}}}}]"#),
            "null",
        );
        self.chunk(&[chunk]);
    }

    fn finish(&mut self, mut choice: Choice, choices: &mut Source<'_>) {
        let mut fields = String::new();
        if choices.one_in(3) {
            fields = choice.fragment(choices.below(FIELDS.len()), choices);
        }
        let reason =
            choices.pick(&["\"stop\"", "\"length\"", "\"tool_calls\"", "\"content_filter\"", "\"odd\""]);
        let chunk = choice.delta(&fields, self.logprobs, reason);
        self.chunk(&[chunk]);
    }

    fn chunk(&mut self, choices: &[String]) {
        self.event(&format!(r#"{{"id":"c","choices":[{}],"usage":null}}"#, choices.join(",")));
    }

    fn event(&mut self, data: &str) {
        let Self { body, newline, .. } = self;
        write!(body, "data: {data}{newline}{newline}").expect("a string takes all");
    }
}

impl Choice {
    /// A member with a fragment of a field.
    fn fragment(&mut self, field: usize, choices: &mut Source<'_>) -> String {
        let text = text(choices, 6);
        let mut literal = self.half[field].take().unwrap_or_default();
        for c in text.chars() {
            if choices.one_in(4) {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| literal += &format!("\\u{unit:04x}"));
            } else {
                let quoted = quote(&c.to_string());
                literal += &quoted[1..quoted.len() - 1];
            }
        }
        if literal.ends_with("\\ude00") && choices.one_in(2) {
            let low = literal.split_off(literal.len() - "\\ude00".len());
            self.half[field] = Some(low);
        }
        if FIELDS[field] == "content" {
            self.token = Some(text);
        }
        format!(r#""{}":"{literal}""#, FIELDS[field])
    }

    /// The choice with these members, and the log probabilities of their text.
    fn delta(&mut self, fields: &str, logprobs: bool, finish: &str) -> String {
        let index = self.index;
        match self.token.take().filter(|_| logprobs) {
            Some(token) => {
                let token = quote(&token);
                format!(
                    r#"{{"index":{index},"delta":{{{fields}}},"logprobs":{{"content":[{{"token":{token},"logprob":-0.5,"bytes":null,"top_logprobs":[]}}]}},"finish_reason":{finish}}}"#
                )
            }
            None => delta(index, fields, finish),
        }
    }
}

fn delta(index: usize, fields: &str, finish: &str) -> String {
    format!(r#"{{"index":{index},"delta":{{{fields}}},"finish_reason":{finish}}}"#)
}
