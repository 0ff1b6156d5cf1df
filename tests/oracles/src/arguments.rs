//! The arguments of a tool call, read as a whole: which of their characters are text.

use crate::json::is_plain;

/// How deep arguments may be nested.
const DEPTH_MAX: usize = 64;

/// A stretch of arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// Nobody's text.
    Structure(String),
    /// What a string value says, and what stands behind it of an escape that is not whole.
    Value { says: String, rest: String },
    /// All from the first character on that is not JSON.
    Raw(String),
}

impl Stretch {
    /// What links see of it.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Structure(_) => None,
            Self::Value { says, .. } => Some(says),
            Self::Raw(text) => Some(text),
        }
    }
}

/// What a client has of arguments, against what it should have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    All,
    Beginning,
    Neither,
}

/// Reads arguments as far as they go: their stretches, and whether they end within a character of a string value.
/// `None` if they are nested too deep.
pub(crate) fn read(text: &str) -> Option<(Vec<Stretch>, bool)> {
    let mut reader = Reader { text, at: 0, from: 0, depth: 0, stretches: Vec::new(), within: false };
    let end = reader.document();
    if end == Err(Stop::Deep) {
        return None;
    }
    reader.structure();
    if end == Err(Stop::Bad) {
        reader.within = false;
        reader.stretches.push(Stretch::Raw(text[reader.at..].to_owned()));
    }
    Some((reader.stretches, reader.within))
}

/// Whether `got` is what `change` makes of these stretches, however it is spelled.
pub(crate) fn fit(stretches: &[Stretch], change: &impl Fn(&str) -> String, got: &str) -> Fit {
    let Some((first, others)) = stretches.split_first() else {
        return if got.is_empty() { Fit::All } else { Fit::Neither };
    };
    let rest = match first {
        Stretch::Structure(text) => literally(text, got),
        Stretch::Raw(text) => literally(&change(text), got),
        Stretch::Value { says, rest } => match spelled(&change(says), got) {
            Ok(behind) => literally(rest, behind),
            Err(fit) => Err(fit),
        },
    };
    match rest {
        Ok(rest) => fit(others, change, rest),
        Err(fit) => fit,
    }
}

fn literally<'a>(expected: &str, got: &'a str) -> Result<&'a str, Fit> {
    match got.strip_prefix(expected) {
        Some(rest) => Ok(rest),
        None if expected.starts_with(got) => Err(Fit::Beginning),
        None => Err(Fit::Neither),
    }
}

/// What stands behind `text` in `got`.
fn spelled<'a>(text: &str, mut got: &'a str) -> Result<&'a str, Fit> {
    for expected in text.chars() {
        let (char, length) = match unit(got) {
            Unit::End | Unit::Part => return Err(Fit::Beginning),
            Unit::Quote | Unit::Bad(_) => return Err(Fit::Neither),
            Unit::Char(char, length) => (char, length),
            Unit::Escape(high @ 0xd800..=0xdbff) => match unit(&got[6..]) {
                Unit::Escape(low @ 0xdc00..=0xdfff) => (String::from_utf16_lossy(&[high, low]).remove(0), 12),
                Unit::End | Unit::Part if expected != char::REPLACEMENT_CHARACTER => {
                    return Err(Fit::Beginning);
                }
                _ => (char::REPLACEMENT_CHARACTER, 6),
            },
            Unit::Escape(unit) => (String::from_utf16_lossy(&[unit]).remove(0), 6),
        };
        if char != expected {
            return Err(Fit::Neither);
        }
        got = &got[length..];
    }
    Ok(got)
}

/// What stands first in a string.
enum Unit {
    End,
    Quote,
    /// A character, and how long it is written.
    Char(char, usize),
    /// A UTF-16 unit, written as an escape.
    Escape(u16),
    /// The beginning of an escape.
    Part,
    /// No escape, for this is how much of one is right.
    Bad(usize),
}

fn unit(text: &str) -> Unit {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (None, _) => Unit::End,
        (Some('"'), _) => Unit::Quote,
        (Some('\\'), None) => Unit::Part,
        (Some('\\'), Some('u')) => {
            let digits = text[2..].bytes().take(4).take_while(u8::is_ascii_hexdigit).count();
            match u16::from_str_radix(&text[2..2 + digits], 16) {
                Ok(unit) if digits == 4 => Unit::Escape(unit),
                _ if text.len() == 2 + digits => Unit::Part,
                _ => Unit::Bad(2 + digits),
            }
        }
        (Some('\\'), Some(kind)) => match "\"\\/bfnrt".find(kind) {
            Some(at) => Unit::Char(char::from(b"\"\\/\x08\x0c\n\r\t"[at]), 2),
            None => Unit::Bad(1),
        },
        (Some(char), _) => Unit::Char(char, char.len_utf8()),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Where the structure begins that is not a stretch yet.
    from: usize,
    depth: usize,
    stretches: Vec<Stretch>,
    within: bool,
}

/// Why there is no more JSON.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    End,
    Bad,
    Deep,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), Stop> {
        self.value()?;
        self.next()?;
        Err(Stop::Bad)
    }

    /// The next character that is no space.
    fn next(&mut self) -> Result<char, Stop> {
        let rest = self.text[self.at..].trim_start_matches([' ', '\t', '\n', '\r']);
        self.at = self.text.len() - rest.len();
        rest.chars().next().ok_or(Stop::End)
    }

    fn structure(&mut self) {
        if self.from < self.at {
            self.stretches.push(Stretch::Structure(self.text[self.from..self.at].to_owned()));
        }
        self.from = self.at;
    }

    fn value(&mut self) -> Result<(), Stop> {
        match self.next()? {
            '"' => self.string(true),
            open @ ('{' | '[') => {
                if self.depth == DEPTH_MAX {
                    return Err(Stop::Deep);
                }
                self.depth += 1;
                self.at += 1;
                self.items(open == '{')?;
                self.depth -= 1;
                Ok(())
            }
            _ => self.word(),
        }
    }

    fn items(&mut self, object: bool) -> Result<(), Stop> {
        let close = if object { '}' } else { ']' };
        let mut next = self.next()?;
        while next != close {
            if object {
                if self.next()? != '"' {
                    return Err(Stop::Bad);
                }
                self.string(false)?;
                if self.next()? != ':' {
                    return Err(Stop::Bad);
                }
                self.at += 1;
            }
            self.value()?;
            next = self.next()?;
            if next == ',' {
                self.at += 1;
            } else if next != close {
                return Err(Stop::Bad);
            }
        }
        self.at += 1;
        Ok(())
    }

    /// A number, or a name of JSON.
    fn word(&mut self) -> Result<(), Stop> {
        let start = self.at;
        for char in self.text[start..].chars() {
            let longer = &self.text[start..self.at + char.len_utf8()];
            let begins = ["null", "true", "false"].iter().any(|name| name.starts_with(longer));
            if !begins && !is_plain(longer) && !is_plain(&format!("{longer}0")) {
                return if is_plain(&self.text[start..self.at]) { Ok(()) } else { Err(Stop::Bad) };
            }
            self.at += char.len_utf8();
        }
        Err(Stop::End)
    }

    /// A string: a value, or a key.
    fn string(&mut self, value: bool) -> Result<(), Stop> {
        self.at += 1;
        if value {
            self.structure();
        }
        let mut says = Vec::new();
        let (rest, end) = loop {
            match unit(&self.text[self.at..]) {
                Unit::End => break (0, Err(Stop::End)),
                Unit::Part => break (self.text.len() - self.at, Err(Stop::End)),
                Unit::Bad(right) => break (right, Err(Stop::Bad)),
                Unit::Quote => break (0, Ok(())),
                Unit::Char(char, length) => {
                    says.extend(char.encode_utf16(&mut [0; 2]).iter());
                    self.at += length;
                }
                Unit::Escape(unit) => {
                    says.push(unit);
                    self.at += 6;
                }
            }
        };
        let rest = self.text[self.at..self.at + rest].to_owned();
        self.at += rest.len();
        if value {
            let half = says.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit));
            self.within = end == Err(Stop::End) && (half || !rest.is_empty());
            self.stretches.push(Stretch::Value { says: String::from_utf16_lossy(&says), rest });
            self.from = self.at;
        }
        end?;
        self.at += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(arguments: &str) -> Vec<String> {
        let (stretches, _) = read(arguments).unwrap();
        stretches.iter().filter_map(Stretch::text).map(str::to_owned).collect()
    }

    #[test]
    fn texts_are_string_values_and_what_is_not_json() {
        assert_eq!(texts(r#" {"k":"a\u00e9","n":[1.5e3,"",{"k":"\ud83d\ude00"}]} "#), ["aé", "", "😀"]);
        assert_eq!(texts(r#"{"k":"a\"#), ["a"]);
        assert_eq!(texts(r#"{"k":"a\x","b"#), ["a", r#"x","b"#]);
        assert_eq!(texts("nul\"a\""), ["\"a\""]);
        assert_eq!(texts("[1.,\"a\"]"), [",\"a\"]"]);
        assert_eq!(texts("{} {\"k\""), ["{\"k\""]);
        assert_eq!(texts("{\"k\":1,}"), ["}"]);
        assert_eq!(texts("[1,]"), ["]"]);
        assert_eq!(read(&"[".repeat(65)), None);
        assert!(read(&"[".repeat(64)).is_some());
        for (arguments, within) in
            [(r#"["a\u00"#, true), (r#"["\ud83d"#, true), (r#"["a"#, false), (r#"{"\"#, false)]
        {
            assert_eq!(read(arguments).unwrap().1, within, "{arguments}");
        }
    }

    #[test]
    fn arguments_fit_in_any_spelling_and_as_far_as_they_go() {
        let (stretches, _) = read(r#"{"k":"ab","n":1}"#).unwrap();
        let change = |text: &str| text.replace('b', "é");
        for (got, expected) in [
            (r#"{"k":"a\u00e9","n":1}"#, Fit::All),
            (r#"{"k":"aé","n":1}"#, Fit::All),
            (r#"{"k":"a\u00"#, Fit::Beginning),
            (r#"{"k":"a"#, Fit::Beginning),
            (r#"{"k":"a","n":1}"#, Fit::Neither),
            (r#"{"k":"aé","n":2}"#, Fit::Neither),
            (r#"{"k":"aé","n":1}}"#, Fit::Neither),
        ] {
            assert_eq!(fit(&stretches, &change, got), expected, "{got}");
        }
    }
}
