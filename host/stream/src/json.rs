//! JSON at the level of its text: find the places that matter, replace those, keep every other byte.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

mod pointer;
mod reader;

pub use pointer::{CannotSet, NotAPointer, Pointer};
pub(crate) use reader::{Reader, Step, Token};

/// Where `inner`, a part of `outer`, stands in it.
pub(crate) fn place(outer: &str, inner: &str) -> Range<usize> {
    let start = (inner.as_ptr() as usize).wrapping_sub(outer.as_ptr() as usize);
    debug_assert!(outer.get(start..start + inner.len()).is_some(), "not a part of the text");
    start..start + inner.len()
}

/// `raw` with the ranges replaced, which must be sorted and apart.
pub(crate) fn splice<'a>(
    raw: &str,
    changes: impl IntoIterator<Item = (Range<usize>, Cow<'a, str>)>,
) -> String {
    let mut out = String::with_capacity(raw.len() + 16);
    let mut at = 0;
    for (range, text) in changes {
        out.push_str(raw.get(at..range.start).unwrap_or_default());
        out.push_str(&text);
        at = range.end;
    }
    out.push_str(raw.get(at..).unwrap_or_default());
    out
}

/// A JSON string literal.
pub fn quote(text: &str) -> String {
    // A string is always serialisable.
    serde_json::to_string(text).unwrap_or_default()
}

/// Whether a text stands in a string literal as it is.
pub(crate) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= b' ' && !matches!(byte, b'"' | b'\\'))
}

/// Whether a raw value is a string literal.
pub(crate) fn is_string(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

/// The text of a string literal that stands alone.
pub(crate) fn text(literal: &str) -> Cow<'_, str> {
    let mut half = None;
    let mut text = unquote(literal, &mut half);
    if half.is_some() {
        text.to_mut().push(char::REPLACEMENT_CHARACTER);
    }
    text
}

/// The text of a string literal that serde has checked. Halves of a surrogate pair are joined across
/// literals: `half` is the first half that the literal before ended with, and takes the one that this literal
/// ends with. A half without its other half becomes U+FFFD.
///
/// Borrows where nothing is escaped.
pub(crate) fn unquote<'a>(literal: &'a str, half: &mut Option<u16>) -> Cow<'a, str> {
    let mut rest = content(literal);
    if half.is_none() && memchr::memchr(b'\\', rest.as_bytes()).is_none() {
        return Cow::Borrowed(rest);
    }
    let mut out = String::with_capacity(rest.len());
    while let Some(unit) = next_unit(rest, half) {
        out.extend(unit.lone.then_some(char::REPLACEMENT_CHARACTER));
        out.extend(unit.char);
        rest = rest.get(unit.length..).unwrap_or_default();
    }
    Cow::Owned(out)
}

/// What stands between the quotes of a string literal.
pub(crate) fn content(literal: &str) -> &str {
    literal.get(1..literal.len().saturating_sub(1)).unwrap_or_default()
}

/// One character or escape of a string literal that serde has checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Whether half a surrogate pair stood before it that is now known to be alone.
    pub(crate) lone: bool,
    /// What it stands for; `None` for the first half of a surrogate pair.
    pub(crate) char: Option<char>,
    /// Its bytes in the literal.
    pub(crate) length: usize,
}

/// The first unit of what stands between the quotes of a literal. `half` is a first half of a surrogate pair
/// that stands before it, and takes the one that the unit is.
pub(crate) fn next_unit(rest: &str, half: &mut Option<u16>) -> Option<Unit> {
    let first = rest.chars().next()?;
    Some(match (half.take(), escape_unit(rest)) {
        (Some(high), Some(low @ 0xdc00..=0xdfff)) => {
            let char = char::decode_utf16([high, low]).next().and_then(Result::ok);
            Unit { lone: false, char, length: 6 }
        }
        (before, Some(unit @ 0xd800..=0xdbff)) => {
            *half = Some(unit);
            Unit { lone: before.is_some(), char: None, length: 6 }
        }
        (before, Some(unit)) => {
            let char = char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
            Unit { lone: before.is_some(), char: Some(char), length: 6 }
        }
        (before, None) if first == '\\' => {
            let char = rest.chars().nth(1).map(simple_escape);
            Unit { lone: before.is_some(), char, length: 2 }
        }
        (before, None) => Unit { lone: before.is_some(), char: Some(first), length: first.len_utf8() },
    })
}

/// The UTF-16 unit of a `\uXXXX` escape at the beginning of `rest`.
fn escape_unit(rest: &str) -> Option<u16> {
    let digits = rest.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

/// What a backslash and this character stand for.
fn simple_escape(char: char) -> char {
    match char {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        char => char,
    }
}

/// An object's members in their order, values as they came. A key that stands twice is refused: readers
/// differ in which of the two they take, and a filter must see the one that counts.
#[derive(Debug)]
pub(crate) struct Object<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                // As many as are compared faster than hashed.
                const FEW: usize = 16;
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    let twice = if members.len() < FEW {
                        members.iter().any(|(known, _)| *known == key)
                    } else {
                        if members.len() == FEW {
                            seen.extend(members.iter().map(|(known, _)| known.clone()));
                        }
                        !seen.insert(key.clone())
                    };
                    if twice {
                        return Err(serde::de::Error::custom(format_args!("the key `{key}` stands twice")));
                    }
                    members.push((key, value));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A key that is borrowed where it can be (`Cow` itself never borrows).
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The first members of an object; any others are passed over.
#[derive(Debug)]
pub(crate) struct FirstMembers<'a, const MAX: usize>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de, const MAX: usize> Deserialize<'de> for FirstMembers<'de, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<const MAX: usize>;

        impl<'de, const MAX: usize> Visitor<'de> for Members<MAX> {
            type Value = FirstMembers<'de, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FirstMembers<'de, MAX>, A::Error> {
                let mut members = Vec::new();
                while members.len() < MAX
                    && let Some((Key(key), value)) = map.next_entry()?
                {
                    members.push((key, value));
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(FirstMembers(members))
            }
        }

        deserializer.deserialize_map(Members::<MAX>)
    }
}

/// A list of at most this many elements, bounded while it is read.
#[derive(Debug)]
pub(crate) struct AtMost<T, const MAX: usize>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for AtMost<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
            type Value = AtMost<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AtMost<T, MAX>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == MAX {
                        return Err(serde::de::Error::invalid_length(MAX, &self));
                    }
                    elements.push(element);
                }
                Ok(AtMost(elements))
            }
        }

        deserializer.deserialize_seq(List(PhantomData))
    }
}

/// How deep we look into a JSON text.
const DEPTH_MAX: usize = 64;

/// Bytes of pointers for each byte of JSON: far more than any real arguments need, and a bound for those in which
/// many small values stand under one long key.
const POINTERS_MAX: usize = 16;

/// Bytes of pointers that any JSON may have.
const POINTERS_FREE: usize = 4096;

/// Why a JSON text is not looked into: it is nested too deep, has a key twice in one object, or too many values
/// under too long keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its JSON is nested deeper than {DEPTH_MAX}, or has too many values under too long keys")]
pub(crate) struct TooComplex;

/// A string value: its JSON pointer and the place of its literal.
type Value = (String, Range<usize>);

/// The string values of a JSON text with their JSON pointers (RFC 6901), in order; `None` where the text is
/// not JSON.
///
/// # Errors
/// [`TooComplex`]: shown as it stands, with its escapes, such a text would hide words from a filter.
pub(crate) fn string_values(text: &str) -> Result<Option<Vec<Value>>, TooComplex> {
    let Ok(raw) = serde_json::from_str(text) else { return Ok(None) };
    let left = text.len().saturating_mul(POINTERS_MAX).saturating_add(POINTERS_FREE);
    let mut walk = Walk { outer: text, left, found: Vec::new() };
    walk.value(raw, "", 0)?;
    Ok(Some(walk.found))
}

struct Walk<'a> {
    outer: &'a str,
    /// How many more bytes of pointers there may be.
    left: usize,
    found: Vec<Value>,
}

impl Walk<'_> {
    fn value(&mut self, raw: &RawValue, at: &str, depth: usize) -> Result<(), TooComplex> {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'"') => {
                self.spend(at.len())?;
                self.found.push((at.to_owned(), place(self.outer, text)));
            }
            Some(b'{' | b'[') if depth == DEPTH_MAX => return Err(TooComplex),
            Some(b'{') => {
                let Object(members) = serde_json::from_str(text).map_err(|_| TooComplex)?;
                for (key, value) in members {
                    self.spend(at.len() + key.len())?;
                    let key = key.replace('~', "~0").replace('/', "~1");
                    self.value(value, &format!("{at}/{key}"), depth + 1)?;
                }
            }
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| TooComplex)?;
                for (index, value) in elements.into_iter().enumerate() {
                    self.spend(at.len())?;
                    self.value(value, &format!("{at}/{index}"), depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), TooComplex> {
        self.left = self.left.checked_sub(bytes).ok_or(TooComplex)?;
        Ok(())
    }
}

/// What a JSON text could not be read for, without a word of it: serde quotes the values that it did not expect.
pub(crate) fn unreadable(error: &serde_json::Error) -> String {
    let what =
        if error.is_data() { "a value of the wrong type, or a key that stands twice," } else { "no JSON" };
    format!("{what} at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(literals: &[&str]) -> String {
        let mut half = None;
        let mut out: String = literals.iter().map(|literal| unquote(literal, &mut half)).collect();
        if half.is_some() {
            out.push('\u{fffd}');
        }
        out
    }

    #[test]
    fn surrogate_halves_are_joined_across_literals() {
        assert_eq!(text(&[r#""a\ud83d""#, r#""\ude00b""#]), "a😀b");
        assert_eq!(text(&[r#""\ud83d\ude00""#]), "😀");
        assert_eq!(text(&[r#""\ud83d""#, r#""""#, r#""x""#]), "\u{fffd}x");
        assert_eq!(text(&[r#""\ude00\ud83d\n""#]), "\u{fffd}\u{fffd}\n");
        assert_eq!(text(&[r#""\ud83d\ud83d\ude00""#]), "\u{fffd}😀");
        assert_eq!(text(&[r#""\\\/\"\b\f\r\tA""#]), "\\/\"\u{8}\u{c}\r\tA");
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_among_few_and_among_many() {
        for count in [2, 15, 16, 17, 18, 40] {
            let keys: Vec<String> = (0..count).map(|number| format!("\"k{number}\":0")).collect();
            let object = |keys: &[String]| format!("{{{}}}", keys.join(","));
            assert!(serde_json::from_str::<Object<'_>>(&object(&keys)).is_ok(), "{count}");
            for twice in 0..count {
                let keys = [&keys[..], &keys[twice..=twice]].concat();
                assert!(serde_json::from_str::<Object<'_>>(&object(&keys)).is_err(), "{twice} of {count}");
            }
        }
        let error = serde_json::from_str::<Object<'_>>(r#"{"a":1,"\u0061":2}"#).unwrap_err();
        assert!(error.to_string().contains("`a` stands twice"), "{error}");
    }

    #[test]
    fn string_values_have_pointers() {
        let json = r#"{"a":"x","b":[1,{"c/d":"y"}],"e":null}"#;
        let found = string_values(json).unwrap().unwrap();
        let seen: Vec<_> = found.iter().map(|(at, range)| (at.as_str(), &json[range.clone()])).collect();
        assert_eq!(seen, [("/a", r#""x""#), ("/b/1/c~1d", r#""y""#)]);
        assert_eq!(string_values("{\"a\":"), Ok(None));
        assert_eq!(string_values(&("[".repeat(70) + &"]".repeat(70))), Err(TooComplex));
        assert_eq!(string_values(r#"{"a":1,"a":2}"#), Err(TooComplex));
        let many = format!(r#"{{"{}":["{}"]}}"#, "k".repeat(10_000), r#"",""#.repeat(1000));
        assert_eq!(string_values(&many), Err(TooComplex));
    }

    proptest! {
        #[test]
        fn unquote_is_the_inverse_of_quote(string in any::<String>()) {
            prop_assert_eq!(is_plain(&string), content(&quote(&string)) == string);
            prop_assert_eq!(text(&[&quote(&string)]), string);
        }
    }
}
