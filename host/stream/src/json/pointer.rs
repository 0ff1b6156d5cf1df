//! Reading and setting one place of a JSON text, all other bytes kept.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::value::RawValue;

use super::{DEPTH_MAX, Object, place, quote, splice};

/// A place in a JSON text (RFC 6901), below its root.
#[derive(Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// Why a text is not a [`Pointer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON pointer: it begins with `/`, `~` is written `~0` and a `/` in a name `~1`")]
pub struct NotAPointer;

/// Why a place of a JSON text cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pointer}` cannot be set: {why}")]
pub struct CannotSet {
    pointer: Pointer,
    why: &'static str,
}

impl Pointer {
    /// The value at this place as it is written; `None` where there is none, or the text is not JSON.
    pub fn find<'a>(&self, json: &'a str) -> Option<&'a str> {
        let mut at = json.trim();
        for name in &self.0 {
            at = child(at, name).ok()??;
        }
        // A text that has a root only was not read yet.
        serde_json::from_str::<&RawValue>(at).ok().map(RawValue::get)
    }

    /// The text of the string at this place.
    pub fn find_text<'a>(&self, json: &'a str) -> Option<Cow<'a, str>> {
        self.find(json).filter(|value| value.starts_with('"')).map(super::text)
    }

    /// `json` with `value`, which must be JSON, at this place. Objects on the way that are missing are made.
    ///
    /// # Errors
    /// [`CannotSet`], where something else than an object is in the way, or `json` is not JSON.
    pub fn set(&self, json: &str, value: &str) -> Result<String, CannotSet> {
        if self.0.len() > DEPTH_MAX {
            return Err(CannotSet { pointer: self.clone(), why: "it is too deep" });
        }
        set(json, &self.0, value).map_err(|why| CannotSet { pointer: self.clone(), why })
    }

    /// Whether one of the two places is within the other, or the same.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(one, other)| one == other)
    }

    /// The name of a member of the root, where the pointer goes no deeper.
    pub fn member(&self) -> Option<&str> {
        match self.0.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }
}

/// The value of a member or element; `Ok(None)` where it is missing.
fn child<'a>(json: &'a str, name: &str) -> Result<Option<&'a str>, &'static str> {
    let value = match json.as_bytes().first() {
        Some(b'{') => serde_json::from_str::<Object<'_>>(json).map_err(|_| NOT_JSON)?.get(name),
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| NOT_JSON)?;
            index(name).and_then(|index| elements.get(index).copied())
        }
        _ => return Err("a value that has no members is in the way"),
    };
    Ok(value.map(RawValue::get))
}

const NOT_JSON: &str = "it is not JSON, or a key stands twice";

/// An element's number as RFC 6901 has it, without leading zeros.
fn index(name: &str) -> Option<usize> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if digits { name.parse().ok() } else { None }
}

fn set(json: &str, names: &[String], value: &str) -> Result<String, &'static str> {
    let Some((name, rest)) = names.split_first() else { return Ok(value.to_owned()) };
    let json = json.trim();
    if let Some(old) = child(json, name)? {
        let new = set(old, rest, value)?;
        return Ok(splice(json, [(place(json, old), Cow::Owned(new))]));
    }
    let (Some(before), true) = (json.strip_suffix('}'), json.starts_with('{')) else {
        return Err("the list has no such element");
    };
    let new = rest.iter().rev().fold(value.to_owned(), |inner, name| format!("{{{}:{inner}}}", quote(name)));
    let comma = if before.trim_end().ends_with('{') && before.trim().len() == 1 { "" } else { "," };
    Ok(format!("{before}{comma}{}:{new}}}", quote(name)))
}

impl FromStr for Pointer {
    type Err = NotAPointer;

    fn from_str(text: &str) -> Result<Self, NotAPointer> {
        let name = |name: &str| {
            let plain = name.replace("~0", "").replace("~1", "");
            if plain.contains('~') {
                Err(NotAPointer)
            } else {
                Ok(name.replace("~1", "/").replace("~0", "~"))
            }
        };
        text.strip_prefix('/').ok_or(NotAPointer)?.split('/').map(name).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|name| write!(f, "/{}", name.replace('~', "~0").replace('/', "~1")))
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(text: &str) -> Pointer {
        text.parse().unwrap()
    }

    #[test]
    fn a_value_is_found_as_it_is_written() {
        let json = r#" {"a":{"b/c":[1, 2.50]},"~":"x\u0041"} "#;
        for (at, expect) in [
            ("/a/b~1c/1", Some("2.50")),
            ("/a", Some(r#"{"b/c":[1, 2.50]}"#)),
            ("/~0", Some(r#""x\u0041""#)),
            ("/a/b~1c/01", None),
            ("/a/b~1c/2", None),
            ("/b", None),
            ("/~0/x", None),
        ] {
            assert_eq!(pointer(at).find(json), expect, "{at}");
        }
        assert_eq!(pointer("/~0").find_text(json).unwrap(), "xA");
        assert_eq!(pointer("/a").find_text(json), None);
        assert_eq!(pointer("/a").find("{"), None);
    }

    #[test]
    fn a_value_is_set_and_all_else_is_kept() {
        for (json, at, expect) in [
            ("{}", "/a", r#"{"a":9}"#),
            (" { } ", "/a", r#"{ "a":9}"#),
            (r#"{"x": 1.0}"#, "/a", r#"{"x": 1.0,"a":9}"#),
            (r#"{"x": 1.0}"#, "/x", r#"{"x": 9}"#),
            (r#"{"x":"}"}"#, "/a/b~1c", r#"{"x":"}","a":{"b/c":9}}"#),
            (r#"{"x":[{"y":1},2]}"#, "/x/0/z", r#"{"x":[{"y":1,"z":9},2]}"#),
            (r#"{"x":{}}"#, "/x/", r#"{"x":{"":9}}"#),
        ] {
            assert_eq!(pointer(at).set(json, "9").unwrap(), expect);
        }
    }

    #[test]
    fn what_is_in_the_way_is_not_replaced() {
        for (json, at) in [
            (r#"{"x":1}"#, "/x/y"),
            (r#"{"x":[]}"#, "/x/0"),
            ("[1]", "/a"),
            ("1", "/a"),
            (r#"{"a":1,"a":2}"#, "/b"),
        ] {
            let error = pointer(at).set(json, "9").unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{at}` cannot be set: ")), "{error}");
        }
    }

    #[test]
    fn a_name_with_quotes_stays_a_name() {
        let set = pointer(r#"/a":1,"b"#).set("{}", "9").unwrap();
        assert_eq!(set, r#"{"a\":1,\"b":9}"#);
    }

    #[test]
    fn pointers_are_checked_and_compared() {
        for text in ["", "a", "/~", "/~2", "/a~"] {
            assert_eq!(text.parse::<Pointer>(), Err(NotAPointer), "{text}");
        }
        assert_eq!(pointer("/a~1~0/b").to_string(), "/a~1~0/b");
        assert!(pointer("/a/b").overlaps(&pointer("/a")) && pointer("/a").overlaps(&pointer("/a")));
        assert!(!pointer("/a/b").overlaps(&pointer("/a/c")));
        assert_eq!((pointer("/a").member(), pointer("/a/b").member()), (Some("a"), None));
    }
}
