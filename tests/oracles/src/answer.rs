//! An answer in the shapes of real upstreams, built from choices: several choices in fragments, escapes and
//! surrogate pairs cut in two, usage, comments, pings. What stands in a delta is built in `delta.rs`.

use std::fmt::Write as _;
use std::sync::Arc;

use rust_proxy_stream::exchange::End;

use crate::delta::{self, Choice};
use crate::mask::{List, Rules};
use crate::response::Scene;
use crate::source::Source;

const FRAMES_MAX: usize = 16;
const CHOICES_MAX: usize = 3;
/// How many of the choices say where the stream is cut.
const CUTS: usize = 8;

/// Choices only: links, words, and a stream that keeps to the dialect.
///
/// # Panics
/// As [`Scene::check`], and if a whole answer does not end as one.
pub fn check(input: &[u8]) {
    let (cuts, rest) = input.split_at(input.len().min(CUTS));
    let mut choices = Source::new(rest);
    let words: Vec<String> = (0..=choices.below(4)).map(|_| delta::text(&mut choices, 4)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    let words = if words.is_empty() { vec!["ab"] } else { words };
    let list = Arc::new(List::new(&words, Rules::default()).expect("a word list"));
    let scene = Scene::of(&mut choices, list);
    let stream = Stream::build(&mut choices);
    let body = stream.body.as_bytes();
    let end = scene.check(body, &Source::new(cuts).cut(body));
    // A stop comes before what follows it.
    let fails = stream.fails || (stream.too_deep && scene.looks());
    assert!(end == End::Stopped || matches!(end, End::Failed(_)) == fails, "{end:?}");
}

/// A stream as it grows.
#[derive(Debug, Default)]
struct Stream {
    body: String,
    /// Whether it is cut off.
    fails: bool,
    /// Whether links cannot look at it.
    too_deep: bool,
    open: Vec<Choice>,
    newline: &'static str,
}

impl Stream {
    fn build(choices: &mut Source<'_>) -> Self {
        let newline = choices.pick(&["\n", "\n", "\r\n", "\r"]);
        let open: Vec<Choice> =
            (0..=choices.below(CHOICES_MAX)).map(|index| Choice::new(index, choices)).collect();
        let mut stream = Self { open, newline, ..Self::default() };
        let role = |choice: &Choice| choice.with(r#""role":"assistant","content":"""#, "null");
        stream.chunk(&stream.open.iter().map(role).collect::<Vec<_>>());
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
            4..=8 => {
                let calls = self.open[at].calls(choices);
                self.too_deep |= self.open[at].too_deep;
                self.chunk(&[calls]);
            }
            9 => {
                let all: Vec<String> = self.open.iter_mut().map(|choice| choice.texts(choices)).collect();
                self.chunk(&all);
            }
            _ => {
                let texts = self.open[at].texts(choices);
                self.chunk(&[texts]);
            }
        }
    }

    fn finish(&mut self, mut choice: Choice, choices: &mut Source<'_>) {
        let reason =
            choices.pick(&["\"stop\"", "\"length\"", "\"tool_calls\"", "\"content_filter\"", "\"odd\""]);
        let last = if choices.one_in(3) { choice.texts(choices) } else { choice.with("", "null") };
        let last = last.replace(r#""finish_reason":null"#, &format!(r#""finish_reason":{reason}"#));
        self.chunk(&[last]);
    }

    fn chunk(&mut self, choices: &[String]) {
        self.event(&format!(r#"{{"id":"c","choices":[{}],"usage":null}}"#, choices.join(",")));
    }

    fn event(&mut self, data: &str) {
        let Self { body, newline, .. } = self;
        write!(body, "data: {data}{newline}{newline}").expect("a string takes all");
    }
}
