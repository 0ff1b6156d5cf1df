//! The chunk before, without its text: nearly every chunk of an answer is that with another text.
//!
//! A chunk that begins and ends with the same bytes, and has the inside of a string literal between, is the same JSON
//! but for that one string: what was found out about the chunk before is true of it too. Where a server pads its
//! chunks (`obfuscation`), there is a second such string.

use std::ops::Range;

use memchr::memmem;

use super::{Call, Choice, Chunk, Field, Text};
use crate::error::UpstreamError;

/// Members with text, of a delta that nobody looks at.
const TEXTS: [&str; 3] = ["\"content\":", "\"reasoning_content\":", "\"reasoning\":"];

/// A member without meaning.
const PADDING: &str = "\"obfuscation\":";

/// Larger shapes are not kept: a hundred times what a chunk of a token has.
const KEPT_MAX: usize = 32 << 10;

/// So many shapes in a row that no other chunk had: a server that numbers its chunks has none that are worth taking.
const UNUSED_MAX: u32 = 16;

/// What a chunk is but for its text. It stays true whatever comes between.
#[derive(Debug, Default)]
pub(in crate::dialect::openai_chat) struct Shape {
    /// All before the text, with its quote. Empty where no shape is known.
    head: String,
    /// All behind it, from its other quote on; up to the padding and with its quote, if there is any.
    tail: String,
    /// All behind the padding.
    end: Option<String>,
    choice: u32,
    /// What the text is, where links look at it.
    field: Option<Field>,
    /// Whether it is of a tool call, of which the chunk says nothing else.
    call: bool,
    /// Shapes taken since a chunk had one.
    unused: u32,
}

impl Shape {
    /// Reads a chunk as [`Chunk::parse`] does, always with the same `scanned`.
    ///
    /// # Errors
    /// As [`Chunk::parse`].
    pub(in crate::dialect::openai_chat) fn parse(
        &mut self,
        data: &str,
        scanned: bool,
    ) -> Result<Chunk, UpstreamError> {
        if let Some(text) = self.text(data) {
            self.unused = 0;
            return Ok(self.chunk(text));
        }
        let chunk = Chunk::parse(data, scanned)?;
        if self.unused < UNUSED_MAX {
            self.learn(data, &chunk, scanned);
        }
        Ok(chunk)
    }

    /// The place of the text in a chunk of this shape.
    fn text(&self, data: &str) -> Option<Range<usize>> {
        if self.head.is_empty() {
            return None;
        }
        let (text, rest) = string(data.strip_prefix(&*self.head)?)?;
        let rest = rest.strip_prefix(&*self.tail)?;
        let rest = match &self.end {
            Some(end) => string(rest)?.1.strip_prefix(&**end)?,
            None => rest,
        };
        let start = self.head.len();
        (rest.is_empty() && !text.is_empty()).then(|| start..start + text.len())
    }

    fn chunk(&self, text: Range<usize>) -> Chunk {
        let literal = text.start - 1..text.end + 1;
        let text = self.field.map(|field| Text {
            field,
            literal: Some(literal),
            call: self.call.then(Call::default),
        });
        let choice = Choice {
            index: self.choice,
            texts: text.into_iter().collect(),
            finish: None,
            notes: Vec::new(),
            logprobs: None,
        };
        Chunk { choices: vec![choice], usage: None }
    }

    /// Takes the shape of a chunk, if it says nothing besides one text.
    fn learn(&mut self, data: &str, chunk: &Chunk, scanned: bool) {
        let Chunk { choices, usage: None } = chunk else { return };
        let [Choice { index, texts, finish: None, notes, logprobs: None }] = &choices[..] else { return };
        let (field, call, start) = match &texts[..] {
            [
                Text {
                    field,
                    literal: Some(literal),
                    call: call @ (None | Some(Call { id: None, name: None })),
                },
            ] if notes.is_empty() => (Some(*field), call.is_some(), Some(literal.start + 1)),
            [] if !scanned => (None, false, TEXTS.into_iter().find_map(|member| value(data, member))),
            _ => return,
        };
        let Some((head, rest)) = start.and_then(|start| data.split_at_checked(start)) else { return };
        let Some((_, tail)) = string(rest).filter(|(_, tail)| head.len() + tail.len() <= KEPT_MAX) else {
            return;
        };
        let padding = value(tail, PADDING).and_then(|start| tail.split_at_checked(start));
        let padding = padding.and_then(|(tail, rest)| Some((tail, string(rest)?.1)));
        head.clone_into(&mut self.head);
        padding.map_or(tail, |(tail, _)| tail).clone_into(&mut self.tail);
        self.end = padding.map(|(_, end)| end.to_owned());
        (self.choice, self.field, self.call) = (*index, field, call);
        self.unused += 1;
    }
}

/// Where the text begins of the first member of this name that is a string. In valid JSON a name with its quotes and
/// colon stands nowhere but before a value.
fn value(data: &str, member: &str) -> Option<usize> {
    let end = memmem::find(data.as_bytes(), member.as_bytes())? + member.len();
    let value = data.get(end..)?;
    let literal = value.trim_start().strip_prefix('"')?;
    Some(end + value.len() - literal.len())
}

/// What stands before the quote that ends a string, and the rest from there on. What is no string for serde is none
/// here: it takes halves of surrogate pairs where it only passes by.
fn string(rest: &str) -> Option<(&str, &str)> {
    let bytes = rest.as_bytes();
    let mut end = 0;
    loop {
        end += memchr::memchr2(b'"', b'\\', bytes.get(end..)?)?;
        end += match bytes.get(end..)? {
            [b'"', ..] => break,
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [_, b'u', digits @ ..] if digits.get(..4)?.iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return None,
        };
    }
    let (text, rest) = rest.split_at_checked(end)?;
    text.bytes().all(|byte| byte >= b' ').then_some((text, rest))
}

#[cfg(test)]
mod tests;
