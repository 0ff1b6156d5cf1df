//! `logprobs`: the text once more, token by token, with its probabilities.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::json::{self, AtMost, Object};

/// The most tokens of one chunk or whole answer.
const TOKENS_MAX: usize = 1 << 17;

/// Where the tokens of `logprobs` stand.
#[derive(Debug)]
pub(in crate::dialect::openai_chat) struct Logprobs {
    /// All of it.
    pub(in crate::dialect::openai_chat) place: Range<usize>,
    /// The tokens of `content` and of `refusal`; `None` where it is of another shape.
    pub(in crate::dialect::openai_chat) entries: Option<[Entries; 2]>,
}

/// One list of tokens.
#[derive(Debug, Default)]
pub(in crate::dialect::openai_chat) struct Entries {
    pub(in crate::dialect::openai_chat) place: Range<usize>,
    pub(in crate::dialect::openai_chat) entries: Vec<Entry>,
}

/// One token.
#[derive(Debug)]
pub(in crate::dialect::openai_chat) struct Entry {
    pub(in crate::dialect::openai_chat) place: Range<usize>,
    /// Its bytes.
    pub(in crate::dialect::openai_chat) length: u32,
    /// Its `top_logprobs`, if it has any: tokens that were not taken.
    pub(in crate::dialect::openai_chat) others: Option<Range<usize>>,
}

#[derive(Deserialize)]
struct RawEntry<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
    bytes: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    top_logprobs: Option<&'a RawValue>,
}

impl Logprobs {
    pub(super) fn parse(data: &str, value: &str) -> Self {
        Self { place: json::place(data, value), entries: lists(data, value) }
    }
}

fn lists(data: &str, value: &str) -> Option<[Entries; 2]> {
    let mut lists = [Entries::default(), Entries::default()];
    let Object(members) = serde_json::from_str(value).ok()?;
    for (name, list) in members {
        let [content, refusal] = &mut lists;
        match name.as_ref() {
            _ if list.get() == "null" => {}
            "content" => *content = entries(data, list.get())?,
            "refusal" => *refusal = entries(data, list.get())?,
            _ => return None,
        }
    }
    Some(lists)
}

fn entries(data: &str, list: &str) -> Option<Entries> {
    let AtMost::<&RawValue, TOKENS_MAX>(all) = serde_json::from_str(list).ok()?;
    let entry = |value: &&RawValue| {
        let entry: RawEntry<'_> = serde_json::from_str(value.get()).ok()?;
        let length = entry.bytes.map_or(entry.token.len(), |bytes| bytes.len());
        let others =
            entry.top_logprobs.filter(|others| !others.get().trim_matches(['[', ']', ' ']).is_empty());
        Some(Entry {
            place: json::place(data, value.get()),
            length: u32::try_from(length).ok()?,
            others: others.map(|others| json::place(data, others.get())),
        })
    };
    Some(Entries { place: json::place(data, list), entries: all.iter().map(entry).collect::<Option<_>>()? })
}
