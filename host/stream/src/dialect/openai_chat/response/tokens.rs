//! `logprobs` on its way: the text of a chunk once more, token by token.
//!
//! It leaves with its text where that leaves as it came, and is null where a link changed some of it or a part of it
//! leaves later. It is null too where its tokens are not the chunk's own text, byte for byte (tokens within a
//! character, text of another chunk or field, another shape): nobody has looked at those. Tokens that were not taken
//! (`top_logprobs`) are text that no link has seen: they are left out.

use std::ops::Range;

use super::frame::Part;
use crate::dialect::openai_chat::chunk::Logprobs;
use crate::json;

/// `logprobs` of one choice of a chunk.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) place: Range<usize>,
    /// The parts of the chunk that it tells of, by their places; `None` where nothing of it may leave.
    parts: Option<Vec<usize>>,
    others: Vec<Range<usize>>,
}

impl Tokens {
    /// Takes `logprobs` of a chunk; `texts` are the chunk's own `content` and `refusal`, and `parts` their parts.
    pub(super) fn new(logprobs: Logprobs, texts: [&[u8]; 2], parts: Vec<usize>) -> Self {
        let fits = |(tokens, text): (&Vec<u8>, &[u8])| tokens.is_empty() || tokens == text;
        let known = logprobs.texts.is_some_and(|tokens| tokens.iter().zip(texts).all(fits));
        Self { place: logprobs.place, parts: known.then_some(parts), others: logprobs.others }
    }

    /// What stands in its place in a chunk of these parts; `None` where it leaves as it came.
    pub(super) fn written(&self, data: &str, parts: &[Part]) -> Option<String> {
        let untouched = |at: &usize| parts.get(*at).is_some_and(Part::is_as_it_came);
        if !self.parts.as_ref().is_some_and(|mine| mine.iter().all(untouched)) {
            return Some("null".to_owned());
        }
        let whole = data.get(self.place.clone()).unwrap_or_default();
        let inner = |place: &Range<usize>| place.start - self.place.start..place.end - self.place.start;
        let emptied = || self.others.iter().map(|place| (inner(place), "[]".into()));
        (!self.others.is_empty()).then(|| json::splice(whole, emptied()))
    }
}
