//! `logprobs`: the text once more, token by token, with its probabilities.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{self, AtMost};

/// The most tokens of one chunk or whole answer.
const TOKENS_MAX: usize = 1 << 17;

/// What `logprobs` say.
#[derive(Debug)]
pub(in crate::dialect::openai_chat) struct Logprobs {
    /// All of it.
    pub(in crate::dialect::openai_chat) place: Range<usize>,
    /// The texts of `content` and of `refusal`, put together from their tokens; `None` where it is of another shape.
    pub(in crate::dialect::openai_chat) texts: Option<[Vec<u8>; 2]>,
    /// The `top_logprobs` that are not empty: tokens that were not taken.
    pub(in crate::dialect::openai_chat) others: Vec<Range<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLogprobs<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawToken<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
    bytes: Option<Vec<u8>>,
    #[serde(borrow)]
    top_logprobs: Option<&'a RawValue>,
}

impl Logprobs {
    pub(super) fn parse(data: &str, value: &str) -> Self {
        let mut others = Vec::new();
        let texts = serde_json::from_str::<RawLogprobs<'_>>(value).ok().and_then(|raw| {
            let mut text =
                |list: Option<&RawValue>| list.map_or(Some(Vec::new()), |list| text(data, list, &mut others));
            Some([text(raw.content)?, text(raw.refusal)?])
        });
        Self { place: json::place(data, value), texts, others }
    }
}

/// The text of a list of tokens.
fn text(data: &str, list: &RawValue, others: &mut Vec<Range<usize>>) -> Option<Vec<u8>> {
    let AtMost::<RawToken<'_>, TOKENS_MAX>(tokens) = serde_json::from_str(list.get()).ok()?;
    let mut text = Vec::new();
    for token in tokens {
        match token.bytes {
            // Two tellings of one token that differ: a client may show either.
            Some(bytes) if bytes != token.token.as_bytes() => return None,
            _ => text.extend_from_slice(token.token.as_bytes()),
        }
        let untaken = token.top_logprobs.filter(|list| !list.get().trim_matches(['[', ']', ' ']).is_empty());
        others.extend(untaken.map(|list| json::place(data, list.get())));
    }
    Some(text)
}
