//! `logprobs` on its way: no token of an edited stretch of text leaves, nor one of which the text is not known.
//!
//! A token's bytes say where in the text it stands: the running sum of their lengths, for a character may be spread
//! over several tokens. Where the sums stop matching the text, `logprobs` of the choice are null from there on.
//! Tokens that were not taken (`top_logprobs`) are text that no link has seen: they are left out.

use std::ops::Range;

use super::lanes::Lanes;
use crate::dialect::openai_chat::chunk::{Entries, Entry, Field, Logprobs};

/// The most bytes of a character that is not whole.
const CHARACTER_REST: u32 = 3;

/// `logprobs` of one choice of a chunk.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) place: Range<usize>,
    /// `None` where nothing of it may leave.
    lists: Option<Vec<List>>,
}

#[derive(Debug)]
struct List {
    lane: u32,
    place: Range<usize>,
    tokens: Vec<(Range<u32>, Entry)>,
}

/// How far the tokens of one field have come.
#[derive(Debug, Default)]
pub(super) struct Count {
    end: u32,
    broken: bool,
}

impl Count {
    /// Whether tokens up to `end` fit a text of `length` bytes.
    fn fits(&self, length: u32) -> bool {
        self.end >= length && self.end - length <= CHARACTER_REST
    }
}

impl Tokens {
    /// Places `logprobs` in the text. `lane` gives a field's lane and the bytes of its text so far, opened where the tokens may be the first to tell of it.
    pub(super) fn new<E>(
        logprobs: Logprobs,
        counts: &mut [Count; 2],
        mut lane: impl FnMut(Field, bool) -> Result<Option<(u32, u32)>, E>,
    ) -> Result<Self, E> {
        let place = logprobs.place;
        let Some(entries) = logprobs.entries else { return Ok(Self { place, lists: None }) };
        let mut lists = Some(Vec::new());
        let fields = [Field::CONTENT, Field::REFUSAL];
        for ((Entries { place, entries }, count), field) in entries.into_iter().zip(counts).zip(fields) {
            let has_tokens = !entries.is_empty();
            let tokens = entries.into_iter().map(|entry| {
                let start = count.end;
                count.end = count.end.saturating_add(entry.length);
                (start..count.end, entry)
            });
            let tokens = tokens.collect();
            let known = lane(field, has_tokens && count.fits(0))?;
            count.broken |= !count.fits(known.map_or(0, |(_, length)| length));
            match (known, &mut lists) {
                _ if !has_tokens => {}
                (Some((lane, _)), Some(lists)) if !count.broken => lists.push(List { lane, place, tokens }),
                _ => lists = None,
            }
        }
        Ok(Self { place, lists })
    }

    /// The lanes that it tells of, and up to where.
    pub(super) fn ends(&self) -> impl Iterator<Item = (u32, u32)> {
        let lists = self.lists.iter().flatten();
        lists.filter_map(|list| Some((list.lane, list.tokens.last()?.0.end)))
    }

    /// What stands in its place now; `None` where it leaves as it came.
    pub(super) fn written(&self, data: &str, lanes: &Lanes) -> Option<String> {
        let Some(lists) = &self.lists else { return Some("null".to_owned()) };
        let mut at = self.place.start;
        let mut out = String::new();
        let mut changed = false;
        let mut sorted: Vec<&List> = lists.iter().collect();
        sorted.sort_by_key(|list| list.place.start);
        for list in sorted {
            let Some(text) = list.written(data, lanes) else { continue };
            changed = true;
            out.push_str(data.get(at..list.place.start).unwrap_or_default());
            out.push_str(&text);
            at = list.place.end;
        }
        out.push_str(data.get(at..self.place.end).unwrap_or_default());
        changed.then_some(out)
    }
}

impl List {
    fn written(&self, data: &str, lanes: &Lanes) -> Option<String> {
        let lane = lanes.get(self.lane)?;
        let leaves = |span: &Range<u32>| span.end <= lane.position() && !lane.is_edited_at(span);
        if self.tokens.iter().all(|(span, entry)| leaves(span) && entry.others.is_none()) {
            return None;
        }
        let kept =
            self.tokens.iter().filter(|(span, _)| leaves(span)).map(|(_, entry)| match &entry.others {
                None => data.get(entry.place.clone()).unwrap_or_default().to_owned(),
                Some(others) => {
                    let before = data.get(entry.place.start..others.start).unwrap_or_default();
                    let behind = data.get(others.end..entry.place.end).unwrap_or_default();
                    format!("{before}[]{behind}")
                }
            });
        Some(format!("[{}]", kept.collect::<Vec<_>>().join(",")))
    }
}
