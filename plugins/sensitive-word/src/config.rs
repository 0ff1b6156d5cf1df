//! The settings, and what of them is refused.
//!
//! | key | meaning | default |
//! |---|---|---|
//! | `words` | an array of words, or one text with a word per line, without blank lines and `#` lines | required |
//! | `action` | `mask`, `replace`, `block` or `monitor` | `mask` |
//! | `mask` | one character: once per character of the word; longer: once per word | `*` |
//! | `replacement` | the text in place of a word, for `replace` | required there |
//! | `case_sensitive` | compare characters as they are | `false` |
//! | `rule` | what findings are called | `sensitive-word` |
//!
//! Spaces around a word are dropped in a text, and kept in an array. To be built, a list of 1,000 words takes
//! about 0.3 ms, one of 100,000 words 30 to 90 ms and 24 to 32 MiB of memory: the plugin's limits must allow it.

use std::fmt;

use rust_proxy_mask::{Mask, Matcher, Options};
use serde::{
    Deserialize,
    de::{Deserializer, SeqAccess, Visitor},
};

use crate::{Action, Rules};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    words: Words,
    #[serde(default)]
    action: Kind,
    mask: Option<String>,
    replacement: Option<String>,
    #[serde(default)]
    case_sensitive: bool,
    rule: Option<String>,
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

impl Config {
    pub(crate) fn validate(self) -> Result<Rules, String> {
        if let Some(index) = self.words.0.iter().position(|word| word.trim().is_empty()) {
            return Err(format!("`words[{index}]` is empty: write a word, or remove it"));
        }
        if self.words.0.is_empty() {
            return Err("`words` has no word: write at least one".to_owned());
        }
        let action = action(self.action, self.mask, self.replacement)?;
        let rule = self.rule.unwrap_or_else(|| "sensitive-word".to_owned());
        if rule.is_empty() {
            return Err("`rule` is empty: write a name, or remove the key".to_owned());
        }
        let options = Options { case_sensitive: self.case_sensitive };
        let matcher = Matcher::new(&self.words.0, options).map_err(|error| format!("`words`: {error}"))?;
        Ok(Rules { matcher, action, rule })
    }
}

fn action(kind: Kind, mask: Option<String>, replacement: Option<String>) -> Result<Action, String> {
    if mask.is_some() && kind != Kind::Mask {
        return Err("`mask` fits `action = \"mask\"` only: remove it, or change `action`".to_owned());
    }
    if replacement.is_some() && kind != Kind::Replace {
        return Err(
            "`replacement` fits `action = \"replace\"` only: remove it, or change `action`".to_owned()
        );
    }
    Ok(match kind {
        Kind::Mask => {
            let mask = mask.unwrap_or_else(|| "*".to_owned());
            let mut chars = mask.chars();
            Action::Mask(match (chars.next(), chars.next()) {
                (Some(c), None) => Mask::PerCharacter(c),
                (Some(_), Some(_)) => Mask::Fixed(mask),
                (None, _) => {
                    let fix = "write a character, or `action = \"replace\"` with `replacement = \"\"`";
                    return Err(format!("`mask` is empty: {fix}"));
                }
            })
        }
        Kind::Replace => Action::Mask(Mask::Fixed(replacement.ok_or_else(|| {
            "`replacement` is missing: `action = \"replace\"` needs the text to put in place of a word"
                .to_owned()
        })?)),
        Kind::Block => Action::Block,
        Kind::Monitor => Action::Monitor,
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
