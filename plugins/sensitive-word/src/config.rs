//! The settings, and what of them is refused.
//!
//! | key | meaning | default |
//! |---|---|---|
//! | `words` | an array of words, or one text with a word per line, without blank lines and `#` lines | required |
//! | `action` | `mask`, `replace`, `block` or `monitor` | `mask` |
//! | `mask` | one character: once per character of the word; longer: once per word | `*` |
//! | `replacement` | the text in place of a word, for `replace` | required there |
//! | `rule` | what findings are called | `sensitive-word` |
//! | `whole_words` | find no word inside of a longer one | `false` |
//! | `lists` | several lists: an array of tables with the keys above, which then stand in these tables only | none |
//! | `case_sensitive` | compare characters as they are | `false` |
//! | `width_sensitive` | tell full-width and half-width forms from the ordinary ones | `false` |
//! | `zero_width_max` | how many zero-width characters in a row are looked through, 0 to 255 | `4` |
//!
//! Spaces around a word are dropped in a text, and kept in an array. Folding is for finding only: the mask
//! stands where the word stood, and nothing else changes.
//!
//! # Several lists
//!
//! The lists that mask, replace or block are searched as one: of all their words that occur, the one that
//! begins first counts; of those that begin there, the longest; of equal ones, that of the first list. A list
//! that blocks ends the exchange where its word would have been masked. Each list that monitors is searched
//! by itself: it reports whatever the others do, hides none of their words, and holds nothing back.
//!
//! # What is equal
//!
//! - Case: Unicode's simple folding, one character to one: `ẞ` is `ß`, but not `ss`.
//! - Width: `Ａ` is `A`, `ｱ` is `ア`, the ideographic space is a space; `ｶﾞ` is `ガ`, but `カ` with a combining
//!   mark (U+3099) is not.
//! - Zero width: up to `zero_width_max` characters in a row count as not there, in the words too, and a match
//!   covers those between its letters (`rust_proxy_mask::ZERO_WIDTH` has the list; emoji with joiners are
//!   found without them). A `mask` of one character does not count them. With 0 they are characters like
//!   others.
//! - `whole_words`: no two word characters may stand side by side at the edges of a match. Word characters
//!   are letters, numbers, combining marks and `_`, except those of scripts without spaces between words
//!   (Han, kana, Thai, …): `art` is not in `party`, but `密码` is in `改密码` and in `a密码b`.
//!
//! # Costs
//!
//! What waits is at most the longest word, and `zero_width_max` characters behind each of its letters. To be
//! built, a list of 1,000 words takes about 0.3 ms and 1.6 MiB of memory, one of 100,000 words 30 to 90 ms and
//! up to 32 MiB: the plugin's limits must allow it.

use std::fmt;

use rust_proxy_mask::{BuildError, List, Mask, Matcher, Options};
use serde::{
    Deserialize,
    de::{Deserializer, SeqAccess, Visitor},
};

use crate::{Action, Rule, Rules, Watch};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    words: Option<Words>,
    action: Option<Kind>,
    mask: Option<String>,
    replacement: Option<String>,
    rule: Option<String>,
    whole_words: Option<bool>,
    lists: Option<Vec<Table>>,
    #[serde(default)]
    case_sensitive: bool,
    #[serde(default)]
    width_sensitive: bool,
    zero_width_max: Option<u32>,
}

/// One list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    words: Words,
    action: Option<Kind>,
    mask: Option<String>,
    replacement: Option<String>,
    rule: Option<String>,
    #[serde(default)]
    whole_words: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Mask,
    Replace,
    Block,
    Monitor,
}

/// A list that was found to make sense, and where it stands in the settings.
struct Valid {
    path: String,
    words: Vec<String>,
    whole_words: bool,
    /// None to monitor.
    action: Option<Action>,
    rule: String,
}

impl Config {
    pub(crate) fn validate(self) -> Result<Rules, String> {
        let defaults = Options::default();
        let zero_width_max = self.zero_width_max.map_or(Ok(defaults.zero_width_max), |max| {
            u8::try_from(max).map_err(|_| format!("`zero_width_max` is {max}: write a number from 0 to 255"))
        })?;
        let options = Options {
            case_sensitive: self.case_sensitive,
            width_sensitive: self.width_sensitive,
            zero_width_max,
        };
        let mut acting = Vec::new();
        let mut watches = Vec::new();
        for valid in self.lists()? {
            if valid.action.is_some() {
                acting.push(valid);
            } else {
                watches.push(Watch { matcher: matcher(&[&valid], options)?, rule: valid.rule });
            }
        }
        let matcher = match acting.iter().collect::<Vec<_>>() {
            lists if lists.is_empty() => None,
            lists => Some(matcher(&lists, options)?),
        };
        let rules =
            acting.into_iter().filter_map(|valid| Some(Rule { action: valid.action?, rule: valid.rule }));
        Ok(Rules { matcher, lists: rules.collect(), watches })
    }

    /// The lists of either form.
    fn lists(self) -> Result<Vec<Valid>, String> {
        let Self { words, action, mask, replacement, rule, whole_words, lists, .. } = self;
        match (words, lists) {
            (Some(words), None) => {
                let whole_words = whole_words.unwrap_or_default();
                Ok(vec![Table { words, action, mask, replacement, rule, whole_words }.validate("")?])
            }
            (None, None) => {
                Err("`words` is missing: write a list of words, or several as `lists`".to_owned())
            }
            (_, Some(lists)) if lists.is_empty() => {
                Err("`lists` is empty: write a table with `words`, or remove the key and write `words`"
                    .to_owned())
            }
            (words, Some(lists)) => {
                let beside = [
                    ("words", words.is_some()),
                    ("action", action.is_some()),
                    ("mask", mask.is_some()),
                    ("replacement", replacement.is_some()),
                    ("rule", rule.is_some()),
                    ("whole_words", whole_words.is_some()),
                ];
                if let Some((key, _)) = beside.iter().find(|(_, set)| *set) {
                    return Err(format!("`{key}` stands beside `lists`: move it into a table of `lists`"));
                }
                let lists = lists.into_iter().enumerate();
                lists.map(|(index, list)| list.validate(&format!("lists[{index}]."))).collect()
            }
        }
    }
}

impl Table {
    /// `path` is what its keys begin with.
    fn validate(self, path: &str) -> Result<Valid, String> {
        let Words(words) = self.words;
        if let Some(index) = words.iter().position(|word| word.trim().is_empty()) {
            return Err(format!("`{path}words[{index}]` is empty: write a word, or remove it"));
        }
        if words.is_empty() {
            return Err(format!("`{path}words` has no word: write at least one"));
        }
        let action = action(path, self.action.unwrap_or_default(), self.mask, self.replacement)?;
        let rule = self.rule.unwrap_or_else(|| "sensitive-word".to_owned());
        if rule.is_empty() {
            return Err(format!("`{path}rule` is empty: write a name, or remove the key"));
        }
        Ok(Valid { path: path.to_owned(), words, whole_words: self.whole_words, action, rule })
    }
}

fn matcher(valid: &[&Valid], options: Options) -> Result<Matcher, String> {
    let lists: Vec<_> =
        valid.iter().map(|valid| List { words: &valid.words, whole_words: valid.whole_words }).collect();
    Matcher::of_lists(&lists, options).map_err(|error| {
        let key = |list: usize| valid.get(list).map_or("", |valid| valid.path.as_str());
        match error {
            BuildError::EmptyWord { list, word } => format!(
                "`{}words[{word}]` has only zero-width characters: remove it, or write `zero_width_max = 0`",
                key(list)
            ),
            BuildError::ZeroWidth { list, word, max } => format!(
                "`{}words[{word}]` has more than {max} zero-width characters in a row, so it would never be found: \
                 remove some, or raise `zero_width_max`",
                key(list)
            ),
            error => format!("`{}words`: {error}", key(0)),
        }
    })
}

fn action(
    path: &str,
    kind: Kind,
    mask: Option<String>,
    replacement: Option<String>,
) -> Result<Option<Action>, String> {
    for (key, fits, set) in
        [("mask", Kind::Mask, mask.is_some()), ("replacement", Kind::Replace, replacement.is_some())]
    {
        if set && kind != fits {
            let action = if fits == Kind::Mask { "mask" } else { "replace" };
            let fix = "remove it, or change `action`";
            return Err(format!("`{path}{key}` fits `action = \"{action}\"` only: {fix}"));
        }
    }
    Ok(match kind {
        Kind::Mask => {
            let mask = mask.unwrap_or_else(|| "*".to_owned());
            let mut chars = mask.chars();
            Some(Action::Mask(match (chars.next(), chars.next()) {
                (Some(c), None) => Mask::PerCharacter(c),
                (Some(_), Some(_)) => Mask::Fixed(mask),
                (None, _) => {
                    let fix = "write a character, or `action = \"replace\"` with `replacement = \"\"`";
                    return Err(format!("`{path}mask` is empty: {fix}"));
                }
            }))
        }
        Kind::Replace => Some(Action::Mask(Mask::Fixed(replacement.ok_or_else(|| {
            let reason = "`action = \"replace\"` needs the text to put in place of a word";
            format!("`{path}replacement` is missing: {reason}")
        })?))),
        Kind::Block => Some(Action::Block),
        Kind::Monitor => None,
    })
}

/// Both forms of a word list. Not an untagged enum: its errors would not say which word is wrong.
#[derive(Debug)]
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of words, or a text with a word per line")
            }

            fn visit_str<E>(self, text: &str) -> Result<Words, E> {
                // Editors on Windows begin a file with a byte order mark.
                let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
                let words = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                Ok(Words(words.map(str::to_owned).collect()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = seq.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }

        deserializer.deserialize_any(Either)
    }
}
